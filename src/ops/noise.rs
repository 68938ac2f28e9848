//! The noise addition layer: draws t and eps, and makes x_t and the target that the network learns.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::diffusion::{Prediction, Schedule};
use crate::error::Result;
use crate::graph::{Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, below, fill_normals};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// x_t = a_t x0 + s_t eps, with t uniform in 0..T and eps standard normal, one t per row.
///
/// *Shapes*: x0 [B, ...], table [T, 2] with rows (a_t, s_t) = (sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t)); outputs x_t
/// and target like x0, t \[B\]. *Units*: t in steps, from 0. The target is eps, x0, or v = a_t eps - s_t x0.
/// *Gradient*: none; the data is not trained. *Accuracy*: the transform of Box and Muller to 1e-6 of its radius.
/// *Source*: Ho et al. 2020, eq. 4; v: Salimans and Ho 2022, section 4.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// What the network predicts.
    pub prediction: Prediction,
    /// The random stream of eps; that of t is the next.
    pub stream: u32,
}

/// What the noise addition layer makes.
#[derive(Clone, Copy, Debug)]
pub struct Noised {
    /// The noisy data.
    pub x_t: Var,
    /// What the network learns: eps, x0 or v.
    pub target: Var,
    /// The step of each row.
    pub t: Var,
}

impl Graph {
    /// Draws a step and noise for each row of x0 [B, ...].
    pub fn noise(&mut self, x0: Var, schedule: &Schedule, prediction: Prediction) -> Result<Noised> {
        let (op, table) = Noise::new(self, schedule, prediction)?;
        let out = self.apply(op, &[x0, table])?;
        Ok(Noised { x_t: out[0], target: out[1], t: out[2] })
    }
}

impl Noise {
    /// The op and its table, with random streams of its own.
    pub(crate) fn new(g: &mut Graph, schedule: &Schedule, prediction: Prediction) -> Result<(Self, Var)> {
        let table = schedule.noise_table().into_iter().flatten().map(|v| v as f32).collect();
        let table = g.constant([schedule.steps(), 2], table)?;
        let stream = g.stream();
        // The draw of t has a stream of its own.
        g.stream();
        Ok((Noise { prediction, stream }, table))
    }

    /// Invocations that share a row and its t: a GPU has lanes to spare, a software rasterizer has not.
    pub(crate) fn lanes(cols: usize, target: &Target) -> usize {
        let share = if target.software { 8 } else { 1 };
        cols.div_ceil(4 * share).next_power_of_two().min(64)
    }

    /// The step of a row.
    #[inline(always)]
    pub(crate) fn draw_t<S>(&self, clock: Clock, row: usize, table: &[S]) -> usize {
        below(clock.words(self.stream + 1, row as u32)[0], (table.len() / 2) as u32) as usize
    }

    /// One row of x_t and target; gives its step.
    #[inline(always)]
    pub(crate) fn row<S: Scalar>(
        &self,
        clock: Clock,
        row: usize,
        x0: &[S],
        table: &[S],
        x_t: &mut [S],
        target: &mut [S],
    ) -> usize {
        let at = self.draw_t(clock, row, table);
        let (a, s) = (table[2 * at], table[2 * at + 1]);
        let blocks = x0.len().div_ceil(4);
        fill_normals(clock, self.stream, row * blocks, target);
        let (x_t, target) = (&mut x_t[..x0.len()], &mut target[..x0.len()]);
        for i in 0..x0.len() {
            x_t[i] = a * x0[i] + s * target[i];
        }
        match self.prediction {
            Prediction::Epsilon => {}
            Prediction::X0 => target.copy_from_slice(x0),
            Prediction::V => {
                for i in 0..x0.len() {
                    target[i] = a * target[i] - s * x0[i];
                }
            }
        }
        at
    }
}

impl Op for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("noise", inputs, 2)?;
        let (steps, _) = inputs[1].rows();
        expect_shape("noise", "table", &inputs[1], &[steps, 2])?;
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
            .hyper("PREDICTION", self.prediction as u32 as f64)
            .tune("LANES", lanes as u32)
            .over(rows * lanes)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
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

pub(super) fn cases() -> Vec<Case> {
    let table: Vec<f32> = (0..50).flat_map(|t| [(1.0 - t as f32 / 60.0).sqrt(), (t as f32 / 60.0).sqrt()]).collect();
    let mut cases = Vec::new();
    for (shape, prediction) in [
        (vec![1, 1], Prediction::Epsilon),
        (vec![9, 7], Prediction::V),
        (vec![33, 100], Prediction::Epsilon),
        (vec![5, 1, 28, 28], Prediction::X0),
        (vec![3, 2, 129], Prediction::V),
    ] {
        let op = Noise { prediction, stream: 5 };
        let first_row = if prediction == Prediction::V { 6 } else { 0 };
        cases.push(
            // The radius is at most 6.7; polynomials and the square root add some ulp to it.
            Case::new(op)
                .input(shape)
                .values([50, 2], table.clone())
                .clock(77, 3)
                .first_row(first_row)
                .tolerance(Tolerance::absolute(40.0)),
        );
    }
    cases
}
