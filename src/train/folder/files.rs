//! Files of a run that are listed or removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{BEST, EVENTS, LAST, LOSS, METRICS, NEW, PICTURE, PREVIOUS, RunFolder, SAMPLES};
use crate::error::{Error, Result};

impl RunFolder {
    /// The files in a folder of the run whose name is a step and an extension, in the order of their steps.
    pub(in crate::train) fn of_steps(&self, folder: &str, extension: &str) -> Vec<(u32, PathBuf)> {
        let entries = fs::read_dir(self.file(folder)).into_iter().flatten().flatten().map(|entry| entry.path());
        let with_step = |path: PathBuf| {
            let step = path.file_name()?.to_str()?.strip_suffix(extension)?.parse().ok()?;
            Some((step, path))
        };
        let mut files: Vec<(u32, PathBuf)> = entries.filter_map(with_step).collect();
        files.sort();
        files
    }

    /// Removes the files of a run.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be removed.
    pub(super) fn remove_run(&self) -> Result<()> {
        // The checkpoints first: a folder without them is not used as a run.
        let files = [LAST, PREVIOUS, BEST, NEW, METRICS, LOSS, SAMPLES, PICTURE].map(|name| self.file(name));
        let events = fs::read_dir(self.file(EVENTS)).into_iter().flatten().flatten().map(|entry| entry.path());
        files.into_iter().chain(events).try_for_each(|path| remove(&path))?;
        self.snapshots().iter().try_for_each(|(_, path)| remove(path))?;
        self.remove_previews(0)
    }
}

/// Removes a file if it exists.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(Error::io("cannot remove", path, e))
        }
        _ => Ok(()),
    }
}
