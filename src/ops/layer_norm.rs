//! Layer normalisation over the last dimension, and its backward passes.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::par;
use crate::scalar::Scalar;

/// y = (x - mean) rstd gamma + beta over each row, rstd = 1 / sqrt(variance + epsilon).
///
/// *Shapes*: x and y [B, D], gamma and beta \[D\]; stats [B, 2] holds (mean, rstd) for the reverse pass.
/// *Gradient*: below. *Source*: Ba et al. 2016, eq. 4; epsilon 1e-5 and the population variance as in PyTorch.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f64,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

const SHADER: &str = include_str!("../../shaders/layer_norm.wgsl");

/// Lanes that share a row: a software rasterizer pays for every barrier, so it gets few.
fn lanes(target: &Target) -> u32 {
    if target.software { 8 } else { 64 }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("layer_norm", inputs, 3)?;
        let (b, d) = inputs[0].rows();
        expect_shape("layer_norm", "x", &inputs[0], &[b, d])?;
        expect_shape("layer_norm", "gamma", &inputs[1], &[d])?;
        expect_shape("layer_norm", "beta", &inputs[2], &[d])?;
        Ok(vec![Spec::f32([b, d]), Spec::f32([b, 2])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (b, d) = specs.inputs[0].rows();
        Kernel::new("layer_norm.wgsl", SHADER, "forward")
            .dim("B", b)
            .dim("D", d)
            .hyper("EPSILON", self.epsilon)
            .tune("LANES", lanes(target))
            .groups(b)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, d) = io.specs.inputs[0].rows();
        let (x, gamma, beta) = (io.input(0), io.input(1), io.input(2));
        let (y, stats) = (io.output(0), io.output(1));
        let n = S::of(d as f64);
        par::rows2(y, d, stats, 2, |row, y, stats| {
            let x = &x[row * d..][..d];
            let mean = par::sum(d, |i| x[i]) / n;
            let variance = par::sum(d, |i| (x[i] - mean) * (x[i] - mean)) / n;
            let rstd = S::ONE / (variance + S::of(self.epsilon)).sqrt();
            for i in 0..d {
                y[i] = (x[i] - mean) * rstd * gamma[i] + beta[i];
            }
            stats.copy_from_slice(&[mean, rstd]);
        });
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dy) = r.d(0) else { return Ok(()) };
        let (x, gamma, stats) = (r.input(0), r.input(1), r.output(1));
        if r.wants(0) {
            let dx = r.graph.apply(LayerNormInput, &[dy, x, stats, gamma])?[0];
            r.give(0, dx);
        }
        if r.wants(1) || r.wants(2) {
            let d = r.graph.apply(LayerNormWeight, &[dy, x, stats])?;
            r.give(1, d[0]);
            r.give(2, d[1]);
        }
        Ok(())
    }
}

/// dx = rstd (g - mean(g) - n mean(g n)), with g = dy gamma and n = (x - mean) rstd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNormInput;

impl Op for LayerNormInput {
    fn name(&self) -> &'static str {
        "layer_norm_input"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("layer_norm_input", inputs, 4)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (b, d) = specs.inputs[0].rows();
        Kernel::new("layer_norm.wgsl", SHADER, "input").dim("B", b).dim("D", d).tune("LANES", lanes(target)).groups(b)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, d) = io.specs.inputs[0].rows();
        let (dy, x, stats, gamma) = (io.input(0), io.input(1), io.input(2), io.input(3));
        let n = S::of(d as f64);
        par::rows(io.output(0), d, |row, dx| {
            let (dy, x) = (&dy[row * d..][..d], &x[row * d..][..d]);
            let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
            let sum = par::sum(d, |i| dy[i] * gamma[i]) / n;
            let dot = par::sum(d, |i| dy[i] * gamma[i] * (x[i] - mean) * rstd) / n;
            for i in 0..d {
                dx[i] = rstd * (dy[i] * gamma[i] - sum - (x[i] - mean) * rstd * dot);
            }
        });
    }
}

/// dgamma = sum over B of dy n, dbeta = sum over B of dy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNormWeight;

impl Op for LayerNormWeight {
    fn name(&self) -> &'static str {
        "layer_norm_weight"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("layer_norm_weight", inputs, 3)?;
        let d = inputs[0].rows().1;
        Ok(vec![Spec::f32([d]), Spec::f32([d])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (b, d) = specs.inputs[0].rows();
        Kernel::new("layer_norm.wgsl", SHADER, "weight").dim("B", b).dim("D", d).over(d)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (b, d) = io.specs.inputs[0].rows();
        let (dy, x, stats) = (io.input(0), io.input(1), io.input(2));
        let (dgamma, dbeta) = (io.output(0), io.output(1));
        dgamma.fill(S::ZERO);
        dbeta.fill(S::ZERO);
        par::wide(|| {
            for row in 0..b {
                let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
                let (dy, x) = (&dy[row * d..][..d], &x[row * d..][..d]);
                for i in 0..d {
                    dgamma[i] += dy[i] * (x[i] - mean) * rstd;
                    dbeta[i] += dy[i];
                }
            }
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (b, d) in [(1, 2), (7, 5), (3, 64), (65, 100), (2, 257)] {
        // Inputs of size 1 and their deviations: sums of d terms, then a division by a deviation of at least about 0.3.
        let sum = Tolerance::absolute(16.0 + 4.0 * (d as f64).sqrt());
        cases.push(Case::new(LayerNorm::default()).input([b, d]).input([d]).input([d]).tolerance(sum));
        let stats: Vec<f32> = (0..b).flat_map(|i| [0.1 * i as f32 / b as f32, 1.5]).collect();
        let case = Case::new(LayerNormInput).input([b, d]).input([b, d]).values([b, 2], stats.clone());
        cases.push(case.input([d]).tolerance(sum));
        let column = Tolerance::absolute(16.0 + 8.0 * (b as f64).sqrt());
        let case = Case::new(LayerNormWeight).input([b, d]).input([b, d]).values([b, 2], stats);
        cases.push(case.tolerance(column));
    }
    let case = Case::new(LayerNorm::default()).input([4, 6]).input([6]).input([6]);
    cases.push(case.tolerance(Tolerance::absolute(40.0)).gradient());
    cases
}
