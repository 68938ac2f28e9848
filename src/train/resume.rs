//! How a run goes on: with the settings it began with, but for where its data are and when it ends.

use std::fmt;

use super::config::to_table;
use super::setting::leaves;
use super::{Checkpoint, Config};
use crate::error::{Error, Result};
use crate::ops::Decay;
use crate::text::count;

/// A setting that differs between two runs.
#[derive(Debug)]
pub(crate) struct Difference {
    name: String,
    values: [String; 2],
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mine, others] = &self.values;
        write!(f, "{}: {mine} and {others}", self.name)
    }
}

impl Config {
    /// The settings in which `other` differs, the name of the model and its settings before all others.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Difference> {
        let (mine, others) = (leaves(&to_table(self)), leaves(&to_table(other)));
        let mut names: Vec<&String> = mine.keys().chain(others.keys()).collect();
        names.sort_by_key(|name| (*name != "model.name", !name.starts_with("model."), *name));
        names.dedup();
        // It follows from the data, which have a checksum; older runs do not state it.
        names.retain(|name| *name != "facts.range");
        if self.model.name() != other.model.name() {
            // The settings of two networks have nothing to do with each other.
            names.retain(|name| *name == "model.name" || !name.starts_with("model."));
        }
        let text = |value: Option<&toml::Value>| value.map_or("nothing".to_string(), |v| v.to_string());
        let differing = names.into_iter().filter(|name| mine.get(*name) != others.get(*name));
        differing
            .map(|name| Difference { name: name.clone(), values: [&mine, &others].map(|t| text(t.get(name))) })
            .collect()
    }

    /// These settings with what may change when a run is resumed: its end, and where its data and the features of its loss
    /// are, which have checksums.
    pub(crate) fn ending_as(&self, other: &Self) -> Self {
        let (data, loss) = (other.data.clone(), self.loss.with_features_of(&other.loss));
        Self { steps: other.steps, early_stop: other.early_stop, data, loss, ..self.clone() }
    }
}

impl Checkpoint {
    /// The settings with which this run goes on when `wanted` are asked for.
    ///
    /// # Errors
    /// With each setting that is another than the run began with, or when it cannot end as wanted.
    pub fn continued(&self, wanted: &Config) -> Result<Config> {
        let wanted = &Config { loss: wanted.loss.clone().with_full_paths(), ..wanted.clone() };
        let (config, done) = (self.config.ending_as(wanted), self.step);
        if let Decay::Cosine { total, .. } = config.decay
            && config.steps > total
        {
            return Err(Error::setting(format!(
                "{} steps, but the learning rate of this run falls to 0 at step {total} (decay cosine), after which \
                 nothing would change; go on to step {total} at most, or start a new run with more --steps in another --out",
                config.steps
            )));
        }
        // A run may state smaller parts than were asked for, because larger ones did not fit the device.
        let micro_batch = if wanted.micro_batch == 0 { config.micro_batch } else { wanted.micro_batch };
        let changes = config.differences(&Config { micro_batch, ..wanted.settled(self.facts().clone()) });
        if !changes.is_empty() {
            let change = |Difference { name, values: [from, to] }: &Difference| format!("{name} from {from} to {to}");
            return Err(Error::setting(format!(
                "a run is continued with the settings it began with, and this would change {}; with --resume only --steps, \
                 --early-stop, --device and the places of the data and of a loss's file may be given. Start a new run in another --out for \
                 other settings",
                changes.iter().map(change).collect::<Vec<_>>().join(", ")
            )));
        }
        if config.steps < done {
            return Err(Error::setting(format!(
                "--steps {}, but the run has done {} already; use {done} or more",
                config.steps,
                count(done as usize, "step")
            )));
        }
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Kind, Normalisation};
    use crate::nn::Model;
    use crate::train::Facts;

    fn checkpoint(config: Config) -> Checkpoint {
        let normalisation = Normalisation { shift: vec![0.0], scale: vec![1.0], bound: 1.0 };
        let (kind, shape) = (Kind::Images, vec![1, 16, 16]);
        let facts = Facts { kind, shape, samples: 10, checksum: 7, normalisation, range: vec![], features: None };
        Checkpoint { config: config.settled(facts), step: 30, tensors: vec![], pending: vec![] }
    }

    /// Older runs do not state the range of their data.
    #[test]
    fn an_older_run_goes_on() {
        let old = checkpoint(Config::for_model("unet").unwrap()).config;
        let mut new = old.clone();
        new.facts.as_mut().unwrap().range = vec![[0.0, 1.0]];
        assert!(old.differences(&new).is_empty());
        assert!(old.facts.as_ref().unwrap().agree_with(new.facts.as_ref().unwrap()));
        new.facts.as_mut().unwrap().checksum = 8;
        assert_eq!(old.differences(&new).len(), 1);
        assert!(!old.facts.unwrap().agree_with(&new.facts.unwrap()));
    }

    #[test]
    fn a_run_goes_on_with_what_it_began_with() {
        let wanted = Config { steps: 40, ..Config::for_model("unet").unwrap() };
        let run = checkpoint(Config { micro_batch: 8, ..wanted.clone() });
        assert_eq!(run.continued(&wanted).unwrap(), run.config);
        let longer = Config { steps: 50, data: "moved".into(), ..wanted.clone() };
        assert_eq!(run.continued(&longer).unwrap(), Config { steps: 50, data: "moved".into(), ..run.config.clone() });
        let mut other = Config { lr: 0.5, ..wanted.clone() };
        let Model::UNet(options) = &mut other.model else { panic!("{:?}", other.model) };
        options.width = 7;
        let message = run.continued(&other).unwrap_err().to_string();
        assert!(message.contains("change model.width from 32 to 7, lr from 0.001 to 0.5;"), "{message}");
        let message = run.continued(&Config { steps: 29, ..wanted }).unwrap_err().to_string();
        assert!(message.contains("30 steps already"), "{message}");
    }

    #[test]
    fn a_cosine_is_not_continued_at_0() {
        let wanted = Config { steps: 40, decay: Decay::Cosine { warmup: 2, total: 40 }, ..Config::default() };
        let run = checkpoint(wanted.clone());
        assert!(run.continued(&wanted).is_ok());
        let mut longer = wanted;
        longer.set_steps(60);
        assert_eq!(longer.decay, Decay::Cosine { warmup: 2, total: 60 });
        let message = run.continued(&longer).unwrap_err().to_string();
        assert!(message.contains("falls to 0 at step 40"), "{message}");
    }
}
