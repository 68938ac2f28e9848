//! The options that condition a model.

use crate::train::ConditionSources;
use clap::Args;

use super::real;

/// What a model is conditioned on.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options for conditional models")]
pub struct ConditionArgs {
    /// The class of each sample: a .npy or IDX file, or a column of a table as FILE.csv:COLUMN
    #[arg(long, value_name = "FILE")]
    labels: Option<String>,
    /// The probability that a sample is trained without its condition, for classifier-free guidance [default: 0.1]
    #[arg(long, value_name = "P", value_parser = real, allow_negative_numbers = true)]
    label_dropout: Option<f64>,
    /// A vector for each sample that the model is conditioned on: an array [n, k] or a table
    #[arg(long, value_name = "FILE")]
    condition: Option<String>,
    /// A signal or an image for each sample, of the same size, that the model is conditioned on
    #[arg(long, value_name = "FILE")]
    given: Option<String>,
}

impl ConditionArgs {
    /// Applies the options to the settings.
    pub fn apply_to(&self, sources: &mut ConditionSources) {
        let text = |setting: &mut String, option: &Option<String>| {
            if let Some(value) = option {
                setting.clone_from(value);
            }
        };
        text(&mut sources.labels, &self.labels);
        text(&mut sources.vector, &self.condition);
        text(&mut sources.given, &self.given);
        sources.dropout = self.label_dropout.unwrap_or(sources.dropout);
    }
}
