//! The graph of a training step: objective, loss terms, reverse pass and optimizer.

use super::Config;
use super::data::DataTensors;
use super::loss::Term;
use super::objective::{SampleInfo, step_output};
use super::snapshots::LENGTHS;
use crate::device::Run;
use crate::error::{Error, Result};
use crate::generate::batches;
use crate::graph::{Graph, HISTORY, Var};
use crate::nn::Denoiser;
use crate::ops::power_gamma;

/// The results of a step.
#[derive(Clone, Debug)]
pub(crate) struct StepVars {
    /// The micro-batches: the share of each in the batch, and its loss terms.
    pub parts: Vec<(f64, Vec<Term>)>,
    /// The norm of the gradient, if it is clipped.
    pub norm: Option<Var>,
}

/// The loss of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses {
    /// The weighted sum of the terms.
    pub total: f64,
    /// The terms without their weights, in the order of [`super::Trainer::terms`].
    pub terms: Vec<f64>,
}

/// The size of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Samples per step.
    pub rows: usize,
    /// Samples per micro-batch.
    pub micro: usize,
}

/// Adds the loss terms on a batch of `rows` from `data`, laid out as the rows of a table.
///
/// # Errors
/// When a setting does not fit the data.
pub(crate) fn forward(
    g: &mut Graph,
    config: &Config,
    network: &dyn Denoiser,
    data: &DataTensors,
    sample: SampleInfo,
    rows: usize,
) -> Result<Vec<Term>> {
    let output = step_output(g, config, network, data, sample, rows)?;
    config.loss.add_to(g, &output.loss_inputs(config, &config.objective()?, sample))
}

/// Adds a training step on batches of `data`.
///
/// Micro-batches run forward and backward one after the other, with the same samples, steps and random numbers as the
/// whole batch. The optimizer uses the sum of their gradients.
///
/// # Errors
/// When a setting does not fit the data.
pub(crate) fn step(
    g: &mut Graph,
    config: &Config,
    data: &DataTensors,
    sample: SampleInfo,
    batch: Batch,
) -> Result<StepVars> {
    g.train();
    if config.recompute {
        g.recompute_blocks();
    }
    let network = config.model.build(g, sample.shape)?;
    let parts = batches::in_parts(g, batch.rows, batch.micro, |g, share| {
        let terms = forward(g, config, network.as_ref(), data, sample, batch.rows)?;
        batches::backward(g, &Term::scalars(&terms), share)?;
        Ok(terms)
    })?;
    if config.recompute && g.blocks() == 0 {
        return Err(Error::setting(format!(
            "--recompute: the network {} has no blocks that could be computed again; use --micro-batch to save memory, or \
             the model unet",
            config.model.name()
        )));
    }
    let norm = g.optimize(config.optimizer()?)?;
    if config.ema_snapshot_every > 0 {
        for (slab, length) in LENGTHS {
            g.average(power_gamma(length)?, slab)?;
        }
    }
    Ok(StepVars { parts, norm })
}

impl StepVars {
    /// The names of the terms.
    pub fn names(&self) -> Vec<&'static str> {
        self.parts[0].1.iter().map(|term| term.name).collect()
    }

    /// The losses of the last `n` steps of `run`, oldest first; `n` is at most [`HISTORY`].
    ///
    /// # Errors
    /// When fewer than `n` steps were run.
    pub fn losses(&self, run: &Run, n: usize) -> Result<Vec<Losses>> {
        debug_assert!(n <= HISTORY);
        let mut losses = vec![Losses { total: 0.0, terms: vec![0.0; self.parts[0].1.len()] }; n];
        for (share, terms) in &self.parts {
            for (i, term) in terms.iter().enumerate() {
                for (losses, value) in losses.iter_mut().zip(term.history(run, n)?) {
                    losses.total += share * term.weight * value;
                    losses.terms[i] += share * value;
                }
            }
        }
        Ok(losses)
    }

    /// The first of the last `n` steps of `run` whose gradient has an infinite or NaN norm, and this norm. Clipping such a
    /// gradient gives zeros or NaN.
    ///
    /// # Errors
    /// When fewer than `n` steps were run.
    pub fn first_non_finite_norm(&self, run: &Run, n: usize) -> Result<Option<(usize, f64)>> {
        let Some(norm) = self.norm else { return Ok(None) };
        Ok(run.history(norm, n)?.into_iter().enumerate().find(|(_, norm)| !norm.is_finite()))
    }
}
