//! The objective: what the network is given, and what its output is compared with.

use super::{Compared, Config, Steps};
use crate::data::Normalisation;
use crate::data::corrupt::{Extent, NoiseKind};
use crate::diffusion::Objective;
use crate::error::Result;
use crate::graph::{Data, Graph, Var};
use crate::nn::{Denoiser, Inputs};
use crate::ops::Affine;

/// The data of a run, on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Samples<'a> {
    /// n samples as the rows of a table, in the units of the network.
    pub rows: &'a Data,
    /// The shape of one.
    pub shape: &'a [usize],
    /// Largest less smallest value in the units of the network.
    pub range: f64,
    /// The map from the units of the data.
    pub normalisation: &'a Normalisation,
    /// The smallest and the largest value in the units of the data.
    pub extent: Extent,
}

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
    /// What the loss terms see.
    pub fn compared<'a>(&self, config: &Config, objective: &'a Objective, data: &Samples<'a>) -> Compared<'a> {
        let weighting = config.weighting;
        let steps = self.noisy.map(|[x_t, t]| Steps { x_t, t, objective, weighting });
        Compared { prediction: self.prediction, goal: self.target, sample: data.shape, range: data.range, steps }
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
    data: &Samples,
    batch: usize,
) -> Result<Example> {
    match config.noise {
        Some(noise) => denoising(g, noise, network, data, batch),
        None => diffusion(g, config, network, data.rows, batch),
    }
}

/// Clean from noisy: the noise is drawn in the step, in the units of the data, and the network gives the clean samples.
/// Networks that ask for a step are told 0.
fn denoising(g: &mut Graph, noise: NoiseKind, network: &dyn Denoiser, data: &Samples, batch: usize) -> Result<Example> {
    let clean = data.rows.batch(g, batch)?;
    let Normalisation { shift, scale, .. } = data.normalisation;
    let undo = g.constant([2, scale.len()], scale.iter().chain(shift).copied().collect())?;
    let wide = |&v: &f32| f64::from(v);
    let apply = scale.iter().map(|s| 1.0 / wide(s)).chain(shift.iter().zip(scale).map(|(b, s)| -wide(b) / wide(s)));
    let apply = g.constant([2, scale.len()], apply.map(|v| v as f32).collect())?;
    let plain = g.apply1(Affine, &[clean, undo])?;
    let disturbed = noise.add_to(g, plain, data.shape, data.extent)?;
    let noisy = g.apply1(Affine, &[disturbed, apply])?;
    let rows = g.rows_of(batch);
    let t = g.constant([rows], vec![0.0; rows])?;
    Ok(Example { prediction: network.forward(g, Inputs::new(noisy, t))?, target: clean, noisy: None })
}

/// Ho et al. 2020, algorithm 1: noise at a random step, and the network predicts eps, x0 or v.
fn diffusion(g: &mut Graph, config: &Config, network: &dyn Denoiser, data: &Data, batch: usize) -> Result<Example> {
    let noised = g.noisy_batch(data, batch, &config.objective()?)?;
    let prediction = network.forward(g, Inputs::new(noised.x_t, noised.t))?;
    Ok(Example { prediction, target: noised.target, noisy: Some([noised.x_t, noised.t]) })
}
