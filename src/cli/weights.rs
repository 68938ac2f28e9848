//! The options that select the weights of a run.

use crate::Result;
use crate::text::{count, short};
use crate::train::{Averaged, Checkpoint, RunFolder};
use clap::Args;

use super::real;

#[derive(Args)]
pub struct WeightArgs {
    /// Use the state with the lowest validation loss, see train --keep-best
    #[arg(long)]
    best: bool,
    /// Use a power-function average of the weights with this length, relative to the training, such as 0.1, instead of their
    /// usual average; the run needs train --ema-snapshots
    #[arg(long, value_name = "LENGTH", value_parser = real, allow_negative_numbers = true, conflicts_with = "best")]
    ema: Option<f64>,
}

/// The state of a run with the weights that are used.
pub struct Weights {
    pub checkpoint: Checkpoint,
    /// What is said about an average of snapshots.
    pub average: Option<String>,
}

impl WeightArgs {
    /// The weights that the options select.
    ///
    /// # Errors
    /// When the run does not have them.
    pub fn of(&self, folder: &RunFolder) -> Result<Weights> {
        let Some(length) = self.ema else {
            let checkpoint = if self.best { folder.best() } else { folder.checkpoint() }?;
            return Ok(Weights { checkpoint, average: None });
        };
        let Averaged { checkpoint, snapshots, misfit } = folder.averaged(length)?;
        let average = format!(
            "weights: the average of length {length} from {}; its profile differs by {}%",
            count(snapshots, "snapshot"),
            short(100.0 * misfit)
        );
        Ok(Weights { checkpoint, average: Some(average) })
    }
}
