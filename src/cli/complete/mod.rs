//! `langevin complete`

mod files;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::data::{Dataset, Labels, MaskMix, Missing, ReadOptions};
use crate::diffusion::Resampling;
use crate::inference::{Completing, Method, Sampling, complete_in_parts};
use crate::plot::Scale;
use crate::text::{count, grouped};
use crate::train::{Checkpoint, RunFolder};
use crate::{Error, Result};
use clap::Args;
use serde_json::json;

use self::files::Files;
use self::summary::{LEAST_DRAWS, Summary};
use super::condition::SampleConditionArgs;
use super::denoise::other_units;
use super::interrupt::stop_flag;
use super::progress::Meter;
use super::reading::{ReadArgs, describe as describe_data};
use super::recording::SamplesOrRecording;
use super::sample::SolverArgs;
use super::weights::{WeightArgs, Weights};
use super::{Common, local, whole};

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
    /// A folder for all draws, their mean, median and the quantiles 5% and 95%, and a picture; or a file: .npy, .csv or, for
    /// audio, .wav for the data completed by the median, .svg or .png for the picture
    #[arg(long, value_name = "DIR|F", value_parser = local())]
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

pub fn run(args: &CompleteArgs) -> anyhow::Result<ExitCode> {
    let solver = args.solver.sampling(args.count)?;
    let folder = RunFolder::open(&args.run)?;
    let Weights { checkpoint, average } = args.weights.of(&folder)?;
    let method = Completing::method(&checkpoint)?;
    let files = Files::of(args, &checkpoint)?;
    let mut how = settings(args, &checkpoint, method, solver)?;
    let Incomplete { data, truth } = Incomplete::read(args, &checkpoint)?;
    let classes = classes(args, &checkpoint, &data)?;
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
    files.prepare(&data)?;
    let stopped = stop_flag()?;
    let mut meter = Meter::new("filling gaps", args.common.json);
    let mut observe = |completion| {
        meter.show(completion);
        !stopped.load(Ordering::Relaxed)
    };
    let mut summary = Summary::new(&data, args.count, truth.as_ref(), &checkpoint.facts);
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
    report(args, &data, unknown, &files);
    scores.iter().for_each(|scores| say!("{}", scores.describe(data.grouping().count > 1)));
    say!("written: {}", written.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Prints what was filled, and what is to be known about the results.
fn report(args: &CompleteArgs, data: &Dataset, unknown: usize, files: &Files) {
    say!(
        "{} of {} values in {} were unknown; {} of each",
        grouped(unknown),
        grouped(data.values.len()),
        count(data.len(), "sample"),
        count(args.count, "draw")
    );
    if args.count < LEAST_DRAWS {
        say!(
            "the band from 5% to 95% is that of the smallest and the largest draw, which is narrower; it needs --count \
             {LEAST_DRAWS} or more"
        );
    }
    if data.recording().is_some_and(|recording| recording.whole) && matches!(files, Files::Folder(..)) {
        say!(
            "the mean and the quantiles are recordings, put together from overlapping windows; draws are those of the windows"
        );
    }
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
fn classes(args: &CompleteArgs, checkpoint: &Checkpoint, data: &Dataset) -> Result<Option<Vec<u32>>> {
    let conditions = &checkpoint.facts.conditions;
    let refuse = |text: &str| Err(Error::setting(text));
    match &args.labels {
        Some(_) if conditions.classes == 0 => {
            refuse("--labels: this run has no classes; train it with --labels, or omit it")
        }
        Some(file) => {
            let labels = data.labels_of(Labels::load(file)?)?;
            let number = |(class, n): (usize, usize)| {
                let name = labels.names.get(class).cloned().unwrap_or_else(|| class.to_string());
                (n > 0).then(|| Labels::class_named(&name, conditions.classes, &conditions.names)).transpose()
            };
            let of_run = labels.counts().into_iter().enumerate().map(number).collect::<Result<Vec<_>>>()?;
            Ok(Some(labels.of.iter().map(|&class| of_run[class as usize].expect("it has this sample")).collect()))
        }
        None if conditions.classes == 0 || args.condition.states_class() => Ok(None),
        None if checkpoint.config.condition.dropout == 0.0 => {
            refuse("this run has not learned samples of an unknown class; add --labels FILE or --class")
        }
        None => Ok(Some(vec![conditions.classes as u32])),
    }
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
        // Data are read as those of the run were, without a column of labels. Windows of a recording overlap and are put
        // together again, but not those in which different values are hidden.
        let options = checkpoint.config.reading().overridden_by(&stated);
        let options = ReadOptions { missing: Some(Missing::Keep), ..options };
        let seed = args.common.seed.unwrap_or(0);
        let data = Dataset::load_for(&args.data, seed, &options, facts.layout(), args.mask.is_none())?;
        if !args.common.json {
            describe_data(&data);
        }
        other_units(&data, facts).iter().for_each(|warning| log::warn!("{warning}"));
        if data.shape != facts.shape {
            return Err(Error::input(format!(
                "{}: samples of shape {:?}, but the model was trained on {:?}; use samples of this shape",
                data.name, data.shape, facts.shape
            )));
        }
        match &args.mask {
            Some(mask) => Ok(Self { data: mask.hide(&data, seed)?, truth: Some(data) }),
            None if data.has_gaps() => Ok(Self { data, truth: None }),
            None => Err(Error::input(format!(
                "{}: no value is missing, so there is nothing to fill; missing values are empty fields of a table or NaN in an \
                 array. To hide values: --mask block:0.3, or --mask FILE",
                data.name
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
