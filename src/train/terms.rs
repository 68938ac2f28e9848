//! The loss terms: what a wrong prediction costs. The loss is their weighted sum.

use super::Config;
use super::objective::Example;
use crate::error::Result;
use crate::graph::{Graph, Var};

/// One term of the loss.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    /// Its column in `metrics.csv`.
    pub name: String,
    /// Its factor in the loss; `value` leaves it out, its gradient has it.
    pub weight: f64,
    /// The scalar of each step.
    pub value: Var,
}

/// Adds the terms that compare prediction and target, in the order of their columns.
///
/// # Errors
/// When the shapes differ.
pub(crate) fn terms(g: &mut Graph, _: &Config, example: &Example) -> Result<Vec<Term>> {
    let value = g.mse(example.prediction, example.target)?;
    Ok(vec![Term { name: "mse".into(), weight: 1.0, value }])
}
