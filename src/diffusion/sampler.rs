//! The contract of samplers: from the steps of the reverse process to rows of coefficients.
//!
//! A row, with x the state, m the network's output at (x, t), z standard normal noise, and h a history that
//! starts at 0:
//! ```text
//! x0 = clip(c_x x + c_m m, -bound, bound)
//! x' = next.x0 x0 + next.x x + next.m m + next.h h + k_z z
//! h' = history.x0 x0 + history.x x + history.m m + history.h h
//! ```
//! The first line converts the prediction into an estimate of the clean data, the second steps to a less noisy time.
//! The history carries state between rows: the previous estimate of x0 for a multistep solver, or the first evaluation
//! of a two-stage step, which takes two rows. Path, prediction and sampler only affect the coefficients, which are
//! computed in f64.

use std::fmt;

use super::objective::Level;
use crate::error::Result;
use crate::ops::SamplerStep;

/// The rule for one step of the reverse process, from one noise level to the next.
pub trait Sampler: fmt::Debug + fmt::Display + Send + Sync {
    /// The rows of all steps, noisiest first, one per evaluation of the network.
    fn rows(&self, steps: &[Step]) -> Vec<Row>;

    /// The default number of sampling steps for a model trained with `steps` steps.
    fn default_steps(&self, steps: usize) -> usize;

    /// Checks the sampler's settings.
    ///
    /// # Errors
    /// When a setting is out of range; the message names the setting and its range.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether a step may go to a time other than the next one visited.
    fn goes_anywhere(&self) -> bool {
        false
    }
}

/// One step of the reverse process, as seen by a sampler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The current level.
    pub from: Level,
    /// The next level; [`Level::CLEAN`] in the last step.
    pub to: Level,
    /// Whether this is the last step, which adds no noise.
    pub last: bool,
    /// See [`SamplerOptions::rederive`](super::SamplerOptions::rederive).
    pub rederive: bool,
}

impl Step {
    /// eps, either (x - a x0) / s from the estimate of x0, or from the network's output.
    pub fn eps(&self) -> Mix {
        let Level { a, s, .. } = self.from;
        if self.rederive {
            return Mix { x0: -a / s, x: 1.0 / s, ..Mix::ZERO };
        }
        let [x, m] = self.from.eps();
        Mix { x, m, ..Mix::ZERO }
    }
}

/// A linear combination of the estimate of x0, the state, the network's output and the history.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mix {
    /// Weight of the clipped estimate of x0.
    pub x0: f64,
    /// Weight of the state.
    pub x: f64,
    /// Weight of the network's output.
    pub m: f64,
    /// Weight of the history.
    pub h: f64,
}

impl Mix {
    /// Zero.
    pub const ZERO: Self = Self { x0: 0.0, x: 0.0, m: 0.0, h: 0.0 };
    /// The estimate of x0.
    pub const X0: Self = Self { x0: 1.0, ..Self::ZERO };

    pub(super) fn of(&self, [x0, x, m, h]: [f64; 4]) -> f64 {
        ((self.x0 * x0 + self.x * x) + self.m * m) + self.h * h
    }
}

impl std::ops::Mul<Mix> for f64 {
    type Output = Mix;
    fn mul(self, mix: Mix) -> Mix {
        Mix { x0: self * mix.x0, x: self * mix.x, m: self * mix.m, h: self * mix.h }
    }
}

impl std::ops::Add for Mix {
    type Output = Mix;
    fn add(self, other: Mix) -> Mix {
        Mix { x0: self.x0 + other.x0, x: self.x + other.x, m: self.m + other.m, h: self.h + other.h }
    }
}

/// One row of the table: one evaluation of the network and the update that follows, see the module documentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The time passed to the network, in training steps.
    pub t: f64,
    /// Weights of x and of the network's output in the estimate of x0.
    pub estimate: [f64; 2],
    /// The next state, before noise is added.
    pub next: Mix,
    /// Standard deviation of the added noise; 0 in the last row.
    pub k_z: f64,
    /// The next history.
    pub history: Mix,
}

impl Row {
    /// The row of a one-step sampler at a level.
    pub fn new(level: &Level, next: Mix, k_z: f64) -> Self {
        Self { t: level.t, estimate: level.x0(), next, k_z, history: Mix::ZERO }
    }

    /// The numbers in the order read by [`SamplerStep`].
    pub(super) fn narrow(&self, bound: f32) -> [f32; SamplerStep::ROW] {
        let [c_x, c_m] = self.estimate;
        let (n, h) = (self.next, self.history);
        let [t, c_x, c_m] = [self.t, c_x, c_m].map(|v| v as f32);
        let [n0, n1, n2, n3, k_z, h0, h1, h2, h3] =
            [n.x0, n.x, n.m, n.h, self.k_z, h.x0, h.x, h.m, h.h].map(|v| v as f32);
        [t, c_x, c_m, bound, n0, n1, n2, n3, k_z, h0, h1, h2, h3]
    }
}
