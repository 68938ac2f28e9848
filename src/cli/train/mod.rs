//! `langevin train`

mod drawing;
mod events;
mod live;
mod previews;
mod report;
mod session;
mod settings;
mod tensorboard;
mod watcher;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::data::corrupt::NoiseKind;
use crate::data::{MaskMix, Place};
use crate::diffusion::{LossTarget, Prediction, TrainingTimes, Weighting};
use crate::io::quoted;
use crate::nn::{MODELS, StepEncoding};
use crate::ops::{Decay, Edge, OptimizerKind};
use crate::text;
use crate::train::{LossMix, ObjectiveKind, ScheduleKind, Stop, Task, Trainer};
use crate::{Error, Precision};
use clap::Args;

use super::condition::ConditionArgs;
use super::interrupt::stop_flag;
use super::progress::show_reading;
use super::ranks::is_follower;
use super::reading::{READING, ReadArgs};
use super::{Common, QUIET, local, real, whole};
use events::LogFormat;
use previews::Every;
use session::Session;

pub use session::{Shown, data_of, resume_run, start_run};
pub use settings::New;
pub use watcher::{Watched, watched};

/// Groups of options.
const NETWORK: &str = "Options for the network and the optimizer";
const DIFFUSION: &str = "Options for diffusion and the loss";
const VALIDATION: &str = "Options for validation";
const WATCHING: &str = "Options to watch the training";

/// Train a model on data and store it in a run folder
///
/// The network, the number of steps, the batch size and the learning rate are chosen by the data unless they are stated.
/// Ctrl-C saves the run; --resume continues it. langevin serve shows the runs of a folder in the browser.
#[derive(Args)]
pub struct TrainArgs {
    /// A .npy, .npz, .csv, .tsv, IDX or .wav file, a .tar file of images, several as a pattern such as "part-*.npy", a folder of
    /// images, sounds or .npy files, or sine, ecg, moons, circles, swissroll or coastline
    #[arg(required_unless_present_any = ["resume", "config", "init"])]
    data: Option<String>,
    /// Run folder
    #[arg(long, value_name = "RUN", value_parser = local())]
    pub out: PathBuf,
    /// TOML file with settings, in the format of config.toml; other options override it
    #[arg(long, value_name = "F.toml")]
    config: Option<PathBuf>,
    /// Start from the weights of another run, with its settings unless options or --config change them
    #[arg(long, value_name = "RUN")]
    init: Option<PathBuf>,
    /// diffusion for a generative model (default), denoise for a denoiser of the noise in --noise, or complete for a model
    /// that fills gaps: see langevin complete --help
    #[arg(long)]
    task: Option<Task>,
    /// The noise that a denoiser removes, such as gaussian:0.1 (see langevin noise --help)
    #[arg(long, value_name = "KIND:STRENGTH")]
    noise: Option<NoiseKind>,
    /// Which values are hidden in the training of a model that fills gaps: point:SHARE, block:SHARE, future:SHARE with a
    /// share or a range of shares, a file of masks, or several, separated by commas
    /// [default: block:0.1-0.6,point:0.1-0.9,future:0.1-0.9]
    #[arg(long, value_name = "RULES")]
    mask: Option<MaskMix>,
    #[arg(help_heading = NETWORK, long, help = format!("Network: {} [default: chosen by the data]; unet is for signals and images", MODELS.join(", ")))]
    model: Option<String>,
    /// Number of training steps [default: chosen by the data]
    #[arg(help_heading = NETWORK, long, value_parser = whole::<u32>, allow_negative_numbers = true)]
    steps: Option<u32>,
    /// Samples per step [default: chosen by the data]
    #[arg(help_heading = NETWORK, long, value_parser = whole::<usize>, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Samples on the device at the same time: gradients are summed over micro-batches, which needs less memory
    #[arg(help_heading = NETWORK, long, value_name = "M", value_parser = whole::<usize>, allow_negative_numbers = true)]
    micro_batch: Option<usize>,
    /// Compute the blocks of a unet again in the backward pass instead of keeping them: it takes less memory and more time
    #[arg(help_heading = NETWORK, long)]
    recompute: bool,
    /// Learning rate [default: chosen by the data]
    #[arg(help_heading = NETWORK, long, value_parser = real, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Training objective: ddpm (default), flow (rectified flow) or edm
    #[arg(help_heading = DIFFUSION, long)]
    objective: Option<ObjectiveKind>,
    /// Distribution of the times of flow and edm: uniform, or log_normal:MEAN:DEVIATION of the noise level (logit_normal is the same)
    #[arg(help_heading = DIFFUSION, long, value_name = "TIMES", allow_hyphen_values = true)]
    times: Option<TrainingTimes>,
    /// Rescale the noise schedule so that it ends in pure noise (needs --prediction v, x0 or flow)
    #[arg(help_heading = DIFFUSION, long)]
    zero_terminal_snr: bool,
    /// Noise schedule of ddpm: linear, scaled_linear, cosine, sigmoid, sigmoid_alphabar, linear_scaled_T
    #[arg(help_heading = DIFFUSION, long)]
    schedule: Option<ScheduleKind>,
    /// What the network predicts: epsilon, x0, v, flow or edm [default: chosen by the network and the objective]
    #[arg(help_heading = DIFFUSION, long)]
    prediction: Option<Prediction>,
    /// The quantity whose error is the loss, if it is not the prediction: epsilon, x0, v or flow, with a floor as in flow:0.05
    #[arg(help_heading = DIFFUSION, long, value_name = "TARGET")]
    loss_target: Option<LossTarget>,
    /// Loss: mse, mse_document, l1, huber, ssim, perceptual:1:FILE, or a weighted sum such as l1:1,ssim:0.1
    #[arg(help_heading = DIFFUSION, long)]
    loss: Option<LossMix>,
    /// Loss weight of each diffusion step: none, snr, snr_plus_one, truncated_snr, min_snr:GAMMA or p2:GAMMA
    #[arg(help_heading = DIFFUSION, long)]
    weighting: Option<Weighting>,
    /// Step encoding of the network: sinusoidal, halves, learned or fourier
    #[arg(help_heading = NETWORK, long, value_name = "NAME")]
    step_encoding: Option<StepEncoding>,
    /// Keep two power-function averages of the weights and N snapshots of them, so that --ema LENGTH of sample, denoise and
    /// complete can choose the length of the average afterwards
    #[arg(help_heading = NETWORK, long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "16",
          value_parser = whole::<u32>)]
    ema_snapshots: Option<u32>,
    /// Optimizer: sgd, sgd_momentum, sgd_nesterov, adam, adam_keras or adamw
    #[arg(help_heading = NETWORK, long)]
    optimizer: Option<OptimizerKind>,
    /// Learning rate schedule: constant, cosine (down to 0 at the last step) or inverse_sqrt
    #[arg(help_heading = NETWORK, long)]
    decay: Option<String>,
    /// Steps of the linear warm-up (cosine), or steps before the learning rate falls (inverse_sqrt)
    #[arg(help_heading = NETWORK, long, value_parser = whole::<u32>, allow_negative_numbers = true)]
    warmup: Option<u32>,
    /// f32 (default), or f16: matrix products on the cooperative matrices ("tensor cores") of a GPU, with sums and weights in f32
    #[arg(help_heading = NETWORK, long)]
    precision: Option<Precision>,
    /// f32 (default), or f16: activations and their gradients take half of the memory, and are rounded when they are stored,
    /// on a GPU
    #[arg(help_heading = NETWORK, long)]
    storage: Option<Precision>,
    /// Fraction of the data that is held out, such as 0.1; its loss is added to metrics.csv and loss.svg
    #[arg(help_heading = VALIDATION, long, value_name = "FRACTION", value_parser = real, allow_negative_numbers = true)]
    validation: Option<f64>,
    /// Steps between two evaluations on the held-out data
    #[arg(help_heading = VALIDATION, long, value_name = "N", value_parser = whole::<u32>, allow_negative_numbers = true)]
    validation_every: Option<u32>,
    /// Stop after this many evaluations without improvement of the validation loss
    #[arg(help_heading = VALIDATION, long, value_name = "PATIENCE", value_parser = whole::<u32>, allow_negative_numbers = true)]
    early_stop: Option<u32>,
    /// Keep the state with the lowest validation loss as best.safetensors; use it with sample --best
    #[arg(help_heading = VALIDATION, long)]
    keep_best: bool,
    /// Train one run in --out for each value of a setting in config.toml, such as lr=0.001,0.01 or width=64,256
    #[arg(long, value_name = "KEY=V1,V2")]
    pub sweep: Option<String>,
    /// Continue the run in --out; with --sweep, finish the runs of the sweep
    #[arg(long)]
    pub resume: bool,
    /// Replace the run in --out
    #[arg(long, conflicts_with_all = ["resume", "sweep"])]
    pub force: bool,
    /// Do not draw samples after the training
    #[arg(long, conflicts_with = "sweep")]
    no_samples: bool,
    /// Previews of samples in the folder previews of the run, and a film of them at the end: auto (by time, at most a twentieth
    /// of it), off, or a number of steps between two of them
    #[arg(help_heading = WATCHING, long, value_name = "EVERY", default_value = "auto")]
    preview: Every,
    /// Progress as text, or as events for programs, one JSON object a line (jsonl)
    #[arg(help_heading = WATCHING, long, value_name = "FORMAT", default_value = "text")]
    log: LogFormat,
    /// Write event files for TensorBoard into the folder tensorboard of the run
    #[arg(help_heading = WATCHING, long)]
    tensorboard: bool,
    /// Print nothing but warnings and errors
    #[arg(help_heading = WATCHING, short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    #[command(flatten)]
    augment: AugmentArgs,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    read: ReadArgs,
    /// Where the values of arrays and pictures are during the training: in memory, or on disk for data that do not fit in memory; auto
    /// is disk for data that would fill more than a quarter of the memory. The results are the same [default: auto]
    #[arg(help_heading = READING, long, value_name = "AUTO|MEMORY|DISK")]
    data_from: Option<Place>,
    #[command(flatten)]
    pub common: Common,
}

impl TrainArgs {
    /// Settles what is printed: events instead of text, or nothing.
    pub fn settle_output(&mut self) {
        self.common.json |= self.log == LogFormat::Jsonl;
        QUIET.store(self.quiet && !self.common.json, Ordering::Relaxed);
    }
}

/// Random changes of the samples of each batch.
#[derive(Args)]
#[command(next_help_heading = "Options for augmentation of images and signals")]
struct AugmentArgs {
    /// Mirror half of the samples of each batch: images from left to right, signals in time
    #[arg(long)]
    flip: bool,
    /// Train on windows of N values, or N x N pixels, at random places of the samples: the model draws samples of this size
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    crop: Option<usize>,
    /// Shift samples by up to N places: images along both axes, signals in time
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    shift: Option<usize>,
    /// What follows beyond the edge of a shifted sample: repeat for its last value, or wrap for the opposite edge of a
    /// periodic one [default: repeat]
    #[arg(long, value_name = "EDGE")]
    shift_edge: Option<Edge>,
}

pub fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    show_reading(args.common.json || args.quiet);
    let mut session = if args.resume { session::resume(args)? } else { session::start(args)? };
    if !args.common.json {
        report::describe(&session, args.common.verbose > 0);
        say_if_finished(&session.trainer);
    }
    if args.quiet && !args.common.json && !is_follower() {
        session.data.notes.iter().filter(|note| note.warning).for_each(|note| log::warn!("{}", note.text));
    }
    let (stopped, started) = (stop_flag()?, Instant::now());
    let mut recovered = None;
    let Watched { stop, untrained, film } = loop {
        let Session { folder, device, trainer, shown, .. } = &mut session;
        match watched(args, (folder, device), trainer, &shown.samples, &stopped) {
            Ok(watched) => break watched,
            Err(Error::DeviceLost(text)) => session = recover(args, session, text, &mut recovered)?,
            Err(e) => return Err(e.into()),
        }
    };
    match stop {
        Stop::Requested => return Err(interrupted(args, &session).into()),
        Stop::Early if !args.common.json => {
            say!("{}", session::stopped_early(session.trainer.step(), session.trainer.config().early_stop));
        }
        _ => {}
    }
    report::finish(args, &mut session, &stopped, report::Training { time: started.elapsed(), untrained, film })?;
    Ok(ExitCode::SUCCESS)
}

/// Continues a run whose device was lost from its last checkpoint, on the device opened again. `recovered` is the step of
/// the last time, after which the run must have been saved again: a device that is lost again and again is not retried.
///
/// # Errors
/// [`Error::DeviceLost`] with `text` when the run cannot be continued.
fn recover(args: &TrainArgs, session: Session, text: String, recovered: &mut Option<u32>) -> crate::Result<Session> {
    let saved = session.folder.checkpoint().ok().map(|checkpoint| checkpoint.step);
    let Some(step) = saved.filter(|step| recovered.is_none_or(|before| *step > before)) else {
        return Err(Error::DeviceLost(text));
    };
    // The lost device frees its memory, and the folder its lock.
    drop(session);
    match session::resume(args) {
        Ok(again) => {
            log::warn!("{}: the device was lost; the run continues from step {step}", args.out.display());
            *recovered = Some(step);
            Ok(again)
        }
        Err(e) => {
            log::info!("the run cannot be continued: {e:#}");
            Err(Error::DeviceLost(text))
        }
    }
}

/// Says that a resumed run is finished, and how to train it further.
fn say_if_finished(trainer: &Trainer) {
    if trainer.step() < trainer.config().steps {
        return;
    }
    let more = match trainer.config().decay {
        Decay::Cosine { .. } => "its learning rate has decayed to 0 (decay cosine), so more steps need a new run",
        _ => "for more: --resume --steps N",
    };
    say!("the run has already completed all of its {}; {more}", text::count(trainer.step() as usize, "step"));
}

/// The error of an interrupted run, with the command that continues it.
fn interrupted(args: &TrainArgs, session: &Session) -> Error {
    let (step, steps) = (session.trainer.step(), session.trainer.config().steps);
    let out = quoted(&args.out.to_string_lossy());
    let device = args.common.device.as_ref().map(|name| format!(" --device {}", quoted(name))).unwrap_or_default();
    Error::Interrupted(format!(
        "stopped at step {step} of {steps}, which is saved; continue with: langevin train --out {out} --resume{device}"
    ))
}
