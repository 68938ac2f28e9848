//! What `langevin train` prints before and after the training, and the samples that it draws.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Error;
use crate::data::corrupt::NoiseKind;
use crate::data::{Kind, MaskMix, SampleLayout, without_secrets};
use crate::diffusion::Weighting;
use crate::evaluate::{Denoised, compare_denoised};
use crate::inference::Observer;
use crate::io::quoted;
use crate::plot::{self, evenly_spaced};
use crate::text::{self, grouped};
use crate::train::{Checkpoint, Config, LossMix, Normalise, PICTURE, SAMPLES, Summary, Trainer};
use serde_json::json;

use super::TrainArgs;
use super::drawing::{Drawing, complete, denoise, generate, scale_of, with_a_place};
use super::events::LogFormat;
use super::session::{Session, Shown};
use crate::cli::progress::Meter;
use crate::cli::reading::shown;

/// Prints data, model and settings before the training, in words that need no knowledge of diffusion models. `--verbose`
/// adds the details.
pub fn describe(session: &Session, verbose: bool) {
    let Session { trainer, choice, .. } = session;
    say!("{}", shown(&session.data));
    choice.iter().for_each(|choice| say!("{choice}"));
    describe_task(trainer, choice.is_none());
    describe_data(trainer);
    let (batch, config) = (trainer.batch(), trainer.config());
    if let Some(micro) = trainer.split() {
        say!("the batch of {batch} does not fit this device; gradients are summed over micro-batches of {micro}");
        if !config.recompute && trainer.run().graph().blocks() > 0 {
            say!("with --recompute, less memory is needed, so that micro-batches are larger or not needed");
        }
    } else if (1..batch).contains(&config.micro_batch) {
        say!("gradients of a batch of {batch} are summed over micro-batches of {}", config.micro_batch);
    }
    if trainer.ranks() > 1 {
        say!("each batch is shared by {} processes", trainer.ranks());
    }
    if verbose {
        describe_details(trainer);
    }
}

/// What the network learns.
fn describe_task(trainer: &Trainer, with_model: bool) {
    let (config, parameters) = (trainer.config(), grouped(trainer.run().graph().parameter_count()));
    if with_model {
        let steps = text::count(config.steps as usize, "step");
        say!("model {}, {steps} of batch {}, learning rate {}", config.model.name(), trainer.batch(), config.lr);
    }
    if let Some(conditions) = trainer.facts().conditions.describe() {
        say!("conditioned on {conditions}");
    }
    if !config.augment.is_none() {
        say!("samples of each batch are changed at random: {}", config.augment);
    }
    match &config.noise {
        Some(noise) => say!("the model has {parameters} parameters and learns to remove the noise {noise}"),
        None => say!("the model has {parameters} parameters and learns to turn noise into samples like the data"),
    }
    if let Some(mask) = &config.mask {
        say!("it is given what is left of a sample after hiding values at random: {}", mask.without_secrets());
    }
    if (&config.loss, config.weighting) != (&LossMix::default(), Weighting::None) {
        say!("loss: {}; weighting: {}", config.loss, config.weighting);
    }
}

fn describe_data(trainer: &Trainer) {
    let (config, facts) = (trainer.config(), trainer.facts());
    let limits =
        |[low, high]: [f32; 2], offset: f64| [low, high].map(|end| text::short(f64::from(end) + offset)).join(" to ");
    match (&facts.range[..], facts.kind) {
        _ if config.noise.is_some() => {}
        ([range], Kind::Images) => say!("samples are clipped to the range of the data: {}", limits(*range, 0.0)),
        ([range], _) => {
            let range = limits(*range, facts.columns.offset_of(0));
            say!("samples are clipped to the range of the data: {range}, or {}", deviations(trainer));
        }
        (_, Kind::Signals) => say!("samples are clipped to the range of each channel, at most {}", deviations(trainer)),
        (_, Kind::Points) => {
            say!("samples are clipped to the range of each coordinate, at most {}", deviations(trainer))
        }
        _ => say!("samples are clipped to the range of each column, at most {}", deviations(trainer)),
    }
    if config.validation > 0.0 {
        let kept = config.training_samples(facts.samples).unwrap_or(facts.samples);
        say!(
            "validation: {} held out, {kept} trained on; every {}, {}",
            text::count(facts.samples - kept, "sample"),
            text::count(config.validation_every as usize, "step"),
            evaluated_weights(config)
        );
    }
}

/// The largest value of the normalised data.
fn deviations(trainer: &Trainer) -> String {
    let bound = trainer.facts().normalisation.bound;
    match trainer.config().normalise {
        Normalise::Range => format!("+-{bound:.2} after scaling to -1..1"),
        _ => format!("+-{bound:.2} standard deviations from the mean"),
    }
}

fn describe_details(trainer: &Trainer) {
    let (config, facts) = (trainer.config(), trainer.facts());
    let n = &facts.normalisation;
    say!("normalisation: (x - {:?}) / {:?}, range +-{:.2}", n.shift, n.scale, n.bound);
    if config.noise.is_none() {
        let target = config.loss_target().map(|target| format!(", and the loss compares {target}")).unwrap_or_default();
        say!("the model predicts {}{target}", config.prediction);
        if let Ok(objective) = config.objective() {
            say!("objective: {}, {}; times: {}", config.objective, objective.path(), objective.times());
        }
    }
    say!(
        "optimizer: {}; {} dispatches per step, {} MiB of device memory",
        config.optimizer,
        trainer.run().dispatches(),
        trainer.allocated() >> 20
    );
}

/// The training that was completed.
pub struct Training {
    pub time: Duration,
    /// The loss of the first step of a new run.
    pub untrained: Option<f64>,
    /// The film of the previews.
    pub film: Option<PathBuf>,
}

/// Prints the results, draws samples with the trained network, and prints the files of the run.
pub fn finish(args: &TrainArgs, session: &mut Session, stopped: &AtomicBool, training: Training) -> anyhow::Result<()> {
    let state = session.trainer.checkpoint()?;
    let session = &*session;
    session.folder.save_again(&session.trainer, &state)?;
    let (picture, summary) = (session.folder.file(PICTURE), session.folder.summary()?);
    let started = Instant::now();
    if !args.common.json {
        print_results(session, &summary, &training);
        if let Some(film) = &training.film {
            say!("previews of the training: {}", quoted(&film.to_string_lossy()));
        }
        if !args.no_samples {
            say!("the training is saved; drawing samples for {}", picture.display());
        }
    }
    let denoised = if args.no_samples { None } else { draw(session, &state, stopped, args.common.json || args.quiet)? };
    let (seconds, drawing) = (training.time.as_secs_f64(), started.elapsed().as_secs_f64());
    let picture = (!args.no_samples).then_some(picture);
    if args.common.json {
        let Session { trainer, device, shown, data, .. } = session;
        let mut report = json!({"run": args.out, "steps": trainer.step(), "loss": summary.loss, "validation": summary.validation,
                   "best": summary.best.map(|(step, loss)| json!({"step": step, "validation": loss})),
                   "diverged": summary.divergence(training.untrained).is_some(), "seconds": seconds, "drawing_seconds": drawing,
                   "device": device.name(), "files": session.folder.files(), "picture": picture, "film": training.film, "data": data});
        if let Some(pairs) = denoised {
            report["compare"] = json!(pairs);
            report["held_out"] = json!(shown.held_out);
        }
        if args.log == LogFormat::Jsonl {
            report["event"] = json!("end");
        }
        say!("{report}");
        return Ok(());
    }
    let Some(picture) = picture else {
        say!("run folder: {} ({})", quoted(&args.out.to_string_lossy()), session.folder.files().join(", "));
        return Ok(());
    };
    say!("drew samples in {drawing:.0} s");
    let out = quoted(&args.out.to_string_lossy());
    say!("run folder: {out} ({})", session.folder.files().join(", "));
    match denoised {
        Some(pairs) => {
            say!("on {} with new noise: {pairs}", session.shown.what);
            say!("noisy, denoised and clean side by side: {}", picture.display());
            say!("denoise with: langevin denoise {out} NOISY --out F.npy; evaluate with --compare CLEAN");
        }
        None => {
            if session.trainer.config().mask.is_some() {
                let given = if session.trainer.facts().kind == Kind::Points { "" } else { "given, " };
                say!("{given}completed and real samples side by side: {}", picture.display());
                say!("to fill gaps: langevin complete {out} DATA --out F");
                return Ok(());
            }
            say!("real and generated side by side: {}", picture.display());
            // Another seed than that of the samples in the run folder.
            let seed = session.trainer.config().seed.wrapping_add(1);
            say!(
                "to draw other samples: langevin sample {out} {}--seed {seed} --out {}",
                conditions(session),
                new_file(session)
            );
        }
    }
    Ok(())
}

/// The options of `sample` for the number of samples and the conditions of the run.
fn conditions(session: &Session) -> String {
    let (facts, sources) = (&session.trainer.facts().conditions, &session.trainer.config().condition);
    // There are as many samples as vectors or known values.
    let mut options = if facts.values().next().is_none() { "--count 64 ".to_string() } else { String::new() };
    for (option, file, used) in
        [("--condition", &sources.vector, facts.vector.is_some()), ("--given", &sources.given, facts.given.is_some())]
    {
        if used {
            // Known values of whole samples do not fit the windows that a model draws.
            let windows = option == "--given" && session.trainer.facts().cut_from.is_some();
            let file = match without_secrets(file) {
                _ if windows => "WINDOWS".into(),
                shown if shown == *file => quoted(file),
                _ => "ADDRESS".into(),
            };
            options += &format!("{option} {file} ");
        }
    }
    if facts.classes > 0 {
        let class = facts.names.first().cloned().unwrap_or_else(|| "0".into());
        let guidance = if sources.dropout > 0.0 { "--guidance 2 " } else { "" };
        options += &format!("--class {} {guidance}", quoted(&class));
    }
    options
}

/// A file in the usual format of samples of this kind.
fn new_file(session: &Session) -> &'static str {
    match session.trainer.facts() {
        facts if facts.kind == Kind::Table || !facts.columns.names.is_empty() => "new.csv",
        facts if facts.sample_rate.is_some() => "new.wav",
        _ => "new.npy",
    }
}

/// Draws the samples and the picture of the run. A denoiser is also compared with filters.
fn draw(session: &Session, state: &Checkpoint, stopped: &AtomicBool, silent: bool) -> anyhow::Result<Option<Denoised>> {
    let Session { trainer, folder, .. } = session;
    folder.create_samples()?;
    let mut meter = Meter::new("drawing samples", silent);
    let mut observe = |completion| {
        meter.show(completion);
        !stopped.load(Ordering::Relaxed)
    };
    let drawn = match trainer.config().noise {
        Some(noise) => show_denoised(session, state, noise, &mut observe).map(Some),
        None => show_samples(session, state, &mut observe).map(|()| None),
    };
    drawn.map_err(|e| match e {
        Error::Interrupted(_) => Error::Interrupted(format!(
            "stopped while drawing samples for {}; the training is finished and saved",
            folder.file(PICTURE).display()
        ))
        .into(),
        other => anyhow::Error::new(other)
            .context("the training is finished and saved, but its samples cannot be drawn or written"),
    })
}

/// Prints the losses of a finished run.
fn print_results(session: &Session, summary: &Summary, training: &Training) {
    let trainer = &session.trainer;
    let number = |loss: Option<f64>| loss.map(text::short).unwrap_or_default();
    let steps = text::count(trainer.step() as usize, "step");
    let seconds = training.time.as_secs_f64();
    say!("done: {steps} in {seconds:.0} s, loss {} (last row of metrics.csv)", number(summary.loss));
    if trainer.ranks() > 1 {
        let share = 100.0 * trainer.waited().as_secs_f64() / seconds;
        say!("{share:.0}% of the time was spent in exchanges with the other processes");
    }
    if let Some(waited) = trainer.waited_for_data() {
        say!("{:.0}% of the time was spent waiting for data", 100.0 * waited.as_secs_f64() / seconds);
    }
    if let Some(divergence) = summary.divergence(training.untrained) {
        say!("warning: {divergence}, so the training diverged. Lower --lr (it is {})", trainer.config().lr);
    }
    if let Some((step, best)) = summary.best {
        let (last, weights) = (number(summary.validation), evaluated_weights(trainer.config()));
        say!("validation loss of the {weights}: {last}; the lowest was {} at step {step}", text::short(best));
    }
}

/// The weights that are used for validation.
fn evaluated_weights(config: &Config) -> &'static str {
    if config.ema > 0.0 { "averaged weights" } else { "weights" }
}

/// Draws samples, and a picture of real and generated ones.
fn show_samples(session: &Session, state: &Checkpoint, observe: &mut Observer) -> crate::Result<()> {
    let Session { trainer, folder, shown: Shown { samples: real, .. }, .. } = session;
    if let Some(mask) = &trainer.config().mask {
        return show_completed(session, state, mask, observe);
    }
    let drawn = generate(&Drawing::of(session), state, observe)?;
    keep(session, state, real.layout(), &drawn)?;
    let scale = scale_of(real);
    plot::compare_with(&folder.file(PICTURE), real.kind(), &real.shape, [&real.values, &drawn], &scale)
}

/// Hides values of samples as in training, and draws a picture of what is given, completed samples and the real ones.
fn show_completed(session: &Session, state: &Checkpoint, mask: &MaskMix, observe: &mut Observer) -> crate::Result<()> {
    let Session { folder, shown: Shown { samples: real, .. }, .. } = session;
    let (given, completed) = complete(&Drawing::of(session), state, mask, observe)?;
    keep(session, state, real.layout(), &completed)?;
    let sets = [("given", &given[..]), ("completed", &completed), ("real", &real.values)];
    plot::side_by_side(&folder.file(PICTURE), real.kind(), &real.shape, with_a_place(&sets, real), &scale_of(real))
}

/// Adds noise to samples and removes it, and draws a picture of both.
fn show_denoised(
    session: &Session,
    state: &Checkpoint,
    noise: NoiseKind,
    observe: &mut Observer,
) -> crate::Result<Denoised> {
    let Session { folder, shown: Shown { samples: clean, .. }, .. } = session;
    let (noisy, denoised) = denoise(&Drawing::of(session), state, noise, observe)?;
    let columns = denoised.columns.without_rounding();
    keep(session, state, SampleLayout { columns: &columns, ..denoised.layout() }, &denoised.values)?;
    let [before, after, shown] = [&noisy, &denoised, clean].map(|set| evenly_spaced(set, 36));
    let sets = [("noisy", &before[..]), ("denoised", &after), ("clean", &shown)];
    plot::side_by_side(&folder.file(PICTURE), clean.kind(), &clean.shape, &sets, &scale_of(clean))?;
    compare_denoised(&noisy, &denoised, clean)
}

/// Writes samples into the run folder.
fn keep(session: &Session, state: &Checkpoint, layout: SampleLayout, values: &[f32]) -> crate::Result<()> {
    session.folder.save_again(&session.trainer, state)?;
    session.folder.create_samples()?;
    plot::save_as(&session.folder.file(SAMPLES), layout, values).map(drop)
}
