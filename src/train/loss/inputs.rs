//! The tensors that losses are computed from, and the terms that they add to a graph.

use crate::device::Run;
use crate::diffusion::{LossTarget, Objective, Prediction, Weighting};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};

/// The inputs of [`LossMix::add_to`](super::LossMix::add_to).
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct LossInputs<'a> {
    /// The output of the network [B, ...].
    pub prediction: Var,
    /// The target of the prediction [B, ...].
    pub target: Var,
    /// The shape of one sample.
    pub sample: &'a [usize],
    /// The difference of the largest and smallest value of the data, in normalised units.
    pub range: f64,
    /// The diffusion steps of the batch; `None` when the network predicts x0 without a diffusion.
    pub steps: Option<DiffusionSteps<'a>>,
    /// A factor for the loss of each value [B, ...].
    pub weights: Option<Var>,
}

/// The diffusion steps that a batch of predictions belongs to.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct DiffusionSteps<'a> {
    /// The noisy data [B, ...].
    pub x_t: Var,
    /// The time of each sample \[B\].
    pub t: Var,
    /// The path and the prediction type.
    pub objective: &'a Objective,
    /// The loss weight of each step.
    pub weighting: Weighting,
    /// The quantity whose error is the loss; `None` for the prediction.
    pub target: Option<LossTarget>,
}

/// A loss term in a graph.
#[derive(Clone, Debug)]
pub struct Term {
    /// Its column in `metrics.csv`.
    pub name: &'static str,
    /// Its weight in the total loss. The gradients of the scalars include it, their values do not.
    pub weight: f64,
    /// The scalars and their coefficients in the value of the term.
    pub parts: Vec<(Var, f64)>,
}

impl Term {
    /// The values of the term at the last `n` steps, without its weight.
    ///
    /// # Errors
    /// When fewer than `n` steps were run.
    pub fn history(&self, run: &Run, n: usize) -> Result<Vec<f64>> {
        let mut sum = vec![0.0; n];
        for &(scalar, weight) in &self.parts {
            sum.iter_mut().zip(run.history(scalar, n)?).for_each(|(sum, value)| *sum += weight * value);
        }
        Ok(sum)
    }

    /// The scalars to minimize.
    pub fn scalars(terms: &[Term]) -> Vec<Var> {
        terms.iter().flat_map(|term| &term.parts).map(|(scalar, _)| *scalar).collect()
    }
}

impl<'a> DiffusionSteps<'a> {
    /// Steps `t` \[B\] of the noisy data `x_t` [B, ...], without loss weights.
    pub fn new(x_t: Var, t: Var, objective: &'a Objective) -> Self {
        Self { x_t, t, objective, weighting: Weighting::None, target: None }
    }

    /// The weight of each row of the tables of the objective; `None` if all are 1.
    ///
    /// # Errors
    /// As [`Weighting::table`].
    fn weights(&self, g: &mut Graph) -> Result<Option<Var>> {
        if self.weighting == Weighting::None {
            return Ok(None);
        }
        let of = self.target.map_or(self.objective.prediction(), |target| target.of);
        let table = self.weighting.table(&self.objective.with_prediction(of))?;
        Ok(Some(g.constant([table.len()], table.iter().map(|&w| w as f32).collect())?))
    }
}

impl<'a> LossInputs<'a> {
    /// Inputs without diffusion steps: the network predicts x0. `sample` is the shape of one sample, `range` the difference
    /// of the largest and smallest value of the data.
    pub fn new(prediction: Var, target: Var, sample: &'a [usize], range: f64) -> Self {
        Self { prediction, target, sample, range, steps: None, weights: None }
    }

    /// Prediction and target as the quantity that the loss compares.
    ///
    /// # Errors
    /// When the prediction does not determine it.
    pub fn compared(&self, g: &mut Graph) -> Result<[Var; 2]> {
        let rows = self.rows(g)?;
        self.compared_at(g, rows)
    }

    /// The times of the steps in rows of the tables of the objective.
    pub(super) fn rows(&self, g: &mut Graph) -> Result<Option<Var>> {
        self.steps.map(|steps| g.rows_at(steps.objective, steps.t)).transpose()
    }

    /// [`LossInputs::compared`] with the times in rows.
    pub(super) fn compared_at(&self, g: &mut Graph, rows: Option<Var>) -> Result<[Var; 2]> {
        let pair = [self.prediction, self.target];
        match self.steps.zip(rows) {
            Some((DiffusionSteps { target: Some(target), objective, x_t, .. }, rows)) => {
                g.combined_rows(&target.table(objective)?, x_t, pair, rows)
            }
            _ => Ok(pair),
        }
    }

    /// The times in rows, and the weight of each row; `None` if all are 1.
    ///
    /// # Errors
    /// As [`Weighting::table`].
    pub(super) fn step_weights(&self, g: &mut Graph, rows: Option<Var>) -> Result<Option<(Var, Var)>> {
        let Some((steps, rows)) = self.steps.zip(rows) else { return Ok(None) };
        Ok(steps.weights(g)?.map(|weights| (rows, weights)))
    }

    /// Prediction and target as images [B, C, H, W] of x0, for the loss named `loss`, with the times in rows.
    pub(super) fn images(&self, g: &mut Graph, loss: &str, rows: Option<Var>) -> Result<[Var; 2]> {
        if self.sample.len() != 3 {
            return Err(Error::setting(format!(
                "loss {loss} needs images, but these samples have shape {:?}; use mse, l1 or huber",
                self.sample
            )));
        }
        let pair = [self.prediction, self.target];
        let pair = match self.steps.zip(rows) {
            Some((DiffusionSteps { objective, x_t, .. }, rows)) if objective.prediction() != Prediction::X0 => {
                g.combined_rows(&objective.x0_table()?, x_t, pair, rows)?
            }
            _ => pair,
        };
        self.shaped(g, pair)
    }

    /// Both tensors in the shape [B, ...sample].
    pub(super) fn shaped(&self, g: &mut Graph, [x, y]: [Var; 2]) -> Result<[Var; 2]> {
        let batch = g.spec(x).rows().0;
        let shape = [&[batch], self.sample].concat();
        Ok([g.reshape(x, shape.clone())?, g.reshape(y, shape)?])
    }
}
