//! The files of completed samples: arrays or tables of draws and quantiles, and a picture.

use std::fs;
use std::path::{Path, PathBuf};

use super::summary::{SHOWN_DRAWS, Summary};
use super::{CompleteArgs, SamplesOrRecording};
use crate::data::{self, Columns, Dataset, Join, Kind, MaskMix};
use crate::io::{check_path, extension};
use crate::plot::{self, Completed, MOST_COMPLETED, Output, Scale};
use crate::train::{Checkpoint, Facts};
use crate::{Error, Result};

/// What is written where.
pub(super) enum Files {
    /// All results in a folder, arrays or tables.
    Folder(PathBuf, &'static str),
    /// The median.
    Median(PathBuf),
    /// The picture.
    Picture(PathBuf),
}

/// The name of the picture in a folder.
const PICTURE: &str = "completed.svg";

impl Files {
    pub fn of(args: &CompleteArgs, checkpoint: &Checkpoint) -> Result<Self> {
        let out = &args.out;
        let files = match extension(out).as_str() {
            "" => {
                if out.is_file() {
                    return Err(Error::setting(format!(
                        "{}: this is a file; name a folder, or a .npy, .csv, .svg or .png file",
                        out.display()
                    )));
                }
                if !out.is_dir() {
                    check_path(out)?;
                }
                let table = data::sources(&args.data)?.first().is_some_and(|file| data::is_table(file));
                Self::Folder(out.clone(), if table { "csv" } else { "npy" })
            }
            "svg" | "png" => {
                plot::check_output(out)?;
                let kind = checkpoint.facts.kind;
                if matches!(kind, Kind::Points | Kind::Table) {
                    return Err(Error::setting(format!(
                        "{}: there is no picture of completed {}; write .npy or .csv",
                        out.display(),
                        kind.samples()
                    )));
                }
                if kind == Kind::Signals && extension(out) == "png" {
                    return Err(Error::setting(format!("{}: completed signals are drawn as .svg", out.display())));
                }
                Self::Picture(out.clone())
            }
            _ => {
                plot::check_recording_output(out)?;
                Self::Median(out.clone())
            }
        };
        let mask = args.mask.as_ref().and_then(MaskMix::file);
        let read = [Some(args.data.as_str()), mask, args.labels.as_deref()];
        for path in files.all() {
            if path.exists() {
                check_path(&path)?;
            }
            let inputs = read.into_iter().flatten().chain(args.condition.files());
            for spec in inputs.chain(checkpoint.config.inputs()) {
                data::check_apart("--out", &path, spec)?;
            }
        }
        Ok(files)
    }

    /// The files that may be written.
    fn all(&self) -> Vec<PathBuf> {
        match self {
            Self::Folder(folder, format) => {
                let tables =
                    ["draws", "mean", "q05", "median", "q95"].map(|name| folder.join(format!("{name}.{format}")));
                tables.into_iter().chain([folder.join(PICTURE)]).collect()
            }
            Self::Median(path) | Self::Picture(path) => vec![path.clone()],
        }
    }

    /// Creates the folder, or checks that the file can contain these data.
    pub fn prepare(&self, data: &Dataset) -> Result<()> {
        match self {
            Self::Folder(folder, _) => {
                fs::create_dir_all(folder).map_err(|cause| Error::io("cannot create", folder, cause))
            }
            Self::Median(path) => SamplesOrRecording::create(path, data, &data.columns).map(drop),
            Self::Picture(_) => Ok(()),
        }
    }

    /// The file of all draws.
    pub fn draws(&self, data: &Dataset, each: usize) -> Result<Option<Output>> {
        match self {
            Self::Folder(..) => Output::create(&self.all()[0], data.layout(), each * data.len()).map(Some),
            _ => Ok(None),
        }
    }

    /// Writes everything but the draws. Returns all files.
    pub fn write(
        &self,
        summary: &Summary,
        data: &Dataset,
        truth: Option<&Dataset>,
        facts: &Facts,
    ) -> Result<Vec<PathBuf>> {
        let [low, median, high] = &summary.quantiles;
        let mut files = self.all();
        let save = |path: &Path, columns: &Columns, values: &[f32]| {
            let mut out = SamplesOrRecording::create(path, data, columns)?;
            out.write(values)?;
            out.finish(Join::Blend, &scale_of(facts, values))
        };
        match self {
            Self::Folder(..) => {
                // The mean of whole numbers is none.
                let columns = Columns { whole: Vec::new(), ..data.columns.clone() };
                save(&files[1], &columns, &summary.mean)?;
                for (path, values) in files[2..].iter().zip([low, median, high]) {
                    save(path, &data.columns, values)?;
                }
                match data.kind() {
                    Kind::Signals | Kind::Images => draw(&files[5], summary, data, truth, facts)?,
                    _ => files.truncate(5),
                }
            }
            Self::Median(path) => save(path, &data.columns, median).map(drop)?,
            Self::Picture(path) => draw(path, summary, data, truth, facts)?,
        }
        Ok(files)
    }
}

/// The scale of pictures of values like the data of the run.
fn scale_of(facts: &Facts, values: &[f32]) -> Scale {
    Scale::of_data(facts.kind, &facts.shape, &facts.range, values)
}

/// Draws signals with their bands, or images: what is known, the mean, some draws, and the truth.
fn draw(path: &Path, summary: &Summary, data: &Dataset, truth: Option<&Dataset>, facts: &Facts) -> Result<()> {
    let scale = scale_of(facts, &summary.mean).labelled(&data.columns);
    let len = data.sample_len();
    let [low, median, high] = &summary.quantiles;
    if data.kind() == Kind::Signals {
        let end = data.len().min(MOST_COMPLETED) * len;
        let of = Completed {
            known: &data.values[..end],
            quantiles: [&low[..end], &median[..end], &high[..end]],
            truth: truth.map(|truth| &truth.values[..end]),
        };
        return plot::completed_signals(path, &data.shape, of, &scale);
    }
    let n = summary.shown.len();
    let drawn: Vec<Vec<f32>> = (0..SHOWN_DRAWS.min(summary.count))
        .map(|k| summary.shown.iter().flat_map(|draws| draws[k * len..][..len].to_vec()).collect())
        .collect();
    let mut columns =
        vec![("known".to_string(), &data.values[..n * len]), ("mean".to_string(), &summary.mean[..n * len])];
    columns.extend(drawn.iter().enumerate().map(|(k, values)| (format!("draw {}", k + 1), &values[..])));
    columns.extend(truth.map(|truth| ("true".to_string(), &truth.values[..n * len])));
    plot::film_blocks(path, data.kind(), &data.shape, &columns, columns.len(), &scale)
}
