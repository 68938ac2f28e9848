//! What a training step computes, as a graph: objective, loss terms, reverse pass, optimizer. Nothing here knows of a
//! device.

use super::Config;
use super::objective::{Samples, example};
use super::terms::Term;
use crate::data::Normalisation;
use crate::data::corrupt::Extent;
use crate::device::Run;
use crate::error::Result;
use crate::generate::batches;
use crate::graph::{Data, Graph, HISTORY, Var};
use crate::nn::Denoiser;

/// The readable results of a step.
#[derive(Clone, Debug)]
pub(crate) struct StepVars {
    /// The share of a part in the batch, and the loss terms, which add up over the parts of this size.
    pub parts: Vec<(f64, Vec<Term>)>,
    /// The norm of the gradient, where it is clipped.
    pub norm: Option<Var>,
}

/// The loss of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses {
    /// The weighted sum of the terms.
    pub total: f64,
    /// Each term without its weight, in the order of [`super::Trainer::terms`].
    pub terms: Vec<f64>,
}

/// What is known of the samples before they are on a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    /// The shape of one.
    pub shape: &'a [usize],
    /// Largest less smallest value in the units of the network.
    pub range: f64,
    /// The map from the units of the data.
    pub normalisation: &'a Normalisation,
    /// The smallest and the largest value in the units of the data.
    pub extent: Extent,
}

/// What a step is made over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Samples in a step.
    pub rows: usize,
    /// Samples that are computed at a time.
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
    data: &Data,
    sample: Sample,
    rows: usize,
) -> Result<Vec<Term>> {
    let Sample { shape, range, normalisation, extent } = sample;
    let data = Samples { rows: data, shape, range, normalisation, extent };
    let example = example(g, config, network, &data, rows)?;
    config.loss.add_to(g, &example.compared(config, &config.objective()?, &data))
}

/// Adds a training step on batches of `data`.
///
/// A batch in parts takes the samples, steps and random numbers of a whole one; the parts run forward and backward one after
/// the other, and the optimizer takes the sum of their gradients.
///
/// # Errors
/// When a setting does not fit the data.
pub(crate) fn step(g: &mut Graph, config: &Config, data: &Data, sample: Sample, batch: Batch) -> Result<StepVars> {
    g.train();
    let network = config.model.build(g, sample.shape)?;
    let parts = batches::in_parts(g, batch.rows, batch.micro, |g, share| {
        let terms = forward(g, config, network.as_ref(), data, sample, batch.rows)?;
        batches::backward(g, &Term::scalars(&terms), share)?;
        Ok(terms)
    })?;
    let norm = g.optimize(config.optimizer()?)?;
    Ok(StepVars { parts, norm })
}

impl StepVars {
    /// The terms' names.
    pub fn names(&self) -> Vec<&'static str> {
        self.parts[0].1.iter().map(|term| term.name).collect()
    }

    /// The losses of the last `n` steps of `run`, oldest first; `n` is at most [`HISTORY`].
    ///
    /// # Errors
    /// When there were fewer steps.
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

    /// Which of the last `n` steps of `run` was the first whose gradient has a norm that is not finite, and that norm: all
    /// of such a gradient is clipped away, so that the step changes nothing, or leaves NaN.
    ///
    /// # Errors
    /// When there were fewer steps.
    pub fn first_non_finite_norm(&self, run: &Run, n: usize) -> Result<Option<(usize, f64)>> {
        let Some(norm) = self.norm else { return Ok(None) };
        Ok(run.history(norm, n)?.into_iter().enumerate().find(|(_, norm)| !norm.is_finite()))
    }
}
