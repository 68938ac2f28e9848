//! The settings of `langevin train`: a file, overridden by options.

use std::path::Path;

use super::TrainArgs;
use crate::Error;
use crate::ops::Decay;
use crate::train::{Config, RunFolder, Task};

/// The settings of the command, with the data.
pub fn settings(args: &TrainArgs) -> crate::Result<Config> {
    let config = stated(args)?;
    if config.data.is_empty() {
        return Err(Error::Setting(
            "no data; name a file or a built-in data set, or set data in the file of --config".into(),
        ));
    }
    Ok(config)
}

/// The settings of the command.
pub fn stated(args: &TrainArgs) -> crate::Result<Config> {
    let mut config = match (&args.config, &args.init) {
        (Some(path), _) => Config::read(path, args.model.as_deref())?,
        (None, Some(run)) => settings_of(run, args)?,
        (None, None) => Config::for_model(args.model.as_deref().unwrap_or("mlp"))?,
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

/// Refuses options that have no effect.
fn reject_unused_options(config: &Config, args: &TrainArgs) -> crate::Result<()> {
    for (option, stated) in [("--schedule", args.schedule.is_some()), ("--prediction", args.prediction.is_some())] {
        if stated && config.task == Task::Denoise {
            return Err(Error::Setting(format!("{option} needs a diffusion model, but the task is denoise; omit it")));
        }
    }
    if args.validation_every.is_some() && config.validation == 0.0 {
        return Err(Error::Setting("--validation-every needs held-out data; add --validation 0.1".into()));
    }
    Ok(())
}

/// Applies the options to the settings, except for steps, data and the name of the model.
pub fn apply_options(config: &mut Config, args: &TrainArgs) -> crate::Result<()> {
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
            Error::Setting(format!("--step-encoding {kind}: the network {name} has no step encoding; omit it"))
        })?;
        step.kind = kind;
    }
    set(&mut config.optimizer, &args.optimizer);
    set(&mut config.seed, &args.common.seed);
    set(&mut config.validation, &args.validation);
    set(&mut config.validation_every, &args.validation_every);
    set(&mut config.early_stop, &args.early_stop);
    config.keep_best |= args.keep_best;
    config.read = config.read.overridden_by(&args.read.options());
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
