//! y = p_t a + q_t b: noising with given t and eps, and the conversions between eps, x0 and v.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::par;
use crate::scalar::Scalar;

/// y = p_t a + q_t b, with one t per row and (p, q) from a table.
///
/// *Shapes*: a, b and y [B, ...], t \[B\], table [T, 2]. *Units*: t in steps; the nearest row of the table is taken.
/// With (sqrt(alpha_bar), sqrt(1 - alpha_bar)) it is x_t from x0 and eps (Ho et al. 2020, eq. 4).
#[derive(Clone, Copy, Debug)]
pub struct Combine;

impl Op for Combine {
    fn name(&self) -> &'static str {
        "combine"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("combine", inputs, 4)?;
        expect_shape("combine", "b", &inputs[1], &inputs[0].shape)?;
        expect_shape("combine", "t", &inputs[2], &[inputs[0].rows().0])?;
        expect_shape("combine", "table", &inputs[3], &[inputs[3].rows().0, 2])?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (b, d) = specs.inputs[0].rows();
        let t = specs.inputs[3].rows().0;
        Kernel::new("combine.wgsl", include_str!("../../shaders/combine.wgsl"), "combine")
            .dim("B", b)
            .dim("D", d)
            .dim("T", t)
            .over(b * d)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, d) = io.specs.inputs[0].rows();
        let (a, b, t, table, y) = (io.input(0), io.input(1), io.input(2), io.input(3), io.output(0));
        let last = table.len() / 2 - 1;
        par::rows(y, d, |row, y| {
            let at = (t[row].f64().round().max(0.0) as usize).min(last);
            for i in 0..d {
                y[i] = table[2 * at] * a[row * d + i] + table[2 * at + 1] * b[row * d + i];
            }
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let t = vec![0.0, 3.0, 49.0, 48.9, 7.0, 1.0, 2.0];
    let case = Case::new(Combine).input([7, 11]).input([7, 11]).values([7], t).input([50, 2]);
    vec![case.tolerance(Tolerance::absolute(4.0))]
}
