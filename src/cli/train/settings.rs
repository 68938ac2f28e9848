//! The settings of `langevin train`: a file, overridden by options.

use std::path::Path;

use super::TrainArgs;
use crate::data::Dataset;
use crate::nn::Model;
use crate::ops::Decay;
use crate::text;
use crate::train::{Base, Config, MOST_STEPS, ObjectiveKind, RunFolder, Situation, Task};
use crate::{Device, Error};

/// The settings of a new run, its data and its device.
pub struct New {
    pub config: Config,
    pub data: Dataset,
    pub device: Device,
    /// The settings that were chosen by the data and the device; `None` for a run with the settings of another one.
    pub chosen: Option<Config>,
}

impl New {
    /// Reads the data, opens the device, and completes the settings of the command by those that suit both. `vacant` checks
    /// first whether the run can be stored.
    pub fn of<T>(args: &TrainArgs, vacant: impl FnOnce() -> crate::Result<T>) -> crate::Result<(Self, T)> {
        // What is read does not depend on the choice. The number of steps is not known yet: none is too small.
        let first =
            stated(args, &|name| Ok(Config { steps: MOST_STEPS, ..Config::for_model(name.unwrap_or("mlp"))? }))?;
        if first.data.is_empty() {
            return Err(Error::Setting(
                "no data; name a file or a built-in data set, or set data in the file of --config".into(),
            ));
        }
        first.check()?;
        let place = vacant()?;
        let data = first.load()?;
        let shape = first.augment.sample_shape(data.kind(), &data.shape)?;
        let situation = |device| Situation::of(&first, &data, &shape, device);
        // A wrong number of samples is reported before the device is opened.
        first.training_samples(data.len())?;
        let device = args.common.open_for(first.precision, first.storage)?;
        let situation = situation(&device)?;
        let config = stated(args, &|name| Config::for_data(name, situation))?;
        let chosen = match (&args.config, &args.init) {
            (None, Some(_)) => None,
            _ => Some(Config::for_data(Some(config.model.name()), situation)?),
        };
        // 0 selects the default in a file.
        let batch = chosen.as_ref().filter(|_| config.batch == 0).map_or(config.batch, |chosen| chosen.batch);
        let config = Config { batch, ..config };
        config.check()?;
        let batch = config.batch_for(situation.samples)?;
        check_micro_batch(args, batch)?;
        if config.condition.is_some() && config.condition.dropout == 1.0 {
            log::warn!(
                "--label-dropout 1 removes every condition in training, so that the model cannot follow one; use a smaller \
                 probability, such as 0.1"
            );
        }
        Ok((Self { config, data, device, chosen }, place))
    }

    /// The network, the steps, the batch size and the learning rate in words, and what they were chosen for.
    pub fn describe(&self, samples: usize) -> String {
        let Config { model, steps, batch, lr, .. } = &self.config;
        let size = match model {
            Model::Mlp(options) => format!(" {}x{}", options.depth, options.width),
            Model::UNet(options) if options.levels.patch > 1 => {
                format!(" of width {} on patches of {}", options.width, options.levels.patch)
            }
            Model::UNet(options) => format!(" of width {}", options.width),
            _ => String::new(),
        };
        let what = format!(
            "model {}{size}, {} of batch {batch}, learning rate {}",
            model.name(),
            text::count(*steps as usize, "step"),
            text::short(*lr)
        );
        let Some(chosen) = &self.chosen else { return what };
        let kind = self.data.kind();
        let same = [
            ("the model", chosen.model == *model),
            ("the steps", chosen.steps == *steps),
            ("the batch", chosen.batch == *batch),
            ("the learning rate", chosen.lr == *lr),
        ];
        let stated: Vec<&str> = same.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
        let except = match &stated[..] {
            [] => " (otherwise: --model, --steps, --batch, --lr)".into(),
            [..] if stated.len() == same.len() => return format!("{what}: as stated"),
            some => format!(", except for {}", some.join(", ")),
        };
        let place = if self.device.uses_host_memory() { "the CPU" } else { "a GPU" };
        format!("{what}: chosen for {} on {place}{except}", text::count(samples, kind.one()))
    }
}

/// The settings of the command, which override those of `base` for the network that the command names, if it names one.
pub fn stated(args: &TrainArgs, base: &Base) -> crate::Result<Config> {
    let mut config = match (&args.config, &args.init) {
        (Some(path), _) => Config::read_over(path, &|name| base(args.model.as_deref().or(name)))?,
        (None, Some(run)) => settings_of(run, args)?,
        (None, None) => base(args.model.as_deref())?,
    };
    if let Some(run) = &args.init {
        // As the data, it is named as the user does.
        config.init = run.to_string_lossy().into_owned();
    }
    set(&mut config.data, &args.data);
    config.set_steps(args.steps.unwrap_or(config.steps));
    if args.batch == Some(0) {
        return Err(Error::Setting("a batch of 0 samples; use --batch 1 or more".into()));
    }
    apply_options(&mut config, args)?;
    reject_unused_options(&config, args)?;
    Ok(config)
}

/// The settings of the run for `--init`.
fn settings_of(run: &Path, args: &TrainArgs) -> crate::Result<Config> {
    let mut config = RunFolder::open(run)?.checkpoint()?.config;
    if let Some(name) = args.model.as_deref().filter(|name| *name != config.model.name()) {
        return Err(Error::Setting(format!(
            "--model {name}, but the network of {} is {}; omit --model, or omit --init",
            run.display(),
            config.model.name()
        )));
    }
    // It may have been reduced to fit the device.
    config.micro_batch = 0;
    Ok(config)
}

/// Refuses micro-batches of a whole batch.
fn check_micro_batch(args: &TrainArgs, batch: usize) -> crate::Result<()> {
    match args.micro_batch {
        Some(micro) if micro >= batch => Err(Error::Setting(format!(
            "--micro-batch {micro} has no effect on batches of {}; use less, or omit it",
            text::count(batch, "sample")
        ))),
        _ => Ok(()),
    }
}

/// Refuses options that have no effect.
fn reject_unused_options(config: &Config, args: &TrainArgs) -> crate::Result<()> {
    let of_diffusion = [
        ("--schedule", args.schedule.is_some()),
        ("--prediction", args.prediction.is_some()),
        ("--objective", args.objective.is_some()),
        ("--times", args.times.is_some()),
        ("--loss-target", args.loss_target.is_some()),
        ("--zero-terminal-snr", args.zero_terminal_snr),
    ];
    for (option, stated) in of_diffusion {
        if stated && config.task == Task::Denoise {
            return Err(Error::Setting(format!("{option} needs a diffusion model, but the task is denoise; omit it")));
        }
    }
    if args.schedule.is_some() && config.objective != ObjectiveKind::Ddpm {
        let kind = config.objective;
        return Err(Error::Setting(format!("--schedule: the objective {kind} has no noise schedule; omit it")));
    }
    if args.validation_every.is_some() && config.validation == 0.0 {
        return Err(Error::Setting("--validation-every needs held-out data; add --validation 0.1".into()));
    }
    args.condition.check(config)
}

/// Applies the options to the settings, except for steps, data and the name of the model.
pub fn apply_options(config: &mut Config, args: &TrainArgs) -> crate::Result<()> {
    set(&mut config.task, &args.task);
    set(&mut config.noise, &args.noise.map(Some));
    set(&mut config.mask, &args.mask.clone().map(Some));
    set(&mut config.batch, &args.batch);
    set(&mut config.micro_batch, &args.micro_batch);
    config.recompute |= args.recompute;
    set(&mut config.lr, &args.lr);
    set(&mut config.schedule, &args.schedule);
    if let Some(kind) = args.objective {
        config.set_objective(kind);
    }
    set(&mut config.prediction, &args.prediction);
    set(&mut config.times, &args.times.map(Some));
    set(&mut config.loss_target, &args.loss_target.map(Some));
    config.zero_terminal_snr |= args.zero_terminal_snr;
    set(&mut config.loss, &args.loss);
    set(&mut config.weighting, &args.weighting);
    set(&mut config.precision, &args.precision);
    set(&mut config.storage, &args.storage);
    if let Some(kind) = args.step_encoding {
        let name = config.model.name();
        let step = config.model.step_encoder_mut().ok_or_else(|| {
            Error::Setting(format!("--step-encoding {kind}: the network {name} has no step encoding; omit it"))
        })?;
        step.kind = kind;
    }
    if let Some(n) = args.ema_snapshots {
        config.ema_snapshot_every = if n == 0 { 0 } else { config.steps.div_ceil(n) };
    }
    set(&mut config.optimizer, &args.optimizer);
    set(&mut config.seed, &args.common.seed);
    set(&mut config.validation, &args.validation);
    set(&mut config.validation_every, &args.validation_every);
    set(&mut config.early_stop, &args.early_stop);
    config.keep_best |= args.keep_best;
    config.read = config.read.overridden_by(&args.read.options());
    set(&mut config.read.place, &args.data_from.map(Some));
    for (option, size) in [("--crop", args.augment.crop), ("--shift", args.augment.shift)] {
        if size == Some(0) {
            return Err(Error::Setting(format!("{option} 0 changes nothing; use 1 or more, or omit it")));
        }
    }
    config.augment.flip |= args.augment.flip;
    set(&mut config.augment.crop, &args.augment.crop);
    set(&mut config.augment.shift, &args.augment.shift);
    set(&mut config.augment.edge, &args.augment.shift_edge);
    args.condition.apply_to(&mut config.condition);
    config.decay = decay(config, args)?;
    Ok(())
}

/// The learning rate schedule.
fn decay(config: &Config, args: &TrainArgs) -> crate::Result<Decay> {
    match (args.decay.as_deref(), config.decay, args.warmup) {
        (Some(name), _, warmup) => config.decay_named(name, warmup),
        (None, unchanged, None) => Ok(unchanged),
        (None, Decay::Cosine { total, .. }, Some(warmup)) => Ok(Decay::Cosine { warmup, total }),
        (None, Decay::InverseSqrt { .. }, Some(hold)) => Ok(Decay::InverseSqrt { hold }),
        (None, Decay::Constant, warmup) => config.decay_named("constant", warmup),
    }
}

pub fn set<T: Clone>(setting: &mut T, option: &Option<T>) {
    if let Some(value) = option {
        *setting = value.clone();
    }
}
