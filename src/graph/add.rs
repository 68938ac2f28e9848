//! y = a + b, elementwise. The reverse pass uses it to sum gradients.

use super::op::{Io, Op, expect_count, expect_shape};
use super::{Reverse, Spec, Specs};
use crate::error::Result;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y = a + b.
///
/// *Shapes*: a, b and y have the same shape. *Gradient*: da = dy, db = dy.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("add", inputs, 2)?;
        expect_shape("add", "b", &inputs[1], &inputs[0].shape)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.outputs[0].len();
        kernel!("add.wgsl", "add").dim("N", n).over(n)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (a, b, y) = (io.input(0), io.input(1), io.output(0));
        parallel::chunks(
            y,
            #[inline(always)]
            |start, y| {
                let terms = a[start..].iter().zip(&b[start..]);
                y.iter_mut().zip(terms).for_each(|(y, (a, b))| *y = *a + *b);
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            r.add_gradient(0, dy);
            r.add_gradient(1, dy);
        }
        Ok(())
    }
}
