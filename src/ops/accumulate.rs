//! total += share x: accumulates the gradients of micro-batches.

use super::case::{Case, MANY, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// total = share x for the first rows of the batch, total + share x for those after.
///
/// *Shapes*: x and total have the same shape; total is updated in place. *Gradient*: none; it runs after the backward
/// pass.
/// *Accuracy*: one rounding each for the product and the sum, in the order of the dispatches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accumulate {
    /// The factor of x: the share of the micro-batch in the batch.
    pub share: f64,
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

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        kernel!("accumulate.wgsl", "accumulate").dim("N", n).hyper("SHARE", self.share).over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, total, share) = (io.input(0), io.update(0), S::of(self.share));
        // The first micro-batch starts a new sum.
        if io.first_row == 0 {
            total.fill(S::ZERO);
        }
        parallel::chunks(
            total,
            #[inline(always)]
            |start, total| {
                for i in 0..total.len() {
                    total[i] += share * x[start + i];
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, first_row) in [(1, 0), (7, 8), (300, 0), (513, 24)] {
        let values = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        let case = Case::new(Accumulate { share: 0.125 }).input([n]).update([n], values).first_row(first_row);
        cases.push(case.tolerance(Tolerance::value(2.0)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Accumulate { share: 0.125 }).input([MANY]).zeros(MANY)]
}
