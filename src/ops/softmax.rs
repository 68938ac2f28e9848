//! Softmax over the last dimension, and its backward pass.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y_i = exp(x_i - m) / sum_j exp(x_j - m) over the last dimension, m the largest x there, which avoids overflow.
///
/// *Shapes*: x and y [..., D]. *Gradient*: dx = y (dy - sum of dy y). *Accuracy*: relative, however small y is; the
/// rounding of x - m is |x - m| 2^-24 of y, and WGSL allows exp four times that. Below the smallest normal number y may
/// be flushed to 0.
#[derive(Clone, Copy, Debug)]
pub struct Softmax;

fn kernel(entry: &'static str, specs: &Specs, target: &Target) -> Kernel {
    let (rows, d) = rows(&specs.inputs[0]);
    kernel!("softmax.wgsl", entry)
        .dim("B", rows)
        .dim("D", d)
        .tune("WG", if target.software { 8 } else { 64 })
        .groups(rows)
}

/// The product of all but the last dimension, and the last.
fn rows(x: &Spec) -> (usize, usize) {
    let d = x.shape.last().copied().unwrap_or(1);
    (x.len() / d, d)
}

/// Computes the softmax of one row in place; returns its largest x and the sum of exp(x - largest).
#[inline(always)]
pub(super) fn softmax_row<S: Scalar>(x: &mut [S]) -> (S, S) {
    let largest = x.iter().fold(x[0], |m, v| m.max(*v));
    x.iter_mut().for_each(|v| *v = (*v - largest).exp());
    let sum = parallel::sum(x.len(), |i| x[i]);
    let share = S::ONE / sum;
    x.iter_mut().for_each(|v| *v *= share);
    (largest, sum)
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("softmax", inputs, 1)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        kernel("softmax", specs, target)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, (_, d)) = (io.input(0), rows(&io.specs.inputs[0]));
        parallel::rows(
            io.output(0),
            d,
            #[inline(always)]
            |row, y| {
                y.copy_from_slice(&x[row * d..][..d]);
                softmax_row(y);
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let y = r.output(0);
            let dx = r.graph.apply1(SoftmaxInput, &[dy, y])?;
            r.add_gradient(0, dx);
        }
        Ok(())
    }
}

/// dx = y (dy - sum of dy y): dy, y and dx [..., D].
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxInput;

impl Op for SoftmaxInput {
    fn name(&self) -> &'static str {
        "softmax_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("softmax_input", inputs, 2)?;
        expect_shape("softmax_input", "y", &inputs[1], &inputs[0].shape)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        kernel("input", specs, target)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (dy, y, (_, d)) = (io.input(0), io.input(1), rows(&io.specs.inputs[0]));
        parallel::rows(
            io.output(0),
            d,
            #[inline(always)]
            |row, dx| {
                let (dy, y) = (&dy[row * d..][..d], &y[row * d..][..d]);
                let dot = parallel::sum(d, |i| dy[i] * y[i]);
                for i in 0..d {
                    dx[i] = y[i] * (dy[i] - dot);
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Relative errors in units of eps, half a unit in the last place: for exp(x) WGSL allows 3 + 2 |x| units, 6 eps
    // and 4 `reach`, to which its rounded argument adds `reach`; 6 in the sum, where large terms count, and about the
    // root of D; 5 of the division, and a product.
    let tolerance = |reach: f64, d: usize| Tolerance::relative(18.0 + 5.0 * reach + (d as f64).sqrt());
    for shape in [vec![1, 1], vec![4, 5], vec![3, 2, 257], vec![65, 33], vec![9]] {
        let d = shape[shape.len() - 1];
        cases.push(Case::new(Softmax).input(shape.clone()).tolerance(tolerance(2.0, d)));
        // y (dy - sum of dy y): with negative y the difference becomes a sum.
        let case = Case::new(SoftmaxInput).input(shape.clone()).input(shape).for_terms(|_, y| -y.abs());
        cases.push(case.tolerance(Tolerance::terms(4.0, d)));
    }
    // Beyond the range of exp, where only differences count.
    let far: Vec<f32> = (0..21).map(|i| (i % 5) as f32 - 2.0 + if i < 14 { 1_000.0 } else { -1_000.0 }).collect();
    cases.push(Case::new(Softmax).values([3, 7], far).tolerance(tolerance(4.0, 7)));
    // Scores up to 200 apart: the smallest results are below the smallest normal number.
    let apart: Vec<f32> = (0..4 * 65).map(|i| ((i * 29 % 65) as f32 - 40.0) * (i / 65 + 1) as f32 * 0.77).collect();
    cases.push(Case::new(Softmax).values([4, 65], apart).tolerance(tolerance(90.0, 65)));
    // More rows than workgroups in one dimension of the grid.
    cases.push(Case::new(Softmax).input([65_539, 2]).tolerance(tolerance(2.0, 2)));
    cases.push(Case::new(Softmax).input([3, 6]).tolerance(tolerance(2.0, 6)).gradient());
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Softmax).input([4096, 256])]
}
