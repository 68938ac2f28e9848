//! What a training step computes, as a graph: objective, loss terms, reverse pass, optimizer. Nothing here knows of a
//! device.

use super::Config;
use super::objective::{Samples, example};
use super::terms::Term;
use crate::error::Result;
use crate::graph::{Graph, HISTORY};
use crate::run::Run;

/// The readable results of a step.
#[derive(Clone, Debug)]
pub(crate) struct StepVars {
    /// The terms of the loss.
    pub terms: Vec<Term>,
}

/// The loss of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses {
    /// The weighted sum of the terms.
    pub total: f64,
    /// Each term without its weight, in the order of [`super::Trainer::terms`].
    pub terms: Vec<f64>,
}

/// Adds a training step on batches of `data`.
///
/// # Errors
/// When a setting does not fit the data.
pub(crate) fn step(g: &mut Graph, config: &Config, data: &Samples, batch: usize) -> Result<StepVars> {
    g.train();
    let network = config.model.build(g, data.shape)?;
    let example = example(g, config, network.as_ref(), data, batch)?;
    let schedule = config.noise_schedule()?;
    let terms = config.loss.add_to(g, &example.compared(config, &schedule, data))?;
    g.backward(&Term::scalars(&terms), &[])?;
    g.optimize(config.optimizer()?)?;
    Ok(StepVars { terms })
}

impl StepVars {
    /// The losses of the last `n` steps of `run`, oldest first; `n` is at most [`HISTORY`].
    ///
    /// # Errors
    /// When there were fewer steps.
    pub fn losses(&self, run: &Run, n: usize) -> Result<Vec<Losses>> {
        debug_assert!(n <= HISTORY);
        let histories = self.terms.iter().map(|term| term.history(run, n)).collect::<Result<Vec<_>>>()?;
        let at = |i: usize| {
            let terms: Vec<f64> = histories.iter().map(|history| history[i]).collect();
            Losses { total: self.terms.iter().zip(&terms).map(|(term, value)| term.weight * value).sum(), terms }
        };
        Ok((0..n).map(at).collect())
    }
}
