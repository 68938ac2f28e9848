//! The settings of a run, as `config.toml` holds them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::validation::Split;
use super::{LossMix, model_table};
use crate::data::corrupt::NoiseKind;
use crate::data::{Dataset, Kind, Normalisation, Subset};
use crate::diffusion::{Objective, Prediction, Schedule, Weighting};
use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::nn::{MlpOptions, Model, Recipe};
use crate::ops::{Decay, Optimizer, OptimizerKind, Rule};
use crate::text::count;

/// Everything needed to repeat a run. A file for `--config` may hold any part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A path or the name of a toy.
    pub data: String,
    /// What the network learns to do.
    pub task: Task,
    /// The noise that a denoiser learns to take out; absent for a diffusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseKind>,
    /// Training steps.
    pub steps: u32,
    /// Samples in a step; when 0, as many as the network's [`Recipe`](crate::nn::Recipe) has, or all of a smaller data set.
    pub batch: usize,
    /// Samples that are on the device at a time: the gradients of a batch are summed over such parts. The whole batch
    /// when 0.
    pub micro_batch: usize,
    /// Learning rate.
    pub lr: f64,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// Momentum of `sgd_momentum` and `sgd_nesterov`.
    pub momentum: f64,
    /// Decay of the moments of `adam`, `adam_keras` and `adamw`.
    pub beta1: f64,
    /// Decay of their second moments.
    pub beta2: f64,
    /// Weight decay of `adamw`.
    pub weight_decay: f64,
    /// Clips the global norm of the gradient; 0 leaves it alone.
    pub clip_norm: f64,
    /// Decay of the weights' moving average that samples are drawn with; 0 for none.
    pub ema: f64,
    /// Seed of weights, data order and noise.
    pub seed: u64,
    /// A noise schedule's name.
    pub schedule: String,
    /// T.
    pub diffusion_steps: usize,
    /// What the network predicts.
    pub prediction: Prediction,
    /// What is minimized: one loss or several with weights.
    pub loss: LossMix,
    /// How much the error at each step counts.
    pub weighting: Weighting,
    /// How data is brought to the network's units.
    pub normalise: Normalise,
    /// In which numbers the products of the network and its gradients are computed.
    pub precision: Precision,
    /// Steps between checkpoints.
    pub checkpoint_every: u32,
    /// The part of the data that is held out and not trained on; 0 for none.
    pub validation: f64,
    /// Steps between evaluations on the held-out data.
    pub validation_every: u32,
    /// Evaluations without a better loss after which the training stops; 0 for never.
    pub early_stop: u32,
    /// Whether the state with the best validation loss is kept as `best.safetensors`.
    pub keep_best: bool,
    /// The course of the learning rate.
    pub decay: Decay,
    /// The network.
    pub model: Model,
    /// What was measured from the data; absent in a file for `--config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// What a network is trained for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Task {
    /// To generate: noise of every level, the level being known.
    #[default]
    Diffusion,
    /// To give clean from noisy samples, for one kind and strength of noise.
    Denoise,
}

named!(Task, "task", Diffusion = "diffusion", Denoise = "denoise");

/// The map from the data's units to the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Normalise {
    /// Mean 0, standard deviation 1.
    Standard,
    /// The smallest value to -1, the largest to 1.
    Range,
}

named!(Normalise, "normalisation", Standard = "standard", Range = "range");

/// What training measured from its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Signals, points or images.
    pub kind: Kind,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// How many there were.
    pub samples: usize,
    /// CRC-32 of the values, so that a run goes on with the same data only.
    pub checksum: u32,
    /// The map that was used, undone when sampling.
    pub normalisation: Normalisation,
    /// The smallest and the largest value, of each coordinate for points: pictures of samples have this range. Older runs
    /// do not know it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub range: Vec<[f32; 2]>,
    /// CRC-32 of the file that a perceptual loss takes its features from, so that a run goes on with the same file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<u32>,
}

impl Facts {
    /// Whether both are facts about the same data; the range follows from the checksum, and may be unknown.
    pub fn agree_with(&self, other: &Self) -> bool {
        let essential = |facts: &Self| Self { range: Vec::new(), ..facts.clone() };
        essential(self) == essential(other)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(MlpOptions::default())
    }
}

impl Config {
    /// The settings with which a network is trained where nothing else is said.
    pub fn new(model: impl Into<Model>) -> Self {
        let model = model.into();
        let Recipe { steps, prediction, lr, decay, clip_norm, ema, .. } = model.recipe();
        Self {
            data: String::new(),
            task: Task::Diffusion,
            noise: None,
            steps,
            batch: 0,
            micro_batch: 0,
            lr,
            optimizer: OptimizerKind::Adam,
            momentum: 0.9,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.01,
            clip_norm,
            ema,
            seed: 0,
            schedule: "linear".into(),
            diffusion_steps: 1_000,
            prediction,
            loss: LossMix::default(),
            weighting: Weighting::None,
            normalise: Normalise::Standard,
            precision: Precision::F32,
            checkpoint_every: 1_000,
            validation: 0.0,
            validation_every: 100,
            early_stop: 0,
            keep_best: false,
            decay,
            model,
            facts: None,
        }
    }

    /// [`Config::new`] of a network by its name.
    ///
    /// # Errors
    /// With the models there are.
    pub fn for_model(name: &str) -> Result<Self> {
        Model::named(name).map(Self::new)
    }

    /// Reads a TOML file; what it does not state has the default of `model`, or else of the model that the file names.
    ///
    /// # Errors
    /// With the line or the setting that is not understood.
    pub fn read(path: &Path, model: Option<&str>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, e))?;
        Self::parse(&text, model).map_err(|e| Error::setting(format!("{}: {e}", path.display())))
    }

    pub(crate) fn parse(text: &str, model: Option<&str>) -> Result<Self> {
        let mut stated: toml::Table = text.parse().map_err(|e| not_toml(text, &e))?;
        let model = model_table::read(stated.remove("model"), model)?;
        let mut all = to_table(&Self::new(model));
        all.extend(stated);
        all.try_into().map_err(|e: toml::de::Error| Error::setting(one_line(&e)))
    }

    /// Sets the number of training steps. A cosine decay over all of them stays one over all of them.
    pub fn set_steps(&mut self, steps: u32) {
        match &mut self.decay {
            Decay::Cosine { total, .. } if *total == self.steps => *total = steps,
            _ => {}
        }
        self.steps = steps;
    }

    /// As TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are TOML")
    }

    /// The batch size for `samples` of data.
    ///
    /// # Errors
    /// When the batch is larger than the data.
    pub fn batch_for(&self, samples: usize) -> Result<usize> {
        match self.batch {
            0 => Ok(samples.min(self.model.recipe().batch)),
            b if b > samples => Err(Error::setting(format!(
                "a batch of {b} is larger than the data, which has {}; use --batch {samples} or less",
                count(samples, "sample")
            ))),
            b => Ok(b),
        }
    }

    /// How many samples of a batch of `rows` are computed at a time, as far as the device allows.
    pub(crate) fn micro_batch_of(&self, rows: usize) -> usize {
        if self.micro_batch == 0 { rows } else { self.micro_batch.min(rows) }
    }

    /// How many of `samples` are trained on; the others are held out.
    ///
    /// # Errors
    /// When none would be left.
    pub fn training_samples(&self, samples: usize) -> Result<usize> {
        Ok(samples - Split::held_out(self, samples)?)
    }

    /// The samples of `data` that are not trained on, if some are not.
    ///
    /// # Errors
    /// When none would be left to train on.
    pub(crate) fn held_out<'a>(&self, data: &'a Dataset) -> Result<Option<Subset<'a>>> {
        Ok(Split::new(self, data)?.held_out)
    }

    /// The noise schedule.
    pub fn noise_schedule(&self) -> Result<Schedule> {
        Schedule::named(&self.schedule, self.diffusion_steps)
    }

    /// What the network is trained on, of a diffusion.
    pub fn objective(&self) -> Result<Objective> {
        Ok(Objective::new(self.noise_schedule()?, self.prediction))
    }

    /// The optimizer with clipping, decay and average.
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

    /// Measures the data: how many and what they are from all of them, the map to the network's units from `kept`, those
    /// that are trained on.
    pub(crate) fn measure(&self, data: &Dataset, kept: &Subset) -> Result<Facts> {
        if kept.len() < 2 {
            return Err(Error::input(format!(
                "{}: there is only one sample to train on, and a distribution cannot be learnt from it; give at least two, \
                 better hundreds",
                data.name
            )));
        }
        let normalisation = match self.normalise {
            Normalise::Standard => Normalisation::standard_of(kept)?,
            Normalise::Range => Normalisation::range_of(kept)?,
        };
        let mut crc = flate2::Crc::new();
        crc.update(bytemuck::cast_slice(&data.values));
        let (kind, shape, checksum) = (data.kind(), data.shape.clone(), crc.sum());
        let features = self.loss.features().map(checksum_of).transpose()?;
        let range = kept.ranges();
        Ok(Facts { kind, shape, samples: data.len(), checksum, normalisation, range, features })
    }

    /// As a run on data with these facts states its settings: what follows from the data is filled in.
    pub(crate) fn settled(&self, facts: Facts) -> Self {
        let model = self.model.clone().for_sample(&facts.shape);
        Self { model, loss: self.loss.clone().with_full_paths(), facts: Some(facts), ..self.clone() }
    }
}

/// The CRC-32 of a file.
fn checksum_of(path: &Path) -> Result<u32> {
    let mut crc = flate2::Crc::new();
    crc.update(&std::fs::read(path).map_err(|e| Error::io("cannot read", path, e))?);
    Ok(crc.sum())
}

/// What a text that is no TOML has wrong, and where.
fn not_toml(text: &str, e: &toml::de::Error) -> Error {
    let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
    Error::setting(format!("line {line} is not TOML: {}", e.message()))
}

/// Settings as the table that a file holds.
pub(super) fn to_table<T: Serialize>(settings: &T) -> toml::Table {
    toml::Table::try_from(settings).expect("settings are a table")
}

/// An error of TOML without its line breaks.
pub(super) fn one_line(e: &toml::de::Error) -> String {
    e.to_string().trim().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{ChapterOptions, StepEncoderOptions, StepEncoding};

    #[test]
    fn toml_round_trip_and_partial_files() {
        let config = Config { seed: 9, decay: Decay::Cosine { warmup: 5, total: 50 }, ..Config::default() };
        assert_eq!(Config::parse(&config.to_toml(), None).unwrap(), config);
        let stated = "loss = \"l1:1,ssim:0.1\"\nweighting = \"min_snr\"";
        let config = Config::parse(stated, None).unwrap();
        assert_eq!((config.loss.to_string(), config.weighting.to_string()), ("l1,ssim:0.1".into(), "min_snr:5".into()));
        let partial = Config::parse("lr = 0.5\n[model]\nname = \"chapter\"\nwidth = 7", None).unwrap();
        let chapter = ChapterOptions { width: 7, ..ChapterOptions::default() };
        assert_eq!((partial.lr, partial.model, partial.prediction), (0.5, chapter.into(), Prediction::Epsilon));
        let other = Config::parse("[model]\nname = \"chapter\"\nwidth = 7", Some("mlp")).unwrap();
        assert_eq!(other.model, MlpOptions { width: 7, ..MlpOptions::default() }.into());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, cause) in [
            ("learning_rate = 1", "unknown field `learning_rate`"),
            ("lr = \"fast\"", "in `lr`"),
            ("loss = \"nope\"", "there are: mse"),
            ("weighting = \"min_snr:-5\"", "gamma is \"-5\""),
            ("optimizer = \"nope\"", "there are: sgd, sgd_momentum"),
            ("steps = 1\nlr = = 2", "line 2 is not TOML"),
        ] {
            let message = Config::parse(text, None).unwrap_err().to_string();
            assert!(message.contains(cause) && !message.contains('\n'), "{message}");
        }
        let config = Config { schedule: "nope".into(), ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("cosine"));
        let step = StepEncoderOptions { kind: StepEncoding::Learned, learned_steps: 10, ..Default::default() };
        let config = Config { model: MlpOptions { step, ..Default::default() }.into(), ..Config::default() };
        let message = config.check().unwrap_err().to_string();
        assert!(
            message.contains("10 rows for 1000 diffusion steps") && message.contains("to 1000 or more"),
            "{message}"
        );
        let config = Config { batch: 10, ..Config::default() };
        assert!(config.batch_for(5).unwrap_err().to_string().contains("--batch 5"));
    }

    #[test]
    fn every_optimizer_takes_its_settings() {
        for name in OptimizerKind::NAMES {
            let plain = Config { optimizer: name.parse().unwrap(), ..Config::default() };
            let other = Config { momentum: 0.5, beta1: 0.8, beta2: 0.9, weight_decay: 0.1, ..plain.clone() };
            assert_eq!(plain.optimizer().unwrap() != other.optimizer().unwrap(), *name != "sgd", "{name}");
        }
        let e = Config { beta2: 1.5, ..Config::default() }.check().unwrap_err().to_string();
        assert!(e.contains("1.5"), "{e}");
    }
}
