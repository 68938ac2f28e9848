//! The settings of a run, as stored in `config.toml`.

mod file;
mod kinds;
#[cfg(feature = "cli")]
mod meaning;

#[cfg(feature = "cli")]
pub(crate) use file::Base;
pub use kinds::{Normalise, ObjectiveKind, ScheduleKind, Task};

use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
use super::ConditionFacts;
use super::validation::DataSplit;
use super::{Augmentation, ConditionSources, Facts, LossMix};
use crate::data::corrupt::NoiseKind;
use crate::data::{Dataset, MaskMix, Missing, Place, ReadOptions, channels_and_places, read_masks, without_secrets};
use crate::diffusion::{LossTarget, Objective, Prediction, Schedule, TrainingTimes, Weighting};
use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::nn::{MlpOptions, Model, Recipe};
use crate::ops::{Decay, Optimizer, OptimizerKind, Rule};
use crate::text::count;

/// The settings of a training run. A file for `--config` may contain any subset of them.
///
/// Fields may be added: construct it with `..Config::default()` or `..Config::new(model)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The data: a path or the name of a built-in data set, see
    /// [`Dataset::load`](crate::data::Dataset::load).
    pub data: String,
    /// The folder of the run whose weights a new run starts from; empty for random weights.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub init: String,
    /// What the network is trained for.
    pub task: Task,
    /// The noise that a denoiser removes; `None` for a diffusion model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseKind>,
    /// The masks with which a model learns to complete samples; `None` for the default ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskMix>,
    /// The number of training steps.
    pub steps: u32,
    /// Samples per step; 0 selects the batch size of the network's [`Recipe`](crate::nn::Recipe), or all samples of a
    /// smaller data set.
    pub batch: usize,
    /// Samples that are on the device at the same time: the gradients of a batch are summed over micro-batches of this
    /// size. 0 selects the whole batch.
    pub micro_batch: usize,
    /// Whether the backward pass computes the tensors within the blocks of the network again instead of keeping them,
    /// see [`Graph::recompute_blocks`](crate::Graph::recompute_blocks).
    pub recompute: bool,
    /// The learning rate.
    pub lr: f64,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// Momentum of `sgd_momentum` and `sgd_nesterov`.
    pub momentum: f64,
    /// Decay rate of the first moment of `adam`, `adam_keras` and `adamw`.
    pub beta1: f64,
    /// Decay rate of their second moment.
    pub beta2: f64,
    /// Weight decay of `adamw`.
    pub weight_decay: f64,
    /// The maximum global norm of the gradient; 0 for no clipping.
    pub clip_norm: f64,
    /// Decay of the moving average of the weights, which is used for inference; 0 for none.
    pub ema: f64,
    /// Steps between two snapshots of the power-function averages of the weights; 0 for no such averages.
    pub ema_snapshot_every: u32,
    /// Seed of the initial weights, the data order and the noise.
    pub seed: u64,
    /// The kind of the training objective.
    pub objective: ObjectiveKind,
    /// The noise schedule of the objective `ddpm`.
    pub schedule: ScheduleKind,
    /// Whether the schedule is rescaled to end in pure noise, see [`Schedule::zero_terminal_snr`].
    pub zero_terminal_snr: bool,
    /// The number of diffusion steps T, or the last time of an objective with continuous times.
    pub diffusion_steps: usize,
    /// The standard deviation of the normalised data, for the objective `edm`.
    pub sigma_data: f64,
    /// The distribution of the times in training; `None` for the usual one of the objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<TrainingTimes>,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The quantity whose error is the loss; `None` for the prediction itself, or for the target of the objective `flow` or
    /// `edm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_target: Option<LossTarget>,
    /// The loss: a weighted sum of terms.
    pub loss: LossMix,
    /// The loss weight of each diffusion step.
    pub weighting: Weighting,
    /// The normalisation of the data.
    pub normalise: Normalise,
    /// The number format of matrix products.
    pub precision: Precision,
    /// The number format in which activations and their gradients are stored.
    pub storage: Precision,
    /// Steps between two checkpoints.
    pub checkpoint_every: u32,
    /// The fraction of the data that is held out for validation; 0 for none.
    pub validation: f64,
    /// Steps between two evaluations on the held-out data.
    pub validation_every: u32,
    /// Stop after this many evaluations without improvement; 0 for never.
    pub early_stop: u32,
    /// Whether to keep the state with the lowest validation loss as `best.safetensors`.
    pub keep_best: bool,
    /// The learning rate schedule.
    pub decay: Decay,
    /// How the data are read.
    #[serde(skip_serializing_if = "ReadOptions::is_default")]
    pub read: ReadOptions,
    /// Random changes of the samples of each batch.
    #[serde(skip_serializing_if = "Augmentation::is_default")]
    pub augment: Augmentation,
    /// What the model is conditioned on.
    #[serde(skip_serializing_if = "ConditionSources::is_default")]
    pub condition: ConditionSources,
    /// The network.
    pub model: Model,
}

impl Default for Config {
    fn default() -> Self {
        Self::new(MlpOptions::default())
    }
}

impl Config {
    /// The default settings for a network.
    pub fn new(model: impl Into<Model>) -> Self {
        let model = model.into();
        let Recipe { steps, prediction, lr, decay, clip_norm, ema, .. } = model.recipe();
        Self {
            data: String::new(),
            init: String::new(),
            task: Task::Diffusion,
            noise: None,
            mask: None,
            steps,
            batch: 0,
            micro_batch: 0,
            recompute: false,
            lr,
            optimizer: OptimizerKind::Adam,
            momentum: 0.9,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.01,
            clip_norm,
            ema,
            ema_snapshot_every: 0,
            seed: 0,
            objective: ObjectiveKind::Ddpm,
            schedule: ScheduleKind::Linear,
            zero_terminal_snr: false,
            diffusion_steps: 1_000,
            sigma_data: 1.0,
            times: None,
            prediction,
            loss_target: None,
            loss: LossMix::default(),
            weighting: Weighting::None,
            normalise: Normalise::Standard,
            precision: Precision::F32,
            storage: Precision::F32,
            checkpoint_every: 1_000,
            validation: 0.0,
            validation_every: 100,
            early_stop: 0,
            keep_best: false,
            decay,
            read: ReadOptions::default(),
            augment: Augmentation::default(),
            condition: ConditionSources::default(),
            model,
        }
    }

    /// The default settings for a network by name, as [`Config::new`].
    ///
    /// # Errors
    /// When there is no model of this name; the message lists the available ones.
    pub fn for_model(name: &str) -> Result<Self> {
        Model::named(name).map(Self::new)
    }

    /// Sets the kind of the objective, and the prediction with it.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn set_objective(&mut self, kind: ObjectiveKind) {
        if kind != self.objective {
            (self.prediction, self.objective) = (self.prediction_for(kind), kind);
        }
    }

    /// The prediction for a kind of objective: its own, except that a network that predicts the data keeps to that.
    pub(super) fn prediction_for(&self, kind: ObjectiveKind) -> Prediction {
        match (self.prediction, kind.prediction()) {
            (Prediction::X0, _) => Prediction::X0,
            (Prediction::Flow | Prediction::Edm, None) => self.model.recipe().prediction,
            (prediction, own) => own.unwrap_or(prediction),
        }
    }

    /// Sets the number of training steps. A cosine decay over all steps is stretched accordingly.
    pub fn set_steps(&mut self, steps: u32) {
        match &mut self.decay {
            Decay::Cosine { total, .. } if *total == self.steps => *total = steps,
            _ => {}
        }
        self.steps = steps;
    }

    /// The batch size for a data set with this number of samples.
    ///
    /// # Errors
    /// When the batch is larger than the data set.
    pub(crate) fn batch_for(&self, samples: usize) -> Result<usize> {
        match self.batch {
            0 => Ok(samples.min(self.model.recipe().batch)),
            b if b > samples => Err(Error::setting(format!(
                "a batch of {b} is larger than the data set of {}; use --batch {samples} or less",
                count(samples, "sample")
            ))),
            b => Ok(b),
        }
    }

    /// The size of the micro-batches of a batch of `rows`, before it is reduced to fit the device.
    pub(crate) fn micro_batch_of(&self, rows: usize) -> usize {
        if self.micro_batch == 0 { rows } else { self.micro_batch.min(rows) }
    }

    /// The number of samples that are trained on; the others are held out.
    ///
    /// # Errors
    /// When none would be left to train on.
    pub fn training_samples(&self, samples: usize) -> Result<usize> {
        Ok(samples - DataSplit::held_out(self, samples)?)
    }

    /// The held-out samples of `data`, if there are any.
    ///
    /// # Errors
    /// When none would be left to train on.
    #[cfg(feature = "cli")]
    pub(crate) fn held_out<'a>(&self, data: &'a crate::data::Dataset) -> Result<Option<crate::data::Subset<'a>>> {
        Ok(DataSplit::new(self, data)?.held_out)
    }

    /// The data of the run, with their conditions.
    ///
    /// # Errors
    /// When a file cannot be read, or there is not one condition for each sample.
    pub fn load(&self) -> Result<Dataset> {
        self.with_conditions(Dataset::load_with(&self.data, self.seed, &self.reading_for_training())?)
    }

    /// The files that are read: the data, the conditions and the masks.
    #[cfg(feature = "cli")]
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &str> {
        let masks = self.mask.as_ref().and_then(MaskMix::file);
        std::iter::once(self.data.as_str()).chain(self.condition.files()).chain(masks)
    }

    /// These settings as they are shown: without the passwords and signatures of addresses.
    pub(crate) fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        let ConditionSources { labels, vector, given, .. } = &mut shown.condition;
        for file in [&mut shown.data, labels, vector, given] {
            *file = without_secrets(file);
        }
        shown.mask = self.mask.as_ref().map(MaskMix::without_secrets);
        shown
    }

    /// How the samples are read: without the column of their labels, and with missing values if the model completes samples.
    pub(crate) fn reading(&self) -> ReadOptions {
        let read = self.read.for_labels(&self.data, &self.condition.labels);
        let keep = (self.task == Task::Complete).then_some(Missing::Keep);
        ReadOptions { missing: read.missing.or(keep), ..read }
    }

    /// How the samples are read for a training: large ones stay on disk.
    pub(crate) fn reading_for_training(&self) -> ReadOptions {
        let read = self.reading();
        ReadOptions { place: read.place.or(Some(Place::Auto)), ..read }
    }

    /// `data` with the conditions of the settings.
    pub(crate) fn with_conditions(&self, data: Dataset) -> Result<Dataset> {
        let data = self.condition.of_table(&self.data, &self.read).add_to(data, &self.read)?;
        match self.mask.as_ref().and_then(MaskMix::file) {
            Some(file) => {
                let masks = read_masks(file, &data)?;
                data.with_masks(masks)
            }
            None => Ok(data),
        }
    }

    /// The noise schedule.
    ///
    /// # Errors
    /// When the number of diffusion steps is out of range.
    pub fn noise_schedule(&self) -> Result<Schedule> {
        let schedule = Schedule::named(self.schedule.name(), self.diffusion_steps)?;
        if self.zero_terminal_snr { schedule.zero_terminal_snr() } else { Ok(schedule) }
    }

    /// The training objective of a diffusion model.
    ///
    /// # Errors
    /// As [`Config::noise_schedule`]; when the objective does not have the `times`.
    pub fn objective(&self) -> Result<Objective> {
        let objective = match self.objective {
            ObjectiveKind::Ddpm => Objective::new(self.noise_schedule()?, self.prediction),
            ObjectiveKind::Flow => Objective::flow(self.diffusion_steps)?,
            ObjectiveKind::Edm => Objective::edm(self.diffusion_steps, self.sigma_data)?,
        };
        let times = self.times.unwrap_or(objective.times());
        objective.with_prediction(self.prediction).with_times(times)
    }

    /// The quantity whose error is the loss, if it is not the prediction.
    pub(crate) fn loss_target(&self) -> Option<LossTarget> {
        let own = self.objective.prediction().map(LossTarget::new);
        self.loss_target.or(own).filter(|target| target.of != self.prediction)
    }

    /// The optimizer with gradient clipping, learning rate schedule and moving average.
    ///
    /// # Errors
    /// With the setting that is out of range.
    pub fn optimizer(&self) -> Result<Optimizer> {
        let named = Optimizer::named(self.optimizer, self.lr, self.momentum, self.weight_decay);
        let mut rule = named.rule;
        if let Rule::Adam { beta1, beta2, .. } = &mut rule {
            (*beta1, *beta2) = (self.beta1, self.beta2);
        }
        let optimizer = Optimizer {
            rule,
            decay: self.decay,
            clip: (self.clip_norm > 0.0).then_some(self.clip_norm),
            ema: (self.ema > 0.0).then_some(self.ema),
            ema_warmup: true,
            ..named
        };
        optimizer.check()?;
        Ok(optimizer)
    }

    /// These settings with the network for `data` and its conditions, before they are measured.
    ///
    /// # Errors
    /// When the network cannot have the conditions, or the augmentation does not fit the samples.
    #[cfg(feature = "cli")]
    pub(crate) fn fitted_to(&self, data: &Dataset) -> Result<Self> {
        let shape = self.augment.sample_shape(data.kind(), &data.shape)?;
        let model = self.model.clone().for_sample(&shape);
        let model = model.with_conditions(ConditionFacts::sizes_of(data.conditions(), self.gap_channels(&shape)))?;
        Ok(Self { model, ..self.clone() })
    }

    /// The channels of samples that a model completes, see [`ConditionFacts::gaps`](super::ConditionFacts); 0 for others.
    pub(super) fn gap_channels(&self, shape: &[usize]) -> usize {
        let channels = channels_and_places(shape)[0].iter().product();
        if self.task == Task::Complete { channels } else { 0 }
    }

    /// The settings of a run on data with these facts: settings that depend on the data are filled in.
    ///
    /// # Errors
    /// When the network cannot have the conditions of the data.
    pub(crate) fn settled(&self, facts: &Facts) -> Result<Self> {
        let model = self.model.clone().for_sample(&facts.shape).with_conditions(facts.conditions.options())?;
        let mask = match self.task {
            Task::Complete => Some(self.mask.clone().unwrap_or_default()),
            _ => None,
        };
        Ok(Self { model, mask, loss: self.loss.clone().with_full_paths(), ..self.clone() })
    }
}

#[cfg(test)]
mod tests;
