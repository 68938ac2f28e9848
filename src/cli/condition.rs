//! The options that condition a model.

use crate::data::{Header, Labels};
use crate::inference::{Guidance, SampleConditions};
use crate::train::{Checkpoint, ConditionSources, Config, Facts, Task};
use crate::{Error, Result};
use clap::Args;

use super::real;

/// What a model is conditioned on.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options for conditional models")]
pub struct ConditionArgs {
    #[command(flatten)]
    files: ConditionFiles,
    /// The probability that a sample is trained without its condition, for classifier-free guidance [default: 0.1]
    #[arg(long, value_name = "P", value_parser = real, allow_negative_numbers = true)]
    label_dropout: Option<f64>,
}

/// The files of what a model is conditioned on.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options for conditional models")]
pub struct ConditionFiles {
    /// The class of each sample: a .npy or IDX file, or a column of a table as FILE.csv:COLUMN
    #[arg(long, value_name = "FILE")]
    labels: Option<String>,
    /// Whether the first line of a table of labels is a header: yes or no [default: decided by its content]
    #[arg(long, value_name = "YES|NO")]
    label_header: Option<Header>,
    /// A vector for each sample that the model is conditioned on: an array [n, k] or [n], or a table
    #[arg(long, value_name = "FILE")]
    condition: Option<String>,
    /// A signal or an image for each sample that the model is conditioned on; another size is scaled to that of the samples
    #[arg(long, value_name = "FILE")]
    given: Option<String>,
}

impl ConditionArgs {
    /// Refuses options that have no effect.
    pub fn check(&self, config: &Config) -> Result<()> {
        if self.label_dropout.is_some() && !config.condition.is_some() && config.task != Task::Complete {
            return Err(Error::setting(
                "--label-dropout needs a condition that it removes; add --labels, --condition, --given or --task complete, or \
                 omit it",
            ));
        }
        self.files.check(&config.condition)
    }

    /// Applies the options to the settings.
    pub fn apply_to(&self, sources: &mut ConditionSources) {
        self.files.apply_to(sources);
        sources.dropout = self.label_dropout.map_or(sources.dropout, |p| p as f32);
    }
}

impl ConditionFiles {
    /// Refuses options that have no effect.
    pub fn check(&self, sources: &ConditionSources) -> Result<()> {
        match self.label_header.is_some() && sources.labels.is_empty() {
            true => {
                Err(Error::setting("--label-header needs --labels, the table that it is about; add it, or omit it"))
            }
            false => Ok(()),
        }
    }

    /// Applies the options to the settings.
    pub fn apply_to(&self, sources: &mut ConditionSources) {
        let text = |setting: &mut String, option: &Option<String>| {
            if let Some(value) = option {
                setting.clone_from(value);
            }
        };
        text(&mut sources.labels, &self.labels);
        sources.label_header = self.label_header.or(sources.label_header);
        text(&mut sources.vector, &self.condition);
        text(&mut sources.given, &self.given);
    }
}

/// What samples are conditioned on.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options for conditional models")]
pub struct SampleConditionArgs {
    /// The class of the samples by name or number, several classes in turn as 3,1,4, all, or none [default: all]
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    class: Vec<String>,
    /// Condition vectors: an array [n, k] or [n], or a table, repeated in turn if there are fewer than samples
    #[arg(long, value_name = "FILE")]
    condition: Option<String>,
    /// Known signals or images, repeated in turn if there are fewer than samples
    #[arg(long, value_name = "FILE")]
    given: Option<String>,
    /// Scale of guidance: above 1, samples follow their condition more closely, or with --guide differ more from those of a
    /// weaker run [default: 1]
    #[arg(long, value_name = "W", value_parser = real, allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// The diffusion steps with guidance, such as 200,800
    #[arg(long, value_name = "LOW,HIGH", value_delimiter = ',', value_parser = real, requires = "guidance")]
    guidance_interval: Vec<f64>,
    /// How far guidance keeps the deviation of the output without guidance, from 0 to 1
    #[arg(long, value_name = "R", value_parser = real, allow_negative_numbers = true, requires = "guidance")]
    guidance_rescale: Option<f64>,
}

impl SampleConditionArgs {
    /// Whether the classes of the samples are stated.
    pub fn states_class(&self) -> bool {
        !self.class.is_empty()
    }

    /// The files of vectors and of known values.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        [&self.condition, &self.given].into_iter().flatten().map(String::as_str)
    }

    /// The conditions of samples of a run.
    pub fn conditions(&self, checkpoint: &Checkpoint) -> Result<SampleConditions> {
        let (facts, read) = (&checkpoint.facts, &checkpoint.config.read);
        let known = facts.conditions.load(self.condition.as_deref(), self.given.as_deref(), read)?;
        let interval = match self.guidance_interval[..] {
            [] => None,
            [low, high] => Some([low, high]),
            _ => return Err(Error::setting("--guidance-interval takes two diffusion steps, such as 200,800")),
        };
        let guidance = Guidance::default()
            .scale(self.guidance.unwrap_or(1.0))
            .rescale(self.guidance_rescale.unwrap_or(0.0))
            .interval(interval);
        Ok(SampleConditions::default().classes(self.classes(facts)?).known(known).guidance(guidance))
    }

    fn classes(&self, facts: &Facts) -> Result<Vec<u32>> {
        let conditions = &facts.conditions;
        // A class of this name comes first.
        let is = |name: &str, word: &str| name == word && !conditions.names.iter().any(|known| known == word);
        let named = |name: &String| match name.as_str() {
            name if is(name, "none") => Ok(conditions.classes as u32),
            name => Labels::class_named(name, conditions.classes, &conditions.names),
        };
        match &self.class[..] {
            [] => Ok(vec![]),
            _ if conditions.classes == 0 => {
                Err(Error::setting("--class: this run has no classes; train it with --labels, or omit --class"))
            }
            [all] if is(all, "all") => Ok(vec![]),
            some => some.iter().map(named).collect(),
        }
    }
}
