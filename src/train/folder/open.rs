//! Which folders can be used: for a new run, in place of a run, or as an existing run; and the lock of a run.

use std::fs::{self, DirEntry, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Begin, CONFIG, LOCK, RunFolder};
use crate::error::{Error, Result};
use crate::io::quoted;
use crate::train::Config;

impl RunFolder {
    pub(super) fn at(path: &Path, begin: Begin) -> Self {
        Self { path: path.to_path_buf(), begin, lock: Arc::default() }
    }

    /// The folder of a new run: a path that does not exist, an empty folder, or a run that ended before its first
    /// checkpoint. [`RunFolder::write_config`] creates the folder.
    ///
    /// # Errors
    /// When the folder is not empty, or another process trains in it.
    pub fn vacant(path: &Path) -> Result<Self> {
        Self::vacant_for(path, Begin::New)
    }

    /// As [`RunFolder::vacant`], but the folder may contain a run. [`RunFolder::write_config`] removes its files.
    ///
    /// # Errors
    /// When the folder contains something else than a run, or another process trains in it.
    pub fn replacing(path: &Path) -> Result<Self> {
        Self::vacant_for(path, Begin::Replace)
    }

    fn vacant_for(path: &Path, begin: Begin) -> Result<Self> {
        let folder = Self::at(path, begin);
        if folder.file(LOCK).is_file() {
            folder.lock()?;
        }
        folder.check_vacant()?;
        Ok(folder)
    }

    pub(super) fn check_vacant(&self) -> Result<()> {
        let name = self.path.display();
        if self.has_checkpoint() {
            return match self.begin {
                Begin::Replace => Ok(()),
                _ => Err(Error::setting(format!(
                    "{name} already contains a run; continue it with --resume, replace it with --force, or choose \
                     another --out"
                ))),
            };
        }
        if self.path.is_file() {
            return Err(Error::setting(format!("{name} is a file, but --out must be a folder")));
        }
        match fs::read_dir(&self.path).into_iter().flatten().flatten().find(|entry| !is_hidden(entry)) {
            Some(entry) if !self.is_unfinished() => Err(Error::setting(format!(
                "{name} is not empty: it contains {:?}; choose a new or empty folder for --out",
                entry.file_name()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether it contains a run that ended before its first checkpoint. A new run replaces it.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.has_checkpoint() && Config::read_run(&self.file(CONFIG)).is_ok_and(|(_, facts)| facts.is_some())
    }

    /// Whether it contains a run.
    #[cfg(feature = "cli")]
    pub(crate) fn is_started(&self) -> bool {
        self.has_checkpoint()
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// When it has no checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self::at(path, Begin::Existing);
        if folder.has_checkpoint() {
            return Ok(folder);
        }
        let name = path.display();
        let create = format!("create a run with: langevin train DATA --out {}", quoted(&name.to_string()));
        let text = match (path.exists(), folder.file(CONFIG).exists()) {
            (false, _) => format!("{name} does not exist; {create}"),
            (true, false) => folder.not_a_run(),
            (true, true) if folder.is_busy() => {
                format!("{name} is being trained and has no checkpoint.safetensors yet; wait for the first checkpoint")
            }
            (true, true) => {
                format!(
                    "{name} has no checkpoint.safetensors: its training ended before the first checkpoint; {create}"
                )
            }
        };
        Err(Error::input(text))
    }

    /// Describes a path that exists but is not a run, and names a run that may be meant.
    fn not_a_run(&self) -> String {
        let name = self.path.display();
        let run = self.path.ancestors().skip(1).take(2).find(|path| Self::at(path, Begin::Existing).has_checkpoint());
        if let Some(run) = run.filter(|run| !run.as_os_str().is_empty()) {
            return format!("{name} is not a run folder, but is part of one; use {}", quoted(&run.to_string_lossy()));
        }
        if self.path.is_file() {
            return format!(
                "{name} is a file, not a run folder; name the folder that was --out of langevin train, or create a run \
                 with: langevin train DATA --out RUN"
            );
        }
        let runs = runs_in(&self.path);
        if runs.is_empty() {
            return format!(
                "{name} is not a run folder: it has no config.toml and no checkpoint.safetensors; create a run in a new \
                 folder with: langevin train DATA --out RUN"
            );
        }
        let shown: Vec<String> = runs.iter().take(8).map(|run| quoted(&run.to_string_lossy())).collect();
        let more = if runs.len() > shown.len() { ", ..." } else { "" };
        format!("{name} is not a run folder, but contains runs; name one of them: {}{more}", shown.join(", "))
    }

    /// Prevents other processes from training in this folder, until the last clone of this value is dropped or the process
    /// ends. Returns whether this call acquired the lock. [`RunFolder::write_config`] and [`train`](crate::train::train)
    /// call it.
    ///
    /// # Errors
    /// When another process trains in this folder.
    pub fn lock(&self) -> Result<bool> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(false);
        }
        let path = self.file(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Error::io("cannot open", &path, e))?;
        match lock_patiently(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::input(format!(
                    "{} is being trained by another process; wait until it ends, or choose another --out",
                    self.path.display()
                )));
            }
            // Some file systems do not support locks.
            Err(TryLockError::Error(e)) => log::warn!("cannot lock {}: {e}", path.display()),
        }
        *held = Some(file);
        Ok(true)
    }

    /// Whether another process trains in this folder.
    pub(super) fn is_busy(&self) -> bool {
        let shared = File::open(self.file(LOCK)).map(|file| file.try_lock_shared());
        matches!(shared, Ok(Err(TryLockError::WouldBlock)))
    }
}

/// Locks a file. [`RunFolder::is_busy`] of another process holds the lock for a moment, which is not a training.
fn lock_patiently(file: &File) -> std::result::Result<(), TryLockError> {
    const TRIES: u32 = 5;
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
    file.try_lock()
}

/// The run folders in a folder, sorted by name.
pub(crate) fn runs_in(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut runs: Vec<PathBuf> = entries.filter(|path| RunFolder::at(path, Begin::Existing).has_checkpoint()).collect();
    runs.sort();
    runs
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}
