//! The metrics of a run: the rows of `metrics.csv`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write as _};

use super::early_stopping::EarlyStopping;
use super::{Config, Losses, Trainer};
use crate::plot;
#[cfg(feature = "cli")]
use crate::text;

/// Steps per row.
const ROW: u32 = 10;
const VALIDATION: &str = "validation";
/// The columns of every run. If there are several loss terms, their columns follow, then that of the validation loss.
const HEADER: &str = "step,loss,lr,samples_per_second";

impl Config {
    /// Whether `metrics.csv` has a regular row for this step: every ten steps, and at every evaluation.
    pub(crate) fn has_row(&self, step: u32) -> bool {
        step.is_multiple_of(ROW) || self.has_validation(step)
    }

    /// The learning rate of the step after `step` steps.
    pub(super) fn lr_of(&self, step: u32) -> f64 {
        self.lr * self.decay.factor(step)
    }

    /// Whether the regular row of this step has a validation loss. There is one after the last step, too.
    fn has_validation(&self, step: u32) -> bool {
        self.validation > 0.0 && step.is_multiple_of(self.validation_every)
    }
}

/// The rows from which curves are drawn: all rows of a short run, otherwise every second, fourth and so on.
#[derive(Debug, Default, PartialEq)]
struct Thinned {
    rows: Vec<String>,
    /// Every `stride`-th row is kept; 0 before the first row.
    stride: usize,
    seen: usize,
}

impl Thinned {
    /// The maximum number of rows, more than the pixels of a plot.
    const MOST: usize = 4096;

    fn push(&mut self, row: &str) {
        self.stride = self.stride.max(1);
        if self.seen.is_multiple_of(self.stride) {
            self.rows.push(row.to_string());
        }
        self.seen += 1;
        if self.rows.len() > Self::MOST {
            let mut index = 0;
            self.rows.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
    }
}

/// The state of `metrics.csv`, and the rows that are not written yet. Rows are appended, so that the cost of writing does
/// not grow with the length of a run.
#[derive(Debug)]
pub(crate) struct Record {
    pub header: String,
    /// The length of the file up to its last regular row, in bytes.
    written: u64,
    /// Regular rows that are not in the file yet.
    regular: Vec<String>,
    /// The row of the current step if it is not a regular one: another step, or a validation loss because the run ended
    /// there. It is removed when the run continues.
    last: Option<String>,
    /// The regular row that takes the place of `last` when the run continues.
    next: Option<String>,
    drawn: Thinned,
    pub early_stopping: EarlyStopping,
}

impl Record {
    /// The record of a run, from the text of its file.
    pub fn new(text: &str, trainer: &Trainer) -> Self {
        let header = header(&trainer.terms(), trainer.config().validation > 0.0);
        let record = Self::after(text, trainer.config(), trainer.step());
        // The columns depend on the settings only, so another header is a damaged file.
        if record.header == header { record } else { Self { header, ..Self::after("", trainer.config(), 0) } }
    }

    /// The record of a run at `step`, without later rows.
    pub fn after(text: &str, config: &Config, step: u32) -> Self {
        let step_of = |row: &str| row.split(',').next()?.parse::<u32>().ok();
        let is_kept = |row: &str| row.ends_with('\n') && step_of(row).is_some_and(|s| s <= step && config.has_row(s));
        let mut lines = text.split_inclusive('\n');
        let header = lines.next().unwrap_or_default();
        let mut kept: Vec<&str> = lines.take_while(|row| is_kept(row)).collect();
        let irregular = |row: &str| header.trim_end().ends_with(VALIDATION) && !row.trim_end().ends_with(',');
        let next = kept
            .pop_if(|row| irregular(row) && !step_of(row).is_some_and(|step| config.has_validation(step)))
            .map(without_last_cell);
        let written = if kept.is_empty() { 0 } else { header.len() + kept.iter().map(|row| row.len()).sum::<usize>() };
        let header = header.trim_end().to_string();
        let mut drawn = Thinned::default();
        kept.iter().for_each(|row| drawn.push(row.trim_end()));
        let mut early_stopping = EarlyStopping::default();
        for (step, loss) in column(&header, &kept, VALIDATION) {
            early_stopping.observe(step, loss);
        }
        Self { header, written: written as u64, regular: vec![], last: None, next, drawn, early_stopping }
    }

    /// Appends the new rows to `file` and removes a row that is not regular.
    pub fn append(&mut self, mut file: &File) -> io::Result<()> {
        if file.metadata()?.len() < self.written {
            // The file was removed or truncated: start again with the rows that are in memory.
            self.written = 0;
            self.regular = self.drawn.rows.clone();
        }
        file.set_len(self.written)?;
        file.seek(SeekFrom::End(0))?;
        let mut text = if self.written == 0 { format!("{}\n", self.header) } else { String::new() };
        for row in self.regular.drain(..) {
            text += &row;
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        self.written += text.len() as u64;
        if let Some(row) = &self.last {
            file.write_all(format!("{row}\n").as_bytes())?;
        }
        file.sync_data()
    }

    /// The rows from which curves are drawn.
    pub fn drawn(&self) -> Vec<&String> {
        self.drawn.rows.iter().chain(&self.last).collect()
    }

    /// Whether the validation loss did not decrease for `early_stop` evaluations.
    pub fn is_at_early_stop(&self, config: &Config) -> bool {
        config.early_stop > 0 && self.early_stopping.since >= config.early_stop
    }

    /// The row of the current step if it is not a regular one.
    pub fn irregular(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Adds the losses of all steps since the last regular row, up to step `done`, and the validation loss after it.
    /// Returns the new regular rows.
    pub fn take(
        &mut self,
        config: &Config,
        done: u32,
        losses: Vec<Losses>,
        validation: Option<f64>,
        speed: f64,
    ) -> Vec<String> {
        let known = self.regular.len();
        let before = done - losses.len() as u32;
        let (mut first, n) = (0, losses.len());
        self.last = None;
        if let Some(row) = self.next.take() {
            self.push(row);
        }
        for end in 1..=n {
            let step = before + end as u32;
            if !config.has_row(step) && end < n {
                continue;
            }
            let mut row = row(step, &losses[first..end], config.lr_of(step - 1), speed);
            if config.validation > 0.0 {
                let validation = validation.filter(|_| end == n);
                row += &validation.map_or(",".to_string(), |loss| format!(",{loss:.6e}"));
            }
            if config.has_row(step) && (config.has_validation(step) || validation.is_none() || end < n) {
                self.push(row);
            } else {
                self.next = config.has_row(step).then(|| without_last_cell(&row));
                self.last = Some(row);
            }
            first = end;
        }
        self.regular[known..].to_vec()
    }

    /// Adds a regular row.
    fn push(&mut self, row: String) {
        self.drawn.push(&row);
        self.regular.push(row);
    }
}

/// A row with an empty last cell.
fn without_last_cell(row: &str) -> String {
    row[..row.rfind(',').map_or(0, |comma| comma + 1)].to_string()
}

/// The results of a run.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The training loss at the start: the mean over the steps of the first row.
    pub first: Option<f64>,
    /// The training loss at the end: the mean over the steps of the last row.
    pub loss: Option<f64>,
    /// The largest training loss of a row, as (step, loss).
    pub highest: Option<(u32, f64)>,
    /// The validation loss at the end.
    pub validation: Option<f64>,
    /// The lowest validation loss and its step, as (step, loss).
    pub best: Option<(u32, f64)>,
}

impl Summary {
    /// Parses the text of `metrics.csv`.
    pub(crate) fn of(text: &str) -> Self {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let rows: Vec<&str> = lines.collect();
        let (losses, validations) = (column(header, &rows, "loss"), column(header, &rows, VALIDATION));
        Self {
            first: losses.first().map(|(_, loss)| *loss),
            loss: losses.last().map(|(_, loss)| *loss),
            highest: losses.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)),
            validation: validations.last().map(|(_, loss)| *loss),
            best: validations.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }
}

impl Summary {
    /// The results in the last rows of `metrics.csv`; nothing without rows.
    #[cfg(feature = "cli")]
    pub(crate) fn of_rows(rows: Option<&super::Rows>) -> Self {
        Self::of(&rows.map_or(String::new(), |rows| format!("{}\n{}", rows.header, rows.text)))
    }

    /// What the loss did in a training that diverged: it was much larger than at the start. `untrained` is the loss of the first
    /// step, if it is known; the first row also contains later ones.
    #[cfg(feature = "cli")]
    pub(crate) fn divergence(&self, untrained: Option<f64>) -> Option<String> {
        let (first, last, (step, highest)) = (untrained.or(self.first)?, self.loss?, self.highest?);
        let rose = format!("the loss rose from {} to", text::short(first));
        match () {
            () if last > 10.0 * first => Some(format!("{rose} {}", text::short(last))),
            () if highest > 10.0 * first => {
                Some(format!("{rose} {} at step {step} and ended at {}", text::short(highest), text::short(last)))
            }
            () => None,
        }
    }
}

/// The curves of the loss, its terms and the validation loss.
pub(crate) fn curves<'a>(header: &'a str, rows: &[&String]) -> Vec<plot::Curve<'a>> {
    let terms = header.split(',').skip(HEADER.split(',').count());
    let curve = |name| (name, column(header, rows, name).into_iter().map(|(step, y)| (step.into(), y)).collect());
    std::iter::once("loss").chain(terms).map(curve).collect()
}

/// The columns of the text of a `metrics.csv` without that of the steps, as (step, value).
#[cfg(feature = "cli")]
pub(crate) fn curves_of(text: &str) -> Vec<(String, Vec<(f64, f64)>)> {
    let (header, rows) = text.split_once('\n').unwrap_or((text, ""));
    let rows: Vec<&str> = rows.lines().collect();
    let curve =
        |name: &str| (name.to_string(), column(header, &rows, name).into_iter().map(|(x, y)| (x.into(), y)).collect());
    header.trim_end().split(',').skip(1).map(curve).collect()
}

/// The values in a column of `metrics.csv`, as (step, value).
fn column(header: &str, rows: &[impl AsRef<str>], name: &str) -> Vec<(u32, f64)> {
    let Some(at) = header.split(',').position(|column| column == name) else { return vec![] };
    let point = |row: &str| {
        Some((row.trim_end().split(',').next()?.parse().ok()?, row.trim_end().split(',').nth(at)?.parse().ok()?))
    };
    rows.iter().filter_map(|row| point(row.as_ref())).collect()
}

/// The header of `metrics.csv`.
fn header(terms: &[&str], validation: bool) -> String {
    let mut columns = vec![HEADER];
    columns.extend(terms.iter().filter(|_| terms.len() > 1));
    columns.extend(validation.then_some(VALIDATION));
    columns.join(",")
}

/// A row with the mean losses of several steps.
fn row(step: u32, losses: &[Losses], lr: f64, speed: f64) -> String {
    let mut row = String::new();
    let loss = mean(losses.iter().map(|l| l.total));
    write!(row, "{step},{loss:.6e},{lr:.6e},{speed:.1}").expect("writing to a string");
    let terms = losses.first().map_or(0, |l| l.terms.len());
    for term in (0..terms).filter(|_| terms > 1) {
        write!(row, ",{:.6e}", mean(losses.iter().map(|l| l.terms[term]))).expect("writing to a string");
    }
    row
}

pub(crate) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1);
    values.sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_cells_are_skipped() {
        let rows = ["10,1.5,0.1,7,", "20,1.25,0.1,7,2.5"];
        assert_eq!(column("step,loss,lr,samples_per_second,validation", &rows, VALIDATION), [(20, 2.5)]);
        assert_eq!(column(HEADER, &rows, "loss"), [(10, 1.5), (20, 1.25)]);
        assert_eq!(column(HEADER, &rows, VALIDATION), []);
    }

    #[test]
    fn terms_have_columns_when_there_are_several() {
        let losses = |total, terms: &[f64]| Losses { total, terms: terms.to_vec() };
        assert_eq!(row(10, &[losses(1.0, &[1.0]), losses(3.0, &[3.0])], 0.5, 7.0), "10,2.000000e0,5.000000e-1,7.0");
        let two = [losses(1.0, &[0.5, 5.0]), losses(2.0, &[1.5, 5.0])];
        assert_eq!(header(&["mse"], false), HEADER);
        assert_eq!(header(&["mse", "ssim"], true), format!("{HEADER},mse,ssim,validation"));
        assert_eq!(row(9, &two, 1.0, 7.0), "9,1.500000e0,1.000000e0,7.0,1.000000e0,5.000000e0");
    }

    /// Runs that were interrupted at different steps have the same regular rows.
    #[test]
    fn regular_rows_do_not_depend_on_interruptions() {
        [false, true].into_iter().for_each(interrupted_and_whole);
    }

    fn interrupted_and_whole(restarted: bool) {
        let config = Config { steps: 24, validation: 0.5, validation_every: 12, ..Config::default() };
        let losses = |steps: std::ops::RangeInclusive<u32>| {
            steps.map(|s| Losses { total: f64::from(s), terms: vec![0.0] }).collect::<Vec<_>>()
        };
        let text = |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
        let new = || Record { header: format!("{HEADER},{VALIDATION}"), ..Record::after("", &config, 0) };
        let (file, mut whole) = (tempfile::NamedTempFile::new().unwrap(), new());
        whole.take(&config, 12, losses(1..=12), Some(2.0), 1.0);
        whole.append(file.as_file()).unwrap();
        whole.take(&config, 24, losses(13..=24), Some(3.0), 1.0);
        whole.append(file.as_file()).unwrap();
        let (other, mut parts) = (tempfile::NamedTempFile::new().unwrap(), new());
        parts.take(&config, 7, losses(1..=7), None, 1.0);
        parts.append(other.as_file()).unwrap();
        assert!(text(&other).ends_with("\n7,4.000000e0,2.000000e-3,1.0,\n"), "{}", text(&other));
        // A run that ends in a regular row: its validation loss is removed when it continues, with or without a restart.
        parts.take(&config, 10, losses(1..=10), Some(9.0), 1.0);
        parts.append(other.as_file()).unwrap();
        assert!(text(&other).ends_with("\n10,5.500000e0,2.000000e-3,1.0,9.000000e0\n"), "{}", text(&other));
        if restarted {
            parts = Record::after(&text(&other), &config, 10);
        }
        parts.take(&config, 12, losses(11..=12), Some(2.0), 1.0);
        parts.take(&config, 15, losses(13..=15), None, 1.0);
        parts.append(other.as_file()).unwrap();
        assert!(text(&other).lines().last().unwrap().starts_with("15,1.4"));
        // Resumed after the last row was truncated.
        let cut = format!("{}20,1.4", text(&other));
        std::fs::write(other.path(), &cut).unwrap();
        let mut parts = Record::after(&cut, &config, 15);
        parts.take(&config, 24, losses(13..=24), Some(3.0), 1.0);
        parts.append(other.as_file()).unwrap();
        assert_eq!(text(&file), text(&other));
        assert_eq!(whole.drawn, parts.drawn);
        let steps: Vec<_> = text(&file).lines().skip(1).map(|row| row[..3].to_string()).collect();
        assert_eq!(steps, ["10,", "12,", "20,", "24,"]);
    }

    #[test]
    fn a_removed_file_is_created_again() {
        let config = Config::default();
        let mut record = Record { header: HEADER.into(), ..Record::after("", &config, 0) };
        let losses = |n| vec![Losses { total: 1.0, terms: vec![1.0] }; n];
        let file = tempfile::NamedTempFile::new().unwrap();
        record.take(&config, 10, losses(10), None, 1.0);
        record.append(file.as_file()).unwrap();
        file.as_file().set_len(0).unwrap();
        record.take(&config, 20, losses(10), None, 1.0);
        record.append(file.as_file()).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.lines().map(|row| row[..3].to_string()).collect::<Vec<_>>(), ["ste", "10,", "20,"]);
    }

    #[test]
    fn drawn_rows_are_bounded_and_evenly_spaced() {
        let mut drawn = Thinned::default();
        (0..100_000).for_each(|step| drawn.push(&step.to_string()));
        assert!((Thinned::MOST / 2..=Thinned::MOST).contains(&drawn.rows.len()), "{}", drawn.rows.len());
        let steps: Vec<usize> = drawn.rows.iter().map(|row| row.parse().unwrap()).collect();
        assert!(steps.windows(2).all(|pair| pair[1] - pair[0] == drawn.stride) && steps[0] == 0);
    }
}
