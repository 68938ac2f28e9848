//! UniPC: a predictor and a corrector with one evaluation per step (Zhao et al. 2023).

use std::fmt;
use std::sync::Arc;

use super::SamplerSettings;
use super::dpmpp::{DpmPp2M, extrapolation};
use super::euler::euler;
use crate::diffusion::objective::Objective;
use crate::diffusion::sampler::{Mix, Row, Sampler, Step, Times};
use crate::diffusion::spacing::Spacing;

/// UniPC of order 2 with B(h) = exp(h) - 1 ("bh2"), for the estimate of x0. The predictor is that of DPM-Solver++(2M). The
/// next evaluation corrects the state that it has predicted, before the predictor goes on from there. The corrector raises
/// the order of convergence to 3.
///
/// With D the estimate at the predicted state, D1 and D2 those before, and the coefficients of `correction`, the
/// corrected state is `x + P (D2 - D1) + R (D - D1)`. The first history is D1, the second P (D2 - D1).
///
/// *Source*: Zhao et al. 2023, algorithms 1 and 2, eq. 9.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct UniPc;

pub(super) fn make(_: &mut SamplerSettings) -> Arc<dyn Sampler> {
    Arc::new(UniPc)
}

/// (P, R) of the corrector after step `k`, which has led to the state that is evaluated now.
fn correction(steps: &[Step], k: usize) -> [f64; 2] {
    let step = &steps[k];
    let c = euler(step, 1.0).x0;
    if k == 0 {
        return [0.0, 0.5 * c];
    }
    let h = -step.ratio().ln();
    let r = steps[k - 1].ratio().ln() / h; // (lambda_before - lambda) / h, below 0
    let b = (-h).exp_m1();
    let phi = -(b + h) / h;
    let (b1, b2) = (phi / b, 2.0 * (-phi / h - 0.5) / b);
    let rho = (b1 - b2) / (1.0 - r);
    [c * (rho / r + extrapolation(&steps[k - 1], step)), c * (b1 - rho)]
}

impl Sampler for UniPc {
    fn rows(&self, objective: &Objective, steps: &[Step]) -> Vec<Row> {
        let mut rows = DpmPp2M.rows(objective, steps);
        for (k, row) in rows.iter_mut().enumerate() {
            if k > 0 {
                let [_, r] = correction(steps, k - 1);
                let corrected = Mix { x: 1.0, d: r, g: 1.0, ..Mix::ZERO };
                let predicted = Mix { x: 0.0, ..row.next };
                row.next = row.next.x * corrected + predicted;
            }
            let [p, _] = if k + 1 < steps.len() { correction(steps, k) } else { [0.0; 2] };
            row.history[1] = Mix { d: -p, ..Mix::ZERO };
        }
        rows
    }

    fn default_steps(&self, steps: usize) -> usize {
        DpmPp2M.default_steps(steps)
    }

    fn default_spacing(&self, objective: &Objective) -> Spacing {
        DpmPp2M.default_spacing(objective)
    }

    fn times(&self) -> Times {
        DpmPp2M.times()
    }
}

impl fmt::Display for UniPc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unipc")
    }
}
