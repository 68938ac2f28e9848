//! The contract of samplers: from the steps of the reverse process to rows of coefficients.
//!
//! A row, with x the state, m the network's output at (x, t), z standard normal noise, and h and g histories that start at
//! 0:
//! ```text
//! x0 = clip(c_x x + c_m m, -bound, bound)
//! x' = next.x0 x0 + next.x x + next.m m + next.d (x0 - h) + next.g g + k_z z
//! h' and g' are linear combinations of x0, x, m, x0 - h and g
//! ```
//! The first line converts the prediction into an estimate of the clean data, the second steps to a less noisy time.
//! The histories carry state between rows: the previous estimate of x0 for a multistep solver, or the first evaluation
//! of a two-stage step, which takes two rows. Path, prediction and sampler only affect the coefficients, which are
//! computed in f64.

use std::fmt;

use super::objective::{Level, Objective};
use super::spacing::Spacing;
use crate::error::Result;
use crate::ops::SamplerStep;

/// The rule for one step of the reverse process, from one noise level to the next.
pub trait Sampler: fmt::Debug + fmt::Display + Send + Sync {
    /// The rows of all steps, noisiest first, one per evaluation of the network.
    fn rows(&self, objective: &Objective, steps: &[Step]) -> Vec<Row>;

    /// The default number of sampling steps for a model trained with `steps` steps.
    fn default_steps(&self, steps: usize) -> usize;

    /// The default spacing of its steps. Spacings by noise level need a finite one at the last training step.
    fn default_spacing(&self, _: &Objective) -> Spacing {
        Spacing::Trailing
    }

    /// Checks the sampler's settings.
    ///
    /// # Errors
    /// When a setting is out of range; the message names the setting and its range.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The times that it visits with a spacing of training steps.
    fn times(&self) -> Times {
        Times::Whole
    }

    /// Whether a step may go to a time other than the next one visited.
    fn goes_anywhere(&self) -> bool {
        false
    }
}

/// The times that a sampler visits with a spacing of training steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Times {
    /// N training steps.
    Whole,
    /// N + 1 training steps without the last, except for trailing spacing: the step from the last visited time to the
    /// clean data is as large as the others.
    WithoutLast,
    /// N times, which lie between training steps for linspace spacing.
    Fractional,
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
    /// sigma' / sigma = exp(-h), with sigma = s / a and h the step in lambda = ln(a / s).
    pub fn ratio(&self) -> f64 {
        (self.to.s * self.from.a) / (self.to.a * self.from.s)
    }

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
    /// Weight of the difference of the estimate of x0 to the first history, x0 - h. In multistep solvers both are estimates
    /// that differ little, and their difference is computed first.
    pub d: f64,
    /// Weight of the second history.
    pub g: f64,
}

impl Mix {
    /// Zero.
    pub const ZERO: Self = Self { x0: 0.0, x: 0.0, m: 0.0, d: 0.0, g: 0.0 };
    /// The estimate of x0.
    pub const X0: Self = Self { x0: 1.0, ..Self::ZERO };

    /// The value of the combination.
    pub(super) fn of(&self, [x0, x, m, d, g]: [f64; 5]) -> f64 {
        (((self.x0 * x0 + self.x * x) + self.m * m) + self.d * d) + self.g * g
    }

    fn weights(&self) -> [f64; 5] {
        let Self { x0, x, m, d, g } = *self;
        [x0, x, m, d, g]
    }
}

impl std::ops::Mul<Mix> for f64 {
    type Output = Mix;
    fn mul(self, mix: Mix) -> Mix {
        Mix { x0: self * mix.x0, x: self * mix.x, m: self * mix.m, d: self * mix.d, g: self * mix.g }
    }
}

impl std::ops::Add for Mix {
    type Output = Mix;
    fn add(self, other: Mix) -> Mix {
        Mix {
            x0: self.x0 + other.x0,
            x: self.x + other.x,
            m: self.m + other.m,
            d: self.d + other.d,
            g: self.g + other.g,
        }
    }
}

/// One row of the table: one evaluation of the network and the update that follows, see the module documentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The level at which the network is evaluated.
    pub level: Level,
    /// The next state, before noise is added.
    pub next: Mix,
    /// Standard deviation of the added noise; 0 in the last row.
    pub k_z: f64,
    /// The next histories.
    pub history: [Mix; 2],
}

impl Row {
    /// The row of a one-step sampler at a level.
    pub fn new(level: &Level, next: Mix, k_z: f64) -> Self {
        Self { level: *level, next, k_z, history: [Mix::ZERO; 2] }
    }

    /// The numbers in the order read by [`SamplerStep`].
    pub(super) fn narrow(&self, bound: f32) -> [f32; SamplerStep::ROW] {
        let [c_x, c_m] = self.level.x0();
        // Near the end c_x is close to 1, and second-order solvers divide differences of estimates by small noise levels.
        // There x + ((c_x - 1) x + c_m m) has a rounding error of one addition, and none of the coefficients.
        let whole = if (0.5..2.0).contains(&c_x) { 1.0 } else { 0.0 };
        let [x0, x, m, d, g] = self.next.weights();
        let start = [self.level.t, whole, c_x - whole, c_m, f64::from(bound), x0, x, m, d, g, self.k_z];
        let [h, g] = self.history.map(|mix| mix.weights());
        let mut all = start.into_iter().chain(h).chain(g).map(|v| v as f32);
        std::array::from_fn(|_| all.next().expect("as many numbers as a row has"))
    }
}
