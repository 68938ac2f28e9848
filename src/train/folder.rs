//! A run folder, and the training loop that fills it.

use std::fmt::Write as _;
use std::fs::{self, DirEntry, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::watch::Watch;
use super::{Checkpoint, Config, Losses, Trainer};
use crate::data::write_atomically;
use crate::error::{Error, Result};
use crate::plot;

/// A folder with `config.toml`, `metrics.csv`, `checkpoint.safetensors` (and the previous one), `loss.svg`, `samples/`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

const CONFIG: &str = "config.toml";
const LAST: &str = "checkpoint.safetensors";
const PREVIOUS: &str = "checkpoint.previous.safetensors";
const BEST: &str = "best.safetensors";
const NEW: &str = "checkpoint.new.safetensors";

/// Steps in a row of `metrics.csv`.
const ROW: u32 = 10;
/// The loop looks at the losses about this often.
const REPORT: Duration = Duration::from_millis(250);
const VALIDATION: &str = "validation";
/// The columns that every run has; those of the loss terms follow when there is more than one, then the validation loss.
const HEADER: &str = "step,loss,lr,samples_per_second";

impl RunFolder {
    /// The place of a new run: nothing, an empty folder, or a run that ended before its first checkpoint.
    /// [`RunFolder::write_config`] makes the folder.
    ///
    /// # Errors
    /// When it already holds a run, or anything else.
    pub fn vacant(path: &Path) -> Result<Self> {
        let (folder, name) = (Self { path: path.to_path_buf() }, path.display());
        if folder.has_checkpoint() {
            return Err(Error::setting(format!(
                "{name} already holds a run; continue it with --resume, or choose another --out"
            )));
        }
        if path.is_file() {
            return Err(Error::setting(format!("{name} is a file; --out names a folder")));
        }
        let unfinished = Config::read(&folder.file(CONFIG), None).is_ok_and(|config| config.facts.is_some());
        match fs::read_dir(path).into_iter().flatten().flatten().find(|entry| !is_hidden(entry)) {
            Some(entry) if !unfinished => Err(Error::setting(format!(
                "{name} is no place for a new run, because it holds {:?}; give --out a new or empty folder",
                entry.file_name()
            ))),
            _ => Ok(folder),
        }
    }

    /// The folder of an existing run.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self { path: path.to_path_buf() };
        if folder.has_checkpoint() {
            return Ok(folder);
        }
        let what = match (path.exists(), folder.file(CONFIG).exists()) {
            (false, _) => "does not exist",
            (true, false) => "is not a run folder: it has no config.toml and no checkpoint.safetensors",
            (true, true) => "has no checkpoint.safetensors yet: its training ended before the first one",
        };
        let path = path.display();
        Err(Error::input(format!("{path} {what}; make a run with: langevin train DATA --out {path}")))
    }

    fn has_checkpoint(&self) -> bool {
        self.file(LAST).exists() || self.file(PREVIOUS).exists()
    }

    /// A file inside.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the checkpoint. Where the data are and how many steps to do is taken from `config.toml`.
    ///
    /// # Errors
    /// When it is damaged (the message names the previous one if that is intact), or is not of this `config.toml`.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        self.checked(Checkpoint::load(&self.file(LAST)).map_err(|e| self.or_previous(e))?)
    }

    /// Reads the state with the best validation loss, which a run with `keep_best` keeps.
    ///
    /// # Errors
    /// When there is none; else as [`RunFolder::checkpoint`].
    pub fn best(&self) -> Result<Checkpoint> {
        let path = self.file(BEST);
        if !path.exists() {
            let folder = self.path.display();
            return Err(Error::input(format!(
                "{folder} has no {BEST}: train with --validation 0.1 --keep-best to have one"
            )));
        }
        self.checked(Checkpoint::load(&path)?)
    }

    /// Holds a checkpoint against `config.toml`.
    fn checked(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        let path = self.file(CONFIG);
        if path.exists() {
            let remedy = "put the right file back, or delete config.toml to go on with the settings in the checkpoint";
            let stated = Config::read(&path, None).map_err(|e| Error::input(format!("{e}; {remedy}")))?;
            checkpoint.config.steps = stated.steps;
            checkpoint.config.data = stated.data.clone();
            if let Some(difference) = checkpoint.config.difference(&stated) {
                return Err(Error::input(format!(
                    "the checkpoint in {} was not made with the settings in {} ({difference}): one of them was changed \
                     or is of another run, and a run keeps its settings; {remedy}",
                    self.path.display(),
                    path.display()
                )));
            }
        }
        Ok(checkpoint)
    }

    fn or_previous(&self, e: Error) -> Error {
        let (last, previous) = (self.file(LAST), self.file(PREVIOUS));
        match Checkpoint::load(&previous) {
            Ok(good) => Error::input(format!(
                "{e}. The checkpoint before it (step {}) is intact; to go on with that: cp {} {}",
                good.step,
                previous.display(),
                last.display()
            )),
            Err(_) => Error::input(format!(
                "{e}. There is no intact checkpoint before it; copy the file again if there is another copy, or train \
                 again in another folder"
            )),
        }
    }

    /// Writes `config.toml`, into a folder that is made for it.
    pub fn write_config(&self, config: &Config) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|e| Error::io("cannot make the folder", &self.path, e))?;
        write_atomically(&self.file(CONFIG), |f| f.write_all(config.to_toml().as_bytes()))
    }

    /// Writes a checkpoint; the one before is kept as `checkpoint.previous.safetensors`.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let (last, previous, new) = (self.file(LAST), self.file(PREVIOUS), self.file(NEW));
        let replace = || {
            checkpoint.save(&new)?;
            if last.exists() {
                // A second name for the last good file first, so that there is always one.
                let _ = fs::remove_file(&previous);
                let copy = |f: &mut BufWriter<&File>| io::copy(&mut File::open(&last)?, f).map(drop);
                if fs::hard_link(&last, &previous).is_err() {
                    write_atomically(&previous, copy)?;
                }
            }
            fs::rename(&new, &last).map_err(|e| Error::io("cannot replace", &last, e))
        };
        replace().inspect_err(|_| drop(fs::remove_file(&new)))
    }

    /// Removes what a killed process left half-written.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The rows of `metrics.csv` up to `step`, for a run that continues.
    fn rows_until(&self, step: u32) -> Vec<String> {
        let text = fs::read_to_string(self.file("metrics.csv")).unwrap_or_default();
        let step_of = |row: &str| row.split(',').next()?.parse::<u32>().ok();
        text.lines().filter(|row| step_of(row).is_some_and(|s| s <= step)).map(str::to_string).collect()
    }

    fn write_metrics(&self, header: &str, rows: &[String]) -> Result<()> {
        write_atomically(&self.file("metrics.csv"), |f| {
            writeln!(f, "{header}")?;
            rows.iter().try_for_each(|row| writeln!(f, "{row}"))
        })?;
        // The loss and, beyond the columns that every run has, its terms.
        let terms = header.split(',').enumerate().skip(HEADER.split(',').count());
        let point = |row: &str, i: usize| {
            let cell = |i: usize| row.split(',').nth(i);
            Some((cell(0)?.parse().ok()?, cell(i)?.parse().ok()?))
        };
        let curve = |(i, name)| (name, rows.iter().filter_map(|row| point(row, i)).collect());
        let curves: Vec<plot::Curve> = std::iter::once((1, "loss")).chain(terms).map(curve).collect();
        if rows.len() > 1 { plot::loss_curve(&self.file("loss.svg"), &curves) } else { Ok(()) }
    }

    /// What `metrics.csv` says of the run so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn summary(&self) -> Result<Summary> {
        let path = self.file("metrics.csv");
        let text = fs::read_to_string(&path).map_err(|e| Error::io("cannot read", &path, e))?;
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let rows: Vec<String> = lines.map(str::to_string).collect();
        let validations = column(header, &rows, VALIDATION);
        Ok(Summary {
            loss: column(header, &rows, "loss").last().map(|(_, loss)| *loss),
            validation: validations.last().map(|(_, loss)| *loss),
            best: validations.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)),
        })
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

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

/// What the loop tells while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u32,
    /// Steps to do.
    pub steps: u32,
    /// Mean loss of the last steps.
    pub loss: f64,
    /// The last loss on held-out data.
    pub validation: Option<f64>,
    /// Speed since the start of this call.
    pub steps_per_second: f64,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All steps are done.
    Done,
    /// The validation loss did not get better for as many evaluations as `early_stop` says; everything is saved.
    Early,
    /// The observer asked to stop; everything is saved.
    Asked,
}

/// Trains until `steps`, writing metrics and checkpoints into `folder`. `observe` is called several times a second and
/// returns whether to go on. A run that has done its steps is left as it is.
///
/// # Errors
/// When a loss is not finite or a file cannot be written; the last good checkpoint stays.
pub fn train(folder: &RunFolder, trainer: &mut Trainer, observe: &mut dyn FnMut(Progress) -> bool) -> Result<Stop> {
    folder.sweep();
    run(folder, trainer, observe).map_err(|e| explain(folder, e))
}

fn run(folder: &RunFolder, trainer: &mut Trainer, observe: &mut dyn FnMut(Progress) -> bool) -> Result<Stop> {
    let config = trainer.config().clone();
    let mut record = Record::new(folder, trainer);
    let (start, first) = (Instant::now(), trainer.step());
    let mut chunk = 1;
    let mut stop = record.early(&config);
    while trainer.step() < config.steps && stop == Stop::Done {
        let began = Instant::now();
        let step = trainer.step();
        let to = |every: u32| every - step % every;
        let n =
            chunk.min(config.steps - step).min(to(config.checkpoint_every)).min(record.to_validation(&config, step));
        let losses = trainer.advance_by_term(n)?;
        let per_step = began.elapsed().as_secs_f64() / n as f64;
        let loss = mean(losses.iter().map(|l| l.total));
        let validation = record.validate(folder, trainer)?;
        let done = trainer.step();
        let per_second = (done - first) as f64 / start.elapsed().as_secs_f64();
        record.take(&config, step, losses, validation, per_second * trainer.batch() as f64);
        chunk = ((REPORT.as_secs_f64() / per_step.max(1e-7)) as u32).clamp(1, 4 * chunk).min(1_000);
        stop = record.early(&config);
        let validation = record.watch.last;
        if !observe(Progress { step: done, steps: config.steps, loss, validation, steps_per_second: per_second }) {
            stop = Stop::Asked;
        }
        let due = done.is_multiple_of(config.checkpoint_every) || done == config.steps;
        if due || stop != Stop::Done {
            let checkpoint = trainer.checkpoint()?;
            folder.write_metrics(&record.header, &record.rows)?;
            folder.write_checkpoint(&checkpoint)?;
        }
    }
    Ok(stop)
}

/// What a run writes down on its way.
struct Record {
    header: String,
    rows: Vec<String>,
    /// Losses that are not in a row yet.
    pending: Vec<Losses>,
    watch: Watch,
}

impl Record {
    fn new(folder: &RunFolder, trainer: &Trainer) -> Self {
        let config = trainer.config();
        let header = header(&trainer.terms(), config.validation > 0.0);
        let rows = folder.rows_until(trainer.step());
        let mut watch = Watch::default();
        for (step, loss) in column(&header, &rows, VALIDATION) {
            if step.is_multiple_of(config.validation_every) {
                watch.see(step, loss);
            }
        }
        Self { header, rows, pending: Vec::new(), watch }
    }

    fn early(&self, config: &Config) -> Stop {
        if config.early_stop > 0 && self.watch.since >= config.early_stop { Stop::Early } else { Stop::Done }
    }

    /// Steps until the next evaluation.
    fn to_validation(&self, config: &Config, step: u32) -> u32 {
        if config.validation > 0.0 { config.validation_every - step % config.validation_every } else { u32::MAX }
    }

    /// The loss on the held-out data when it is due: at multiples of `validation_every`, which alone decide about the best
    /// state and an early stop, and after the last step.
    fn validate(&mut self, folder: &RunFolder, trainer: &mut Trainer) -> Result<Option<f64>> {
        let (config, step) = (trainer.config(), trainer.step());
        let (regular, keep) = (step.is_multiple_of(config.validation_every), config.keep_best);
        if !(regular || step == config.steps) {
            return Ok(None);
        }
        let Some(loss) = trainer.validate()? else { return Ok(None) };
        // As the file states it: a resumed run knows no more.
        let loss = format!("{loss:.6e}").parse().unwrap_or(loss);
        if regular && self.watch.see(step, loss) && keep {
            trainer.checkpoint()?.save(&folder.file(BEST))?;
        }
        Ok(Some(loss))
    }

    /// Takes the losses of the steps after `step`; the validation loss is that after the last of them.
    fn take(&mut self, config: &Config, step: u32, losses: Vec<Losses>, validation: Option<f64>, speed: f64) {
        let end = step + losses.len() as u32;
        for (i, losses) in losses.into_iter().enumerate() {
            self.pending.push(losses);
            let done = step + i as u32 + 1;
            let validation = validation.filter(|_| done == end);
            if done.is_multiple_of(ROW) || done == config.steps || validation.is_some() {
                let mut row = row(done, &self.pending, config.lr * config.decay.factor(done - 1), speed);
                if config.validation > 0.0 {
                    row += &validation.map_or(",".to_string(), |loss| format!(",{loss:.6e}"));
                }
                self.rows.push(row);
                self.pending.clear();
            }
        }
    }
}

/// The numbers in a column of `metrics.csv`, with their steps.
fn column(header: &str, rows: &[String], name: &str) -> Vec<(u32, f64)> {
    let Some(at) = header.split(',').position(|column| column == name) else { return vec![] };
    let cell = |row: &String, at: usize| row.split(',').nth(at).map(str::to_string);
    rows.iter().filter_map(|row| Some((cell(row, 0)?.parse().ok()?, cell(row, at)?.parse().ok()?))).collect()
}

/// Adds where the last good state is, and how to go on.
fn explain(folder: &RunFolder, e: Error) -> Error {
    let (kept, path) = (folder.checkpoint().ok(), folder.path.display());
    match (e, kept) {
        (Error::NonFinite(text), Some(good)) => Error::NonFinite(format!(
            "{text}. The last good checkpoint (step {}) is kept in {path}; a new run needs another --out",
            good.step
        )),
        (Error::NonFinite(text), None) => {
            Error::NonFinite(format!("{text}. There was no checkpoint yet: a new run can use {path} again"))
        }
        (Error::Io { action, path: file, source }, Some(good)) => {
            let text = format!(
                "{source}. The last good checkpoint (step {}) is kept; when the cause is gone, go on with: \
                 langevin train --out {path} --resume",
                good.step
            );
            Error::Io { action, path: file, source: io::Error::new(source.kind(), text) }
        }
        (e, _) => e,
    }
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

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1);
    values.sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_holes() {
        let rows = ["10,1.5,0.1,7,", "20,1.25,0.1,7,2.5"].map(String::from);
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
}
