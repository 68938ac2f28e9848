//! `langevin train`

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::data::corrupt::{NoiseKind, add_noise};
use crate::data::{Dataset, Kind, Subset};
use crate::diffusion::{Prediction, Weighting};
use crate::evaluate::{Denoised, compare_denoised};
use crate::inference::{Denoising, Observer, Sampling, denoise_in_parts, sample_in_parts};
use crate::nn::{MODELS, Model, StepEncoding};
use crate::ops::{Decay, OptimizerKind};
use crate::plot::{self, Scale, evenly_spaced};
use crate::text::{self, grouped};
use crate::train::{Checkpoint, Config, LossMix, Progress, RunFolder, Stop, Task, Trainer, train};
use crate::{Device, Error, Precision};
use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::interrupt::stop_flag;
use super::progress::Meter;
use super::{Common, quoted, real, whole};

#[derive(Args)]
pub struct TrainArgs {
    /// A .npy, .npz, .csv, .tsv, IDX or .wav file, a folder of images, or a toy: sine, moons, circles, swissroll
    #[arg(required_unless_present_any = ["resume", "config"])]
    data: Option<String>,
    /// The run folder
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// Settings in TOML, in the form of a run's config.toml; other options win over it
    #[arg(long, value_name = "F.toml")]
    config: Option<PathBuf>,
    /// diffusion (default), or denoise: clean from noisy samples, with the noise of --noise drawn anew in each step
    #[arg(long)]
    task: Option<Task>,
    /// The noise that a denoiser takes out, such as gaussian:0.1 (see langevin noise --help)
    #[arg(long, value_name = "KIND:STRENGTH")]
    noise: Option<NoiseKind>,
    #[arg(long, help = format!("The network: {}; mlp by default, unet is for signals and images", MODELS.join(", ")))]
    model: Option<String>,
    /// Training steps
    #[arg(long, value_parser = whole::<u32>, allow_negative_numbers = true)]
    steps: Option<u32>,
    /// Samples in a step
    #[arg(long, value_parser = whole::<usize>, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Samples on the device at a time: the gradients of such parts of a batch are summed, which takes less memory
    #[arg(long, value_name = "M", value_parser = whole::<usize>, allow_negative_numbers = true)]
    micro_batch: Option<usize>,
    /// Learning rate
    #[arg(long, value_parser = real, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Noise schedule: linear, scaled_linear, cosine, sigmoid, sigmoid_alphabar, linear_scaled_T
    #[arg(long)]
    schedule: Option<String>,
    /// What the network predicts: epsilon, x0 or v
    #[arg(long)]
    prediction: Option<Prediction>,
    /// mse, mse_document, l1, huber, ssim, perceptual:1:FILE, or several with weights: l1:1,ssim:0.1
    #[arg(long)]
    loss: Option<LossMix>,
    /// Weight of each step: none, snr, snr_plus_one, truncated_snr, min_snr:GAMMA or p2:GAMMA
    #[arg(long)]
    weighting: Option<Weighting>,
    /// How the network is told the step: sinusoidal, halves, learned or fourier
    #[arg(long, value_name = "NAME")]
    step_encoding: Option<StepEncoding>,
    /// sgd, sgd_momentum, sgd_nesterov, adam, adam_keras or adamw
    #[arg(long)]
    optimizer: Option<OptimizerKind>,
    /// Course of the learning rate: constant, cosine (down to 0 at the last step) or inverse_sqrt
    #[arg(long)]
    decay: Option<String>,
    /// Steps in which the learning rate grows from 0 (cosine), or stays before it falls (inverse_sqrt)
    #[arg(long, value_parser = whole::<u32>, allow_negative_numbers = true)]
    warmup: Option<u32>,
    /// f32 (default), or f16: products by a GPU's cooperative matrices ("tensor cores"), with sums and weights in f32
    #[arg(long)]
    precision: Option<Precision>,
    /// The part of the data that is held out, such as 0.1; its loss is a column of metrics.csv and a curve of loss.svg
    #[arg(long, value_name = "PART", value_parser = real, allow_negative_numbers = true)]
    validation: Option<f64>,
    /// Steps between evaluations on the held-out data
    #[arg(long, value_name = "N", value_parser = whole::<u32>, allow_negative_numbers = true)]
    validation_every: Option<u32>,
    /// Stop after so many evaluations without a better validation loss
    #[arg(long, value_name = "PATIENCE", value_parser = whole::<u32>, allow_negative_numbers = true)]
    early_stop: Option<u32>,
    /// Keep the state with the best validation loss as best.safetensors; sample it with --best
    #[arg(long)]
    keep_best: bool,
    /// Train a run in --out for each value of a setting of config.toml, such as lr=0.001,0.01 or width=64,256
    #[arg(long, value_name = "KEY=V1,V2")]
    pub sweep: Option<String>,
    /// Continue the run in --out; with the command of a --sweep, what it has not done
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let Session { mut trainer, folder, device, shown } = if args.resume { resume(args)? } else { start(args)? };
    describe(&trainer, args.common.json);
    if trainer.step() == trainer.config().steps && !args.common.json {
        let more = match trainer.config().decay {
            Decay::Cosine { .. } => "its learning rate is down to 0 (decay cosine), so more of them need a new run",
            _ => "more of them: --resume --steps N",
        };
        say!("the run has done all of its {}; {more}", text::count(trainer.step() as usize, "step"));
    }
    let stopped = stop_flag()?;
    let started = Instant::now();
    let stop = watched(&folder, &mut trainer, &stopped, args.common.json)?;
    if stop == Stop::Asked {
        let (step, steps, out) = (trainer.step(), trainer.config().steps, quoted(&args.out.to_string_lossy()));
        let device = args.common.device.as_ref().map(|name| format!(" --device {}", quoted(name))).unwrap_or_default();
        let text = format!(
            "stopped at step {step} of {steps}, which is saved; go on with: langevin train --out {out} --resume{device}"
        );
        return Err(Error::Interrupted(text).into());
    }
    if stop == Stop::Early && !args.common.json {
        say!("{}", stopped_early(trainer.step(), trainer.config().early_stop));
    }
    let session = Session { trainer, folder, device, shown };
    finish(args, &session, &stopped, started)?;
    Ok(ExitCode::SUCCESS)
}

/// A run that is trained.
struct Session {
    trainer: Trainer,
    folder: RunFolder,
    device: Device,
    shown: Shown,
}

/// Samples for the picture at the end, so that the data need not be there until then.
struct Shown {
    samples: Dataset,
    /// What they are, for people.
    what: String,
    held_out: bool,
}

impl Shown {
    fn of(config: &Config, data: &Dataset) -> crate::Result<Self> {
        let held_out = if config.noise.is_some() { config.held_out(data)? } else { None };
        let (is_held_out, all) = (held_out.is_some(), held_out.unwrap_or(Subset::all(data)));
        let most = match (config.noise, data.kind()) {
            (Some(_), _) => 1_024,
            (None, Kind::Points) => 2_000,
            (None, _) => 64,
        };
        let samples = all.evenly_spaced(most)?;
        let some = if samples.len() < all.len() { format!("{} of ", samples.len()) } else { String::new() };
        let what = format!("{some}the {}", if is_held_out { "held-out samples" } else { "training data" });
        Ok(Self { samples, what, held_out: is_held_out })
    }
}

/// Why an early stop, and how to go on all the same.
fn stopped_early(step: u32, patience: u32) -> String {
    format!(
        "stopped early at step {step}: the validation loss did not get better {} in a row; to go on all the same: \
         --resume --early-stop {}, or 0 for never",
        text::count(patience as usize, "time"),
        2 * patience
    )
}

/// Trains with the live line.
pub(super) fn watched(
    folder: &RunFolder,
    trainer: &mut Trainer,
    stopped: &AtomicBool,
    json: bool,
) -> crate::Result<Stop> {
    let mut display = Display::new(trainer.step(), trainer.config().steps, json);
    let stop = train(folder, trainer, &mut |p| {
        display.show(p);
        !stopped.load(Ordering::Relaxed)
    });
    display.finish();
    stop
}

/// A new run.
fn start(args: &TrainArgs) -> anyhow::Result<Session> {
    let config = settings(args)?;
    config.check()?;
    let folder = RunFolder::vacant(&args.out)?;
    let data = Dataset::load(&config.data, config.seed)?;
    config.training_samples(data.len()).and_then(|n| config.batch_for(n))?;
    let device = args.common.open_for(config.precision)?;
    let (trainer, shown) = (start_run(args, &folder, &device, &config, &data)?, Shown::of(&config, &data)?);
    Ok(Session { trainer, folder, device, shown })
}

/// Begins a run in a folder that is vacant.
pub(super) fn start_run(
    args: &TrainArgs,
    folder: &RunFolder,
    device: &Device,
    config: &Config,
    data: &Dataset,
) -> crate::Result<Trainer> {
    let trainer = Trainer::new(device, config, data)?;
    if folder.is_unfinished() && !args.common.json {
        say!("the folder holds a run that ended before its first checkpoint; this one takes its place");
    }
    folder.write_config(trainer.config())?;
    Ok(trainer)
}

/// The settings that the command states, with its data.
pub(super) fn settings(args: &TrainArgs) -> crate::Result<Config> {
    let config = stated(args)?;
    if config.data.is_empty() {
        return Err(Error::Setting("no data: name a file or a toy before --out, or state data = in --config".into()));
    }
    Ok(config)
}

fn stated(args: &TrainArgs) -> crate::Result<Config> {
    let mut config = match &args.config {
        Some(path) => Config::read(path, args.model.as_deref())?,
        None => Config::for_model(args.model.as_deref().unwrap_or("mlp"))?,
    };
    config.facts = None;
    set(&mut config.data, &args.data);
    config.set_steps(args.steps.unwrap_or(config.steps));
    if args.batch == Some(0) {
        return Err(Error::Setting("a batch of 0 samples; use --batch 1 or more".into()));
    }
    overrule(&mut config, args)?;
    reject_unused_options(&config, args)?;
    Ok(config)
}

/// Refuses options that would change nothing.
fn reject_unused_options(config: &Config, args: &TrainArgs) -> crate::Result<()> {
    for (option, stated) in [("--schedule", args.schedule.is_some()), ("--prediction", args.prediction.is_some())] {
        if stated && config.task == Task::Denoise {
            return Err(Error::Setting(format!(
                "{option} is of a diffusion, and --task denoise has none; leave it out"
            )));
        }
    }
    if args.validation_every.is_some() && config.validation == 0.0 {
        return Err(Error::Setting("--validation-every needs held-out data; add --validation 0.1".into()));
    }
    Ok(())
}

/// What the options say over the settings, but for steps, data and the name of the model.
fn overrule(config: &mut Config, args: &TrainArgs) -> crate::Result<()> {
    set(&mut config.task, &args.task);
    set(&mut config.noise, &args.noise.map(Some));
    set(&mut config.batch, &args.batch);
    set(&mut config.micro_batch, &args.micro_batch);
    set(&mut config.lr, &args.lr);
    set(&mut config.schedule, &args.schedule);
    set(&mut config.prediction, &args.prediction);
    set(&mut config.loss, &args.loss);
    set(&mut config.weighting, &args.weighting);
    set(&mut config.precision, &args.precision);
    if let Some(kind) = args.step_encoding {
        let name = config.model.name();
        let step = config.model.step_encoder_mut().ok_or_else(|| {
            Error::Setting(format!("--step-encoding {kind}: the network {name} is not told the step; leave it out"))
        })?;
        step.kind = kind;
    }
    set(&mut config.optimizer, &args.optimizer);
    set(&mut config.seed, &args.common.seed);
    set(&mut config.validation, &args.validation);
    set(&mut config.validation_every, &args.validation_every);
    set(&mut config.early_stop, &args.early_stop);
    config.keep_best |= args.keep_best;
    config.decay = decay(config, args)?;
    Ok(())
}

/// The course of the learning rate.
fn decay(config: &Config, args: &TrainArgs) -> crate::Result<Decay> {
    match (args.decay.as_deref(), config.decay, args.warmup) {
        (Some(name), _, warmup) => config.decay_named(name, warmup),
        (None, unchanged, None) => Ok(unchanged),
        (None, Decay::Cosine { total, .. }, Some(warmup)) => Ok(Decay::Cosine { warmup, total }),
        (None, Decay::InverseSqrt { .. }, Some(hold)) => Ok(Decay::InverseSqrt { hold }),
        (None, Decay::Constant, warmup) => config.decay_named("constant", warmup),
    }
}

fn set<T: Clone>(setting: &mut T, option: &Option<T>) {
    if let Some(value) = option {
        *setting = value.clone();
    }
}

/// A run that goes on: its settings are those it began with, only its end and the place of its data may be others.
fn resume(args: &TrainArgs) -> anyhow::Result<Session> {
    let folder = RunFolder::open(&args.out)?;
    folder.lock()?;
    let checkpoint = folder.checkpoint()?;
    let began = &checkpoint.config;
    let mut wanted = if args.config.is_some() { stated(args)? } else { began.clone() };
    // A file for --config may leave out when the run ends, and where the data are.
    (wanted.steps, wanted.early_stop, wanted.data) = (began.steps, began.early_stop, began.data.clone());
    if let Some(name) = args.model.as_deref().filter(|name| *name != wanted.model.name()) {
        wanted.model = Model::named(name)?;
    }
    overrule(&mut wanted, args)?;
    set(&mut wanted.steps, &args.steps);
    set(&mut wanted.data, &args.data);
    let config = checkpoint.continued(&wanted)?;
    if config.steps != began.steps && folder.ended(&config, checkpoint.step) == Some(Stop::Early) {
        return Err(Error::Setting(stopped_early(checkpoint.step, config.early_stop)).into());
    }
    let device = args.common.open_for(config.precision)?;
    let data = data_of(&config)?;
    let trainer = resume_run(&folder, &device, &config, &checkpoint, &data)?;
    let shown = Shown::of(&config, &data)?;
    Ok(Session { trainer, folder, device, shown })
}

/// The data of a run that is continued.
pub(super) fn data_of(config: &Config) -> anyhow::Result<Dataset> {
    let moved = "the data of the run cannot be read again (if they moved: langevin train DATA --out RUN --resume)";
    Dataset::load(&config.data, config.seed).context(moved)
}

/// Continues a run, with settings that [`Checkpoint::continued`] gave.
pub(super) fn resume_run(
    folder: &RunFolder,
    device: &Device,
    config: &Config,
    checkpoint: &Checkpoint,
    data: &Dataset,
) -> anyhow::Result<Trainer> {
    let mut trainer = Trainer::new(device, config, data)?;
    trainer.restore(checkpoint)?;
    folder.write_config(trainer.config())?;
    Ok(trainer)
}

fn describe(trainer: &Trainer, json: bool) {
    if json {
        return;
    }
    let config = trainer.config();
    let facts = config.facts.as_ref().expect("a trainer has measured its data");
    let n = &facts.normalisation;
    let kind = format!("{:?}", facts.kind).to_lowercase();
    say!("data: {} {kind} of shape {:?} from {}", facts.samples, facts.shape, config.data);
    say!("normalisation: (x - {:?}) / {:?}, then within +-{:.2}", n.shift, n.scale, n.bound);
    let parameters = grouped(trainer.run().graph().parameter_count());
    if (&config.loss, config.weighting) != (&LossMix::default(), Weighting::None) {
        say!("loss: {}; weighting of the steps: {}", config.loss, config.weighting);
    }
    match &config.noise {
        Some(noise) => {
            say!("model: {}, {parameters} parameters, gives clean from noisy samples", config.model.name());
            say!("noise: {noise}, drawn anew in each step");
        }
        None => {
            say!("model: {}, {parameters} parameters, predicts {}", config.model.name(), config.prediction);
            config.noise_schedule().iter().for_each(|schedule| say!("noise schedule: {schedule}"));
        }
    }
    if config.validation > 0.0 {
        let kept = config.training_samples(facts.samples).unwrap_or(facts.samples);
        let (every, weights) = (config.validation_every, if config.ema > 0.0 { "averaged weights" } else { "weights" });
        say!(
            "validation: {} held out, {kept} trained on; every {}, {weights}",
            text::count(facts.samples - kept, "sample"),
            text::count(every as usize, "step")
        );
    }
    let (batch, lr, optimizer) = (trainer.batch(), config.lr, &config.optimizer);
    let (dispatches, mib) = (trainer.run().dispatches(), trainer.allocated() >> 20);
    if let Some(micro) = trainer.split() {
        say!("the batch of {batch} does not fit this device at once: gradients are summed over parts of {micro}");
    } else if (1..batch).contains(&config.micro_batch) {
        say!("the gradients of a batch of {batch} are summed over parts of {}", config.micro_batch);
    }
    say!(
        "training: {}, batch {batch}, {optimizer}, lr {lr}; {dispatches} ops a step, {mib} MiB of device memory",
        text::count(config.steps as usize, "step")
    );
}

/// The live line: a bar on a terminal, a line for each tenth otherwise.
struct Display {
    bar: ProgressBar,
    plain: bool,
    tenth: u32,
    steps: u32,
}

impl Display {
    fn new(step: u32, steps: u32, silent: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && !silent { ProgressBar::new(steps as u64) } else { ProgressBar::hidden() };
        let style = "{bar:24} step {pos}/{len}  loss {msg}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        bar.set_position(step as u64);
        bar.reset_eta();
        Self { bar, plain: !terminal && !silent, tenth: step * 10 / steps, steps }
    }

    fn show(&mut self, p: Progress) {
        let validation = p.validation.map(|loss| format!("  validation {loss:.4}")).unwrap_or_default();
        let message = format!("{:.4}{validation}  {:.0} steps/s", p.loss, p.steps_per_second);
        self.bar.set_position(p.step as u64);
        self.bar.set_message(message.clone());
        let tenth = (p.step as u64 * 10 / self.steps as u64) as u32;
        if self.plain && tenth > self.tenth {
            self.tenth = tenth;
            let left = (p.steps - p.step) as f64 / p.steps_per_second;
            say!("step {}/{}  loss {message}  {left:.0} s left", p.step, p.steps);
        }
    }

    fn finish(&self) {
        self.bar.finish();
    }
}

/// Shows what the network can do, and says how the run went and where everything is.
fn finish(args: &TrainArgs, session: &Session, stopped: &AtomicBool, started: Instant) -> anyhow::Result<()> {
    let Session { trainer, folder, device, shown } = session;
    let config = trainer.config();
    std::fs::create_dir_all(folder.file("samples")).context("cannot make the folder samples")?;
    let mut meter = Meter::new("drawing samples", args.common.json);
    let mut observe = |progress| {
        meter.show(progress);
        !stopped.load(Ordering::Relaxed)
    };
    let drawn = match config.noise {
        Some(noise) => show_denoised(session, noise, &mut observe).map(Some),
        None => show_samples(session, &mut observe).map(|()| None),
    };
    drop(meter);
    let denoised = drawn.map_err(|e| match e {
        Error::Interrupted(_) => Error::Interrupted(format!(
            "stopped while samples were drawn for {}; the training is done and saved",
            folder.file("samples/compare.svg").display()
        )),
        other => other,
    })?;
    let (picture, summary) = (folder.file("samples/compare.svg"), folder.summary()?);
    let seconds = started.elapsed().as_secs_f64();
    if args.common.json {
        let mut report = json!({"run": args.out, "steps": trainer.step(), "loss": summary.loss, "validation": summary.validation,
                   "best": summary.best.map(|(step, loss)| json!({"step": step, "validation": loss})),
                   "seconds": seconds, "device": device.name(), "picture": picture});
        if let Some(pairs) = denoised {
            report["compare"] = json!(pairs);
            report["held_out"] = json!(shown.held_out);
        }
        say!("{report}");
        return Ok(());
    }
    let number = |loss: Option<f64>| loss.map(|loss| format!("{loss:.6e}")).unwrap_or_default();
    let steps = text::count(trainer.step() as usize, "step");
    say!("done: {steps} in {seconds:.0} s, loss {}", number(summary.loss));
    if let Some((step, best)) = summary.best {
        let (last, weights) =
            (number(summary.validation), if config.ema > 0.0 { "averaged weights" } else { "weights" });
        say!("validation loss of the {weights}: {last}; the lowest was {best:.6e} at step {step}");
    }
    let out = quoted(&args.out.to_string_lossy());
    say!("run folder: {out} ({})", folder.files().join(", "));
    match denoised {
        Some(pairs) => {
            say!("on {} with new noise: {pairs}", shown.what);
            say!("noisy, denoised and clean side by side: {}", picture.display());
            say!("denoise with: langevin denoise {out} NOISY --out F.npy, and judge with --compare CLEAN");
        }
        None => {
            say!("real and generated side by side: {}", picture.display());
            say!("draw more with: langevin sample {out} --count 64 --out new.npy");
        }
    }
    Ok(())
}

/// Draws samples beside real ones.
fn show_samples(session: &Session, observe: &mut Observer) -> crate::Result<()> {
    let Session { trainer, folder, device, shown: Shown { samples: real, .. } } = session;
    let seed = trainer.config().seed;
    let count = if real.kind() == Kind::Points { real.len().max(256) } else { real.len() };
    let mut drawn = Vec::new();
    let mut take = |part: &[f32]| {
        drawn.extend_from_slice(part);
        Ok(())
    };
    sample_in_parts(device, &trainer.checkpoint()?, &Sampling { seed, ..Sampling::new(count) }, observe, &mut take)?;
    plot::save(&folder.file("samples/samples.npy"), &real.shape, &drawn)?;
    plot::compare(&folder.file("samples/compare.svg"), real.kind(), &real.shape, &real.values, &drawn)
}

/// Adds noise anew to the shown samples, takes it out, and shows both.
fn show_denoised(session: &Session, noise: NoiseKind, observe: &mut Observer) -> crate::Result<Denoised> {
    let Session { trainer, folder, device, shown: Shown { samples: clean, .. } } = session;
    let noisy = add_noise(device, clean, noise, trainer.config().seed + 1)?;
    let mut values = Vec::new();
    let mut take = |part: &[f32]| {
        values.extend_from_slice(part);
        Ok(())
    };
    denoise_in_parts(device, &trainer.checkpoint()?, &noisy, &Denoising::default(), observe, &mut take)?;
    let denoised = Dataset::new("denoised", clean.shape.clone(), values)?;
    plot::save(&folder.file("samples/samples.npy"), &denoised.shape, &denoised.values)?;
    let [before, after, shown] = [&noisy, &denoised, clean].map(|set| evenly_spaced(set, 36));
    let sets = [("noisy", &before[..]), ("denoised", &after), ("clean", &shown)];
    let (picture, scale) = (folder.file("samples/compare.svg"), Scale::of(clean.kind(), &clean.shape, &clean.values));
    plot::side_by_side(&picture, clean.kind(), &clean.shape, &sets, &scale)?;
    compare_denoised(&noisy, &denoised, clean)
}
