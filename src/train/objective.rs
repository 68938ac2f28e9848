//! The objective: what the network is given, and what its output is compared with.

use super::{Compared, Config, Steps};
use crate::diffusion::Schedule;
use crate::error::Result;
use crate::graph::{Data, Graph, Var};
use crate::nn::Denoiser;

/// What an objective hands to the loss terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    /// The network's output.
    pub prediction: Var,
    /// What it should be.
    pub target: Var,
    /// The noisy data and the step of each row, where there are some.
    pub noisy: Option<[Var; 2]>,
}

impl Example {
    /// What the loss terms see, for samples of `shape` with `range` between their smallest and largest value.
    pub fn compared<'a>(
        &self,
        config: &Config,
        schedule: &'a Schedule,
        shape: &'a [usize],
        range: f64,
    ) -> Compared<'a> {
        let (prediction, weighting) = (config.prediction, config.weighting);
        let steps = self.noisy.map(|[x_t, t]| Steps { x_t, t, schedule, prediction, weighting });
        Compared { prediction: self.prediction, goal: self.target, sample: shape, range, steps }
    }
}

/// Adds the forward pass on a batch of `data`.
///
/// # Errors
/// When the network refuses the shape of the data, or a setting is out of range.
pub(crate) fn example(
    g: &mut Graph,
    config: &Config,
    network: &dyn Denoiser,
    data: &Data,
    batch: usize,
) -> Result<Example> {
    diffusion(g, config, network, data, batch)
}

/// Ho et al. 2020, algorithm 1: noise at a random step, and the network predicts eps, x0 or v.
fn diffusion(g: &mut Graph, config: &Config, network: &dyn Denoiser, data: &Data, batch: usize) -> Result<Example> {
    // Terms on x0 need x_t alone.
    let encoding = network.joined_encoding().filter(|_| !config.loss.on_x0());
    let noised = g.noisy_batch(data, batch, &config.noise_schedule()?, config.prediction, encoding)?;
    let prediction = match encoding {
        Some(_) => network.forward_joined(g, noised.x_t)?,
        None => network.forward(g, noised.x_t, noised.t)?,
    };
    Ok(Example { prediction, target: noised.target, noisy: Some([noised.x_t, noised.t]) })
}
