//! DPM-Solver++(2M), deterministic and as an SDE solver (Lu et al. 2022).

use std::fmt;
use std::sync::Arc;

use super::SamplerSettings;
use super::euler::euler;
use crate::diffusion::objective::Objective;
use crate::diffusion::sampler::{Mix, Row, Sampler, Step, Times};
use crate::diffusion::spacing::Spacing;

/// The second-order multistep solver that extrapolates the estimate of x0 from the last two evaluations:
/// `x' = (s' / s) x + a' (1 - r) D2` with r = sigma' / sigma = exp(-h), `D2 = D + (h / 2 h_before) (D - D_before)` and h the
/// step in lambda = ln(a / s). The first and the last step are of first order.
///
/// *Source*: Lu et al. 2022 (DPM-Solver++), algorithm 2.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct DpmPp2M;

/// [`DpmPp2M`] for the SDE: `x' = (s' / s) r x + a' (1 - r^2) D2 + s' sqrt(1 - r^2) z`.
///
/// *Source*: Lu et al. 2022 (DPM-Solver++), appendix on SDE-DPM-Solver++(2M), in the midpoint form.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct DpmPp2MSde;

/// Default numbers of steps.
const STEPS: usize = 20;
const SDE_STEPS: usize = 50;

pub(super) fn make(_: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(DpmPp2M)
}

pub(super) fn make_sde(_: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(DpmPp2MSde)
}

/// The rows of steps whose first-order update is `first`: its weight of x0 is that of the extrapolated estimate.
fn extrapolated(steps: &[Step], first: impl Fn(&Step) -> (Mix, f64)) -> Vec<Row> {
    let row = |(k, step): (usize, &Step)| {
        let (mut next, k_z) = first(step);
        if k > 0 && !step.last {
            next.d = next.x0 * extrapolation(&steps[k - 1], step);
        }
        Row { history: [Mix::X0, Mix::ZERO], ..Row::new(&step.from, next, k_z) }
    };
    steps.iter().enumerate().map(row).collect()
}

/// h / (2 h_before), the weight of the difference of the last two estimates.
pub(super) fn extrapolation(before: &Step, step: &Step) -> f64 {
    0.5 * step.ratio().ln() / before.ratio().ln()
}

impl Sampler for DpmPp2M {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        extrapolated(steps, |step| (euler(step, 1.0), 0.0))
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps.min(STEPS)
    }

    fn default_spacing(&self, objective: &Objective) -> Spacing {
        Spacing::Lambda.or_trailing(objective)
    }

    fn times(&self) -> Times {
        Times::WithoutLast
    }
}

impl Sampler for DpmPp2MSde {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        extrapolated(steps, |step| {
            let r = step.ratio();
            let left = 1.0 - r * r;
            (Mix { x: step.to.s / step.from.s * r, x0: step.to.a * left, ..Mix::ZERO }, step.to.s * left.sqrt())
        })
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps.min(SDE_STEPS)
    }

    fn default_spacing(&self, objective: &Objective) -> Spacing {
        Spacing::KARRAS.or_trailing(objective)
    }

    fn times(&self) -> Times {
        Times::WithoutLast
    }
}

impl fmt::Display for DpmPp2M {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dpmpp_2m")
    }
}

impl fmt::Display for DpmPp2MSde {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dpmpp_2m_sde")
    }
}
