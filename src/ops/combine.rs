//! y = p_t a + q_t b: adds noise with given t and eps, and converts between eps, x0 and v.

use super::case::{Case, STEPS, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y = p_t a + q_t b, with one t per row and (p, q) from a table.
///
/// *Shapes*: a, b and y [B, ...], t \[B\], table [T, 2]. *Units*: t in rows of the table, interpolated linearly between them.
/// With (sqrt(alpha_bar), sqrt(1 - alpha_bar)) it is x_t from x0 and eps (Ho et al. 2020, eq. 4).
/// *Gradient*: da = p_t dy, db = q_t dy; none for t and table.
#[derive(Clone, Copy, Debug)]
pub struct Combine;

impl Op for Combine {
    fn name(&self) -> &'static str {
        "combine"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("combine", inputs, 4)?;
        expect_shape("combine", "b", &inputs[1], &inputs[0].shape)?;
        expect_shape("combine", "t", &inputs[2], &[inputs[0].rows().0])?;
        expect_shape("combine", "table", &inputs[3], &[inputs[3].rows().0, 2])?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        kernel("combine", specs)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, d) = io.specs.inputs[0].rows();
        let (a, b, t, table, y) = (io.input(0), io.input(1), io.input(2), io.input(3), io.output(0));
        parallel::rows(
            y,
            d,
            #[inline(always)]
            |row, y| {
                let [p, q] = [0, 1].map(|term| at_time::<S, 2>(table, t[row], term));
                for i in 0..d {
                    y[i] = p * a[row * d + i] + q * b[row * d + i];
                }
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dy) = r.d(0) else { return Ok(()) };
        for i in 0..2 {
            if r.needs_gradient(i) {
                let (t, table) = (r.input(2), r.input(3));
                let dx = r.graph.apply1(CombineTerm { term: i }, &[dy, t, table])?;
                r.add_gradient(i, dx);
            }
        }
        Ok(())
    }
}

/// dx = (p_t or q_t) dy, the gradient of one of the two terms: dy and dx [B, ...], t \[B\], table [T, 2].
#[derive(Clone, Copy, Debug)]
struct CombineTerm {
    /// 0 for p, 1 for q.
    term: usize,
}

impl Op for CombineTerm {
    fn name(&self) -> &'static str {
        "combine_term"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("combine_term", inputs, 3)?;
        expect_shape("combine_term", "t", &inputs[1], &[inputs[0].rows().0])?;
        expect_shape("combine_term", "table", &inputs[2], &[inputs[2].rows().0, 2])?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        kernel("term", specs).hyper("TERM", self.term as f64)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, d) = io.specs.inputs[0].rows();
        let (dy, t, table, dx) = (io.input(0), io.input(1), io.input(2), io.output(0));
        parallel::rows(
            dx,
            d,
            #[inline(always)]
            |row, dx| {
                let factor = at_time::<S, 2>(table, t[row], self.term);
                dx.iter_mut().zip(&dy[row * d..]).for_each(|(dx, dy)| *dx = factor * *dy);
            },
        );
    }
}

/// The value at time t, in rows, of a column of a table with W columns: interpolated between its rows; NaN for a time of NaN.
#[inline(always)]
pub(super) fn at_time<S: Scalar, const W: usize>(table: &[S], t: S, column: usize) -> S {
    let last = table.len() / W - 1;
    let t = t.clamp(S::ZERO, S::of(last as f64));
    let at = t.f64() as usize;
    let [low, high] = [at, (at + 1).min(last)].map(|row| table[row * W + column]);
    low + (t - S::of(at as f64)) * (high - low)
}

fn kernel(entry: &'static str, specs: &Specs) -> Kernel {
    let (b, d) = specs.inputs[0].rows();
    let t = specs.inputs.last().expect("the table is the last input").rows().0;
    kernel!("combine.wgsl", entry).flag("FORWARD", entry == "combine").dim("B", b).dim("D", d).dim("T", t).over(b * d)
}

pub(super) fn cases() -> Vec<Case> {
    let t = vec![0.0, 3.0, 49.0, 48.9, 7.25, 60.0, 2.0];
    let case = Case::new(Combine).input([7, 11]).input([7, 11]).values([7], t.clone()).input([50, 2]);
    let mut cases = vec![case.tolerance(Tolerance::absolute(4.0)).gradient_by(2)];
    for term in [0, 1] {
        let case = Case::new(CombineTerm { term }).input([7, 3, 4]).values([7], t.clone()).input([50, 2]);
        cases.push(case.tolerance(Tolerance::absolute(2.0)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Combine).input([1024, 784]).input([1024, 784]).steps(1024).input([STEPS, 2])]
}
