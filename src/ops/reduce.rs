//! Sums in a fixed order: stage one computes partial sums, stage two a single number.

use std::ops::Range;

use super::case::{Case, MANY, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::Result;
use crate::graph::{HISTORY, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The division of n elements in stage one: `groups` chunks of `chunk`, one partial sum each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub groups: usize,
    pub chunk: usize,
    n: usize,
}

impl Split {
    pub fn new(n: usize) -> Self {
        Self::in_chunks(n, n.div_ceil(n.div_ceil(1024).clamp(1, 256)))
    }

    /// The division into chunks of a given size.
    fn in_chunks(n: usize, chunk: usize) -> Self {
        Self { groups: n.div_ceil(chunk), chunk, n }
    }

    pub fn kernel(self, kernel: Kernel) -> Kernel {
        kernel.dim("N", self.n).dim("CHUNK", self.chunk).groups(self.groups)
    }

    /// partials[g] = sum over the chunk of `term(i)`.
    pub fn sums<S: Scalar>(self, partials: &mut [S], term: impl Fn(usize) -> S + Sync) {
        self.ranges(partials, |range| parallel::sum(range.len(), |i| term(range.start + i)));
    }

    /// partials[g] = `sum(chunk g)`.
    pub fn ranges<S: Scalar>(self, partials: &mut [S], sum: impl Fn(Range<usize>) -> S + Sync) {
        parallel::each(
            partials,
            self.n,
            #[inline(always)]
            |g| sum(g * self.chunk..((g + 1) * self.chunk).min(self.n)),
        );
    }
}

/// partials\[g\] = sum of x^2 over chunk g: stage one of a global norm.
///
/// *Shapes*: x any, partials \[G\].
#[derive(Clone, Copy, Debug)]
pub struct SquaredNorm {
    chunk: usize,
}

impl SquaredNorm {
    /// For a tensor of `n` elements. Chunks start at multiples of 256 bytes, a binding offset that every adapter supports, so that
    /// several processes can share them.
    pub fn of(n: usize) -> Self {
        Self { chunk: Split::new(n).chunk.next_multiple_of(64) }
    }
}

impl Op for SquaredNorm {
    fn name(&self) -> &'static str {
        "squared_norm"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("squared_norm", inputs, 1)?;
        Ok(vec![Spec::f32([Split::in_chunks(inputs[0].len(), self.chunk).groups])])
    }

    fn piece(&self) -> Option<usize> {
        Some(self.chunk)
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let kernel = kernel!("reduce.wgsl", "squares").flag("CLIP", false);
        Split::in_chunks(specs.inputs[0].len(), self.chunk).kernel(kernel)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let x = io.input(0);
        Split::in_chunks(x.len(), self.chunk).sums(io.output(0), |i| x[i] * x[i]);
    }
}

/// Added to the norm in the denominator, as in PyTorch.
const CLIP_EPSILON: f64 = 1e-6;

/// The result computed by stage two from the partial sums.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reduction {
    /// history = scale * sum, added up over the parts of the batch that it runs for.
    Sum {
        /// 1/N for a mean.
        scale: f64,
    },
    /// history = sqrt(sum), and factor \[1\] = min(1, max / (norm + 1e-6)): global-norm clipping as in PyTorch's
    /// `clip_grad_norm_` (Pascanu et al. 2013, algorithm 1).
    Clip {
        /// The largest norm that is not clipped.
        max: f64,
    },
}

/// Stage two: partials \[G\] to one number per step, in a fixed order.
#[derive(Clone, Copy, Debug)]
pub struct Reduce(
    /// The result to compute.
    pub Reduction,
);

impl Op for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("reduce", inputs, 1)?;
        Ok(match self.0 {
            Reduction::Sum { .. } => vec![Spec::history()],
            Reduction::Clip { .. } => vec![Spec::history(), Spec::f32([1])],
        })
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let kernel = kernel!("reduce.wgsl", "total");
        let kernel = kernel.dim("N", specs.inputs[0].len()).dim("CHUNK", 0);
        let kernel = kernel.flag("CLIP", matches!(self.0, Reduction::Clip { .. }));
        match self.0 {
            Reduction::Sum { scale } => kernel.hyper("SCALE", scale),
            Reduction::Clip { max } => kernel.hyper("SCALE", max).hyper("EPSILON", CLIP_EPSILON),
        }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let partials = io.input(0);
        let total = parallel::sum(partials.len(), |i| partials[i]);
        let history = &mut io.output(0)[io.clock.step as usize % HISTORY];
        match self.0 {
            Reduction::Sum { scale } if io.part == 0 => *history = S::of(scale) * total,
            Reduction::Sum { scale } => *history += S::of(scale) * total,
            Reduction::Clip { max } => {
                let norm = total.sqrt();
                *history = norm;
                let factor = S::of(max) / (norm + S::of(CLIP_EPSILON));
                // Written so that NaN propagates.
                io.output(1)[0] = if factor > S::ONE { S::ONE } else { factor };
            }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [1, 7, 256, 1025] {
        cases.push(Case::new(SquaredNorm::of(n)).input([n]).tolerance(Tolerance::terms(4.0, n)));
        let op = Reduce(Reduction::Sum { scale: 0.25 });
        cases.push(Case::new(op).input([n]).clock(0, 5).tolerance(Tolerance::terms(4.0, n)));
        let positive = (0..n).map(|i| 0.1 + (i % 5) as f32 * 0.3).collect();
        let op = Reduce(Reduction::Clip { max: 0.75 });
        let tolerance = Tolerance::value(8.0 + (n as f64).sqrt());
        cases.push(Case::new(op).values([n], positive).clock(0, 1030).tolerance(tolerance));
    }
    // A norm of the magnitude of epsilon.
    let op = Reduce(Reduction::Clip { max: 1e-6 });
    cases.push(Case::new(op).values([3], vec![1e-13, 4e-13, 2e-13]).tolerance(Tolerance::relative(12.0)));
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(SquaredNorm::of(MANY)).input([MANY]), Case::new(Reduce(Reduction::Sum { scale: 1.0 })).input([4096])]
}
