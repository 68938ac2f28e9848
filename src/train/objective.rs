//! The inputs and targets of the network in a training step.

use super::data::{ConditionedBatch, DataTensors, Gaps};
use super::{Config, DiffusionSteps, LossInputs};
use crate::data::Normalisation;
use crate::data::corrupt::{Extent, NoiseKind};
use crate::diffusion::Objective;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Denoiser, Inputs};
use crate::ops::Affine;

/// Properties of the samples that the graph of a step depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleInfo<'a> {
    /// The shape of a sample.
    pub shape: &'a [usize],
    /// The shape of a sample of the data, from which the augmentation cuts those of the model.
    pub stored: &'a [usize],
    /// The difference of the largest and smallest value, in normalised units.
    pub range: f64,
    /// The normalisation of the data.
    pub normalisation: &'a Normalisation,
    /// The smallest and largest value, in the units of the data.
    pub extent: Extent,
    /// What a model that completes samples needs.
    pub gaps: &'a Gaps,
}

/// The output of the network in a step, and its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepOutput {
    /// The output of the network.
    pub prediction: Var,
    /// The target of the prediction.
    pub target: Var,
    /// The noisy data and the step of each row, for a diffusion model.
    pub noisy: Option<[Var; 2]>,
    /// The factors of the loss of each value, if they are not 1.
    pub weights: Option<Var>,
}

impl StepOutput {
    /// The inputs of the loss terms.
    pub fn loss_inputs<'a>(&self, config: &Config, objective: &'a Objective, sample: SampleInfo<'a>) -> LossInputs<'a> {
        let (weighting, target) = (config.weighting, config.loss_target());
        let steps = self.noisy.map(|[x_t, t]| DiffusionSteps { x_t, t, objective, weighting, target });
        LossInputs {
            steps,
            weights: self.weights,
            ..LossInputs::new(self.prediction, self.target, sample.shape, sample.range)
        }
    }
}

/// Adds the forward pass on a batch of `data`, whose rows are normalised samples.
///
/// # Errors
/// When the network refuses the shape of the data, or a setting is out of range.
pub(crate) fn step_output(
    g: &mut Graph,
    config: &Config,
    network: &dyn Denoiser,
    data: &DataTensors,
    sample: SampleInfo,
    batch: usize,
) -> Result<StepOutput> {
    match config.noise {
        Some(noise) => denoising(g, noise, network, data, sample, batch),
        None => diffusion(g, config, network, data, batch),
    }
}

/// The forward pass of a denoiser: noise is added in the units of the data, and the network predicts the clean samples.
/// The diffusion step is 0.
fn denoising(
    g: &mut Graph,
    noise: NoiseKind,
    network: &dyn Denoiser,
    data: &DataTensors,
    sample: SampleInfo,
    batch: usize,
) -> Result<StepOutput> {
    let rows = data.rows(g, batch)?;
    let clean = data.clean(g, rows)?;
    let entries = || sample.normalisation.entries();
    let width = entries().count();
    let undo = entries().map(|(_, scale)| scale).chain(entries().map(|(shift, _)| shift)).collect();
    let undo = g.constant([2, width], undo)?;
    let wide = f64::from;
    let factors = entries().map(|(_, scale)| 1.0 / wide(scale));
    let terms = entries().map(|(shift, scale)| -wide(shift) / wide(scale));
    let apply = g.constant([2, width], factors.chain(terms).map(|v| v as f32).collect())?;
    let plain = g.apply1(Affine, &[clean, undo])?;
    let disturbed = noise.add_to(g, plain, sample.shape, sample.extent)?;
    let noisy = g.apply1(Affine, &[disturbed, apply])?;
    let rows = g.rows_of(batch);
    let t = g.constant([rows], vec![0.0; rows])?;
    Ok(StepOutput { prediction: network.forward(g, Inputs::new(noisy, t))?, target: clean, noisy: None, weights: None })
}

/// The forward pass of a diffusion model (Ho et al. 2020, algorithm 1): noise is added at a random time, and the network
/// predicts the target of the objective.
fn diffusion(
    g: &mut Graph,
    config: &Config,
    network: &dyn Denoiser,
    data: &DataTensors,
    batch: usize,
) -> Result<StepOutput> {
    let rows = data.rows(g, batch)?;
    let noised = data.noised(g, rows, &config.objective()?)?;
    let ConditionedBatch { inputs, weights } =
        data.condition(g, Inputs::new(noised.x_t, noised.t), rows, config.condition.dropout)?;
    let prediction = network.forward(g, inputs)?;
    Ok(StepOutput { prediction, target: noised.target, noisy: Some([noised.x_t, noised.t]), weights })
}
