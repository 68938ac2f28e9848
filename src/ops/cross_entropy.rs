//! The cross entropy of logits with integer labels, and its reverse.

use super::case::{Case, Tolerance};
use super::embedding::row_of;
use super::{Io, Op, Reduce, Reduction, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{DType, Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[b\] = -ln softmax(x)\[b, label\[b\]\] = ln(sum of exp(x\[b, c\] - m)) + m - x\[b, label\[b\]\], m the largest x of the
/// row: log-softmax and negative log likelihood in one, so that nothing overflows and nothing small is lost to a large m.
///
/// *Shapes*: x [B, C], label \[B\] as integers or as whole numbers in f32, y \[B\], stats [B, 2]: m and 1 / sum, for the
/// reverse. A label beyond the classes counts as the last. *Gradient*: dx = dy (softmax(x) - \[c = label\]); none by the
/// label. *Accuracy*: that of the driver's exp and log.
/// *Source*: PyTorch's `cross_entropy` with `reduction='none'`; [`Graph::cross_entropy`] is the mean.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy;

impl Graph {
    /// The loss mean of -ln softmax(logits)\[label\]: logits [B, C], label \[B\] or [B, 1].
    ///
    /// # Errors
    /// When the shapes do not fit.
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
        Ok(vec![Spec::f32([b]), Spec::f32([b, 2])])
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

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, label, (_, c)) = (io.input(0), io.inputs[1], io.specs.inputs[0].rows());
        parallel::rows2(
            io.output(0),
            1,
            io.output(1),
            2,
            #[inline(always)]
            |b, y, stats| {
                let x = &x[b * c..][..c];
                let largest = x.iter().fold(x[0], |m, v| m.max(*v));
                let sum = parallel::sum(c, |i| (x[i] - largest).exp());
                y[0] = sum.ln() + (largest - x[row_of(label, b, c)]);
                (stats[0], stats[1]) = (largest, S::ONE / sum);
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let (x, label, stats) = (r.input(0), r.input(1), r.output(1));
            let dx = r.graph.apply1(CrossEntropyInput, &[x, label, dy, stats])?;
            r.give(0, dx);
        }
        Ok(())
    }
}

/// dx = dy\[b\] (exp(x - m) / sum - \[c = label\]): x and dx [B, C], label and dy \[B\], stats [B, 2].
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
        expect_shape("cross_entropy_input", "stats", &inputs[3], &[b, 2])?;
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

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, label, dy, stats) = (io.input(0), io.inputs[1], io.input(2), io.input(3));
        let c = io.specs.inputs[0].rows().1;
        parallel::rows(
            io.output(0),
            c,
            #[inline(always)]
            |b, dx| {
                let (x, dy, largest, share) = (&x[b * c..][..c], dy[b], stats[2 * b], stats[2 * b + 1]);
                for i in 0..c {
                    dx[i] = dy * (x[i] - largest).exp() * share;
                }
                dx[row_of(label, b, c)] -= dy;
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let labels = |b: usize, c: usize| (0..b as u32).map(|i| i * i * 7 % c as u32).collect::<Vec<u32>>();
    for (b, c) in [(1, 1), (5, 4), (65, 33), (7, 257), (130, 10)] {
        let (label, d) = (labels(b, c), c as f64);
        let floats: Vec<f32> = label.iter().map(|&i| i as f32).collect();
        // The sum has the relative error of exp and of its terms' order, which the logarithm makes absolute; the
        // logarithm itself is good to 2^-21 near 1, and to three units in the last place beyond.
        let tolerance = Tolerance::value(48.0 + d.sqrt());
        cases.push(Case::new(CrossEntropy).input([b, c]).integers([b], label.clone()).tolerance(tolerance));
        cases.push(Case::new(CrossEntropy).input([b, c]).values([b], floats.clone()).tolerance(tolerance));
        // Shares of at most 1 with the error of exp, less at most 1.
        let stats = (0..2 * b).map(|i| if i % 2 == 0 { 1.1 } else { 0.3 + 0.1 * (i % 7) as f32 }).collect();
        let case = Case::new(CrossEntropyInput).input([b, c]);
        let case = if c % 2 == 0 { case.integers([b], label) } else { case.values([b], floats) };
        cases.push(case.input([b]).values([b, 2], stats).tolerance(Tolerance::absolute(32.0)));
    }
    // Far beyond what exp takes: only differences count. And classes that are not there.
    let far: Vec<f32> = (0..21).map(|i| (i % 5) as f32 - 2.0 + if i < 14 { 1_000.0 } else { -1_000.0 }).collect();
    let case = Case::new(CrossEntropy).values([3, 7], far).integers([3], vec![2, 0, 9]);
    cases.push(case.tolerance(Tolerance::value(64.0)));
    let case = Case::new(CrossEntropy).input([4, 6]).integers([4], vec![5, 0, 3, 3]);
    cases.push(case.tolerance(Tolerance::value(64.0)).gradient());
    cases
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
