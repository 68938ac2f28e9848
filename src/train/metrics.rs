//! What a run writes down on its way, and what that says: the rows of `metrics.csv`.

use std::fmt::Write as _;

use super::watch::Watch;
use super::{Config, Losses, Trainer};
use crate::plot;

/// Steps in a row.
const ROW: u32 = 10;
const VALIDATION: &str = "validation";
/// The columns that every run has; those of the loss terms follow when there is more than one, then the validation loss.
const HEADER: &str = "step,loss,lr,samples_per_second";

impl Config {
    /// Whether `metrics.csv` has a row for this step wherever the run ends: each ten steps, and with each evaluation.
    pub(crate) fn has_row(&self, step: u32) -> bool {
        step.is_multiple_of(ROW) || self.validation > 0.0 && step.is_multiple_of(self.validation_every)
    }
}

/// The rows of a run and what follows from them.
#[derive(Debug)]
pub(crate) struct Record {
    pub header: String,
    /// The rows that the run has wherever it ends.
    regular: Vec<String>,
    /// The row of the step where it stands, when that is between two of them; it is gone when the run goes on.
    last: Option<String>,
    pub watch: Watch,
}

impl Record {
    /// Goes on with the lines that a run has written down.
    pub fn new(lines: &[String], trainer: &Trainer) -> Self {
        let header = header(&trainer.terms(), trainer.config().validation > 0.0);
        Self { header, ..Self::after(lines, trainer.config(), trainer.step()) }
    }

    /// What the lines said at `step`.
    pub fn after(lines: &[String], config: &Config, step: u32) -> Self {
        let header = lines.first().cloned().unwrap_or_default();
        let step_of = |row: &String| row.split(',').next()?.parse::<u32>().ok();
        let regular = |row: &&String| step_of(row).is_some_and(|s| s <= step && config.has_row(s));
        let regular: Vec<String> = lines.iter().filter(regular).cloned().collect();
        let mut watch = Watch::default();
        for (step, loss) in column(&header, &regular, VALIDATION) {
            if step.is_multiple_of(config.validation_every) {
                watch.see(step, loss);
            }
        }
        Self { header, regular, last: None, watch }
    }

    /// The rows up to where the run stands.
    pub fn rows(&self) -> impl Iterator<Item = &String> {
        self.regular.iter().chain(&self.last)
    }

    /// Whether the validation loss did not get better for as long as `early_stop` says.
    pub fn is_at_early_stop(&self, config: &Config) -> bool {
        config.early_stop > 0 && self.watch.since >= config.early_stop
    }

    /// Takes the losses of all steps since the last regular row, up to step `done`; the validation loss is that after it.
    pub fn take(&mut self, config: &Config, done: u32, losses: Vec<Losses>, validation: Option<f64>, speed: f64) {
        let before = done - losses.len() as u32;
        let (mut first, n) = (0, losses.len());
        self.last = None;
        for end in 1..=n {
            let step = before + end as u32;
            if !config.has_row(step) && end < n {
                continue;
            }
            let mut row = row(step, &losses[first..end], config.lr * config.decay.factor(step - 1), speed);
            if config.validation > 0.0 {
                let validation = validation.filter(|_| end == n);
                row += &validation.map_or(",".to_string(), |loss| format!(",{loss:.6e}"));
            }
            match config.has_row(step) {
                true => self.regular.push(row),
                false => self.last = Some(row),
            }
            first = end;
        }
    }
}

/// The results of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The training loss at the end, the mean of the last row's steps.
    pub loss: Option<f64>,
    /// The validation loss at the end.
    pub validation: Option<f64>,
    /// The step of the lowest validation loss, and that loss.
    pub best: Option<(u32, f64)>,
}

impl Summary {
    /// From the text of `metrics.csv`.
    pub(crate) fn of(text: &str) -> Self {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let rows: Vec<&str> = lines.collect();
        let validations = column(header, &rows, VALIDATION);
        Self {
            loss: column(header, &rows, "loss").last().map(|(_, loss)| *loss),
            validation: validations.last().map(|(_, loss)| *loss),
            best: validations.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }
}

/// The loss and, beyond the columns that every run has, its terms and the validation loss.
pub(crate) fn curves<'a>(header: &'a str, rows: &[&String]) -> Vec<plot::Curve<'a>> {
    let terms = header.split(',').skip(HEADER.split(',').count());
    let curve = |name| (name, column(header, rows, name).into_iter().map(|(step, y)| (step.into(), y)).collect());
    std::iter::once("loss").chain(terms).map(curve).collect()
}

/// The numbers in a column of `metrics.csv`, with their steps.
fn column(header: &str, rows: &[impl AsRef<str>], name: &str) -> Vec<(u32, f64)> {
    let Some(at) = header.split(',').position(|column| column == name) else { return vec![] };
    let point = |row: &str| Some((row.split(',').next()?.parse().ok()?, row.split(',').nth(at)?.parse().ok()?));
    rows.iter().filter_map(|row| point(row.as_ref())).collect()
}

/// The first row of `metrics.csv`.
fn header(terms: &[&str], validation: bool) -> String {
    let mut columns = vec![HEADER];
    columns.extend(terms.iter().filter(|_| terms.len() > 1));
    columns.extend(validation.then_some(VALIDATION));
    columns.join(",")
}

/// A row with the means of some steps' losses.
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
    fn columns_have_holes() {
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

    /// Steps in other portions give the same rows but for the last, which is between two regular ones.
    #[test]
    fn regular_rows_do_not_depend_on_where_a_run_stopped() {
        let config = Config { steps: 24, validation: 0.5, validation_every: 12, ..Config::default() };
        let losses = |steps: std::ops::RangeInclusive<u32>| {
            steps.map(|s| Losses { total: f64::from(s), terms: vec![0.0] }).collect::<Vec<_>>()
        };
        let mut whole = Record::after(&[], &config, 0);
        whole.take(&config, 12, losses(1..=12), Some(2.0), 1.0);
        whole.take(&config, 24, losses(13..=24), Some(3.0), 1.0);
        let mut parts = Record::after(&[], &config, 0);
        parts.take(&config, 7, losses(1..=7), None, 1.0);
        assert!(parts.rows().eq(["7,4.000000e0,2.000000e-3,1.0,"]));
        parts.take(&config, 12, losses(1..=12), Some(2.0), 1.0);
        parts.take(&config, 15, losses(13..=15), None, 1.0);
        let header = format!("{HEADER},{VALIDATION}");
        let lines: Vec<String> = std::iter::once(&header).chain(parts.rows()).cloned().collect();
        assert!(lines.last().unwrap().starts_with("15,1.4"));
        let mut parts = Record::after(&lines, &config, 15);
        parts.take(&config, 24, losses(13..=24), Some(3.0), 1.0);
        assert!(whole.rows().eq(parts.rows()), "{whole:?} {parts:?}");
        assert_eq!(whole.rows().map(|row| &row[..3]).collect::<Vec<_>>(), ["10,", "12,", "20,", "24,"]);
    }
}
