//! The settings of a run, as `config.toml` holds them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Kind, Normalisation};
use crate::diffusion::{Prediction, Schedule};
use crate::error::{Error, Result};
use crate::nn::Model;
use crate::ops::{Decay, Optimizer};

/// Everything needed to repeat a run. A file for `--config` may hold any part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A path or the name of a toy.
    pub data: String,
    /// Training steps.
    pub steps: u32,
    /// Samples in a step; 256 or all of a smaller data set when 0.
    pub batch: usize,
    /// Learning rate.
    pub lr: f64,
    /// An optimizer's name.
    pub optimizer: String,
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
    /// How data is brought to the network's units.
    pub normalise: Normalise,
    /// Steps between checkpoints.
    pub checkpoint_every: u32,
    /// The course of the learning rate.
    pub decay: Decay,
    /// The network.
    pub model: Model,
    /// What was measured from the data; absent in a file for `--config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// The map from the data's units to the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// Mean 0, standard deviation 1.
    Standard,
    /// The smallest value to -1, the largest to 1.
    Range,
}

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
    /// The map that was used, undone when sampling.
    pub normalisation: Normalisation,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: String::new(),
            steps: 5_000,
            batch: 0,
            lr: 1e-3,
            optimizer: "adam".into(),
            clip_norm: 1.0,
            ema: 0.999,
            seed: 0,
            schedule: "linear".into(),
            diffusion_steps: 1_000,
            prediction: Prediction::V,
            normalise: Normalise::Standard,
            checkpoint_every: 1_000,
            decay: Decay::InverseSqrt { hold: 1_000 },
            model: Model::named("mlp").expect("a listed name"),
            facts: None,
        }
    }
}

impl Config {
    /// The defaults for a model: `chapter` is trained as the chapter does, on epsilon.
    ///
    /// # Errors
    /// With the models there are.
    pub fn for_model(name: &str) -> Result<Self> {
        let config = Self { model: Model::named(name)?, ..Self::default() };
        Ok(match name {
            "chapter" => {
                let prediction = Prediction::Epsilon;
                Self { prediction, clip_norm: 0.0, ema: 0.0, decay: Decay::Constant, ..config }
            }
            _ => config,
        })
    }

    /// Reads a TOML file; what it does not state has the model's default.
    ///
    /// # Errors
    /// With the line that is not understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, e))?;
        Self::parse(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let fail = |e: toml::de::Error| Error::input(e.to_string());
        let stated: toml::Table = text.parse().map_err(fail)?;
        let model = stated.get("model").and_then(|m| m.get("name")).and_then(|n| n.as_str()).unwrap_or("mlp");
        let mut all = toml::Table::try_from(Self::for_model(model)?).expect("settings are a table");
        merge(&mut all, stated);
        // Through text again, so that a mistake is reported with its line.
        toml::from_str(&toml::to_string(&all).expect("a table is TOML")).map_err(fail)
    }

    /// As TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are TOML")
    }

    /// Checks what can be checked without the data.
    ///
    /// # Errors
    /// [`Error::Setting`] with the setting and what it may be.
    pub fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::setting(text));
        if self.steps == 0 || self.steps > 100_000_000 {
            return refuse(format!("{} training steps; use 1 to 100000000", self.steps));
        }
        if !(self.lr > 0.0 && self.lr < 100.0) {
            return refuse(format!("a learning rate of {}; use a positive number such as 0.001", self.lr));
        }
        if self.checkpoint_every == 0 {
            return refuse("checkpoint_every is 0; use the number of steps between checkpoints, such as 1000".into());
        }
        self.optimizer()?;
        self.noise_schedule()?;
        Ok(())
    }

    /// The batch size for `samples` of data.
    ///
    /// # Errors
    /// When the batch is larger than the data.
    pub fn batch_for(&self, samples: usize) -> Result<usize> {
        match self.batch {
            0 => Ok(samples.min(256)),
            b if b > samples => Err(Error::setting(format!(
                "a batch of {b} is larger than the data, which has {samples} samples; use --batch {samples} or less"
            ))),
            b => Ok(b),
        }
    }

    /// The noise schedule.
    pub fn noise_schedule(&self) -> Result<Schedule> {
        Schedule::named(&self.schedule, self.diffusion_steps)
    }

    /// The optimizer with clipping, decay and average.
    pub fn optimizer(&self) -> Result<Optimizer> {
        Ok(Optimizer {
            decay: self.decay,
            clip: (self.clip_norm > 0.0).then_some(self.clip_norm),
            ema: (self.ema > 0.0).then_some(self.ema),
            ema_warmup: true,
            ..Optimizer::named(&self.optimizer, self.lr, 0.9, 0.01)?
        })
    }

    /// Measures the data.
    pub fn measure(&self, data: &Dataset) -> Result<Facts> {
        let normalisation = match self.normalise {
            Normalise::Standard => Normalisation::standard(data)?,
            Normalise::Range => Normalisation::range(data)?,
        };
        Ok(Facts { kind: data.kind(), shape: data.shape.clone(), samples: data.len(), normalisation })
    }
}

/// Puts what `stated` says over `all`, table by table; a stated enum replaces the default one.
fn merge(all: &mut toml::Table, stated: toml::Table) {
    for (key, value) in stated {
        match (all.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) if key == "model" => merge(inner, value),
            (_, value) => drop(all.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_round_trip_and_partial_files() {
        let config = Config { seed: 9, decay: Decay::Cosine { warmup: 5, total: 50 }, ..Config::default() };
        assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
        let partial = Config::parse("lr = 0.5\n[model]\nname = \"chapter\"\nwidth = 7").unwrap();
        assert_eq!((partial.lr, partial.model.width, partial.prediction), (0.5, 7, Prediction::Epsilon));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Config::parse("learning_rate = 1").unwrap_err().to_string().contains("learning_rate"));
        assert!(Config::parse("[model]\nname = \"nope\"").unwrap_err().to_string().contains("chapter"));
        let config = Config { schedule: "nope".into(), ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("cosine"));
        let config = Config { batch: 10, ..Config::default() };
        assert!(config.batch_for(5).unwrap_err().to_string().contains("--batch 5"));
    }
}
