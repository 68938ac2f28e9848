//! Scale and shift: converts between the units of the data and those of the network.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[i\] = scale\[i mod C\] x\[i\] + shift\[i mod C\].
///
/// *Shapes*: x [B, ...], table [2, C] with scale and shift, C dividing the length of a row; y like x. *Gradient*: none;
/// data are not trained. *Accuracy*: two roundings.
#[derive(Clone, Copy, Debug)]
pub struct Affine;

impl Op for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("affine", inputs, 2)?;
        let (row, c) = (inputs[0].rows().1, inputs[1].rows().1);
        expect_shape("affine", "table", &inputs[1], &[2, c])?;
        if !row.is_multiple_of(c) {
            return Err(Error::shape("affine", format!("{c} scales do not divide rows of {row} values")));
        }
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        kernel!("affine.wgsl", "affine").dim("N", n).dim("C", specs.inputs[1].rows().1).over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let c = io.specs.inputs[1].rows().1;
        let (x, table, y) = (io.input(0), io.input(1), io.output(0));
        parallel::chunks(
            y,
            #[inline(always)]
            |start, y| {
                for (i, y) in y.iter_mut().enumerate() {
                    let at = (start + i) % c;
                    *y = table[at] * x[start + i] + table[c + at];
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    [(vec![5, 7], 1), (vec![33, 2], 2), (vec![4, 3, 10], 6)]
        .map(|(shape, c)| Case::new(Affine).input(shape).input([2, c]).tolerance(Tolerance::value(2.0)))
        .to_vec()
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Affine).input([1024, 784]).input([2, 784])]
}
