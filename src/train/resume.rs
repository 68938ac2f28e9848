//! The settings of a resumed run: those of the original run, except for its end and the paths of its files.

use std::collections::BTreeSet;
use std::fmt;

use super::tables::{leaves, to_table};
use super::{Checkpoint, Config, Facts};
use crate::data::ReadOptions;
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

impl Difference {
    /// Whether it is a setting that determines the weights of the network.
    pub(super) fn is_of_model(&self) -> bool {
        self.name.starts_with("model.") && !matches!(&*self.name, "model.dropout" | "model.activation_noise")
    }
}

/// The values that differ between two tables, in the order of their names.
fn differences(mine: &toml::Table, others: &toml::Table) -> Vec<Difference> {
    let (mine, others) = (leaves(mine), leaves(others));
    let names: BTreeSet<&String> = mine.keys().chain(others.keys()).collect();
    let text = |value: Option<&toml::Value>| value.map_or("nothing".to_string(), |v| v.to_string());
    let differing = names.into_iter().filter(|name| mine.get(*name) != others.get(*name));
    differing
        .map(|name| Difference { name: name.clone(), values: [&mine, &others].map(|t| text(t.get(name))) })
        .collect()
}

impl Facts {
    /// The facts that differ in `other`. Those that [`Facts::agree_with`] ignores are left out.
    pub(crate) fn differences(&self, other: Option<&Self>) -> Vec<Difference> {
        let mut found = differences(&self.to_table(), &other.map(Facts::to_table).unwrap_or_default());
        const IGNORED: [&str; 4] = ["facts.range", "facts.sample_rate", "facts.columns.names", "facts.columns.whole"];
        found.retain(|d| !IGNORED.contains(&d.name.as_str()));
        found
    }
}

impl Config {
    /// The settings in which `other` differs. The name and the settings of the model come first.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = differences(&to_table(self), &to_table(other));
        found.sort_by_key(|d| (d.name != "model.name", !d.name.starts_with("model.")));
        if self.model.name() != other.model.name() {
            // The settings of different networks cannot be compared.
            found.retain(|d| d.name == "model.name" || !d.name.starts_with("model."));
        }
        found
    }

    /// These settings with the values of `other` for everything that may change when a run is resumed: its end, and the
    /// paths of its data and feature file, which have checksums.
    pub(crate) fn with_changes_of(&self, other: &Self) -> Self {
        let (data, loss) = (other.data.clone(), self.loss.with_features_of(&other.loss));
        let condition = self.condition.with_files_of(&other.condition);
        let read = ReadOptions { place: other.read.place, ..self.read.clone() };
        let mask = self.mask.as_ref().map(|mask| mask.with_file_of(other.mask.as_ref()));
        Self { steps: other.steps, early_stop: other.early_stop, data, read, loss, condition, mask, ..self.clone() }
    }
}

impl Checkpoint {
    /// The settings of this run when it is resumed with the settings `wanted`.
    ///
    /// # Errors
    /// With each setting that differs from the original run and must not, or when the run cannot end as wanted.
    pub fn continued(&self, wanted: &Config) -> Result<Config> {
        let wanted = &Config { loss: wanted.loss.clone().with_full_paths(), ..wanted.clone() };
        let mut config = self.config.with_changes_of(wanted);
        // The results are the same.
        config.recompute |= wanted.recompute;
        let (recompute, done) = (config.recompute, self.step);
        if let Decay::Cosine { total, .. } = config.decay
            && config.steps > total
        {
            return Err(Error::setting(format!(
                "{} steps, but the learning rate of this run falls to 0 at step {total} (decay cosine); use at most {total} \
                 steps, or start a new run with more --steps in another --out",
                config.steps
            )));
        }
        // The micro-batches of a run may be smaller than requested, because larger ones did not fit the device.
        let micro_batch = if wanted.micro_batch == 0 { config.micro_batch } else { wanted.micro_batch };
        // The default of a file.
        let batch = if wanted.batch == 0 { config.batch } else { wanted.batch };
        let changes = config.differences(&Config { micro_batch, recompute, batch, ..wanted.settled(&self.facts)? });
        if !changes.is_empty() {
            let change = |Difference { name, values: [from, to] }: &Difference| format!("{name} from {from} to {to}");
            return Err(Error::setting(format!(
                "a resumed run keeps its settings, but this would change {}; only --steps, --early-stop, --device, --data-from and the \
                 paths of the data, of their conditions and of the feature file can be changed with --resume. For other \
                 settings, start a new run in another --out",
                changes.iter().map(change).collect::<Vec<_>>().join(", ")
            )));
        }
        if config.steps < done {
            return Err(Error::setting(format!(
                "--steps {}, but the run has already completed {}; use {done} or more",
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
    use crate::data::Kind;
    use crate::nn::Model;

    fn checkpoint(config: Config) -> Checkpoint {
        let facts = Facts::example(Kind::Images, &[1, 16, 16]);
        Checkpoint { config: config.settled(&facts).unwrap(), facts, step: 30, tensors: vec![], pending: vec![] }
    }

    /// Runs of older versions do not have the range of their data.
    #[test]
    fn a_run_of_an_older_version_is_resumed() {
        let old = checkpoint(Config::for_model("unet").unwrap()).facts;
        let mut new = Facts { range: vec![[0.0, 1.0]], ..old.clone() };
        assert!(old.differences(Some(&new)).is_empty() && old.agree_with(&new));
        new.checksum = 8;
        assert_eq!(old.differences(Some(&new)).len(), 1);
        assert!(!old.agree_with(&new));
        assert_eq!(old.differences(None)[0].to_string(), "facts.checksum: 7 and nothing");
    }

    #[test]
    fn a_resumed_run_keeps_its_settings() {
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
        assert!(message.contains("already completed 30 steps"), "{message}");
    }

    #[test]
    fn a_finished_cosine_decay_is_not_resumed() {
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
