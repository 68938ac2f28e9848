//! The previews of a run: pictures of samples that are drawn while it is trained, one file for each, and their film.

use std::path::PathBuf;

use super::RunFolder;
use super::files::remove;
use crate::error::Result;

/// The folder of the previews in that of a run.
const FOLDER: &str = "previews";
const FILM: &str = "film.png";

impl RunFolder {
    /// The previews, each with its step, in the order of their steps.
    pub(crate) fn previews(&self) -> Vec<(u32, PathBuf)> {
        self.of_steps(FOLDER, ".png")
    }

    /// The file of the preview of a step, whose folder is created.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be created.
    #[cfg(feature = "cli")]
    pub(crate) fn new_preview(&self, step: u32) -> Result<PathBuf> {
        let folder = self.file(FOLDER);
        std::fs::create_dir_all(&folder)
            .map_err(|e| crate::error::Error::io("cannot create the folder", &folder, e))?;
        Ok(folder.join(format!("{step:09}.png")))
    }

    /// The file of the film of all previews.
    pub(crate) fn film(&self) -> PathBuf {
        self.file(FOLDER).join(FILM)
    }

    /// Removes the previews of steps after `step`, and the film. At step 0 the run has none.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be removed.
    pub(in crate::train) fn remove_previews(&self, step: u32) -> Result<()> {
        for (_, path) in self.previews().into_iter().filter(|(of, _)| *of > step) {
            remove(&path)?;
        }
        remove(&self.film())
    }
}
