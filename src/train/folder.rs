//! A run folder, and the training loop that fills it.

use std::fmt::Write as _;
use std::fs::{self, DirEntry, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
const NEW: &str = "checkpoint.new.safetensors";

/// Steps in a row of `metrics.csv`.
const ROW: u32 = 10;
/// The loop looks at the losses about this often.
const REPORT: Duration = Duration::from_millis(250);
/// The columns that every run has; those of the loss terms follow when there is more than one.
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
        let mut checkpoint = Checkpoint::load(&self.file(LAST)).map_err(|e| self.or_previous(e))?;
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
    /// Speed since the start of this call.
    pub steps_per_second: f64,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All steps are done.
    Done,
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
    let mut rows = folder.rows_until(trainer.step());
    let mut pending: Vec<Losses> = Vec::new();
    let (start, first) = (Instant::now(), trainer.step());
    let mut chunk = 1;
    let mut stop = Stop::Done;
    while trainer.step() < config.steps && stop == Stop::Done {
        let began = Instant::now();
        let step = trainer.step();
        let to_checkpoint = config.checkpoint_every - step % config.checkpoint_every;
        let n = chunk.min(config.steps - step).min(to_checkpoint);
        let losses = trainer.advance_by_term(n)?;
        let loss = mean(losses.iter().map(|l| l.total));
        for (i, losses) in losses.into_iter().enumerate() {
            pending.push(losses);
            let done = step + i as u32 + 1;
            if done.is_multiple_of(ROW) || done == config.steps {
                let speed = (done - first) as f64 * trainer.batch() as f64 / start.elapsed().as_secs_f64();
                rows.push(row(done, &pending, config.lr * config.decay.factor(done - 1), speed));
                pending.clear();
            }
        }
        let per_step = began.elapsed().as_secs_f64() / n as f64;
        chunk = ((REPORT.as_secs_f64() / per_step.max(1e-7)) as u32).clamp(1, 4 * chunk).min(1_000);
        let steps_per_second = (trainer.step() - first) as f64 / start.elapsed().as_secs_f64();
        let progress = Progress { step: trainer.step(), steps: config.steps, loss, steps_per_second };
        if !observe(progress) {
            stop = Stop::Asked;
        }
        let due = trainer.step().is_multiple_of(config.checkpoint_every) || trainer.step() == config.steps;
        if due || stop == Stop::Asked {
            let checkpoint = trainer.checkpoint()?;
            folder.write_metrics(&header(trainer), &rows)?;
            folder.write_checkpoint(&checkpoint)?;
        }
    }
    Ok(stop)
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
fn header(trainer: &Trainer) -> String {
    let terms = trainer.terms();
    let columns = if terms.len() > 1 { terms } else { vec![] };
    columns.into_iter().fold(HEADER.to_string(), |header, term| header + "," + term)
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
    fn terms_have_columns_when_there_are_several() {
        let losses = |total, terms: &[f64]| Losses { total, terms: terms.to_vec() };
        assert_eq!(row(10, &[losses(1.0, &[1.0]), losses(3.0, &[3.0])], 0.5, 7.0), "10,2.000000e0,5.000000e-1,7.0");
        let two = [losses(1.0, &[0.5, 5.0]), losses(2.0, &[1.5, 5.0])];
        assert_eq!(row(9, &two, 1.0, 7.0), "9,1.500000e0,1.000000e0,7.0,1.000000e0,5.000000e0");
    }
}
