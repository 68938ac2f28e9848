//! What was read from data, and how to read them otherwise.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::recording::Recording;
use super::repair::Middle;
use super::{Dataset, Grouping, Kind};
use crate::text::{count, short, shortest_sum};

/// What a reader found in a file, apart from the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Origin {
    /// The format: "CSV table, separated by commas".
    pub format: String,
    /// The element type of the file.
    pub element: String,
    /// What was decided or left out.
    pub notes: Vec<Note>,
    /// The recording from which the samples were cut.
    pub recording: Option<Recording>,
    /// Which samples of the source these are; `None` for all of them.
    pub kept: Option<Kept>,
    /// The sample rate of audio, in Hz.
    pub rate: Option<u32>,
    /// Whether missing categories of a table were replaced.
    pub replaced: bool,
    /// Whether `--clip-outliers` applies to the source.
    pub clippable: bool,
}

/// Some samples of a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// The number of samples of the source.
    pub of: usize,
    /// The index in the source of each sample.
    pub rows: Vec<usize>,
}

impl Origin {
    pub fn new(format: impl Into<String>, element: impl Into<String>) -> Self {
        Self { format: format.into(), element: element.into(), ..Self::default() }
    }

    /// Says that of the `of` samples until now only those at `rows` are left.
    pub fn keep(&mut self, of: usize, rows: Vec<usize>) {
        self.kept = Some(match self.kept.take() {
            None => Kept { of, rows },
            Some(before) => Kept { rows: rows.iter().map(|&row| before.rows[row]).collect(), ..before },
        });
    }

    /// Adds something that was decided or left out.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(Note { text: text.into(), otherwise: None, warning: false });
    }

    /// Adds something that is probably wrong with the data.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.notes.push(Note { text: text.into(), otherwise: None, warning: true });
    }

    /// Adds a decision, and the option that decides otherwise.
    pub fn choice(&mut self, text: impl Into<String>, otherwise: impl Into<String>) {
        self.notes.push(Note { text: text.into(), otherwise: Some(otherwise.into()), warning: false });
    }
}

/// Something that was decided or left out while reading.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    /// What was decided or left out.
    pub text: String,
    /// The options that decide otherwise.
    pub otherwise: Option<String>,
    /// Whether something is probably wrong with the data.
    pub warning: bool,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if self.warning { "warning: " } else { "" })?;
        match &self.otherwise {
            Some(otherwise) => write!(f, "{} (otherwise: {otherwise})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// The values of a column or channel, in the units of the data.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnSummary {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
    /// Whether all values are whole numbers.
    pub whole: bool,
    /// What is subtracted from the values before they are rounded to float32.
    pub offset: f64,
}

/// A sample that is far from the others.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlier {
    /// The index of the sample, counted from 0.
    pub sample: usize,
    /// The column or channel of the value; `None` if there is only one.
    pub column: Option<String>,
    /// Its most distant value.
    pub value: f64,
    /// The distance of this value from the median, in multiples of the range of the middle 90% of the values.
    pub distance: f64,
}

/// What was read from data: the answer of `langevin inspect DATA`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The file, folder or built-in data set.
    pub name: String,
    /// The format of the file.
    pub format: String,
    /// The element type in the file.
    pub element: String,
    /// The kind of the samples.
    pub kind: Kind,
    /// The number of samples.
    pub samples: usize,
    /// The shape of one sample.
    pub shape: Vec<usize>,
    /// What was decided or left out, and how to decide otherwise.
    pub notes: Vec<Note>,
    /// The values of each column or channel.
    pub columns: Vec<ColumnSummary>,
    /// The samples that are far from the others, the farthest first; at most [`MOST_OUTLIERS`].
    pub outliers: Vec<Outlier>,
}

/// The maximum number of outliers in a [`Description`].
pub const MOST_OUTLIERS: usize = 5;

/// A value is an outlier when its distance from the median is more than this many times the range of the middle 90%.
const FAR: f64 = 20.0;

impl Description {
    /// Describes data.
    pub fn of(data: &Dataset) -> Self {
        let (grouping, seen) = (data.grouping(), Seen::of(data));
        let outliers = outliers(data, grouping, &seen);
        let mut notes = data.origin.notes.clone();
        notes.extend(outliers.first().map(|first| warning(data, first)));
        Self {
            name: data.name.clone(),
            format: data.origin.format.clone(),
            element: data.origin.element.clone(),
            kind: data.kind(),
            samples: data.len(),
            shape: data.shape.clone(),
            notes,
            columns: (0..grouping.count).map(|group| summary(data, grouping, group, &seen.values)).collect(),
            outliers,
        }
    }

    /// The first line: what the samples are.
    pub fn title(&self) -> String {
        let format = if self.format.is_empty() { String::new() } else { format!(" ({})", self.format) };
        let what = match (self.samples, self.kind) {
            (1, Kind::Table) => "row of a table",
            (1, kind) => kind.one(),
            (_, kind) => kind.samples(),
        };
        format!("data: {} {what} of shape {:?} from {}{format}", self.samples, self.shape, self.name)
    }
}

/// The line that every command prints, and a line for each note.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.title())?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

/// The samples that are looked at: all of them, or some of those that stay in their files, with the smallest and largest values
/// among them.
struct Seen<'a> {
    values: Cow<'a, [f32]>,
    /// The indices of the samples if they are not all.
    rows: Option<Vec<usize>>,
}

/// The number of values of stored data that are looked at.
const MOST_SEEN: usize = 1 << 20;

impl<'a> Seen<'a> {
    fn of(data: &'a Dataset) -> Self {
        let Some(stored) = data.values.stored() else {
            return Self { values: Cow::Borrowed(&data.values), rows: None };
        };
        let n = data.len().min(MOST_SEEN.div_ceil(data.sample_len()));
        let spaced = (0..n).map(|i| i * data.len() / n);
        let rows: BTreeSet<usize> = stored.survey().ends.iter().flatten().copied().chain(spaced).collect();
        let rows = Vec::from_iter(rows);
        // The training reports files that cannot be read.
        let values = data.samples(rows.iter().copied()).unwrap_or_default();
        Self { values: Cow::Owned(values), rows: Some(rows) }
    }

    fn row(&self, i: usize) -> usize {
        self.rows.as_ref().map_or(i, |rows| rows[i])
    }
}

fn summary(data: &Dataset, grouping: Grouping, group: usize, seen: &[f32]) -> ColumnSummary {
    let each = || grouping.values(group, seen).map(f64::from).filter(|v| !v.is_nan());
    let n = each().count() as f64;
    let mean = each().sum::<f64>() / n;
    let all = data.values.stored().map(|stored| stored.survey().groups[group]);
    let (low, high) = match all {
        Some(all) => (all.low, all.high),
        None => each().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v))),
    };
    let deviation = || (each().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let offset = data.columns.offset_of(group);
    ColumnSummary {
        name: data.columns.names.get(group).filter(|_| data.columns.names.len() == grouping.count).cloned(),
        min: shortest_sum(low as f32, offset),
        max: shortest_sum(high as f32, offset),
        mean: all.map_or(mean, |all| all.mean()) + offset,
        std: all.map_or_else(deviation, |all| all.deviation()),
        whole: data.columns.whole.get(group).copied().unwrap_or(false),
        offset,
    }
}

/// The most distant samples. Data whose middle 90% are one value have none.
fn outliers(data: &Dataset, grouping: Grouping, looked_at: &Seen) -> Vec<Outlier> {
    let mut found: Vec<Outlier> = Vec::new();
    let len = data.sample_len();
    for group in 0..grouping.count {
        let n = looked_at.values.len() / grouping.count;
        let Some(middle) = Middle::of(grouping.values(group, &looked_at.values).map(f64::from), n) else { continue };
        let (median, width) = (middle.median, middle.range());
        for (i, values) in looked_at.values.chunks_exact(len).enumerate() {
            let farthest = grouping
                .values(group, values)
                .map(f64::from)
                .filter(|value| !value.is_nan())
                .max_by(|a, b| (a - median).abs().total_cmp(&(b - median).abs()));
            let Some(value) = farthest else { continue };
            let distance = (value - median).abs() / width;
            if distance > FAR {
                let column = (grouping.count > 1).then(|| data.columns.title(data.kind(), group));
                found.push(Outlier {
                    sample: looked_at.row(i),
                    column,
                    value: value + data.columns.offset_of(group),
                    distance,
                });
            }
        }
    }
    found.sort_by(|a, b| b.distance.total_cmp(&a.distance));
    let mut seen = std::collections::HashSet::new();
    found.retain(|outlier| seen.insert(outlier.sample));
    found.truncate(MOST_OUTLIERS);
    found
}

fn warning(data: &Dataset, first: &Outlier) -> Note {
    let column = first.column.as_ref().map(|column| format!(", {column}")).unwrap_or_default();
    let text = format!(
        "sample {} (counted from 0) has the value {}{column}, {} times the range of the middle 90% away from the \
         median; a few such values set the scale of all samples, so remove or repair them first",
        first.sample,
        short(first.value),
        short(first.distance.round())
    );
    let (before, after) = (first.sample, first.sample + 1);
    let range = match before {
        0 => format!(", {}[1:] leaves it out", data.name),
        _ if after == data.len() => format!(", {}[:{before}] leaves it out", data.name),
        _ => String::new(),
    };
    let otherwise = match data.origin.clippable {
        true => Some(format!("--clip-outliers clips such values{range}")),
        false => range.strip_prefix(", ").map(str::to_string),
    };
    Note { text, otherwise, warning: true }
}

/// "3 columns (a, b, c)", with at most `most` names.
pub(super) fn list(names: &[String], what: &str, most: usize) -> String {
    let mut text = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > most {
        text += ", ...";
    }
    format!("{} ({text})", count(names.len(), what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_is_named_with_its_distance() {
        let mut values: Vec<f32> = (0..400).map(|i| (i as f32 * 0.7).sin()).collect();
        let data = Dataset::new("d", [8], values.clone()).unwrap();
        assert!(Description::of(&data).outliers.is_empty());
        values[8 * 17 + 3] = 1e6;
        values[8 * 20 + 1] = -500.0;
        let described = Description::of(&Dataset::new("d", [8], values).unwrap());
        assert_eq!(
            described.outliers.iter().map(|o| (o.sample, o.value)).collect::<Vec<_>>(),
            [(17, 1e6), (20, -500.0)]
        );
        let text = described.to_string();
        assert!(text.contains("sample 17") && text.contains("1e6"), "{text}");
    }

    #[test]
    fn heavy_tails_and_sparse_data_have_no_outliers() {
        let tail = |i: usize| (((i as f32 * 0.618_034).fract() - 0.5) * 6.0).exp();
        let data = Dataset::new("d", [4], (0..4000).map(tail).collect()).unwrap();
        assert!(Description::of(&data).outliers.is_empty());
        let sparse = Dataset::new("d", [4], (0..4000).map(|i| f32::from(u8::from(i % 50 == 0))).collect()).unwrap();
        assert!(Description::of(&sparse).outliers.is_empty());
    }

    #[test]
    fn columns_are_summarised_in_their_units() {
        let mut data = Dataset::new("d", [2], vec![0.0, 10.0, 2.0, 30.0]).unwrap();
        data.columns.offset = vec![100.0, 0.0];
        data.columns.names = vec!["t".into(), "v".into()];
        let columns = Description::of(&data).columns;
        assert_eq!((columns[0].min, columns[0].max, columns[0].mean, columns[0].std), (100.0, 102.0, 101.0, 1.0));
        assert_eq!((columns[1].name.as_deref(), columns[1].std), (Some("v"), 10.0));
    }
}
