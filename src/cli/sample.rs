//! `langevin sample`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::data::{self, Columns, Dataset, Kind, ReadOptions, SampleLayout};
use crate::diffusion::SamplerTable;
use crate::diffusion::{SamplerSettings, Spacing, sampler};
use crate::generate::starting_noise;
use crate::inference::{Sampling, Trace, sample_in_parts, trace};
use crate::io::{check_path, extension};
use crate::plot::{self, Output, Scale};
use crate::text::{self, short};
use crate::train::{Checkpoint, Facts, RunFolder};
use crate::{Device, Error, Precision};
use clap::Args;
use serde_json::json;

use super::condition::SampleConditionArgs;
use super::interrupt::stop_flag;
use super::progress::Meter;
use super::ranks::{agreed, is_follower, team};
use super::weights::{WeightArgs, Weights};
use super::{Common, local, real, samples, whole};

/// Draw samples with a trained model
///
/// Sample i depends on its number and on --seed, not on --count. A solver of second order (dpmpp_2m, unipc, heun) needs fewer
/// steps than one of first order (ddim, euler); ddpm, euler_ancestral, edm and dpmpp_2m_sde add noise in each step. heun and
/// edm evaluate the network twice per step.
#[derive(Args)]
pub struct SampleArgs {
    /// Run folder
    run: PathBuf,
    /// Number of samples [default: 64, or as many as --noise has]
    #[arg(long, value_parser = whole::<usize>, allow_negative_numbers = true)]
    count: Option<usize>,
    #[command(flatten)]
    solver: SolverArgs,
    /// Do not clip the estimates of the clean data to the range of the training data
    #[arg(long)]
    no_clip: bool,
    /// Start from the noise in this file, standard normal numbers [count, ...], instead of that of --seed
    #[arg(long, value_name = "F", conflicts_with = "save_noise")]
    noise: Option<PathBuf>,
    /// Write the initial noise to a .npy file
    #[arg(long, value_name = "F")]
    save_noise: Option<PathBuf>,
    /// Write the states and the estimates of the clean data of the first samples: .png or .svg for a film strip, .npy for
    /// an array [2, evaluations, samples, ...]; can be repeated
    #[arg(long, value_name = "F")]
    trace: Vec<PathBuf>,
    /// f32, or f16: matrix products on the cooperative matrices ("tensor cores") of a GPU
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// f32, or f16: activations and their gradients take half of the memory, and are rounded when they are stored, on a GPU
    #[arg(long, default_value = "f32")]
    storage: Precision,
    #[command(flatten)]
    weights: WeightArgs,
    /// Autoguidance: --guidance moves the output of the network away from that of this weaker run of the same data and
    /// objective, a smaller network or fewer training steps
    #[arg(long, value_name = "RUN", requires = "guidance")]
    guide: Option<PathBuf>,
    /// Output: .npy, .csv, .png or .svg; .wav for runs on audio, a numbered file for each sample if there are several; or, without
    /// an extension, a folder with a .png file for each image
    #[arg(long, value_parser = local())]
    out: PathBuf,
    #[command(flatten)]
    condition: SampleConditionArgs,
    #[command(flatten)]
    pub common: Common,
}

/// The options of the reverse process.
#[derive(Args)]
#[command(next_help_heading = "Options of the reverse process")]
pub struct SolverArgs {
    /// Sampler: ddpm, ddim, euler, euler_ancestral, heun, edm, dpmpp_2m, dpmpp_2m_sde or unipc [default: unipc]
    #[arg(long, value_name = "NAME")]
    pub sampler: Option<String>,
    /// Steps of the reverse process [default: by the sampler]
    #[arg(long, value_parser = whole::<usize>, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Noise levels of the steps: trailing, leading, linspace, polynomial[:RHO], shift[:SHIFT], karras[:RHO] or lambda (also
    /// called exponential) [default: by the sampler]
    #[arg(long, value_name = "NAME")]
    spacing: Option<Spacing>,
    /// The diffusion steps that are used, noisiest first, such as 999,500,100, instead of --steps and --spacing
    #[arg(long, value_name = "T,...", value_delimiter = ',', value_parser = whole::<usize>,
          conflicts_with_all = ["steps", "spacing"])]
    pub timesteps: Option<Vec<usize>>,
    /// ddim, euler_ancestral: noise added in each step, 0 for none, 1 for as much as ddpm
    #[arg(long, value_parser = real, allow_negative_numbers = true)]
    eta: Option<f64>,
    /// edm: amount of noise added before each step (S_churn) [default: 40]
    #[arg(long, value_parser = real, allow_negative_numbers = true)]
    churn: Option<f64>,
    /// edm: lowest noise level sigma at which it is added (S_tmin) [default: 0]
    #[arg(long, value_name = "SIGMA", value_parser = real, allow_negative_numbers = true)]
    churn_min: Option<f64>,
    /// edm: highest noise level sigma at which it is added (S_tmax)
    #[arg(long, value_name = "SIGMA", value_parser = real, allow_negative_numbers = true)]
    churn_max: Option<f64>,
    /// edm: factor of its standard deviation (S_noise) [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = real, allow_negative_numbers = true)]
    churn_noise: Option<f64>,
}

impl SolverArgs {
    /// The settings of the reverse process for `count` samples.
    pub fn sampling(&self, count: usize) -> crate::Result<Sampling> {
        if self.steps == Some(0) {
            return Err(Error::Setting("--steps 0; the reverse process needs at least one step".into()));
        }
        let default = Sampling::new(count);
        let settings = SamplerSettings {
            eta: self.eta,
            churn: self.churn,
            churn_min: self.churn_min,
            churn_max: self.churn_max,
            churn_noise: self.churn_noise,
            ..SamplerSettings::default()
        };
        let name = self.sampler.as_deref().unwrap_or(Sampling::SAMPLER);
        Ok(Sampling {
            sampler: sampler(name, settings)?,
            steps: self.steps.unwrap_or(0),
            spacing: self.spacing,
            timesteps: self.timesteps.clone(),
            ..default
        })
    }
}

/// The default number of samples.
const COUNT: usize = 64;
/// The number of samples in a trace: points, and rows of a table, share a picture.
const TRACED_POINTS: usize = 1_000;
const TRACED: usize = 4;
/// The maximum number of columns of its film strip.
const COLUMNS: usize = 16;

/// What the samples are drawn with.
struct Prepared {
    checkpoint: Checkpoint,
    average: Option<String>,
    sampling: Sampling,
    calls: Evaluations,
    /// The reverse process in words.
    process: String,
    device: Device,
}

/// Checks the options, and reads the run.
fn prepare(args: &SampleArgs) -> anyhow::Result<Prepared> {
    plot::check_samples_output(&args.out)?;
    check_further_outputs(args)?;
    // Before the run is read: its options may be wrong.
    let solver = args.solver.sampling(COUNT)?;
    let folder = RunFolder::open(&args.run)?;
    let Weights { checkpoint, average } = args.weights.of(&folder)?;
    let sampling = sampling_of(args, &checkpoint, solver)?;
    check_overwriting(args, &checkpoint, sampling.count)?;
    let table = sampling.table(&checkpoint.config.objective()?, None)?;
    let calls = Evaluations::of(&sampling, &table);
    let process = describe(args, &checkpoint, &sampling, (&table, &calls))?;
    warn_of_late_start(&checkpoint, &sampling)?;
    let device = args.common.open_for(args.precision, args.storage)?;
    Ok(Prepared { checkpoint, average, sampling, calls, process, device })
}

pub fn run(args: &SampleArgs) -> anyhow::Result<ExitCode> {
    let Prepared { checkpoint, average, sampling, calls, process, device } = agreed(prepare(args))?;
    if is_follower() {
        agreed(Ok(()))?;
        sample_in_parts(&device, &checkpoint, &sampling, &mut |_| true, &mut |_| Ok(()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (facts, drawn, seed) = (&checkpoint.facts, sampling.count, sampling.seed);
    let out = Output::of_samples(&args.out, facts.layout(), drawn, facts.sample_rate);
    let mut out = agreed(out.map_err(Into::into))?.of_classes(classes(facts, &sampling));
    if !args.common.json {
        average.iter().for_each(|average| say!("{average}"));
        say!("{process}");
    }
    let (started, stopped) = (std::time::Instant::now(), stop_flag()?);
    let mut meter = Meter::new("drawing samples", args.common.json);
    let mut observe = |progress| {
        meter.show(progress);
        !stopped.load(Ordering::Relaxed)
    };
    let clipped = sample_in_parts(&device, &checkpoint, &sampling, &mut observe, &mut |part| out.write(part))?;
    drop(meter);
    let scale = |drawn: &[f32]| Scale::of_data(facts.kind, &facts.shape, &facts.range, drawn).labelled(&facts.columns);
    let held = out.finish(scale)?;
    let seconds = started.elapsed().as_secs_f64();
    if let Some(path) = &args.save_noise {
        save_noise(path, facts, &sampling)?;
    }
    let traced = if args.trace.is_empty() { None } else { Some(write_trace(args, &device, &checkpoint, &sampling)?) };
    if args.common.json {
        let shape = [&[drawn], &facts.shape[..]].concat();
        let times = traced.map(|trace| trace.times);
        say!(
            "{}",
            json!({"out": args.out, "held": held, "shape": shape, "seed": seed, "clipped": clipped, "seconds": seconds,
                   "device": device.name(), "process": process, "classes": classes(facts, &sampling),
                   "guidance": sampling.conditions.guidance.scale, "evaluations": calls.own,
                   "guide": args.guide, "guide_evaluations": calls.guide,
                   "save_noise": args.save_noise, "trace": args.trace, "times": times, "weights": average})
        );
        return Ok(ExitCode::SUCCESS);
    }
    let written = match extension(&args.out).as_str() {
        "wav" if drawn > 1 => {
            let [first, last] = [0, drawn - 1].map(|i| plot::numbered(&args.out, i, drawn));
            format!("{} to {}", first.display(), last.display())
        }
        _ => args.out.display().to_string(),
    };
    say!("{} with seed {seed} in {seconds:.1} s: {written}", samples(held, drawn, &facts.shape));
    report(args, &checkpoint, clipped, traced.as_ref());
    Ok(ExitCode::SUCCESS)
}

/// Checks that no output is a file that is read.
fn check_overwriting(args: &SampleArgs, checkpoint: &Checkpoint, drawn: usize) -> crate::Result<()> {
    let mut outputs: Vec<PathBuf> = args.save_noise.iter().chain(&args.trace).cloned().collect();
    match extension(&args.out).as_str() {
        "wav" => outputs.extend((0..drawn).map(|i| plot::numbered(&args.out, i, drawn))),
        _ => outputs.push(args.out.clone()),
    }
    for out in &outputs {
        args.noise.iter().try_for_each(|noise| data::check_apart("--out", out, &noise.to_string_lossy()))?;
        let mut inputs = checkpoint.config.inputs().chain(args.condition.files());
        inputs.try_for_each(|file| data::check_apart("--out", out, file))?;
    }
    Ok(())
}

/// The settings of sampling, with the noise and the conditions. By default, there are as many samples as are given.
fn sampling_of(args: &SampleArgs, checkpoint: &Checkpoint, solver: Sampling) -> crate::Result<Sampling> {
    let facts = &checkpoint.facts;
    let noise = args.noise.as_ref().map(|path| read_noise(path, facts, args.count)).transpose()?;
    let conditions = args.condition.conditions(checkpoint)?;
    let given = noise.as_ref().map(Dataset::len);
    let count = args.count.or(given).or(conditions.known.len()).unwrap_or(COUNT.max(conditions.classes.len()));
    if conditions.classes.len() > count {
        return Err(Error::setting(format!(
            "--class names {} classes for {}; use --count {0} or more",
            conditions.classes.len(),
            text::count(count, "sample")
        )));
    }
    let (clip, seed, noise) = (!args.no_clip, args.common.seed.unwrap_or(0), noise.map(|noise| noise.values.into()));
    let guide = args.guide.as_deref().map(|path| RunFolder::open(path)?.checkpoint()).transpose()?.map(Arc::new);
    Ok(Sampling { count, clip, seed, noise, conditions, guide, ranks: team(), ..solver })
}

/// What is said after the samples.
fn report(args: &SampleArgs, checkpoint: &Checkpoint, clipped: f64, traced: Option<&Trace>) {
    let facts = &checkpoint.facts;
    // Many pixels of an image are black or white, the limits themselves.
    if clipped > 0.0 && facts.kind != Kind::Images {
        let share = short(100.0 * clipped);
        say!("{share}% of the values were clipped to the range of the training data; --no-clip does not clip");
    }
    if let Some(missing) = checkpoint.config.read.missing {
        say!("no generated value is missing, because the data were read with --missing {missing}");
    }
    if let Some(path) = &args.save_noise {
        say!("initial noise: {}", path.display());
    }
    if let Some(trace) = traced {
        let (n, calls) = (trace.samples.len() / facts.shape.iter().product::<usize>(), trace.times.len());
        let paths: Vec<String> = args.trace.iter().map(|path| path.display().to_string()).collect();
        let what =
            format!("states and estimates of {} at {}", text::count(n, "sample"), text::count(calls, "evaluation"));
        say!("{what}: {}", paths.join(", "));
    }
}

/// One line about the reverse process: sampler, steps, spacing and evaluations of the network.
fn describe(
    args: &SampleArgs,
    checkpoint: &Checkpoint,
    sampling: &Sampling,
    (table, Evaluations { own, guide }): (&SamplerTable, &Evaluations),
) -> crate::Result<String> {
    let objective = checkpoint.config.objective()?;
    let spacing = match &sampling.timesteps {
        Some(_) => "given steps".to_string(),
        None => format!("{} spacing", sampling.spacing.unwrap_or_else(|| sampling.sampler.default_spacing(&objective))),
    };
    let steps = text::count(table.levels.len(), "step");
    let mut calls = format!("{} of the network", text::count(*own, "evaluation"));
    if let Some(path) = &args.guide {
        calls += &format!(" and {guide} of its guide {}", path.display());
    }
    let (facts, guidance) = (&checkpoint.facts, sampling.conditions.guidance.scale);
    let names = classes(facts, sampling);
    let more = if names.len() > MOST_NAMES { ", ..." } else { "" };
    let classes = match &names[..] {
        [] => String::new(),
        [one] => format!("; class {one}"),
        several => format!("; classes {}{more} in turn", several[..several.len().min(MOST_NAMES)].join(", ")),
    };
    let guided = if guidance == 1.0 { String::new() } else { format!("; guidance {}", short(guidance)) };
    Ok(format!("sampler: {}; {steps}, {spacing}, {calls}{classes}{guided}", sampling.sampler))
}

/// The number of class names in the line about the reverse process.
const MOST_NAMES: usize = 12;

/// The evaluations of networks for a sample.
struct Evaluations {
    /// Of the network of the run.
    own: usize,
    /// Of its guide.
    guide: usize,
}

impl Evaluations {
    fn of(sampling: &Sampling, table: &SamplerTable) -> Self {
        let (guided, rows) = (sampling.conditions.guidance.scale != 1.0, table.rows.len());
        match (guided, &sampling.guide) {
            (true, Some(_)) => Self { own: rows, guide: rows },
            (true, None) => Self { own: 2 * rows, guide: 0 },
            (false, _) => Self { own: rows, guide: 0 },
        }
    }
}

/// The names of the classes that the samples have in turn.
fn classes(facts: &Facts, sampling: &Sampling) -> Vec<String> {
    let conditions = &facts.conditions;
    let name = |class: u32| match class as usize {
        unknown if unknown == conditions.classes => "none".to_string(),
        class => conditions.names.get(class).cloned().unwrap_or_else(|| class.to_string()),
    };
    match &sampling.conditions.classes[..] {
        [] => (0..conditions.classes as u32).map(name).collect(),
        some => some.iter().map(|class| name(*class)).collect(),
    }
}

/// Warns if the first of the steps that are used does not start from noise.
fn warn_of_late_start(checkpoint: &Checkpoint, sampling: &Sampling) -> crate::Result<()> {
    let objective = checkpoint.config.objective()?;
    let Some(first) = sampling.timesteps.as_ref().and_then(|steps| steps.first()) else { return Ok(()) };
    let share = objective.level(*first as f64).a;
    if share > MOST_DATA {
        log::warn!(
            "--timesteps starts at {first}, where the training data have the weight {}, but the samples start from pure noise; \
             start at {}, or draw from noisy data with: langevin denoise",
            short(share),
            objective.steps() - 1
        );
    }
    Ok(())
}

/// The largest weight of the data at the first step without a warning.
const MOST_DATA: f64 = 0.3;

/// Checks the files of `--save-noise` and `--trace` before the work.
fn check_further_outputs(args: &SampleArgs) -> crate::Result<()> {
    let noise = args.save_noise.iter().map(|path| ("--save-noise", path, &["npy"][..]));
    let traces = args.trace.iter().map(|path| ("--trace", path, &["npy", "png", "svg"][..]));
    let mut written = vec![("--out", &args.out)];
    for (option, path, extensions) in noise.chain(traces) {
        if !extensions.contains(&extension(path).as_str()) {
            let list = extensions.join(", .");
            return Err(Error::Setting(format!("{option} {}: the extension must be one of: .{list}", path.display())));
        }
        if let Some((other, _)) = written.iter().find(|(_, known)| *known == path) {
            let text = format!("{option} {}: this is also {other}; choose another name", path.display());
            return Err(Error::Setting(text));
        }
        check_path(path)?;
        written.push((option, path));
    }
    Ok(())
}

/// The layout of noise, which has no units.
fn noise_layout<'a>(facts: &'a Facts, columns: &'a Columns) -> SampleLayout<'a> {
    SampleLayout { kind: facts.kind, shape: &facts.shape, columns }
}

/// Reads initial noise for at least `count` samples.
fn read_noise(path: &Path, facts: &Facts, count: Option<usize>) -> crate::Result<Dataset> {
    let (name, columns) = (path.to_string_lossy(), Columns::default());
    let noise = Dataset::load_for(&name, 0, &ReadOptions::default(), noise_layout(facts, &columns), false)
        .map_err(data::without_options)?;
    if noise.shape != facts.shape {
        return Err(Error::Input(format!(
            "--noise {name}: samples of shape {:?}, but the model was trained on {:?}",
            noise.shape, facts.shape
        )));
    }
    if let Some(count) = count.filter(|count| *count > noise.len()) {
        return Err(Error::Setting(format!(
            "--count {count}, but --noise {name} has only {} samples; use --count {1} or less",
            noise.len(),
            noise.len()
        )));
    }
    let n = noise.values.len() as f64;
    let square = noise.values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
    // Six standard errors of the mean square of normal numbers.
    if (square - 1.0).abs() > 6.0 * (2.0 / n).sqrt() {
        return Err(Error::Input(format!(
            "--noise {name}: the root mean square is {}, but initial noise is standard normal; use a file of --save-noise",
            short(square.sqrt())
        )));
    }
    Ok(noise)
}

/// Writes the initial noise.
fn save_noise(path: &Path, facts: &Facts, sampling: &Sampling) -> crate::Result<()> {
    let columns = Columns::default();
    let width: usize = facts.shape.iter().product();
    let mut out = Output::create(path, noise_layout(facts, &columns), sampling.count)?;
    let mut part = vec![0.0; COUNT * width];
    for first in (0..sampling.count).step_by(COUNT) {
        let part = &mut part[..COUNT.min(sampling.count - first) * width];
        starting_noise(sampling.seed, first * width, part);
        out.write(part)?;
    }
    out.finish(|all| Scale::of(facts.kind, &facts.shape, all)).map(drop)
}

/// Draws the first samples again, step by step, and writes what `--trace` asks for.
fn write_trace(
    args: &SampleArgs,
    device: &Device,
    checkpoint: &Checkpoint,
    sampling: &Sampling,
) -> crate::Result<Trace> {
    let facts = &checkpoint.facts;
    let most = if matches!(facts.kind, Kind::Points | Kind::Table) { TRACED_POINTS } else { TRACED };
    let trace = trace(device, checkpoint, &Sampling { count: sampling.count.min(most), ..sampling.clone() })?;
    for path in &args.trace {
        match extension(path).as_str() {
            "npy" => save_trace(path, facts, &trace)?,
            _ => draw_trace(path, facts, &trace)?,
        }
    }
    Ok(trace)
}

/// The array [2, evaluations, samples, ...] of states and estimates.
fn save_trace(path: &Path, facts: &Facts, trace: &Trace) -> crate::Result<()> {
    let n = trace.samples.len() / facts.shape.iter().product::<usize>();
    let shape = [&[trace.times.len(), n], &facts.shape[..]].concat();
    let columns = Columns::default();
    let layout = SampleLayout { kind: Kind::of(&shape), shape: &shape, columns: &columns };
    let mut out = Output::create(path, layout, 2)?;
    out.write(&trace.states.concat())?;
    out.write(&trace.estimates.concat())?;
    out.finish(|all| Scale::of(facts.kind, &shape, all)).map(drop)
}

/// A film strip: the states above the estimates, at evenly spaced evaluations.
fn draw_trace(path: &Path, facts: &Facts, trace: &Trace) -> crate::Result<()> {
    let calls = trace.times.len();
    let columns = calls.min(COLUMNS);
    let shown: Vec<usize> = (0..columns).map(|i| i * (calls - 1) / (columns - 1).max(1)).collect();
    let block = |name: &str, values: &[Vec<f32>]| -> Vec<(String, Vec<f32>)> {
        shown.iter().map(|&k| (format!("{name}, t = {}", short(trace.times[k])), values[k].clone())).collect()
    };
    let mut all = block("x", &trace.states);
    all.extend(block("x0", &trace.estimates));
    let snapshots: Vec<(String, &[f32])> = all.iter().map(|(title, values)| (title.clone(), &values[..])).collect();
    let scale = match facts.kind {
        Kind::Images => Scale::of_data(facts.kind, &facts.shape, &facts.range, &trace.samples),
        _ => Scale::of(facts.kind, &facts.shape, &all.iter().flat_map(|(_, v)| v.iter().copied()).collect::<Vec<_>>()),
    };
    plot::film_blocks(path, facts.kind, &facts.shape, &snapshots, columns, &scale.labelled(&facts.columns))
}
