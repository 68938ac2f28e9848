//! The output of commands that change data: samples, or the recording from which they were cut.

use std::path::{Path, PathBuf};

use crate::data::{Columns, Dataset, Join, Recording, SampleLayout};
use crate::io::extension;
use crate::plot::{Output, Scale};
use crate::text::count;
use crate::{Error, Result};

use super::samples;

/// Collects changed samples and writes them, those of a recording as a recording. Pictures show samples.
pub struct SamplesOrRecording<'a> {
    path: PathBuf,
    data: &'a Dataset,
    columns: &'a Columns,
    to: Destination<'a>,
}

enum Destination<'a> {
    Samples(Output),
    Recording(&'a Recording, Vec<f32>),
}

/// What was written.
pub struct Written {
    /// The number of samples or time steps in the file.
    pub held: usize,
    /// The shape of the array of samples or time steps.
    pub shape: Vec<usize>,
    /// Both in words.
    pub text: String,
    /// The windows of the recording that was written.
    pub windows: Option<Vec<f32>>,
}

impl<'a> SamplesOrRecording<'a> {
    /// Prepares a file for samples of the number and shape of `data`, with names and offsets from `columns`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a `.wav` file of data that are not a recording, and as [`Output::create`].
    pub fn create(path: &Path, data: &'a Dataset, columns: &'a Columns) -> Result<Self> {
        let recording = data.recording().filter(|recording| recording.whole);
        let to = match (recording, extension(path).as_str()) {
            (Some(recording), "npy" | "csv" | "wav") => {
                recording.check(path)?;
                Destination::Recording(recording, Vec::new())
            }
            (None, "wav") => {
                return Err(Error::setting(format!(
                    "{}: a .wav file contains a recording, but {} contains {}; write .npy or .csv",
                    path.display(),
                    data.name,
                    count(data.len(), "sample")
                )));
            }
            _ => Destination::Samples(Output::create(path, SampleLayout { columns, ..data.layout() }, data.len())?),
        };
        Ok(Self { path: path.into(), data, columns, to })
    }

    /// Adds the next samples.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        match &mut self.to {
            Destination::Samples(out) => out.write(values),
            Destination::Recording(_, all) => {
                all.extend_from_slice(values);
                Ok(())
            }
        }
    }

    /// Completes the file; `scale` is that of a picture.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn finish(self, how: Join, scale: &Scale) -> Result<Written> {
        match self.to {
            Destination::Samples(out) => {
                let held = out.finish(|_| scale.clone())?;
                let (all, shape) = (self.data.len(), &self.data.shape);
                let text = samples(held, all, shape);
                Ok(Written { held, shape: [&[all], &shape[..]].concat(), text, windows: None })
            }
            Destination::Recording(recording, windows) => {
                let values = recording.join(&windows, how);
                recording.save(&self.path, &values, self.columns)?;
                let shape = [&[recording.steps], &recording.shape[..]].concat();
                let text = format!("a recording of {}", count(recording.steps, "time step"));
                Ok(Written { held: recording.steps, shape, text, windows: Some(recording.cut(&values)) })
            }
        }
    }
}
