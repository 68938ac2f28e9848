//! Euler's method, deterministic and ancestral.

use std::fmt;
use std::sync::Arc;

use super::{SamplerSettings, unit_interval};
use crate::diffusion::objective::Objective;
use crate::diffusion::sampler::{Mix, Row, Sampler, Step, Times};
use crate::error::Result;

/// `y' = D + (sigma' / sigma) (y - D)` with y = x / a, sigma = s / a and D the estimate of x0: the Euler step of the
/// probability flow ODE. In terms of x it is that of any path, `x' = a' D + (s' / s) (x - a D)`, and equals DDIM with
/// eta 0; only the times differ.
///
/// *Source*: Karras et al. 2022 (EDM), algorithm 1 without the correction; for straight paths, Liu et al. 2022.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Euler;

/// Euler's method to a lower level, from which noise leads up to the next one: `sigma_up = eta sigma' sqrt(1 - r^2)` and
/// `sigma_down = sigma' sqrt(1 - eta^2 (1 - r^2))` with r = sigma' / sigma.
///
/// *Source*: `sample_euler_ancestral` of k-diffusion. With eta 1 it is DDPM with the small variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EulerAncestral {
    /// Amount of noise: 0 is Euler's method, 1 is usual.
    pub eta: f64,
}

/// Default number of steps.
const EULER_STEPS: usize = 50;
const ANCESTRAL_STEPS: usize = 100;

pub(super) fn make(_: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(Euler)
}

pub(super) fn make_ancestral(settings: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(EulerAncestral { eta: settings.eta.take().unwrap_or(1.0) })
}

/// The state that has moved to `part` of the next noise level: `a' D + part s' / s (x - a D)`.
pub(super) fn euler(Step { from, to, .. }: &Step, part: f64) -> Mix {
    let x = part * to.s / from.s;
    Mix { x0: to.a - x * from.a, x, ..Mix::ZERO }
}

impl Sampler for Euler {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        steps.iter().map(|step| Row::new(&step.from, euler(step, 1.0), 0.0)).collect()
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps.min(EULER_STEPS)
    }

    fn times(&self) -> Times {
        Times::Fractional
    }
}

impl Sampler for EulerAncestral {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        let row = |step: &Step| {
            let left = 1.0 - step.ratio().powi(2);
            let down = (1.0 - self.eta.powi(2) * left).max(0.0).sqrt();
            Row::new(&step.from, euler(step, down), step.to.s * self.eta * left.max(0.0).sqrt())
        };
        steps.iter().map(row).collect()
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps.min(ANCESTRAL_STEPS)
    }

    fn check(&self) -> Result<()> {
        unit_interval("euler_ancestral", self.eta)
    }

    fn times(&self) -> Times {
        Times::Fractional
    }
}

impl fmt::Display for Euler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("euler")
    }
}

impl fmt::Display for EulerAncestral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "euler_ancestral, eta {}", self.eta)
    }
}
