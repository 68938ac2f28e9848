//! The input of a sampling step for a network that takes x_t and the step encoding in one tensor.

use super::case::{Case, STEPS, Tolerance};
use super::{Encode, Io, Layout, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::Cost;
use crate::graph::{DType, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// [x | enc(t)] with t = table[min(step, K - 1), 0]: equals [`FillRow`](super::FillRow), [`Encode`] and
/// [`Concat`](super::Concat) in one pass.
///
/// *Shapes*: x [B, D], table [K, C], rates [F, 2] u32, output [B, D + E].
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepInput {
    /// The encoding that follows x in each row.
    pub encode: Encode,
}

impl Op for StepInput {
    fn name(&self) -> &'static str {
        "step_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("step_input", inputs, 3)?;
        let (b, d) = inputs[0].rows();
        expect_shape("step_input", "rates", &inputs[2], &[self.encode.frequencies(), 2])?;
        Ok(vec![Spec::f32([b, d + self.encode.width])])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if i == 2 { &[DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let ((b, d), (k, c), f) = (specs.inputs[0].rows(), specs.inputs[1].rows(), self.encode.frequencies());
        kernel!("step_input.wgsl", "step_input")
            .dim("B", b)
            .dim("D", d)
            .dim("E", self.encode.width)
            .dim("F", f)
            .dim("K", k)
            .dim("C", c)
            .hyper("LAYOUT", self.encode.layout_number())
            .over(b * (d + f))
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost::of(specs).reading(specs, 1, 1)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (d, (k, c)) = (io.specs.inputs[0].rows().1, io.specs.inputs[1].rows());
        let t = io.input(1)[(io.clock.step as usize).min(k - 1) * c];
        let (x, rates, out) = (io.input(0), io.input_u32(2), io.output(0));
        S::with_scratch(self.encode.width, |encoding| {
            self.encode.row(t.f64(), rates, encoding);
            let encoding = &*encoding;
            parallel::rows(
                out,
                d + self.encode.width,
                #[inline(always)]
                |row, out| {
                    out[..d].copy_from_slice(&x[row * d..][..d]);
                    out[d..].copy_from_slice(encoding);
                },
            );
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let halves = |flip, shift| Layout::Halves { flip, shift };
    let table = |columns: usize| (0..5 * columns).map(|i| ((i * 131) % 1000) as f32).collect::<Vec<f32>>();
    // Step 9 is beyond the table, so its last row is used.
    [(9, Layout::Interleaved, 33, 1, 3), (128, halves(false, 0.0), 2, 8, 9), (7, halves(true, 1.0), 100, 3, 0)]
        .into_iter()
        .map(|(width, layout, d, columns, step)| {
            let encode = Encode { width, layout };
            let (shape, words) = encode.rate_words();
            let case = Case::new(StepInput { encode }).input([21, d]).values([5, columns], table(columns));
            case.integers(shape, words).clock(1, step).tolerance(Tolerance::absolute(3.3))
        })
        .collect()
}

pub(super) fn timed() -> Vec<Case> {
    let encode = Encode { width: 128, layout: Layout::Interleaved };
    let (shape, rates) = encode.rate_words();
    vec![Case::new(StepInput { encode }).input([1024, 784]).table([STEPS, 8]).integers(shape, rates)]
}
