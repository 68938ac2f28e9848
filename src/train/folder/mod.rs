//! The run folder: its files.

mod files;
mod open;
mod previews;
#[cfg(feature = "cli")]
mod view;

#[cfg(feature = "cli")]
pub(crate) use open::runs_in;
#[cfg(feature = "cli")]
pub(crate) use view::{Activity, Rows, RunView, find_runs};

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::NamedTempFile;

use super::checkpoint::Unusable;
use super::metrics::{Record, Summary, curves};
use super::{Checkpoint, Config, Facts, Trainer};
use crate::error::{Error, Result};
use crate::io::{quoted, sync_folder, write_atomically};
use crate::plot;
use crate::text::readable;

/// A folder with `config.toml`, `metrics.csv`, `checkpoint.safetensors`, the checkpoint before it, `loss.svg` and
/// `samples/`.
///
/// Only one process can train in it at a time, see [`RunFolder::lock`].
#[derive(Clone, Debug)]
pub struct RunFolder {
    pub(in crate::train) path: PathBuf,
    begin: Begin,
    /// The locked file, while this process trains in the folder.
    lock: Arc<Mutex<Option<File>>>,
}

/// What a folder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// The run in it.
    Existing,
    /// A new run.
    New,
    /// A new run in place of the run in it.
    Replace,
}

pub(crate) const CONFIG: &str = "config.toml";
const LAST: &str = "checkpoint.safetensors";
const PREVIOUS: &str = "checkpoint.previous.safetensors";
pub(in crate::train) const BEST: &str = "best.safetensors";
const NEW: &str = "checkpoint.new.safetensors";
pub(crate) const METRICS: &str = "metrics.csv";
const LOSS: &str = "loss.svg";
/// The samples that are drawn after the training, and their picture.
pub(crate) const SAMPLES: &str = "samples/samples.npy";
pub(crate) const PICTURE: &str = "samples/compare.svg";
/// The folder of the event files of TensorBoard.
pub(crate) const EVENTS: &str = "tensorboard";
/// An empty file that is locked by the training process. The lock ends with the process; the file remains.
const LOCK: &str = ".lock";

impl RunFolder {
    pub(in crate::train) fn has_checkpoint(&self) -> bool {
        self.file(LAST).exists() || self.file(PREVIOUS).exists()
    }

    /// The path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the last checkpoint. The number of steps and the path of the data are taken from `config.toml`.
    ///
    /// # Errors
    /// When it is damaged (the message says whether the previous one is intact), or does not match `config.toml`.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        self.checked(Checkpoint::try_load(&self.file(LAST)).map_err(|e| self.or_previous(e))?)
    }

    /// Reads the state with the lowest validation loss, which a run with `keep_best` has.
    ///
    /// # Errors
    /// When there is none, and as [`RunFolder::checkpoint`].
    pub fn best(&self) -> Result<Checkpoint> {
        let path = self.file(BEST);
        if !path.exists() {
            let folder = self.path.display();
            return Err(Error::setting(format!(
                "{folder} has no {BEST}; train with --validation 0.1 --keep-best to create it"
            )));
        }
        self.checked(Checkpoint::load(&path)?)
    }

    /// Compares a checkpoint with `config.toml`.
    fn checked(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        let path = self.file(CONFIG);
        if path.exists() {
            let remedy = "restore the original file, or delete config.toml to use the settings in the checkpoint";
            let (stated, facts) = Config::read_run(&path).map_err(|e| Error::input(format!("{e}; {remedy}")))?;
            checkpoint.config = checkpoint.config.with_changes_of(&stated);
            // Resuming on a device with less memory may have reduced it since this checkpoint was written.
            checkpoint.config.micro_batch = stated.micro_batch;
            checkpoint.config.recompute = stated.recompute;
            let differences = checkpoint.config.differences(&stated).into_iter();
            let differences = differences.chain(checkpoint.facts.differences(facts.as_ref()));
            if let Some(difference) = differences.into_iter().next() {
                return Err(Error::input(format!(
                    "the checkpoint in {} does not have the settings in {} ({difference}): one of them was changed or \
                     belongs to another run; {remedy}",
                    self.path.display(),
                    path.display()
                )));
            }
        }
        Ok(checkpoint)
    }

    fn or_previous(&self, Unusable { error: e, other_version }: Unusable) -> Error {
        if other_version {
            return e;
        }
        let (last, previous) = (self.file(LAST), self.file(PREVIOUS));
        match Checkpoint::load(&previous) {
            Ok(good) => Error::input(format!(
                "{e}. The checkpoint before it (step {}) is intact; to use it: cp {} {}",
                good.step,
                quoted(&previous.to_string_lossy()),
                quoted(&last.to_string_lossy())
            )),
            Err(_) => Error::input(format!(
                "{e}. There is no intact checkpoint before it; restore the file from a backup, or train again in another \
                 folder"
            )),
        }
    }

    /// Creates and locks the folder, and writes `config.toml`. A new run removes the files of a run that ended before its
    /// first checkpoint.
    ///
    /// # Errors
    /// When another process trains in the folder or has created a run since, or [`Error::Io`] when a file cannot be written.
    pub fn write_config(&self, trainer: &Trainer) -> Result<()> {
        self.create()?;
        let fresh = self.begin != Begin::Existing;
        if self.lock()? && fresh {
            self.check_vacant()?;
        }
        if self.begin == Begin::Replace || fresh && !self.has_checkpoint() {
            self.remove_run()?;
        }
        self.write_settings(trainer)
    }

    fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|e| Error::io("cannot create the folder", &self.path, e))
    }

    fn write_settings(&self, trainer: &Trainer) -> Result<()> {
        self.write_settings_of(trainer.config(), trainer.facts())
    }

    fn write_settings_of(&self, config: &Config, facts: &Facts) -> Result<()> {
        let text = config.to_run_toml(facts);
        write_atomically(&self.file(CONFIG), |f| f.write_all(text.as_bytes()))
    }

    /// Where the data of the run are while it is trained, as it was said when it was started.
    #[cfg(feature = "cli")]
    pub(crate) fn place_of_data(&self) -> Option<crate::data::Place> {
        Config::read_run(&self.file(CONFIG)).ok()?.0.read.place
    }

    /// Creates a folder with a run that was not trained here: its settings and a checkpoint.
    ///
    /// # Errors
    /// When it contains something, another process trains in it, or [`Error::Io`] when a file cannot be written.
    pub fn store(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.create()?;
        if self.lock()? {
            self.check_vacant()?;
        }
        self.remove_run()?;
        self.write_settings_of(&checkpoint.config, &checkpoint.facts)?;
        self.write_checkpoint(checkpoint)
    }

    /// Creates the folder again if it was moved or deleted while its run was trained.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    pub(in crate::train) fn create_again(&self, trainer: &Trainer) -> Result<()> {
        if !self.path.is_dir() {
            log::warn!("{} was moved or deleted while its run was trained; it is created again", self.path.display());
            self.create()?;
            // The lock went with the folder.
            *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.lock()?;
        }
        if !self.file(CONFIG).exists() { self.write_settings(trainer) } else { Ok(()) }
    }

    /// Saves the run again if its folder was moved or deleted since the last checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    #[cfg(feature = "cli")]
    pub(crate) fn save_again(&self, trainer: &Trainer, state: &Checkpoint) -> Result<()> {
        if !self.has_checkpoint() {
            self.create_again(trainer)?;
            self.write_checkpoint(state)?;
        }
        Ok(())
    }

    /// Creates the folder of the samples that are drawn after the training.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    #[cfg(feature = "cli")]
    pub(crate) fn create_samples(&self) -> Result<()> {
        let samples = self.file("samples");
        fs::create_dir_all(&samples).map_err(|e| Error::io("cannot create the folder", &samples, e))
    }

    /// The names of the existing files of the run.
    #[cfg(feature = "cli")]
    pub(crate) fn files(&self) -> Vec<&'static str> {
        [CONFIG, METRICS, LAST, BEST, LOSS].into_iter().filter(|name| self.file(name).exists()).collect()
    }

    /// Writes a checkpoint, and keeps the one before it as `checkpoint.previous.safetensors`.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written; the last checkpoint is then unchanged.
    pub(crate) fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let (last, previous, new) = (self.file(LAST), self.file(PREVIOUS), self.file(NEW));
        let replace = || {
            checkpoint.save(&new)?;
            if let Ok(old) = fs::metadata(&last) {
                // Not all file systems have permissions.
                let _ = fs::set_permissions(&new, old.permissions());
                // The last checkpoint keeps its name until the new one replaces it, so that there is always one.
                let _ = fs::remove_file(&previous);
                let copy = |f: &mut BufWriter<NamedTempFile>| io::copy(&mut File::open(&last)?, f).map(drop);
                if fs::hard_link(&last, &previous).is_err() {
                    write_atomically(&previous, copy)?;
                }
            }
            fs::rename(&new, &last).map_err(|e| Error::io("cannot replace", &last, e))?;
            sync_folder(&last);
            log::info!("saved step {} in {}", checkpoint.step, last.display());
            Ok(())
        };
        replace().inspect_err(|_| drop(fs::remove_file(&new)))
    }

    /// Checks whether the disk has space for the checkpoints of a run, `bytes` each: the last one, the one before it and a
    /// new one, and the best state if the run keeps one; and for `snapshots` bytes of averages.
    ///
    /// # Errors
    /// [`Error::Setting`] with the required and the free space.
    pub(in crate::train) fn check_space(&self, bytes: u64, keep_best: bool, snapshots: u64) -> Result<()> {
        let used = |name| fs::metadata(self.file(name)).map_or(0, |file| file.len());
        let used: u64 = [LAST, PREVIOUS, BEST].into_iter().map(used).sum();
        let copies = if keep_best { 4 } else { 3 };
        let needed = (copies * bytes + snapshots).saturating_sub(used + self.snapshot_bytes());
        let more = if snapshots == 0 { String::new() } else { format!(", and {} of snapshots", readable(snapshots)) };
        match fs4::available_space(&self.path) {
            Ok(free) if needed > free => Err(Error::setting(format!(
                "the checkpoints in {} need {} more ({copies} of {}{more}), but the disk has only {} left; free some space, or \
                 choose another --out",
                self.path.display(),
                readable(needed),
                readable(bytes),
                readable(free)
            ))),
            // Unknown, or enough.
            _ => Ok(()),
        }
    }

    /// Removes the temporary files of a process that was killed.
    pub(in crate::train) fn remove_temporary_files(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The text of `metrics.csv`; empty if there is no such file.
    pub(in crate::train) fn metrics(&self) -> String {
        fs::read_to_string(self.file(METRICS)).unwrap_or_default()
    }

    pub(in crate::train) fn write_metrics(&self, record: &mut Record) -> Result<()> {
        let path = self.file(METRICS);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        file.and_then(|file| record.append(&file)).map_err(|e| Error::io("cannot write", &path, e))?;
        let rows = record.drawn();
        if rows.len() > 1 { plot::loss_curve(&self.file(LOSS), &curves(&record.header, &rows)) } else { Ok(()) }
    }

    /// The results of the run so far, from `metrics.csv`; nothing if there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn summary(&self) -> Result<Summary> {
        let path = self.file(METRICS);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Summary::of(&text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Summary::of("")),
            Err(e) => Err(Error::io("cannot read", &path, e)),
        }
    }
}

#[cfg(test)]
mod tests;
