//! Heun's method, and the stochastic sampler of EDM (Karras et al. 2022).

use std::fmt;
use std::sync::Arc;

use super::SamplerSettings;
use super::euler::euler;
use crate::diffusion::objective::{Level, Objective};
use crate::diffusion::sampler::{Mix, Row, Sampler, Step, Times};
use crate::diffusion::spacing::Spacing;
use crate::error::{Error, Result};

/// An Euler step to y1, and a correction with the estimate D1 of x0 there:
/// `y' = y1 + (w' - w) / (2 w') (D - D1)`. The ODE is that of y = x / a with w = sigma = s / a; on straight paths
/// (a + s = 1) that of y = x with w = s. Two evaluations of the network per step, one in the last, which is an Euler step.
///
/// *Source*: Karras et al. 2022 (EDM), algorithm 1, in a form in which nothing cancels at high noise levels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Heun;

/// [`Heun`] with new noise before the steps from noise levels between `low` and `high`: from sigma to
/// `sigma (1 + gamma)`, gamma = min(churn / N, sqrt(2) - 1).
///
/// *Source*: Karras et al. 2022 (EDM), algorithm 2. The noise before the first step is part of the start.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Edm {
    /// S_churn, the amount of new noise; 0 is Heun's method.
    pub churn: f64,
    /// S_tmin and S_tmax, the lowest and the highest noise level sigma = s / a that gets new noise.
    pub range: [f64; 2],
    /// S_noise, the factor of the standard deviation of the new noise.
    pub noise: f64,
    /// Whether the steps are corrected; otherwise they are Euler steps, of one evaluation.
    pub correction: bool,
}

setters!(Edm { churn: f64, range: [f64; 2], noise: f64, correction: bool });

impl Default for Edm {
    fn default() -> Self {
        Self { churn: CHURN, range: [0.0, f64::INFINITY], noise: 1.0, correction: true }
    }
}

/// Default number of steps, each of two evaluations.
const STEPS: usize = 25;
/// Default churn, that of the paper for ImageNet-64.
const CHURN: f64 = 40.0;

pub(super) fn make(_: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(Heun)
}

pub(super) fn make_edm(settings: &mut SamplerSettings) -> Arc<dyn Sampler> {
    let default = Edm::default();
    let [low, high] = default.range;
    Arc::new(Edm {
        churn: settings.churn.take().unwrap_or(default.churn),
        range: [settings.churn_min.take().unwrap_or(low), settings.churn_max.take().unwrap_or(high)],
        noise: settings.churn_noise.take().unwrap_or(default.noise),
        ..default
    })
}

/// The state is c y, and w is the variable of the ODE of y.
fn scale_and_variable(level: &Level) -> [f64; 2] {
    if (level.a + level.s - 1.0).abs() < 1e-12 { [1.0, level.s] } else { [level.a, level.s / level.a] }
}

/// The rows of a step: an Euler step that keeps D, and the correction if there is one.
fn stages(step: &Step) -> Vec<Row> {
    let first = Row { history: [Mix::X0, Mix::ZERO], ..Row::new(&step.from, euler(step, 1.0), 0.0) };
    if step.last {
        return vec![Row { history: [Mix::ZERO; 2], ..first }];
    }
    let ([_, w], [scale, to]) = (scale_and_variable(&step.from), scale_and_variable(&step.to));
    let k = scale * 0.5 * (to - w) / to;
    let second = Mix { x: 1.0, d: -k, ..Mix::ZERO };
    vec![first, Row::new(&step.to, second, 0.0)]
}

impl Sampler for Heun {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        steps.iter().flat_map(stages).collect()
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps.min(STEPS)
    }

    fn default_spacing(&self, objective: &Objective) -> Spacing {
        Spacing::KARRAS.or_trailing(objective)
    }

    fn times(&self) -> Times {
        Times::Fractional
    }
}

impl Edm {
    /// The level from which a step at `level` starts: after the new noise.
    fn noisier(&self, objective: &Objective, level: &Level, steps: usize) -> Level {
        let (sigma, [low, high]) = (level.s / level.a, self.range);
        let gamma = (self.churn / steps as f64).min(std::f64::consts::SQRT_2 - 1.0);
        if gamma == 0.0 || !(low..=high).contains(&sigma) || !sigma.is_finite() {
            return *level;
        }
        objective.level_of_sigma(sigma * (1.0 + gamma))
    }
}

impl Sampler for Edm {
    fn rows(&self, objective: &Objective, steps: &[Step]) -> Vec<Row> {
        let n = steps.len();
        let mut rows = Vec::new();
        for (k, step) in steps.iter().enumerate() {
            let from = self.noisier(objective, &step.from, n);
            let step = Step { from, ..*step };
            match self.correction {
                true => rows.extend(stages(&step)),
                false => rows.push(Row::new(&from, euler(&step, 1.0), 0.0)),
            }
            if let (Some(next), Some(row)) = (steps.get(k + 1), rows.last_mut()) {
                let to = self.noisier(objective, &next.from, n);
                let [low, high] = [next.from.s / next.from.a, to.s / to.a];
                row.next = to.a / next.from.a * row.next;
                row.k_z = self.noise * to.a * ((high - low) * (high + low)).max(0.0).sqrt();
            }
        }
        rows
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps.min(STEPS)
    }

    fn check(&self) -> Result<()> {
        let [low, high] = self.range;
        if !(self.churn >= 0.0 && self.churn.is_finite()) {
            return Err(Error::setting(format!(
                "edm churn = {}: use 0 (no new noise) or more; {CHURN} is usual",
                self.churn
            )));
        }
        if !(low >= 0.0 && low <= high) {
            return Err(Error::setting(format!(
                "edm churn_min = {low}, churn_max = {high}: new noise is added at noise levels between the two; they must \
                 satisfy 0 <= churn_min <= churn_max"
            )));
        }
        if !(self.noise > 0.0 && self.noise.is_finite()) {
            return Err(Error::setting(format!("edm churn_noise = {}: use a number above 0; 1 is usual", self.noise)));
        }
        Ok(())
    }

    fn default_spacing(&self, objective: &Objective) -> Spacing {
        Spacing::KARRAS.or_trailing(objective)
    }

    fn times(&self) -> Times {
        Times::Fractional
    }
}

impl fmt::Display for Heun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("heun")
    }
}

impl fmt::Display for Edm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "edm, churn {}", self.churn)?;
        if self.range != [0.0, f64::INFINITY] {
            write!(f, " for sigma {} to {}", self.range[0], self.range[1])?;
        }
        if self.noise == 1.0 { Ok(()) } else { write!(f, ", noise {}", self.noise) }
    }
}
