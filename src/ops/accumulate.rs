//! total += share x: accumulates the gradients of micro-batches.

use super::case::{Case, MANY, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// total = share x for the first part of the batch, total + share x for those after.
///
/// *Shapes*: x and total have the same shape; total is updated in place. *Gradient*: none; it runs after the backward
/// pass.
/// *Accuracy*: one rounding each for the product and the sum, in the order of the dispatches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accumulate {
    /// The factor of x: the share of the micro-batch in the batch.
    pub share: f64,
    /// Whether the first of the micro-batches that it runs for is that of the batch, which starts a new sum.
    pub starts: bool,
}

impl Op for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("accumulate", inputs, 2)?;
        expect_shape("accumulate", "total", &inputs[1], &inputs[0].shape)?;
        Ok(vec![])
    }

    fn updates(&self) -> usize {
        1
    }

    fn accumulates(&self) -> Option<f64> {
        Some(self.share)
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        let kernel = kernel!("accumulate.wgsl", "accumulate").flag("STARTS", self.starts);
        kernel.dim("N", n).hyper("SHARE", self.share).over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, total, share) = (io.input(0), io.update(0), S::of(self.share));
        let starts = self.starts && io.part == 0;
        parallel::chunks(
            total,
            #[inline(always)]
            |start, total| {
                let before = |total: S| if starts { S::ZERO } else { total };
                total.iter_mut().zip(&x[start..]).for_each(|(total, x)| *total = before(*total) + share * *x);
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, starts) in [(1, true), (7, false), (300, true), (513, false)] {
        let values = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        let case = Case::new(Accumulate { share: 0.125, starts }).input([n]).update([n], values).first_row(8);
        cases.push(case.tolerance(Tolerance::value(2.0)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Accumulate { share: 0.125, starts: false }).input([MANY]).zeros(MANY)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Parts};

    #[test]
    fn a_sum_starts_with_the_first_part_of_each_step_whatever_the_first_row() {
        let mut g = Graph::new();
        let [x, total] = ["x", "total"].map(|name| g.state(name, [5]).unwrap());
        g.set_parts(Some(Parts { first: 0, rows: 4, count: 3 }));
        g.apply_to(Accumulate { share: 0.25, starts: true }, &[x], &[total]).unwrap();
        g.set_parts(Some(Parts { first: 12, rows: 2, count: 1 }));
        g.apply_to(Accumulate { share: 0.125, starts: false }, &[x], &[total]).unwrap();
        let mut run = crate::Device::cpu().compile(&g).unwrap();
        run.write("x", &[2.0; 5]).unwrap();
        run.set_first_row(7);
        run.steps(3).unwrap();
        assert_eq!(run.read(total).unwrap(), [3.0 * 0.5 + 0.25; 5]);
    }
}
