//! The reverse process as a table of coefficients, so that one kernel serves every sampler.
//!
//! See [`Row`] for the update of a row.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::objective::{Level, Objective};
use super::sampler::{Mix, Row, Sampler, Step};
use super::spacing::{Spacing, timesteps};
use crate::error::{Error, Result};
use crate::ops::SamplerStep;

/// The time a step goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum PrevRule {
    /// The next entry of the list of time steps.
    #[default]
    List,
    /// `t - T/N` (rounded down), as in the DDIM of diffusers. It differs from the list for linspace spacing, and for
    /// trailing spacing when N does not divide T.
    Stride,
}

named!(PrevRule, "prev_rule", List = "list", Stride = "stride");

/// Options of a [`SamplerTable`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SamplerOptions {
    /// The sampler.
    pub sampler: Arc<dyn Sampler>,
    /// The number of training steps visited.
    pub steps: usize,
    /// The spacing of the visited steps.
    pub spacing: Spacing,
    /// Clips the estimate of x0 to +- this value (1 for images in [-1, 1]); `None` does not clip.
    pub clip: Option<f64>,
    /// Whether samplers that use eps derive it from the clipped x0 instead of the network's output.
    pub rederive: bool,
    /// The time a step goes to; only DDIM supports anything other than the next entry of the list.
    pub prev_rule: PrevRule,
}

setters!(SamplerOptions { spacing: Spacing, clip: Option<f64>, rederive: bool, prev_rule: PrevRule });

impl SamplerOptions {
    /// Options with leading spacing and no clipping.
    pub fn new(sampler: impl Sampler + 'static, steps: usize) -> Self {
        Self::shared(Arc::new(sampler), steps)
    }

    /// [`SamplerOptions::new`] for a sampler created by name.
    pub fn shared(sampler: Arc<dyn Sampler>, steps: usize) -> Self {
        let (spacing, prev_rule) = (Spacing::default(), PrevRule::default());
        Self { sampler, steps, spacing, clip: None, rederive: false, prev_rule }
    }
}

/// The rows of a sampling run, noisiest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerTable {
    /// The rows, one per evaluation of the network.
    pub rows: Vec<Row>,
    /// The bound on x0, `None` without clipping.
    pub clip: Option<f64>,
}

impl SamplerTable {
    /// Builds the table of a sampler for an objective.
    ///
    /// # Errors
    /// When there are more steps than the objective has, a setting of the sampler is out of range, the clip bound is
    /// not positive, or the network's output does not determine x0 at the first step.
    pub fn new(objective: &Objective, options: &SamplerOptions) -> Result<Self> {
        let ts = timesteps(options.spacing, objective.steps(), options.steps, 0)?;
        Self::over(objective, options, &ts)
    }

    /// Builds the table over given time steps, noisiest first; `options.steps` and `options.spacing` are ignored.
    ///
    /// # Errors
    /// As [`SamplerTable::new`], and when there is no step, or one that the objective does not have.
    pub fn over(objective: &Objective, options: &SamplerOptions, ts: &[usize]) -> Result<Self> {
        options.sampler.check()?;
        if let Some(bound) = options.clip.filter(|bound| !(*bound > 0.0 && bound.is_finite())) {
            return Err(Error::setting(format!(
                "clip = {bound}: the bound on x0 must be above 0 (1 for images in [-1, 1]), or leave it out"
            )));
        }
        if ts.is_empty() || ts.iter().any(|&t| t >= objective.steps()) {
            let last = objective.steps() - 1;
            return Err(Error::setting(format!(
                "sampling over the steps {ts:?}; use at least one step, from 0 to {last}"
            )));
        }
        let level = |t: usize| objective.level(t as f64);
        if !level(ts[0]).x0().iter().all(|c| c.is_finite()) {
            return Err(Error::setting(format!(
                "a model that predicts {} cannot be sampled from t = {}, where alpha_bar is 0: train it to predict v or \
                 x0, or use leading spacing",
                objective.prediction(),
                ts[0]
            )));
        }
        let stride = objective.steps() / ts.len();
        let by_stride = options.prev_rule == PrevRule::Stride && options.sampler.goes_anywhere();
        let step = |k: usize| {
            let next = ts.get(k + 1).copied();
            let to = if by_stride { ts[k].checked_sub(stride) } else { next };
            let (from, to) = (level(ts[k]), to.map_or(Level::CLEAN, level));
            Step { from, to, last: next.is_none(), rederive: options.rederive }
        };
        let steps: Vec<Step> = (0..ts.len()).map(step).collect();
        Ok(Self { rows: options.sampler.rows(&steps), clip: options.clip })
    }

    /// Whether a row reads or writes the history.
    pub fn has_history(&self) -> bool {
        self.rows.iter().any(|row| row.next.h != 0.0 || row.history != Mix::ZERO)
    }

    /// Evaluates row k on the host: x becomes the next state, h the next history.
    ///
    /// # Panics
    /// When there is no row k, or the lengths of x, h, m and z differ.
    pub fn step_f64(&self, k: usize, x: &mut [f64], h: &mut [f64], m: &[f64], z: &[f64]) {
        let n = x.len();
        assert!([h.len(), m.len(), z.len()] == [n; 3], "x, h, m, z: {n}, {}, {}, {}", h.len(), m.len(), z.len());
        let row = &self.rows[k];
        let bound = self.clip.unwrap_or(f64::INFINITY);
        for i in 0..n {
            let x0 = (row.estimate[0] * x[i] + row.estimate[1] * m[i]).clamp(-bound, bound);
            let parts = [x0, x[i], m[i], h[i]];
            (x[i], h[i]) = (row.next.of(parts) + row.k_z * z[i], row.history.of(parts));
        }
    }

    /// The table in the layout of [`SamplerStep`]; the bound is `f32::MAX` without clipping.
    pub fn rows_f32(&self) -> Vec<[f32; SamplerStep::ROW]> {
        let bound = self.clip.map_or(f32::MAX, |bound| bound as f32);
        self.rows.iter().map(|row| row.narrow(bound)).collect()
    }
}
