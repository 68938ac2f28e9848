//! `langevin complete`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::data::{self, Columns, Dataset, Kind, Labels, MaskMix, Missing, ReadOptions, SampleLayout};
use crate::diffusion::Resampling;
use crate::evaluate::{calibrated_quantile, crps};
use crate::inference::{Completing, Method, Sampling, complete_in_parts};
use crate::io::{check_path, extension};
use crate::plot::{self, Completed, MOST_COMPLETED, Output, Scale};
use crate::text::{count, grouped, short};
use crate::train::{Checkpoint, Facts, RunFolder};
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::condition::SampleConditionArgs;
use super::denoise::other_units;
use super::interrupt::stop_flag;
use super::progress::Meter;
use super::reading::{ReadArgs, describe as describe_data};
use super::sample::SolverArgs;
use super::weights::{WeightArgs, Weights};
use super::{Common, whole};

/// Fill the gaps of incomplete samples with a trained model
///
/// Missing values of DATA (empty fields of a table, NaN in an array) are generated, several times each; known values are
/// copied. A run of train --task complete is given the known values. Another diffusion model fills gaps too, but less well:
/// known values replace generated ones in each step of its reverse process, which goes back and forth (Lugmayr et al. 2022).
#[derive(Args)]
pub struct CompleteArgs {
    /// Run folder
    run: PathBuf,
    /// Incomplete samples with the shape of the training data
    data: String,
    /// A folder for all draws, their mean, median and the quantiles 5% and 95%, and a picture; or a file: .npy or .csv for
    /// the data completed by the median, .svg or .png for the picture
    #[arg(long, value_name = "DIR|F")]
    out: PathBuf,
    /// Number of draws for each sample
    #[arg(long, default_value_t = 20, value_parser = whole::<usize>, allow_negative_numbers = true)]
    count: usize,
    /// Hide more values: point:SHARE, block:SHARE, future:SHARE, or a file of masks with 0 for hidden values; prints how
    /// well they are restored
    #[arg(long, value_name = "RULES")]
    mask: Option<MaskMix>,
    #[command(flatten)]
    solver: SolverArgs,
    /// How often parts of the reverse process are repeated, for a run without --task complete [default: 5]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    resample: Option<usize>,
    /// The number of steps of such a part [default: 10]
    #[arg(long, value_name = "STEPS", value_parser = whole::<usize>, allow_negative_numbers = true)]
    jump: Option<usize>,
    #[command(flatten)]
    weights: WeightArgs,
    /// The class of each sample of DATA, as for train --labels, for runs with classes [default: unknown classes]
    #[arg(long, value_name = "FILE", conflicts_with = "class")]
    labels: Option<String>,
    #[command(flatten)]
    condition: SampleConditionArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    pub common: Common,
}

/// The quantiles that are written and drawn.
const QUANTILES: [f64; 3] = [0.05, 0.5, 0.95];
/// The samples and the draws in a picture of images.
const SHOWN_IMAGES: usize = 8;
const SHOWN_DRAWS: usize = 4;

pub fn run(args: &CompleteArgs) -> anyhow::Result<ExitCode> {
    let solver = args.solver.sampling(args.count)?;
    let folder = RunFolder::open(&args.run)?;
    let Weights { checkpoint, average } = args.weights.of(&folder)?;
    let method = Completing::method(&checkpoint)?;
    let files = Files::of(args, &checkpoint)?;
    let mut how = settings(args, &checkpoint, method, solver)?;
    let Incomplete { data, truth } = Incomplete::read(args, &checkpoint)?;
    let classes = classes(args, &checkpoint.facts, &data)?;
    how.sampling.conditions = classes.iter().fold(how.sampling.conditions, |all, some| all.classes(some.clone()));
    let unknown = data.values.iter().filter(|value| value.is_nan()).count();
    let device = args.common.open()?;
    if !args.common.json {
        average.iter().for_each(|average| say!("{average}"));
        say!("{}", describe(method, &how, &checkpoint)?);
        if classes.is_some() && args.labels.is_none() {
            say!("the classes of the samples are taken as unknown (otherwise: --labels FILE, or --class)");
        }
    }
    files.create_folder()?;
    let stopped = stop_flag()?;
    let mut meter = Meter::new("filling gaps", args.common.json);
    let mut observe = |completion| {
        meter.show(completion);
        !stopped.load(Ordering::Relaxed)
    };
    let mut summary = Summary::new(&data, args.count, truth.as_ref(), scales(&checkpoint.facts));
    let mut draws = files.draws(&data, args.count)?;
    let mut take = |part: &[f32]| {
        summary.take(part);
        draws.as_mut().map_or(Ok(()), |file| file.write(part))
    };
    complete_in_parts(&device, &checkpoint, &data, &how, &mut observe, &mut take)?;
    drop(meter);
    if let Some(file) = draws {
        file.finish(|all| Scale::of(data.kind(), &data.shape, all))?;
    }
    let scores = summary.scores();
    let written = files.write(&summary, &data, truth.as_ref(), &checkpoint.facts)?;
    if args.common.json {
        let method = if method == Method::Learned { "learned" } else { "replaced" };
        say!(
            "{}",
            json!({"out": args.out, "files": written, "samples": data.len(), "shape": data.shape, "count": args.count,
                   "unknown": unknown, "method": method, "scores": scores, "device": device.name(),
                   "weights": average})
        );
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "{} of {} values in {} were unknown; {} of each",
        grouped(unknown),
        grouped(data.values.len()),
        count(data.len(), "sample"),
        count(args.count, "draw")
    );
    scores.iter().for_each(|scores| say!("{}", scores.describe(data.grouping().count > 1)));
    say!("written: {}", written.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "));
    Ok(ExitCode::SUCCESS)
}

/// The settings of the reverse process.
fn settings(args: &CompleteArgs, checkpoint: &Checkpoint, method: Method, solver: Sampling) -> Result<Completing> {
    if args.count == 0 {
        return Err(Error::setting("--count 0; use 1 or more draws of each sample"));
    }
    let refuse = |text: &str| Err(Error::setting(text));
    match method {
        Method::Learned if args.resample.is_some() || args.jump.is_some() => {
            return refuse("--resample and --jump are for runs that were not trained with --task complete; omit them");
        }
        Method::Replaced if args.solver.sampler.is_some() || args.solver.timesteps.is_some() => {
            return refuse(
                "--sampler and --timesteps need a run that was trained with --task complete; this one goes back and forth with \
                 ddpm, see --steps, --resample and --jump",
            );
        }
        _ => {}
    }
    let (seed, conditions) = (args.common.seed.unwrap_or(0), args.condition.conditions(checkpoint)?);
    let default = Resampling::default();
    let resampling = default.times(args.resample.unwrap_or(default.times)).jump(args.jump.unwrap_or(default.jump));
    let sampling = Sampling { seed, conditions, ..solver };
    Ok(Completing { resampling, sampling })
}

/// The class of each sample: those of `--labels`, or the unknown one; `None` if they are stated, or the run has none.
fn classes(args: &CompleteArgs, facts: &Facts, data: &Dataset) -> Result<Option<Vec<u32>>> {
    let (classes, names) = (facts.conditions.classes, &facts.conditions.names);
    let Some(file) = &args.labels else {
        return Ok((classes > 0 && !args.condition.states_class()).then(|| vec![classes as u32]));
    };
    if classes == 0 {
        return Err(Error::setting("--labels: this run has no classes; train it with --labels, or omit it"));
    }
    let labels = data.clone().with_labels(Labels::load(file)?)?;
    let labels = labels.conditions().labels.as_ref().expect("just added");
    let of_run = |class: &u32| match labels.names.get(*class as usize) {
        Some(name) => Labels::class_named(name, classes, names),
        None => Labels::class_named(&class.to_string(), classes, names),
    };
    labels.of.iter().map(of_run).collect::<Result<_>>().map(Some)
}

/// Incomplete samples, and the values that `--mask` hides.
struct Incomplete {
    data: Dataset,
    truth: Option<Dataset>,
}

impl Incomplete {
    fn read(args: &CompleteArgs, checkpoint: &Checkpoint) -> Result<Self> {
        let stated = args.read.options();
        if let Some(missing @ (Missing::Drop | Missing::Mean)) = stated.missing {
            return Err(Error::setting(format!("--missing {missing}: missing values are what is filled; omit it")));
        }
        let facts = &checkpoint.facts;
        // Data are read as those of the run were, without a column of labels.
        let options = checkpoint.config.reading().overridden_by(&stated);
        let options = ReadOptions { missing: Some(Missing::Keep), ..options };
        let seed = args.common.seed.unwrap_or(0);
        let data = Dataset::load_for(&args.data, seed, &options, facts.layout(), false)?;
        if !args.common.json {
            describe_data(&data);
        }
        other_units(&data, facts).iter().for_each(|warning| log::warn!("{warning}"));
        if data.shape != facts.shape {
            return Err(Error::input(format!(
                "{}: samples of shape {:?}, but the model was trained on {:?}; use samples of this shape",
                args.data, data.shape, facts.shape
            )));
        }
        match &args.mask {
            Some(mask) => Ok(Self { data: mask.hide(&data, seed)?, truth: Some(data) }),
            None if data.has_gaps() => Ok(Self { data, truth: None }),
            None => Err(Error::input(format!(
                "{}: no value is missing, so there is nothing to fill; missing values are empty fields of a table or NaN in an \
                 array. To hide values: --mask block:0.3, or --mask FILE",
                args.data
            ))),
        }
    }
}

/// What is said about the reverse process.
fn describe(method: Method, how: &Completing, checkpoint: &Checkpoint) -> Result<String> {
    let Sampling { sampler, .. } = &how.sampling;
    match method {
        Method::Learned => {
            let table = how.sampling.table(&checkpoint.config.objective()?, None)?;
            let steps = count(table.levels.len(), "step");
            Ok(format!("the model was trained to fill gaps; sampler: {sampler}, {steps}"))
        }
        Method::Replaced => {
            let rows = how.resampled(checkpoint)?.0.rows.len();
            Ok(format!(
                "the model was not trained to fill gaps (train --task complete): known values replace generated ones in each of \
                 {}, which is slower, and its values agree less well with the known ones",
                count(rows, "step")
            ))
        }
    }
}

/// The scale of each value of a sample if columns or channels have their own, otherwise 1.
fn scales(facts: &Facts) -> Vec<f64> {
    let width: usize = facts.shape.iter().product();
    let scale = &facts.normalisation;
    match scale.scale.len() {
        1 => vec![1.0; width],
        _ => scale.entries().map(|(_, scale)| scale.into()).cycle().take(width).collect(),
    }
}

/// Mean and quantiles of the draws, with known values as they are.
struct Summary<'a> {
    data: &'a Dataset,
    count: usize,
    truth: Option<&'a Dataset>,
    scales: Vec<f64>,
    /// The draws of the current sample.
    current: Vec<f32>,
    /// The first draws of the samples that a picture shows.
    shown: Vec<Vec<f32>>,
    mean: Vec<f32>,
    quantiles: [Vec<f32>; 3],
    errors: Errors,
}

/// Sums over the hidden values.
#[derive(Default)]
struct Errors {
    n: usize,
    crps: f64,
    squares: f64,
    /// The values that have a band, which are all but categories, and those within it.
    banded: usize,
    covered: usize,
}

/// How well hidden values are restored.
#[derive(Serialize)]
struct Scores {
    hidden: usize,
    crps: f64,
    rmse: f64,
    /// `None` if all are categories, which have no band.
    coverage: Option<f64>,
}

impl Scores {
    fn describe(&self, scaled: bool) -> String {
        let unit = if scaled { ", in standard deviations of each column or channel" } else { "" };
        let band = |share: f64| format!("; {:.1}% are within the quantiles 5% and 95%", 100.0 * share);
        format!(
            "{} hidden values: CRPS {}, RMSE of the median {}{unit}{}",
            grouped(self.hidden),
            short(self.crps),
            short(self.rmse),
            self.coverage.map(band).unwrap_or_default()
        )
    }
}

impl<'a> Summary<'a> {
    fn new(data: &'a Dataset, count: usize, truth: Option<&'a Dataset>, scales: Vec<f64>) -> Self {
        let (current, shown, mean, quantiles) = (Vec::new(), Vec::new(), Vec::new(), Default::default());
        Self { data, count, truth, scales, current, shown, mean, quantiles, errors: Errors::default() }
    }

    /// Adds the next draws.
    fn take(&mut self, draws: &[f32]) {
        let len = self.data.sample_len();
        for draw in draws.chunks_exact(len) {
            self.current.extend_from_slice(draw);
            if self.current.len() == self.count * len {
                self.sample();
                self.current.clear();
            }
        }
    }

    /// Summarises the draws of a sample.
    fn sample(&mut self) {
        let len = self.data.sample_len();
        let index = self.mean.len() / len;
        let known = self.data.sample(index);
        if index < SHOWN_IMAGES {
            self.shown.push(self.current[..SHOWN_DRAWS.min(self.count) * len].to_vec());
        }
        let mut sorted = Vec::with_capacity(self.count);
        for i in 0..len {
            if !known[i].is_nan() {
                self.mean.push(known[i]);
                self.quantiles.iter_mut().for_each(|of| of.push(known[i]));
                continue;
            }
            sorted.clear();
            sorted.extend(self.current.iter().skip(i).step_by(len));
            sorted.sort_unstable_by(f32::total_cmp);
            let mean = sorted.iter().map(|v| f64::from(*v)).sum::<f64>() / sorted.len() as f64;
            self.mean.push(mean as f32);
            // The most frequent category has the largest mean.
            let is_category = self.data.columns.categories_at(i).is_some();
            let of = if is_category { [mean; 3] } else { QUANTILES.map(|p| calibrated_quantile(&sorted, p)) };
            self.quantiles.iter_mut().zip(of).for_each(|(all, value)| all.push(value as f32));
            if let Some(truth) = self.truth.map(|truth| truth.sample(index)[i]).filter(|y| !y.is_nan()) {
                let (scale, [low, median, high], y) = (self.scales[i], of, f64::from(truth));
                let score = crps(&sorted, sorted.len(), &[truth], sorted.len() > 1).expect("one row");
                self.errors.n += 1;
                self.errors.crps += score[0] / scale;
                self.errors.squares += ((median - y) / scale).powi(2);
                self.errors.banded += usize::from(!is_category);
                self.errors.covered += usize::from(!is_category && (low..=high).contains(&y));
            }
        }
    }

    /// The scores; `None` if no value was hidden.
    fn scores(&self) -> Option<Scores> {
        let Errors { n: hidden, crps, squares, banded, covered } = self.errors;
        let n = hidden as f64;
        let coverage = (banded > 0).then(|| covered as f64 / banded as f64);
        let of = || Scores { hidden, crps: crps / n, rmse: (squares / n).sqrt(), coverage };
        (hidden > 0).then(of)
    }
}

/// What is written where.
enum Files {
    /// All results in a folder, arrays or tables.
    Folder(PathBuf, &'static str),
    /// The median.
    Median(PathBuf),
    /// The picture.
    Picture(PathBuf),
}

/// The name of the picture in a folder, without extension.
const PICTURE: &str = "completed.svg";

impl Files {
    fn of(args: &CompleteArgs, checkpoint: &Checkpoint) -> Result<Self> {
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
                let table = args
                    .data
                    .split(['[', ':'])
                    .next()
                    .is_some_and(|path| ["csv", "tsv"].contains(&extension(Path::new(path)).as_str()));
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
                plot::check_output(out)?;
                Self::Median(out.clone())
            }
        };
        let mask = args.mask.as_ref().and_then(MaskMix::file);
        let read = [Some(args.data.as_str()), Some(&checkpoint.config.data), mask];
        for path in files.all() {
            if path.exists() {
                check_path(&path)?;
            }
            for spec in read.into_iter().flatten().chain(args.condition.files()) {
                data::check_apart(&path, spec)?;
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

    fn create_folder(&self) -> Result<()> {
        match self {
            Self::Folder(folder, _) => {
                fs::create_dir_all(folder).map_err(|cause| Error::io("cannot create", folder, cause))
            }
            _ => Ok(()),
        }
    }

    /// The file of all draws.
    fn draws(&self, data: &Dataset, each: usize) -> Result<Option<Output>> {
        match self {
            Self::Folder(..) => Output::create(&self.all()[0], data.layout(), each * data.len()).map(Some),
            _ => Ok(None),
        }
    }

    /// Writes everything but the draws. Returns all files.
    fn write(&self, summary: &Summary, data: &Dataset, truth: Option<&Dataset>, facts: &Facts) -> Result<Vec<PathBuf>> {
        let [low, median, high] = &summary.quantiles;
        let mut files = self.all();
        match self {
            Self::Folder(..) => {
                // The mean of whole numbers is none.
                let columns = Columns { whole: Vec::new(), ..data.columns.clone() };
                plot::save_as(&files[1], SampleLayout { columns: &columns, ..data.layout() }, &summary.mean)?;
                for (path, values) in files[2..].iter().zip([low, median, high]) {
                    plot::save_as(path, data.layout(), values)?;
                }
                match data.kind() {
                    Kind::Signals | Kind::Images => draw(&files[5], summary, data, truth, facts)?,
                    _ => files.truncate(5),
                }
            }
            Self::Median(path) => plot::save_as(path, data.layout(), median).map(drop)?,
            Self::Picture(path) => draw(path, summary, data, truth, facts)?,
        }
        Ok(files)
    }
}

/// Draws signals with their bands, or images: what is known, the mean, some draws, and the truth.
fn draw(path: &Path, summary: &Summary, data: &Dataset, truth: Option<&Dataset>, facts: &Facts) -> Result<()> {
    let scale = Scale::of_data(facts.kind, &facts.shape, &facts.range, &summary.mean).labelled(&data.columns);
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
