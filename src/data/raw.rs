//! From the values of a file to a data set: kind and precision.

use super::options::{Missing, ReadOptions};
use super::range::SampleRange;
use super::stored::{Content, Stored, StoredArray, check_range};
use super::{Categories, Columns, Dataset, Grouping, Kind, Origin, Values, description, narrow};
use crate::text::{count, short};
use crate::{Error, Result};

/// Values in the precision that holds them.
#[derive(Debug)]
pub(super) enum RawValues {
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Those that stay in their files.
    Stored(StoredArray),
}

const NOT_STORED: &str = "arrays that readers change are read into memory";

impl RawValues {
    pub fn len(&self) -> usize {
        match self {
            RawValues::F32(values) => values.len(),
            RawValues::F64(values) => values.len(),
            RawValues::Stored(stored) => stored.len(),
        }
    }

    pub fn get(&self, i: usize) -> f64 {
        match self {
            RawValues::F32(values) => values[i].into(),
            RawValues::F64(values) => values[i],
            // Files that cannot be read are reported when all of their values are measured.
            RawValues::Stored(stored) => stored.read_wide(i..i + 1).map_or(f64::NAN, |value| value[0]),
        }
    }

    pub fn set(&mut self, i: usize, value: f64) {
        match self {
            RawValues::F32(values) => values[i] = value as f32,
            RawValues::F64(values) => values[i] = value,
            RawValues::Stored(_) => unreachable!("{NOT_STORED}"),
        }
    }

    /// The values at these indices.
    pub fn at(&self, indices: impl Iterator<Item = usize>) -> Self {
        match self {
            RawValues::F32(values) => RawValues::F32(indices.map(|i| values[i]).collect()),
            RawValues::F64(values) => RawValues::F64(indices.map(|i| values[i]).collect()),
            RawValues::Stored(_) => unreachable!("{NOT_STORED}"),
        }
    }
}

/// The content of a file before the decisions that depend on its values.
#[derive(Debug)]
pub(super) struct Raw {
    pub name: String,
    pub origin: Origin,
    /// The number of samples or time steps, then the shape of one.
    pub dims: Vec<usize>,
    pub values: RawValues,
    /// The names of the columns, if they have any.
    pub names: Vec<String>,
    /// The columns of categories, which make a table.
    pub categories: Vec<Categories>,
    /// The columns of text that are left out because they have one category, or few rows for each.
    pub left_out: Vec<Categories>,
    /// The kind of samples with one axis that the file suggests, and why.
    pub suggested: Option<(Kind, String)>,
    /// Whether images of these values are scaled to 0..1.
    pub bytes: bool,
    /// The format of audio.
    pub sound: Option<hound::WavSpec>,
}

impl Raw {
    pub fn new(name: &str, origin: Origin, dims: Vec<usize>, values: RawValues) -> Self {
        Self {
            name: name.into(),
            origin,
            dims,
            values,
            names: Vec::new(),
            categories: Vec::new(),
            left_out: Vec::new(),
            suggested: None,
            bytes: false,
            sound: None,
        }
    }

    /// The data set, read with `options`. If `whole`, the windows of a recording contain all time steps, and overlap by half
    /// unless an option says otherwise.
    #[cfg(test)]
    pub fn finish_for(mut self, options: &ReadOptions, whole: bool) -> Result<Dataset> {
        self.prepare(options, whole)?;
        self.finish(options, None)
    }

    /// Cuts a recording into windows, see [`finish_for`](Self::finish_for).
    pub fn prepare(&mut self, options: &ReadOptions, whole: bool) -> Result<()> {
        let Self { name, dims, .. } = &self;
        if dims.contains(&0) {
            return Err(Error::input(format!(
                "{name}: the data set is empty (shape {dims:?}); use a file with samples"
            )));
        }
        match options.window {
            Some(window) => {
                let hop = if whole { window.div_ceil(2) } else { window };
                self.cut(window, options.hop.unwrap_or(hop), whole)
            }
            // Each value is a row of a table of one column.
            None if self.dims.len() == 1 && options.kind == Some(Kind::Table) => {
                self.dims.push(1);
                Ok(())
            }
            None => self.refuse_a_recording(options),
        }
    }

    /// The data set of samples that are cut, or of a range of them. What is left out or filled is that of the range.
    pub fn finish(mut self, options: &ReadOptions, range: Option<&SampleRange>) -> Result<Dataset> {
        if let Some(range) = range {
            self.keep_range(range)?;
        }
        let kind = options.window.map(|_| Kind::Signals);
        let (kind, shape) = self.kind_and_shape(kind, options.kind)?;
        self.origin.clippable = true;
        self.origin.rate = self.sound.map(|sound| sound.sample_rate);
        if !matches!(self.values, RawValues::Stored(_)) {
            self.fill_missing(kind, &shape, options.missing)?;
        }
        if options.clip_outliers {
            self.clip_outliers(kind, &shape);
        }
        self.into_dataset(kind, shape, options.missing == Some(Missing::Keep))
    }

    /// Leaves out the samples that are not in a range.
    fn keep_range(&mut self, range: &SampleRange) -> Result<()> {
        let n = self.dims[0];
        let ((from, to), len) = (range.within(n)?, self.dims[1..].iter().product::<usize>());
        self.values = match &self.values {
            RawValues::Stored(stored) => RawValues::Stored(stored.cut(from * len..to * len)),
            values => values.at(from * len..to * len),
        };
        (self.dims[0], self.name) = (to - from, range.name());
        // A part of the windows is not a recording.
        self.origin.recording = None;
        self.origin.keep(n, (from..to).collect());
        Ok(())
    }

    /// The kind and the shape of the samples.
    fn kind_and_shape(&mut self, certain: Option<Kind>, asked: Option<Kind>) -> Result<(Kind, Vec<usize>)> {
        let wrong = |kind: Kind, needs: &str| {
            Error::setting(format!(
                "{}: the array has shape {:?}, but --kind {kind} needs {needs}",
                self.name, self.dims
            ))
        };
        match self.dims[..] {
            [_, d] => match certain.or(asked) {
                Some(Kind::Points) if d != 2 => Err(wrong(Kind::Points, "[n, 2]")),
                Some(Kind::Images) => Err(wrong(Kind::Images, "[n, h, w] or [n, c, h, w]")),
                Some(kind) => Ok((kind, vec![d])),
                None => Ok((self.kind_of_rows(d), vec![d])),
            },
            [_, _, _, ..] if certain.or(asked) == Some(Kind::Table) => Err(wrong(Kind::Table, "[n, columns]")),
            [_, a, b] => match certain.or(asked) {
                Some(Kind::Signals) => Ok((Kind::Signals, if a == 1 { vec![b] } else { vec![a, b] })),
                Some(Kind::Images) => Ok((Kind::Images, vec![1, a, b])),
                Some(kind) => Err(wrong(kind, "[n, 2]")),
                None => Ok(self.kind_of_planes(a, b)),
            },
            [_, c, h, w @ (1 | 3 | 4)] if c > 4 => Err(Error::input(format!(
                "{}: shape {:?} looks like images with the channels last ({c} x {h}, {w} channels), but images are \
                 [n, channels, height, width]; save array.transpose(0, 3, 1, 2)",
                self.name, self.dims
            ))),
            [_, c, h, w] => match asked {
                None | Some(Kind::Images) => Ok((Kind::Images, vec![c, h, w])),
                Some(kind) => Err(wrong(kind, "an array with fewer axes")),
            },
            [] => Err(Error::input(format!(
                "{}: the array is a single number; save an array of samples, [n, length] for signals",
                self.name
            ))),
            _ => Err(Error::input(format!(
                "{}: the array has shape {:?} with {} axes, but at most 4 are supported; save it as [n, length] for \
                 signals, [n, 2] for points or [n, c, h, w] for images",
                self.name,
                self.dims,
                self.dims.len()
            ))),
        }
    }

    /// The kind of samples [d].
    fn kind_of_rows(&mut self, d: usize) -> Kind {
        if d == 2 && self.categories.is_empty() {
            return Kind::Points;
        }
        let (kind, why) = match self.suggested.take() {
            Some(suggested) => suggested,
            None if self.columns_differ(d) => {
                (Kind::Table, "because neighbouring columns have very different medians or ranges".into())
            }
            None => (Kind::Signals, String::new()),
        };
        let why = if why.is_empty() { why } else { format!(", {why}") };
        match kind {
            Kind::Table => {
                let without = if self.categories.is_empty() { "" } else { " leaves them out" };
                self.origin.choice(format!("each row is a sample of a table{why}"), format!("--kind signals{without}"));
            }
            // Nobody takes long rows for a table.
            _ if d > 64 => {}
            _ => self.origin.choice(
                format!("each row is a signal of {d} values with one scale{why}"),
                "--kind table for a scale per column",
            ),
        }
        kind
    }

    /// Whether neighbouring columns have nothing in common, unlike neighbouring values of a signal.
    fn columns_differ(&self, d: usize) -> bool {
        let n = self.dims[0];
        if d > 256 || n < 8 {
            return false;
        }
        let step = n.div_ceil(1_000);
        // Median and range of the middle 80%, which do not depend on a few outliers.
        let spread = |column: usize| {
            let each = (0..n).step_by(step).map(|i| self.values.get(i * d + column));
            let mut some: Vec<f64> = each.filter(|v| v.is_finite()).collect();
            some.sort_unstable_by(f64::total_cmp);
            let at = |part: usize| some.get(some.len() * part / 10).copied().unwrap_or(0.0);
            (at(5), at(9) - at(1))
        };
        let columns: Vec<(f64, f64)> = (0..d).map(spread).filter(|(_, width)| *width > 0.0).collect();
        let jumps = columns.windows(2).filter(|pair| {
            let [(median, width), (next, other)] = [pair[0], pair[1]];
            width.max(other) > 10.0 * width.min(other) || (median - next).abs() > 4.0 * width.max(other)
        });
        jumps.count() > d / 8
    }

    /// Kind and shape of samples [a, b]: few long rows of numbers are the channels of a signal.
    fn kind_of_planes(&mut self, a: usize, b: usize) -> (Kind, Vec<usize>) {
        if !self.bytes && a <= 16 && b >= 16 && b >= 4 * a {
            let text = format!("the array [n, {a}, {b}] contains signals with {}", count(a, "channel"));
            self.origin.choice(text, format!("--kind images for images {a} pixels high"));
            return (Kind::Signals, if a == 1 { vec![b] } else { vec![a, b] });
        }
        if !self.bytes {
            let text = format!("the array [n, {a}, {b}] contains images of {a} x {b} pixels with one channel");
            self.origin.choice(text, format!("--kind signals for signals with {}", count(a, "channel")));
        }
        (Kind::Images, vec![1, a, b])
    }

    /// The data set; with `gaps`, missing values are unknown.
    fn into_dataset(self, kind: Kind, shape: Vec<usize>, gaps: bool) -> Result<Dataset> {
        let Self { name, mut origin, values, names, categories, bytes, .. } = self;
        let groups = Grouping::of(kind, &shape);
        let mut columns = Columns { names, categories, ..Columns::default() };
        let len = shape.iter().product();
        if ![groups.count, len].contains(&columns.names.len()) {
            columns.names.clear();
        }
        let scaled = bytes && kind == Kind::Images;
        // The columns or channels that are rounded, and by how much if it is known.
        let mut rounded: Vec<(usize, String)> = Vec::new();
        let mut values: Values = match values {
            RawValues::F32(values) => values.into(),
            RawValues::F64(wide) => {
                check_range(&name, len, 0, &wide)?;
                let narrowed = narrow(&wide, groups);
                columns.offset = narrowed.offset;
                rounded
                    .extend(narrowed.rounded.iter().map(|(group, by)| (*group, format!(" by up to {}", short(*by)))));
                narrowed.values.into()
            }
            RawValues::Stored(mut stored) => {
                rounded.extend(stored.narrow(&name, len, groups)?.into_iter().map(|group| (group, String::new())));
                columns.offset = stored.offsets();
                stored.scale(scaled);
                Values::stored_in(Stored::measured(Box::new(stored), &name, len, groups, gaps)?)
            }
        };
        note_offsets(&mut origin, &columns, kind, groups);
        for (group, by) in rounded {
            let place = where_of(&columns, kind, groups, group);
            origin.warn(format!("{place} has whole numbers that float32 does not hold; they are rounded{by}"));
        }
        if matches!(kind, Kind::Table | Kind::Points) {
            let offset = |group| columns.offset_of(group);
            let whole = |group| {
                columns.categories_at(group).is_none()
                    && offset(group).fract() == 0.0
                    && match values.stored() {
                        Some(stored) => stored.survey().groups[group].whole,
                        None => groups.values(group, &values).all(|v: f32| v.fract() == 0.0 || gaps && v.is_nan()),
                    }
            };
            let whole: Vec<bool> = (0..groups.count).map(whole).collect();
            if whole.contains(&true) {
                columns.whole = whole;
            }
        }
        if scaled {
            if values.stored().is_none() {
                values.iter_mut().for_each(|value| *value /= 255.0);
            }
            origin.note("pixels 0..255 are scaled to 0..1");
        }
        if !columns.names.is_empty() {
            let channels = kind == Kind::Signals && columns.names.len() == groups.count;
            let what = if channels { "channel" } else { "column" };
            origin.note(description::list(&columns.names, what, 12));
        }
        let data = Dataset::build(name, shape, values, gaps)?;
        Ok(Dataset { kind, columns, origin, ..data })
    }
}

/// Says which columns or channels are read relative to an offset.
fn note_offsets(origin: &mut Origin, columns: &Columns, kind: Kind, groups: Grouping) {
    for (group, by) in columns.offset.iter().enumerate().filter(|(_, by)| **by != 0.0) {
        origin.note(format!(
            "{} is read relative to {by}, so that float32 keeps its digits; results are written with it",
            where_of(columns, kind, groups, group)
        ));
    }
}

fn where_of(columns: &Columns, kind: Kind, groups: Grouping, group: usize) -> String {
    match groups.count {
        1 => "the file".to_string(),
        _ => columns.title(kind, group),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn raw(dims: &[usize], values: Vec<f64>) -> Raw {
        Raw::new("a", Origin::new("test", "float64"), dims.to_vec(), RawValues::F64(values))
    }

    pub fn read(dims: &[usize], options: ReadOptions) -> Result<Dataset> {
        let n = dims.iter().product::<usize>();
        raw(dims, (0..n).map(|i| (i as f64 * 0.7).sin()).collect()).finish_for(&options, false)
    }

    #[test]
    fn shapes_become_kinds() {
        let default = ReadOptions::default();
        let asked = |kind| ReadOptions { kind: Some(kind), ..ReadOptions::default() };
        for (dims, options, kind, shape) in [
            (&[40, 2][..], default.clone(), Kind::Points, &[2][..]),
            (&[40, 2], asked(Kind::Table), Kind::Table, &[2]),
            (&[40, 2], asked(Kind::Signals), Kind::Signals, &[2]),
            (&[40, 5], default.clone(), Kind::Signals, &[5]),
            (&[40, 1], asked(Kind::Table), Kind::Table, &[1]),
            (&[40, 3, 32], default.clone(), Kind::Signals, &[3, 32]),
            (&[40, 1, 32], default.clone(), Kind::Signals, &[32]),
            (&[40, 3, 32], asked(Kind::Images), Kind::Images, &[1, 3, 32]),
            (&[40, 8, 8], default.clone(), Kind::Images, &[1, 8, 8]),
            (&[40, 8, 8], asked(Kind::Signals), Kind::Signals, &[8, 8]),
            (&[40, 3, 8, 8], default.clone(), Kind::Images, &[3, 8, 8]),
        ] {
            let data = read(dims, options).unwrap();
            assert_eq!((data.kind(), &data.shape[..]), (kind, shape), "{dims:?}");
        }
        let noted = read(&[40, 3, 32], default).unwrap().origin.notes;
        assert!(noted[0].to_string().contains("--kind images"), "{noted:?}");
        for (dims, kind, cause) in [
            (&[40, 5][..], Kind::Points, "needs [n, 2]"),
            (&[40, 5], Kind::Images, "needs [n, h, w]"),
            (&[40, 3, 32], Kind::Table, "needs [n, columns]"),
            (&[40, 3, 8, 8], Kind::Signals, "fewer axes"),
        ] {
            let message = read(dims, asked(kind)).unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn columns_of_different_scales_are_a_table() {
        let value = |i: usize| (i as f64 * 0.7).sin() * [0.01, 1.0, 100.0][i % 3];
        let data = raw(&[100, 3], (0..300).map(value).collect()).finish_for(&ReadOptions::default(), false).unwrap();
        assert_eq!(data.kind(), Kind::Table);
        assert!(data.origin.notes[0].to_string().contains("--kind signals"));
        // One sample of 10,000 times the size is no table.
        let value = |i: usize| (i as f64 * 0.7).sin() * if i / 8 == 17 { (i % 8 + 1) as f64 * 1e4 } else { 1.0 };
        let data = raw(&[100, 8], (0..800).map(value).collect()).finish_for(&ReadOptions::default(), false).unwrap();
        assert_eq!(data.kind(), Kind::Signals);
        // A decaying pulse is a signal.
        let value = |i: usize| (i as f64 * 0.37).sin() * (-0.3 * (i % 20) as f64).exp();
        let data = raw(&[100, 20], (0..2000).map(value).collect()).finish_for(&ReadOptions::default(), false).unwrap();
        assert_eq!(data.kind(), Kind::Signals);
    }

    #[test]
    fn values_that_float32_cannot_hold_are_said() {
        let huge = raw(&[2, 3], vec![1.0, 2.0, 1e300, 4.0, 5.0, 6.0]).finish_for(&ReadOptions::default(), false);
        assert!(huge.unwrap_err().to_string().contains("sample 0 has 1e300 at element 2"));
        let whole = raw(&[3, 2], vec![0.0, 1.0, 123_456_789.0, 2.0, 5.0, 3.0])
            .finish_for(&ReadOptions::default(), false)
            .unwrap();
        assert!(whole.origin.notes.iter().any(|note| note.text.contains("rounded by up to 3")), "{:?}", whole.origin);
        assert_eq!(whole.columns.whole, [true, true]);
    }
}
