//! The cross entropy of logits with integer labels, and its backward pass.

use super::case::{Case, ROWS, Tolerance};
use super::embedding::row_of;
use super::{Io, Op, Reduce, Reduction, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{DType, Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[b\] = -ln softmax(x)\[b, label\[b\]\] = ln(sum of exp(x\[b, c\] - m)) + m - x\[b, label\[b\]\], m the largest x
/// of the row: log-softmax and negative log likelihood in one op, which avoids overflow and cancellation for a large m.
///
/// *Shapes*: x [B, C], label \[B\] as integers or as whole numbers in f32, y \[B\], stats [B, 3]: m, 1 / sum, and the
/// softmax of all other classes together, for the backward pass. A label beyond the classes is clamped to the last.
/// *Gradient*: dx = dy (softmax(x) - \[c = label\]); none for the label.
/// *Accuracy*: relative, for y and dx alike, also where the softmax at the label is near 1: all terms have one sign.
/// The argument x - m of an exponential is rounded, a relative error of |x - m| 2^-24, and WGSL allows exp four times
/// that.
/// *Source*: PyTorch's `cross_entropy` with `reduction='none'`; [`Graph::cross_entropy`] is the mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossEntropy;

impl Graph {
    /// The loss mean of -ln softmax(logits)\[label\]: logits [B, C], label \[B\] or [B, 1].
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn cross_entropy(&mut self, logits: Var, label: Var) -> Result<Var> {
        let rows = self.spec(logits).rows().0;
        let label = if self.shape(label) == [rows, 1] { self.reshape(label, [rows])? } else { label };
        let scale = 1.0 / rows as f64;
        let each = self.apply1(CrossEntropy, &[logits, label])?;
        let loss = self.apply1(Reduce(Reduction::Sum { scale }), &[each])?;
        let d = self.constant([rows], vec![scale as f32; rows])?;
        self.define_loss(loss, each, d)?;
        Ok(loss)
    }
}

/// Checks x [B, C] and label \[B\].
fn expect_logits(op: &str, inputs: &[Spec]) -> Result<(usize, usize)> {
    let [b, c] = inputs[0].shape[..] else {
        return Err(Error::shape(op, format!("logits should have shape [B, C], got {:?}", inputs[0].shape)));
    };
    expect_shape(op, "label", &inputs[1], &[b])?;
    Ok((b, c))
}

fn kernel(entry: &'static str, specs: &Specs) -> Kernel {
    let (b, c) = specs.inputs[0].rows();
    kernel!("cross_entropy.wgsl", entry).flag("INTEGERS", specs.inputs[1].dtype == DType::U32).dim("B", b).dim("C", c)
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("cross_entropy", inputs, 2)?;
        let (b, _) = expect_logits("cross_entropy", inputs)?;
        Ok(vec![Spec::f32([b]), Spec::f32([b, 3])])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if i == 1 { &[DType::F32, DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        kernel("cross_entropy", specs).tune("WG", if target.software { 8 } else { 64 }).groups(specs.inputs[0].rows().0)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: 4 * specs.inputs[0].len() as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, label, (_, c)) = (io.input(0), io.inputs[1], io.specs.inputs[0].rows());
        parallel::rows2(
            io.output(0),
            1,
            io.output(1),
            3,
            #[inline(always)]
            |b, y, stats| {
                let x = &x[b * c..][..c];
                let largest = x.iter().fold(x[0], |m, v| m.max(*v));
                let sum = |x: &[S]| parallel::sum(x.len(), |i| (x[i] - largest).exp());
                let label = row_of(label, b, c);
                let (others, below) = (sum(&x[..label]) + sum(&x[label + 1..]), largest - x[label]);
                let all = others + (-below).exp();
                // If the label is the largest, 1 is not added, so that a small loss is accurate.
                y[0] = (if below > S::ZERO { all - S::ONE } else { others }).ln_1p() + below;
                stats.copy_from_slice(&[largest, S::ONE / all, others / all]);
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let (x, label, stats) = (r.input(0), r.input(1), r.output(1));
            let dx = r.graph.apply1(CrossEntropyInput, &[x, label, dy, stats])?;
            r.add_gradient(0, dx);
        }
        Ok(())
    }
}

/// dx = dy\[b\] (exp(x - m) / sum - \[c = label\]): x and dx [B, C], label and dy \[B\], stats [B, 3], of which the
/// last is used at the label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossEntropyInput;

impl Op for CrossEntropyInput {
    fn name(&self) -> &'static str {
        "cross_entropy_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("cross_entropy_input", inputs, 4)?;
        let (b, c) = expect_logits("cross_entropy_input", inputs)?;
        expect_shape("cross_entropy_input", "dy", &inputs[2], &[b])?;
        expect_shape("cross_entropy_input", "stats", &inputs[3], &[b, 3])?;
        Ok(vec![Spec::f32([b, c])])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if i == 1 { &[DType::F32, DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        kernel("input", specs).over(specs.inputs[0].len())
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: 4 * specs.inputs[0].len() as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, label, dy, stats) = (io.input(0), io.inputs[1], io.input(2), io.input(3));
        let c = io.specs.inputs[0].rows().1;
        parallel::rows(
            io.output(0),
            c,
            #[inline(always)]
            |b, dx| {
                let (x, dy, stats) = (&x[b * c..][..c], dy[b], &stats[3 * b..][..3]);
                for i in 0..c {
                    dx[i] = dy * (x[i] - stats[0]).exp() * stats[1];
                }
                dx[row_of(label, b, c)] = -dy * stats[2];
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let labels = |b: usize, c: usize| (0..b as u32).map(|i| i * i * 7 % c as u32).collect::<Vec<u32>>();
    // Relative errors in units of eps, as for softmax: 6 + 4 `reach` of exp and `reach` of its rounded argument, 6 and
    // about the root of C of the sum, 5 of a division, for a share or within the logarithm; then a product.
    let tolerance = |reach: f64, c: usize| Tolerance::relative(18.0 + 5.0 * reach + (c as f64).sqrt());
    for (b, c) in [(1, 1), (5, 4), (65, 33), (7, 257), (130, 10)] {
        let (label, tolerance) = (labels(b, c), tolerance(2.0, c));
        let floats: Vec<f32> = label.iter().map(|&i| i as f32).collect();
        cases.push(Case::new(CrossEntropy).input([b, c]).integers([b], label.clone()).tolerance(tolerance));
        cases.push(Case::new(CrossEntropy).input([b, c]).values([b], floats.clone()).tolerance(tolerance));
        let stats = (0..3 * b).map(|i| if i % 3 == 0 { 1.1 } else { 0.3 + 0.1 * (i % 7) as f32 }).collect();
        let case = Case::new(CrossEntropyInput).input([b, c]);
        let case = if c % 2 == 0 { case.integers([b], label) } else { case.values([b], floats) };
        cases.push(case.input([b]).values([b, 3], stats).tolerance(tolerance));
    }
    // Beyond the range of exp, where only differences count; and labels out of range.
    let far: Vec<f32> = (0..21).map(|i| (i % 5) as f32 - 2.0 + if i < 14 { 1_000.0 } else { -1_000.0 }).collect();
    let case = Case::new(CrossEntropy).values([3, 7], far).integers([3], vec![2, 0, 9]);
    cases.push(case.tolerance(tolerance(4.0, 7)));
    // The label's logit is up to 30 above the others, a loss of exp(-30); then that of another class.
    let sure: Vec<f32> = (0..31 * 3).map(|i| if i % 3 == 1 { (i / 3) as f32 } else { (i % 3) as f32 * 0.1 }).collect();
    for label in [1, 2] {
        let case = Case::new(CrossEntropy).values([31, 3], sure.clone()).integers([31], vec![label; 31]);
        cases.push(case.tolerance(tolerance(30.0, 3)));
    }
    let case = Case::new(CrossEntropy).input([4, 6]).integers([4], vec![5, 0, 3, 3]);
    cases.push(case.tolerance(tolerance(2.0, 6)).gradient());
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(CrossEntropy).input([ROWS, 10]).indices(ROWS, 10)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    /// ln(1 + e^-1 + e^-2) = 0.407606 for the best of the logits 1, 2, 3, and 2 more for the worst.
    #[test]
    fn known_values_and_a_step_downhill() {
        let mut g = Graph::new();
        let (x, label) = (g.parameter("x", [2, 3], vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]).unwrap(), [2.0, 0.0]);
        let y = g.constant([2, 1], label.to_vec()).unwrap();
        let loss = g.cross_entropy(x, y).unwrap();
        g.minimize(loss, crate::ops::Optimizer::sgd(1.0, 0.0, false)).unwrap();
        let mut run = Device::reference().compile(&g).unwrap();
        run.steps(1).unwrap();
        assert!((run.scalar(loss).unwrap() - (0.407_605_964_444_380_1 + 1.0)).abs() < 1e-9);
        // softmax(1, 2, 3) = 0.0900306, 0.2447285, 0.6652410, and half of it per row of two.
        let want = [1.0 - 0.045_015_3, 2.0 - 0.122_364_2, 3.0 + 0.167_379_5, 1.0 + 0.454_984_7, 2.0 - 0.122_364_2];
        for (got, want) in run.read_f64(x).unwrap().iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    /// For the logits 20 and 0 the loss is ln(1 + e^-20) = 2.06e-9 and its gradient -+2.06e-9, which 1 + e^-20 would
    /// round away.
    #[test]
    fn a_small_loss_and_its_gradient_are_accurate() {
        let mut g = Graph::new();
        let x = g.parameter("x", [1, 2], vec![20.0, 0.0]).unwrap();
        let y = g.constant([1], vec![0.0]).unwrap();
        let loss = g.cross_entropy(x, y).unwrap();
        let d = g.backward(&[loss], &[x]).unwrap().of(x).unwrap();
        g.keep(d);
        let mut run = Device::cpu().compile(&g).unwrap();
        run.steps(1).unwrap();
        let small = (-20f64).exp();
        let want = [-small / (1.0 + small), small / (1.0 + small)];
        assert!((run.scalar(loss).unwrap() - small.ln_1p()).abs() < 1e-6 * small);
        for (got, want) in run.read_f64(d).unwrap().iter().zip(want) {
            assert!((got - want).abs() < 1e-6 * small, "{got} {want}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let mut g = Graph::new();
        let (x, y) = (g.state("x", [4, 6]).unwrap(), g.state_u32("y", [5]).unwrap());
        let e = g.cross_entropy(x, y).unwrap_err().to_string();
        assert!(e.contains("label should have shape [4], got [5]"), "{e}");
        let x = g.state("images", [4, 6, 2]).unwrap();
        assert!(g.cross_entropy(x, y).unwrap_err().to_string().contains("[4, 6, 2]"));
    }
}
