//! The reverse process as a table of coefficients, so that one kernel serves every sampler.
//!
//! See [`Row`] for the update of a row.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::objective::{Level, Objective};
use super::sampler::{Mix, Row, Sampler, Step};
use super::spacing::{Spacing, levels};
use crate::error::{Error, Result};
use crate::ops::SamplerStep;
use crate::text::short;

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
    /// The levels between the steps, noisiest first, without the clean data at the end.
    pub levels: Vec<Level>,
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
        let levels = levels(objective, options.spacing, options.steps, options.sampler.times())?;
        Self::of_levels(objective, options, &levels)
    }

    /// Builds the table over given time steps, noisiest first; `options.steps` and `options.spacing` are ignored.
    ///
    /// # Errors
    /// As [`SamplerTable::new`], and when there is no step, one that the objective does not have, or they do not decrease.
    pub fn over(objective: &Objective, options: &SamplerOptions, ts: &[usize]) -> Result<Self> {
        let last = objective.path().last();
        if ts.is_empty() || ts.iter().any(|&t| t as f64 > last) {
            return Err(Error::setting(format!(
                "sampling over the steps {ts:?}; use at least one step, from 0 to {last}"
            )));
        }
        if let Some(pair) = ts.windows(2).find(|pair| pair[0] <= pair[1]) {
            return Err(Error::setting(format!(
                "sampling over the steps {ts:?}: {} follows {}; list each step once, noisiest (largest) first",
                pair[1], pair[0]
            )));
        }
        let levels: Vec<Level> = ts.iter().map(|&t| objective.level(t as f64)).collect();
        Self::of_levels(objective, options, &levels)
    }

    /// Builds the table over given levels, noisiest first; `options.steps` and `options.spacing` are ignored.
    ///
    /// # Errors
    /// As [`SamplerTable::new`].
    pub fn of_levels(objective: &Objective, options: &SamplerOptions, levels: &[Level]) -> Result<Self> {
        options.sampler.check()?;
        if let Some(bound) = options.clip.filter(|bound| !(*bound > 0.0 && bound.is_finite())) {
            return Err(Error::setting(format!(
                "clip = {bound}: the bound on x0 must be above 0 (1 for images in [-1, 1]), or leave it out"
            )));
        }
        if levels.is_empty() {
            return Err(Error::setting("sampling over no steps; use at least one"));
        }
        objective.check_start(&levels[0])?;
        if let Some(clean) = levels.iter().find(|level| level.s == 0.0) {
            return Err(Error::setting(format!(
                "sampling over t = {}, which is the clean data, where sampling ends; leave it out",
                short(clean.t)
            )));
        }
        let stride = (objective.steps() / levels.len()) as f64;
        let by_stride = options.prev_rule == PrevRule::Stride && options.sampler.goes_anywhere();
        let step = |k: usize| {
            let (from, next) = (levels[k], levels.get(k + 1));
            let to = match by_stride {
                true => Some(from.t - stride).filter(|t| *t >= 0.0).map(|t| objective.level(t)),
                false => next.copied(),
            };
            Step { from, to: to.unwrap_or(Level::CLEAN), last: next.is_none(), rederive: options.rederive }
        };
        let steps: Vec<Step> = (0..levels.len()).map(step).collect();
        Ok(Self { rows: options.sampler.rows(objective, &steps), levels: levels.to_vec(), clip: options.clip })
    }

    /// The number of histories that the rows use.
    pub fn histories(&self) -> usize {
        let uses =
            |i: usize| self.rows.iter().any(|row| [row.next.d, row.next.g][i] != 0.0 || row.history[i] != Mix::ZERO);
        (0..2).rev().find(|&i| uses(i)).map_or(0, |last| last + 1)
    }

    /// The estimate of x0 of row k for the state `x` and the network's output `m`, clipped.
    ///
    /// # Panics
    /// When there is no row k.
    pub fn estimate(&self, k: usize, x: f64, m: f64) -> f64 {
        let [c_x, c_m] = self.rows[k].level.x0();
        let bound = self.clip.unwrap_or(f64::INFINITY);
        (c_x * x + c_m * m).clamp(-bound, bound)
    }

    /// Evaluates row k on the host: x becomes the next state, h and g the next histories.
    ///
    /// # Panics
    /// When there is no row k, or the lengths of x, h, g, m and z differ.
    pub fn step_f64(&self, k: usize, x: &mut [f64], [h, g]: [&mut [f64]; 2], m: &[f64], z: &[f64]) {
        let n = x.len();
        assert!([h.len(), g.len(), m.len(), z.len()] == [n; 4], "x, h, g, m and z differ in length");
        let row = &self.rows[k];
        for i in 0..n {
            let x0 = self.estimate(k, x[i], m[i]);
            let parts = [x0, x[i], m[i], x0 - h[i], g[i]];
            x[i] = row.next.of(parts) + row.k_z * z[i];
            [h[i], g[i]] = row.history.map(|mix| mix.of(parts));
        }
    }

    /// The table in the layout of [`SamplerStep`]; the bound is `f32::MAX` without clipping.
    pub fn rows_f32(&self) -> Vec<[f32; SamplerStep::ROW]> {
        let bound = self.clip.map_or(f32::MAX, |bound| bound as f32);
        self.rows.iter().map(|row| row.narrow(bound)).collect()
    }
}
