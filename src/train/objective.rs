//! The objective: what the network is given, and what its output is compared with.

use super::Config;
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
    /// The step of each row, where there is one: weightings by step read it.
    #[allow(dead_code)] // the one loss term there is weighs all steps alike
    pub t: Option<Var>,
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
    let encoding = network.joined_encoding();
    let noised = g.noisy_batch(data, batch, &config.noise_schedule()?, config.prediction, encoding)?;
    let prediction = match encoding {
        Some(_) => network.forward_joined(g, noised.x_t)?,
        None => network.forward(g, noised.x_t, noised.t)?,
    };
    Ok(Example { prediction, target: noised.target, t: Some(noised.t) })
}
