//! t [B] = one entry of a table, selected by the step: provides the time in a sampling loop.

use super::case::{Case, MANY, STEPS, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::Result;
use crate::graph::Cost;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;

/// y\[i\] = table[min(step, K - 1), 0].
///
/// *Shapes*: table [K, C], y \[B\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FillRow {
    /// B.
    pub batch: usize,
}

impl Op for FillRow {
    fn name(&self) -> &'static str {
        "fill"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("fill", inputs, 1)?;
        Ok(vec![Spec::f32([self.batch])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (k, c) = specs.inputs[0].rows();
        kernel!("fill.wgsl", "fill").dim("B", self.batch).dim("K", k).dim("C", c).over(self.batch)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost::of(specs).reading(specs, 0, 1)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (k, c) = io.specs.inputs[0].rows();
        let at = (io.clock.step as usize).min(k - 1);
        io.output(0).fill(io.input(0)[at * c]);
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(FillRow { batch: 70 }).input([5, 3]).clock(1, 3).tolerance(Tolerance::exact()),
        // More items than 65,535 workgroups hold, in one dimension of the grid.
        Case::new(FillRow { batch: 65_535 * 64 + 77 }).input([2, 2]).clock(1, 1).tolerance(Tolerance::exact()),
        Case::new(FillRow { batch: 1 }).input([5, 8]).clock(1, 9).tolerance(Tolerance::exact()),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(FillRow { batch: MANY }).input([STEPS, 8])]
}
