//! The noise addition layer: draws t and eps, and computes x_t and the training target.

use super::case::{Case, STEPS, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, below, fill_normals};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// x_t = a_t x0 + s_t eps, with t uniform in 0..T and eps standard normal, one t per row.
///
/// *Shapes*: x0 [B, ...], table [T, 4] with rows (a_t, s_t, p_t, q_t); outputs x_t and target = p_t x0 + q_t eps like
/// x0, t \[B\]. *Units*: t in steps, from 0.
/// *Gradient*: none; the data is not trained. *Accuracy*: the Box-Muller transform to 1e-6 of its radius.
/// *Source*: Ho et al. 2020, eq. 4; the rows: `diffusion::Objective`.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// The random stream of eps; that of t is the next one.
    pub stream: u32,
}

impl Noise {
    /// Columns of the table.
    pub const ROW: usize = 4;

    /// Invocations that share a row and its t: many on a GPU, few on a software rasterizer.
    pub(crate) fn lanes(cols: usize, target: &Target) -> usize {
        let share = if target.software { 8 } else { 1 };
        cols.div_ceil(4 * share).next_power_of_two().min(64)
    }

    /// The step of a row.
    #[inline(always)]
    pub(crate) fn draw_t<S>(&self, clock: Clock, row: usize, table: &[S]) -> usize {
        below(clock.words(self.stream + 1, row as u32)[0], (table.len() / Self::ROW) as u32) as usize
    }

    /// Computes one row of x_t and target; returns its step.
    #[inline(always)]
    pub(crate) fn row<S: Scalar>(
        &self,
        clock: Clock,
        first: usize,
        x0: &[S],
        table: &[S],
        x_t: &mut [S],
        target: &mut [S],
    ) -> usize {
        let at = self.draw_t(clock, first, table);
        let row = &table[at * Self::ROW..][..Self::ROW];
        let (a, s, p, q) = (row[0], row[1], row[2], row[3]);
        let blocks = x0.len().div_ceil(4);
        fill_normals(clock, self.stream, first * blocks, target);
        let (x_t, target) = (&mut x_t[..x0.len()], &mut target[..x0.len()]);
        for i in 0..x0.len() {
            x_t[i] = a * x0[i] + s * target[i];
            target[i] = q * target[i] + p * x0[i];
        }
        at
    }
}

impl Op for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("noise", inputs, 2)?;
        let (steps, _) = inputs[1].rows();
        expect_shape("noise", "table", &inputs[1], &[steps, Self::ROW])?;
        let x0 = inputs[0].shape.clone();
        let rows = inputs[0].rows().0;
        Ok(vec![Spec::f32(x0.clone()), Spec::f32(x0), Spec::f32([rows])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (rows, cols) = specs.inputs[0].rows();
        let lanes = Self::lanes(cols, target);
        kernel!("noise.wgsl", "noise")
            .dim("B", rows)
            .dim("D", cols)
            .dim("T", specs.inputs[1].rows().0)
            .hyper("STREAM", self.stream as f64)
            .tune("LANES", lanes as u32)
            .over(rows * lanes)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, cols) = io.specs.inputs[0].rows();
        let (x0, table) = (io.input(0), io.input(1));
        let (x_t, target, t) = (io.output(0), io.output(1), io.output(2));
        let (clock, first) = (io.clock, io.first_row);
        t.iter_mut().enumerate().for_each(|(row, t)| *t = S::of(self.draw_t(clock, first + row, table) as f64));
        parallel::rows2(
            x_t,
            cols,
            target,
            cols,
            #[inline(always)]
            |row, x_t, target| {
                self.row(clock, first + row, &x0[row * cols..][..cols], table, x_t, target);
            },
        );
    }
}

/// A table of the four usual targets in turn: epsilon, x0, v, and the velocity of a straight path.
pub(super) fn example_table(steps: usize) -> Vec<f32> {
    let row = |t: usize| {
        let (a, s) = ((1.0 - t as f32 / (1.2 * steps as f32)).sqrt(), (t as f32 / (1.2 * steps as f32)).sqrt());
        let [p, q] = [[0.0, 1.0], [1.0, 0.0], [-s, a], [-1.0, 1.0]][t % 4];
        [a, s, p, q]
    };
    (0..steps).flat_map(row).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let case = |(shape, first_row): (Vec<usize>, usize)| {
        Case::new(Noise { stream: 5 })
            .input(shape)
            .values([50, Noise::ROW], example_table(50))
            .clock(77, 3)
            .first_row(first_row)
            // The radius is at most 6.7; polynomials and the square root add some ulp.
            .tolerance(Tolerance::absolute(40.0))
    };
    [(vec![1, 1], 0), (vec![9, 7], 6), (vec![33, 100], 0), (vec![5, 1, 28, 28], 0), (vec![3, 2, 129], 6)]
        .map(case)
        .into()
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Noise { stream: 5 }).input([1024, 784]).table([STEPS, Noise::ROW])]
}
