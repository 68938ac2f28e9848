//! The sum of the parts of a product whose long sums were split (split-K).

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// [first | second] = sum over s of parts\[s\], in the order of s; without bias there is no second output.
///
/// *Shapes*: parts [S, N], first as given, second the rest.
#[derive(Clone, Debug)]
pub(crate) struct PartSum {
    pub shape: Vec<usize>,
    pub bias: bool,
}

impl Op for PartSum {
    fn name(&self) -> &'static str {
        "part_sum"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("part_sum", inputs, 1)?;
        let ((_, n), first) = (inputs[0].rows(), Spec::f32(self.shape.clone()));
        let second = if self.bias { self.shape[0] } else { 0 };
        if first.len() + second != n {
            return Err(Error::shape("part_sum", format!("parts of {n} do not fill {first} and {second} more")));
        }
        let second = self.bias.then(|| Spec::f32([second]));
        Ok([first].into_iter().chain(second).collect())
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (s, n) = specs.inputs[0].rows();
        kernel!("part_sum.wgsl", "sum_parts")
            .flag("SECOND", self.bias)
            .dim("S", s)
            .dim("N", n)
            .dim("FIRST", specs.outputs[0].len())
            .over(n)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: specs.inputs[0].len() as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ((_, n), parts) = (io.specs.inputs[0].rows(), io.input(0));
        let sum = |offset: usize, out: &mut [S]| {
            parallel::chunks(
                out,
                #[inline(always)]
                |start, out| {
                    out.fill(S::ZERO);
                    for part in parts.chunks_exact(n) {
                        out.iter_mut().zip(&part[offset + start..]).for_each(|(o, v)| *o += *v);
                    }
                },
            );
        };
        let first = io.output(0);
        sum(0, first);
        if self.bias {
            sum(first.len(), io.output(1));
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let op = |bias| PartSum { shape: vec![3, 2, 5], bias };
    vec![
        Case::new(op(true)).input([7, 33]).tolerance(Tolerance::terms(1.0, 7)),
        Case::new(op(false)).input([4, 30]).tolerance(Tolerance::terms(1.0, 4)),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(PartSum { shape: vec![256, 255], bias: true }).input([16, 256 * 256])]
}
