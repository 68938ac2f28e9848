//! y = [a | b] along the last dimension, and its backward pass.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y = [a | b].
///
/// *Shapes*: a [B, P], b [B, Q], y [B, P + Q]. *Gradient*: the halves of dy.
#[derive(Clone, Copy, Debug)]
pub struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("concat", inputs, 2)?;
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        if a.len() != 2 || b.len() != 2 || a[0] != b[0] {
            return Err(Error::shape("concat", format!("expected a [B, P] and b [B, Q]; got a {a:?}, b {b:?}")));
        }
        Ok(vec![Spec::f32([a[0], a[1] + b[1]])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let ((rows, p), (_, q)) = (specs.inputs[0].rows(), specs.inputs[1].rows());
        kernel!("concat.wgsl", "concat").dim("B", rows).dim("P", p).dim("Q", q).over(rows * (p + q))
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ((_, p), (_, q)) = (io.specs.inputs[0].rows(), io.specs.inputs[1].rows());
        let (a, b, y) = (io.input(0), io.input(1), io.output(0));
        parallel::rows(
            y,
            p + q,
            #[inline(always)]
            |row, y| {
                y[..p].copy_from_slice(&a[row * p..][..p]);
                y[p..].copy_from_slice(&b[row * q..][..q]);
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dy) = r.d(0) else { return Ok(()) };
        let p = r.graph.shape(r.input(0))[1];
        let q = r.graph.shape(r.input(1))[1];
        for (i, (start, len)) in [(0, p), (p, q)].into_iter().enumerate() {
            if r.needs_gradient(i) {
                let d = r.graph.apply1(Columns { start, len }, &[dy])?;
                r.add_gradient(i, d);
            }
        }
        Ok(())
    }
}

/// y = columns start .. start + len of x: x [B, D], y [B, len].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub start: usize,
    pub len: usize,
}

impl Op for Columns {
    fn name(&self) -> &'static str {
        "columns"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("columns", inputs, 1)?;
        let (b, d) = inputs[0].rows();
        if self.start + self.len > d {
            let (start, end) = (self.start, self.start + self.len);
            return Err(Error::shape("columns", format!("columns {start}..{end} of {d}")));
        }
        Ok(vec![Spec::f32([b, self.len])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (b, d) = specs.inputs[0].rows();
        kernel!("concat.wgsl", "columns")
            .dim("B", b)
            .dim("P", self.start)
            .dim("Q", d)
            .dim("LEN", self.len)
            .over(b * self.len)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, d) = io.specs.inputs[0].rows();
        let (x, y) = (io.input(0), io.output(0));
        parallel::rows(
            y,
            self.len,
            #[inline(always)]
            |row, y| y.copy_from_slice(&x[row * d + self.start..][..self.len]),
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(Concat).input([5, 3]).input([5, 4]).tolerance(Tolerance::exact()).gradient(),
        Case::new(Concat).input([67, 1]).input([67, 128]).tolerance(Tolerance::exact()),
        Case::new(Columns { start: 2, len: 5 }).input([9, 8]).tolerance(Tolerance::exact()),
        Case::new(Columns { start: 0, len: 1 }).input([65, 2]).tolerance(Tolerance::exact()),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Concat).input([1024, 784]).input([1024, 128])]
}
