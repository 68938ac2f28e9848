//! A run folder, and the training loop that fills it.

use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::metrics::{Record, Summary, curves, mean};
use super::{Checkpoint, Config, Trainer};
use crate::error::{Error, Result};
use crate::io::{sync_folder, write_atomically};
use crate::plot;

/// A folder with `config.toml`, `metrics.csv`, `checkpoint.safetensors` (and the previous one), `loss.svg`, `samples/`.
///
/// One process trains in it at a time: [`RunFolder::lock`].
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Whether a new run is to begin here.
    fresh: bool,
    lock: Arc<OnceLock<File>>,
}

const CONFIG: &str = "config.toml";
const LAST: &str = "checkpoint.safetensors";
const PREVIOUS: &str = "checkpoint.previous.safetensors";
const BEST: &str = "best.safetensors";
const NEW: &str = "checkpoint.new.safetensors";
const METRICS: &str = "metrics.csv";
const LOSS: &str = "loss.svg";
/// An empty file that the system locks for the process that trains. The lock ends with the process, the file stays.
const LOCK: &str = ".lock";

/// The loop looks at the losses about this often.
const REPORT: Duration = Duration::from_millis(250);

impl RunFolder {
    fn at(path: &Path, fresh: bool) -> Self {
        Self { path: path.to_path_buf(), fresh, lock: Arc::default() }
    }

    /// The place of a new run: nothing, an empty folder, or a run that ended before its first checkpoint.
    /// [`RunFolder::write_config`] makes the folder.
    ///
    /// # Errors
    /// When it already holds a run, or anything else, or another process trains there.
    pub fn vacant(path: &Path) -> Result<Self> {
        let folder = Self::at(path, true);
        if folder.file(LOCK).is_file() {
            folder.lock()?;
        }
        folder.check_vacant()?;
        Ok(folder)
    }

    fn check_vacant(&self) -> Result<()> {
        let name = self.path.display();
        if self.has_checkpoint() {
            return Err(Error::setting(format!(
                "{name} already holds a run; continue it with --resume, or choose another --out"
            )));
        }
        if self.path.is_file() {
            return Err(Error::setting(format!("{name} is a file; --out names a folder")));
        }
        match fs::read_dir(&self.path).into_iter().flatten().flatten().find(|entry| !is_hidden(entry)) {
            Some(entry) if !self.is_unfinished() => Err(Error::setting(format!(
                "{name} is no place for a new run, because it holds {:?}; give --out a new or empty folder",
                entry.file_name()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether it holds a run that ended before its first checkpoint. A new run takes its place.
    pub fn is_unfinished(&self) -> bool {
        !self.has_checkpoint() && Config::read(&self.file(CONFIG), None).is_ok_and(|config| config.facts.is_some())
    }

    /// The folder of an existing run.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self::at(path, false);
        if folder.has_checkpoint() {
            return Ok(folder);
        }
        let what = match (path.exists(), folder.file(CONFIG).exists()) {
            (false, _) => "does not exist",
            (true, false) => "is not a run folder: it has no config.toml and no checkpoint.safetensors",
            (true, true) if folder.is_busy() => {
                let path = path.display();
                return Err(Error::input(format!(
                    "{path} is being trained and has no checkpoint.safetensors yet; wait for its first one"
                )));
            }
            (true, true) => "has no checkpoint.safetensors yet: its training ended before the first one",
        };
        let path = path.display();
        Err(Error::input(format!("{path} {what}; make a run with: langevin train DATA --out {path}")))
    }

    /// Keeps other processes from training here until the last clone of this value is dropped or the process ends,
    /// however it ends; whether this call did it. [`RunFolder::write_config`] and [`train`] lock by themselves.
    ///
    /// # Errors
    /// When another process trains here.
    pub fn lock(&self) -> Result<bool> {
        if self.lock.get().is_some() {
            return Ok(false);
        }
        let path = self.file(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Error::io("cannot open", &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::input(format!(
                    "{} is being trained by another process; wait for its end, or choose another --out",
                    self.path.display()
                )));
            }
            // Some file systems have no locks: a run without is better than none.
            Err(TryLockError::Error(e)) => log::warn!("{}: cannot be locked: {e}", path.display()),
        }
        Ok(self.lock.set(file).is_ok())
    }

    /// Whether another process trains here.
    fn is_busy(&self) -> bool {
        let shared = File::open(self.file(LOCK)).map(|file| file.try_lock_shared());
        matches!(shared, Ok(Err(TryLockError::WouldBlock)))
    }

    fn has_checkpoint(&self) -> bool {
        self.file(LAST).exists() || self.file(PREVIOUS).exists()
    }

    /// A file inside.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the checkpoint. Where the data are and when the run ends is taken from `config.toml`.
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
            checkpoint.config = checkpoint.config.ending_as(&stated);
            if let Some(difference) = checkpoint.config.differences(&stated).first() {
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

    /// Writes `config.toml`, into a folder that is made for it and locked. What a run that ended before its first
    /// checkpoint left there is removed when a new one begins.
    ///
    /// # Errors
    /// When another process trains here or has begun a run meanwhile, or the system refuses.
    pub fn write_config(&self, config: &Config) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|e| Error::io("cannot make the folder", &self.path, e))?;
        if self.lock()? && self.fresh {
            self.check_vacant()?;
        }
        if self.fresh && !self.has_checkpoint() {
            for name in [BEST, NEW, METRICS, LOSS] {
                match fs::remove_file(self.file(name)) {
                    Err(e) if e.kind() != ErrorKind::NotFound => {
                        return Err(Error::io("cannot remove", &self.file(name), e));
                    }
                    _ => {}
                }
            }
        }
        write_atomically(&self.file(CONFIG), |f| f.write_all(config.to_toml().as_bytes()))
    }

    /// The names of the files that a run has and that are there.
    pub fn files(&self) -> Vec<&'static str> {
        [CONFIG, METRICS, LAST, BEST, LOSS].into_iter().filter(|name| self.file(name).exists()).collect()
    }

    /// Writes a checkpoint; the one before is kept as `checkpoint.previous.safetensors`.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let (last, previous, new) = (self.file(LAST), self.file(PREVIOUS), self.file(NEW));
        let replace = || {
            checkpoint.save(&new)?;
            if last.exists() {
                // A second name for the last good file first, so that there is always one.
                let _ = fs::remove_file(&previous);
                let copy = |f: &mut BufWriter<NamedTempFile>| io::copy(&mut File::open(&last)?, f).map(drop);
                if fs::hard_link(&last, &previous).is_err() {
                    write_atomically(&previous, copy)?;
                }
            }
            fs::rename(&new, &last).map_err(|e| Error::io("cannot replace", &last, e))?;
            sync_folder(&last);
            Ok(())
        };
        replace().inspect_err(|_| drop(fs::remove_file(&new)))
    }

    /// Removes what a killed process left half-written.
    fn remove_temporary_files(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The text of `metrics.csv`; none when there is no such file.
    fn metrics(&self) -> String {
        fs::read_to_string(self.file(METRICS)).unwrap_or_default()
    }

    fn write_metrics(&self, record: &mut Record) -> Result<()> {
        let path = self.file(METRICS);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        file.and_then(|file| record.append(&file)).map_err(|e| Error::io("cannot write", &path, e))?;
        let rows = record.drawn();
        if rows.len() > 1 { plot::loss_curve(&self.file(LOSS), &curves(&record.header, &rows)) } else { Ok(()) }
    }

    /// What `metrics.csv` says of the run so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn summary(&self) -> Result<Summary> {
        let path = self.file(METRICS);
        let text = fs::read_to_string(&path).map_err(|e| Error::io("cannot read", &path, e))?;
        Ok(Summary::of(&text))
    }

    /// Why the run with these settings, which has done `step` steps, goes on no more; nothing when it does.
    pub fn ended(&self, config: &Config, step: u32) -> Option<Stop> {
        let early = Record::after(&self.metrics(), config, step).is_at_early_stop(config);
        if step >= config.steps { Some(Stop::Done) } else { early.then_some(Stop::Early) }
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
    run(folder, trainer, observe).map_err(|e| explain(folder, e))
}

fn run(folder: &RunFolder, trainer: &mut Trainer, observe: &mut dyn FnMut(Progress) -> bool) -> Result<Stop> {
    folder.lock()?;
    // Under the lock: they are of no process that still runs.
    folder.remove_temporary_files();
    let config = trainer.config().clone();
    let mut record = Record::new(&folder.metrics(), trainer);
    let (start, first) = (Instant::now(), trainer.step());
    let mut chunk = 1;
    let early = |record: &Record| if record.is_at_early_stop(&config) { Stop::Early } else { Stop::Done };
    let mut stop = early(&record);
    while trainer.step() < config.steps && stop == Stop::Done {
        let began = Instant::now();
        let step = trainer.step();
        let to = |every: u32| every - step % every;
        let n = chunk.min(config.steps - step).min(to(config.checkpoint_every)).min(to_validation(&config, step));
        let mut losses = trainer.pending().to_vec();
        let new = trainer.advance_by_term(n)?;
        let per_step = began.elapsed().as_secs_f64() / n as f64;
        let loss = mean(new.iter().map(|l| l.total));
        losses.extend(new);
        let (validation, best) = validate(&mut record, trainer)?;
        let done = trainer.step();
        let per_second = (done - first) as f64 / start.elapsed().as_secs_f64();
        record.take(&config, done, losses, validation, per_second * trainer.batch() as f64);
        chunk = ((REPORT.as_secs_f64() / per_step.max(1e-7)) as u32).clamp(1, 4 * chunk).min(1_000);
        stop = early(&record);
        let validation = record.watch.last;
        if !observe(Progress { step: done, steps: config.steps, loss, validation, steps_per_second: per_second }) {
            stop = Stop::Asked;
        }
        let due = done.is_multiple_of(config.checkpoint_every) || done == config.steps || stop != Stop::Done;
        if best || due {
            let checkpoint = trainer.checkpoint()?;
            if best {
                checkpoint.save(&folder.file(BEST))?;
            }
            // The best state is of no use without a run around it.
            if due || !folder.has_checkpoint() {
                folder.write_metrics(&mut record)?;
                folder.write_checkpoint(&checkpoint)?;
            }
        }
    }
    Ok(stop)
}

/// Steps until the next evaluation.
fn to_validation(config: &Config, step: u32) -> u32 {
    if config.validation > 0.0 { config.validation_every - step % config.validation_every } else { u32::MAX }
}

/// The loss on the held-out data when it is due, and whether that state is to be kept as the best: evaluations at
/// multiples of `validation_every` alone decide about the best state and an early stop, not the one after the last step.
fn validate(record: &mut Record, trainer: &mut Trainer) -> Result<(Option<f64>, bool)> {
    let (config, step) = (trainer.config(), trainer.step());
    let (regular, keep) = (step.is_multiple_of(config.validation_every), config.keep_best);
    if !(regular || step == config.steps) {
        return Ok((None, false));
    }
    let Some(loss) = trainer.validate()? else { return Ok((None, false)) };
    // As the file states it: a resumed run knows no more.
    let loss = format!("{loss:.6e}").parse().unwrap_or(loss);
    let better = regular && record.watch.see(step, loss);
    Ok((Some(loss), better && keep))
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
