//! DDIM: denoising diffusion implicit models (Song et al. 2021).

use std::fmt;
use std::sync::Arc;

use super::ddpm::posterior_deviation;
use super::{SamplerSettings, unit_interval};
use crate::diffusion::objective::Objective;
use crate::diffusion::sampler::{Mix, Row, Sampler, Step};
use crate::error::Result;

/// `x = a_to x0 + sqrt(s_to^2 - sd^2) eps + sd z`, with sd = eta times the standard deviation of q(x_to | x_from, x0).
///
/// *Source*: Song et al. 2021 (DDIM), eq. 12 and 16.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ddim {
    /// 0 is deterministic, 1 equals DDPM with the small variance.
    pub eta: f64,
}

/// Default number of steps: more hardly improve deterministic samples.
const DEFAULT_STEPS: usize = 100;

pub(super) fn make(settings: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(Ddim { eta: settings.eta.take().unwrap_or_default() })
}

impl Sampler for Ddim {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        steps.iter().map(|step| self.row(step)).collect()
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps.min(DEFAULT_STEPS)
    }

    fn check(&self) -> Result<()> {
        unit_interval("ddim", self.eta)
    }

    fn goes_anywhere(&self) -> bool {
        true
    }
}

impl Ddim {
    fn row(&self, step: &Step) -> Row {
        let sd = self.eta * posterior_deviation(step);
        let k_eps = (step.to.s.powi(2) - sd * sd).max(0.0).sqrt();
        Row::new(&step.from, step.to.a * Mix::X0 + k_eps * step.eps(), sd)
    }
}

impl fmt::Display for Ddim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ddim, eta {}", self.eta)
    }
}
