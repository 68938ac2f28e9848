//! DDPM: ancestral sampling (Ho et al. 2020).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SamplerSettings;
use crate::diffusion::objective::Objective;
use crate::diffusion::sampler::{Mix, Row, Sampler, Step};

/// The mean of q(x_to | x_from, x0), plus noise of a fixed variance:
///
/// `x = (a_to b / s_from^2) x0 + (a_from s_to^2 / (a_to s_from^2)) x + sd z`, with
/// `b = s_from^2 - (a_from / a_to)^2 s_to^2`, the variance added by one step of the forward process; on a
/// variance-preserving path it is beta.
///
/// *Source*: Ho et al. 2020, eq. 7 and algorithm 2; for fewer than T steps, beta is that of Nichol and Dhariwal 2021,
/// eq. 19; for other paths, see Kingma et al. 2021, appendix A.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ddpm {
    /// The variance sd^2.
    pub variance: Variance,
}

/// The variance of the noise added by DDPM (Ho et al. 2020, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Variance {
    /// The variance of q(x_to | x_from, x0), the lower bound: optimal when the data are a single point.
    #[default]
    FixedSmall,
    /// The variance added by a step of the forward process, beta, the upper bound: optimal when the data are unit
    /// normal.
    FixedLarge,
}

named!(Variance, "variance", FixedSmall = "fixed_small", FixedLarge = "fixed_large");

pub(super) fn make(settings: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(Ddpm { variance: settings.variance.take().unwrap_or_default() })
}

impl Sampler for Ddpm {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        steps.iter().map(|step| self.row(step)).collect()
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps
    }
}

impl Ddpm {
    fn row(&self, step: &Step) -> Row {
        let Step { from, to, .. } = step;
        let next = Mix {
            x0: to.a * added_variance(step) / from.s.powi(2),
            x: from.a / to.a * to.s.powi(2) / from.s.powi(2),
            ..Mix::ZERO
        };
        let k_z = match self.variance {
            _ if step.last => 0.0,
            Variance::FixedSmall => posterior_deviation(step),
            Variance::FixedLarge => added_variance(step).sqrt(),
        };
        Row::new(from, next, k_z)
    }
}

/// The variance added by the forward process from `to` to `from`.
fn added_variance(Step { from, to, .. }: &Step) -> f64 {
    from.s.powi(2) - (from.a / to.a).powi(2) * to.s.powi(2)
}

/// The standard deviation of q(x_to | x_from, x0); the last step adds no noise.
pub(super) fn posterior_deviation(step: &Step) -> f64 {
    if step.last { 0.0 } else { step.to.s / step.from.s * added_variance(step).sqrt() }
}

impl fmt::Display for Ddpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ddpm, {} variance", self.variance)
    }
}
