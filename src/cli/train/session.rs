//! Starting and resuming training runs.

use std::path::Path;

use crate::cli::ranks::team;
use crate::cli::train::TrainArgs;
use crate::cli::train::settings::{New, apply_options, set, stated};
use crate::data::{Dataset, Description, Kind, Note, Subset};
use crate::io::quoted;
use crate::nn::Model;
use crate::text;
use crate::train::{Checkpoint, Config, Facts, RunFolder, Stop, Trainer, other_data};
use crate::{Device, Error};
use anyhow::Context;

/// A training run on a device.
pub struct Session {
    pub trainer: Trainer,
    pub folder: RunFolder,
    pub device: Device,
    pub shown: Shown,
    /// What was read.
    pub data: Description,
    /// The network and the length of the training in words, for a new run.
    pub choice: Option<String>,
}

/// The samples for the picture at the end of the training.
pub struct Shown {
    pub samples: Dataset,
    /// A description of them.
    pub what: String,
    pub held_out: bool,
}

/// The maximum number of values of the samples that a denoiser is judged on, because the filters for comparison run on the
/// CPU.
const MOST_VALUES: usize = 1 << 21;

impl Shown {
    pub fn of(config: &Config, data: &Dataset) -> crate::Result<Self> {
        let held_out = if config.noise.is_some() { config.held_out(data)? } else { None };
        let (is_held_out, all) = (held_out.is_some(), held_out.unwrap_or(Subset::all(data)));
        let most = match (config.noise, data.kind()) {
            (Some(_), _) => (MOST_VALUES / data.sample_len()).clamp(36, 1_024),
            (None, Kind::Points | Kind::Table) => 2_000,
            (None, _) => 64,
        };
        let samples = config.augment.middle_of(all.evenly_spaced(most)?)?;
        let some = if samples.len() < all.len() { format!("{} of ", samples.len()) } else { String::new() };
        let what = format!("{some}the {}", if is_held_out { "held-out samples" } else { "training data" });
        Ok(Self { samples, what, held_out: is_held_out })
    }
}

/// What was read from the data, and whether they stay on disk.
fn described(data: &Dataset) -> Description {
    let mut description = data.describe();
    if data.values.stored().is_some() {
        let text = "the values are read from disk during the training".into();
        description.notes.push(Note { text, otherwise: Some("--data-from memory".into()), warning: false });
    }
    description
}

/// The message about an early stop, and how to continue.
pub fn stopped_early(step: u32, patience: u32) -> String {
    format!(
        "stopped early at step {step}: the validation loss did not improve in {}; to continue anyway: \
         --resume --early-stop {}, or 0 for never",
        text::count(patience as usize, "evaluation"),
        2 * patience
    )
}

/// Starts a new run.
pub fn start(args: &TrainArgs) -> anyhow::Result<Session> {
    let vacant = || if args.force { RunFolder::replacing(&args.out) } else { RunFolder::vacant(&args.out) };
    let (new, folder) = New::of(args, vacant)?;
    let New { config, data, device, .. } = &new;
    let (trainer, shown) = (start_run(args, &folder, device, config, data)?, Shown::of(config, data)?);
    let choice = Some(new.describe(config.training_samples(data.len())?));
    Ok(Session { trainer, folder, shown, data: described(data), choice, device: new.device })
}

/// The checkpoint whose weights a new run starts from.
fn initial(config: &Config) -> crate::Result<Option<Checkpoint>> {
    (!config.init.is_empty()).then(|| RunFolder::open(Path::new(&config.init))?.checkpoint()).transpose()
}

/// The trainer of a run, which may be shared by several processes.
fn new_trainer(device: &Device, config: &Config, data: &Dataset) -> crate::Result<Trainer> {
    match team() {
        Some(ranks) => Trainer::for_ranks(device, config, data, &*ranks),
        None => Trainer::new(device, config, data),
    }
}

/// Shares the training with the other processes, if there are any.
fn lead(trainer: &mut Trainer) -> crate::Result<()> {
    team().map_or(Ok(()), |ranks| trainer.lead(ranks))
}

/// Creates a run in a vacant folder.
pub fn start_run(
    args: &TrainArgs,
    folder: &RunFolder,
    device: &Device,
    config: &Config,
    data: &Dataset,
) -> crate::Result<Trainer> {
    let init = initial(config)?;
    let mut trainer = new_trainer(device, config, data)?;
    if let Some(checkpoint) = init {
        let named = |text| format!("--init {}: {text}", quoted(&config.init));
        trainer.start_from(&checkpoint).map_err(|e| match e {
            Error::Setting(text) => Error::Setting(named(text)),
            other => other,
        })?;
        if !args.common.json {
            say!("the weights are those of {} after {}", config.init, text::count(checkpoint.step as usize, "step"));
        }
    }
    if args.force && folder.is_started() && !args.common.json {
        say!("the run in {} is replaced", args.out.display());
    } else if folder.is_unfinished() && !args.common.json {
        say!("the folder contains a run that ended before its first checkpoint; it is replaced");
    }
    lead(&mut trainer)?;
    folder.write_config(&trainer)?;
    Ok(trainer)
}

/// Resumes a run. Only its end and the path of its data can change.
pub fn resume(args: &TrainArgs) -> anyhow::Result<Session> {
    let folder = RunFolder::open(&args.out)?;
    folder.lock()?;
    let checkpoint = folder.checkpoint()?;
    let began = &checkpoint.config;
    // The rest of a file for --config is as it was.
    let base = |name: Option<&str>| match name {
        Some(name) if name != began.model.name() => Config::for_model(name),
        _ => Ok(began.clone()),
    };
    let mut wanted = if args.config.is_some() { stated(args, &base)? } else { began.clone() };
    // A file for --config may omit the end of the run and the data.
    (wanted.steps, wanted.early_stop, wanted.data) = (began.steps, began.early_stop, began.data.clone());
    wanted.init = began.init.clone();
    wanted.read.place = wanted.read.place.or(folder.place_of_data());
    if let Some(name) = args.model.as_deref().filter(|name| *name != wanted.model.name()) {
        wanted.model = Model::named(name)?;
    }
    apply_options(&mut wanted, args)?;
    set(&mut wanted.steps, &args.steps);
    set(&mut wanted.data, &args.data);
    set(&mut wanted.init, &args.init.as_ref().map(|run| run.to_string_lossy().into_owned()));
    let config = checkpoint.continued(&wanted)?;
    if config.steps != began.steps && folder.ended(&config, checkpoint.step) == Some(Stop::Early) {
        return Err(Error::Setting(stopped_early(checkpoint.step, config.early_stop)).into());
    }
    let device = args.common.open_for(config.precision, config.storage)?;
    let data = data_of(&config, &checkpoint.facts).map_err(|e| match folder.ended(&config, checkpoint.step) {
        Some(_) => e.context(format!(
            "the run in {} is finished and saved after {}; samples are not drawn again",
            args.out.display(),
            text::count(checkpoint.step as usize, "step")
        )),
        None => e,
    })?;
    let trainer = resume_run(&folder, &device, &config, &checkpoint, &data)?;
    let shown = Shown::of(&config, &data)?;
    Ok(Session { trainer, folder, device, shown, data: described(&data), choice: None })
}

/// The data of a resumed run.
pub fn data_of(config: &Config, facts: &Facts) -> anyhow::Result<Dataset> {
    let data = Dataset::load_for(&config.data, config.seed, &config.reading_for_training(), facts.data_layout(), false)
        .context(
            "cannot read the data of the run again (if they were moved: langevin train DATA --out RUN --resume)",
        )?;
    config.with_conditions(data).context(
        "cannot read the conditions of the run again (if they were moved: langevin train --out RUN --resume with --labels, \
         --condition, --given or --mask)",
    )
}

/// Resumes a run with the settings of [`Checkpoint::continued`].
pub fn resume_run(
    folder: &RunFolder,
    device: &Device,
    config: &Config,
    checkpoint: &Checkpoint,
    data: &Dataset,
) -> anyhow::Result<Trainer> {
    // Before a setting that does not fit their number is an error.
    if checkpoint.facts.samples != data.len() {
        return Err(other_data(config).into());
    }
    let mut trainer = new_trainer(device, config, data)?;
    trainer.restore(checkpoint)?;
    lead(&mut trainer)?;
    folder.write_config(&trainer)?;
    Ok(trainer)
}
