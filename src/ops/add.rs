//! y = a + b, elementwise: residual connections, and gradients that meet.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::par;
use crate::scalar::Scalar;

/// y = a + b.
///
/// *Shapes*: a, b and y alike. *Gradient*: da = dy, db = dy.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("add", inputs, 2)?;
        expect_shape("add", "b", &inputs[1], &inputs[0].shape)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.outputs[0].len();
        Kernel::new("add.wgsl", include_str!("../../shaders/add.wgsl"), "add").dim("N", n).over(n)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (a, b, y) = (io.input(0), io.input(1), io.output(0));
        par::chunks(
            y,
            #[inline(always)]
            |start, y| {
                for i in 0..y.len() {
                    y[i] = a[start + i] + b[start + i];
                }
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            r.give(0, dy);
            r.give(1, dy);
        }
        Ok(())
    }
}

pub(super) fn cases() -> Vec<Case> {
    [vec![1], vec![7], vec![65, 3], vec![2, 3, 5, 7]]
        .into_iter()
        .map(|shape| Case::new(Add).input(shape.clone()).input(shape).tolerance(Tolerance::value(1.0)).gradient())
        .collect()
}
