//! The noise addition layer: draws t and eps, and computes x_t and the training target.

use super::case::{Case, STEPS, Tolerance};
use super::combine::at_time;
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, below, fill_normals, normals};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The distribution of the time of a row, as a share u of the last time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TimeDraw {
    /// One of the rows of the table, each with the same probability.
    Steps,
    /// u uniform in (0, 1).
    Uniform,
    /// u = 1 / (1 + exp(-(mean + deviation z))), z standard normal.
    LogitNormal {
        /// Mean of ln(u / (1 - u)).
        mean: f64,
        /// Its standard deviation.
        deviation: f64,
    },
    /// u = mean + deviation z, clamped to [0, 1].
    Normal {
        /// Mean of u.
        mean: f64,
        /// Its standard deviation.
        deviation: f64,
    },
}

/// x_t = a_t x0 + s_t eps, with a random t and standard normal eps, one t per row.
///
/// *Shapes*: x0 [B, ...], table [K, 4] with rows (a, s, p, q) at K equidistant times from 0 to `last`, interpolated linearly;
/// with `given`, eps like x0 and draws \[B\]: steps, u for uniform times, z for normal ones. Outputs x_t and target = p_t x0 +
/// q_t eps like x0, t \[B\]. *Units*: t in steps, from 0.
/// *Gradient*: none; the data is not trained. *Accuracy*: the Box-Muller transform to 1e-6 of its radius.
/// *Source*: Ho et al. 2020, eq. 4; the rows: `diffusion::Objective`.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// The random stream of eps; that of t is the next one.
    pub stream: u32,
    /// The distribution of the times.
    pub times: TimeDraw,
    /// The time of the last row of the table: K - 1 for [`TimeDraw::Steps`].
    pub last: f64,
    /// Whether eps and the draws of the times are given.
    pub given: bool,
}

/// A drawn time.
#[derive(Clone, Copy)]
pub(crate) struct Drawn<S> {
    /// In rows of the table.
    place: S,
    /// In steps.
    pub t: S,
}

impl<S: Scalar> Drawn<S> {
    /// The time of a row of a table with one row per step.
    fn at(row: usize) -> Self {
        let t = S::of(row as f64);
        Self { place: t, t }
    }
}

impl TimeDraw {
    /// Whether a real number is drawn for each row.
    pub(crate) fn is_continuous(self) -> bool {
        self != Self::Steps
    }

    /// Whether it is drawn from a normal number.
    fn is_normal(self) -> bool {
        matches!(self, Self::LogitNormal { .. } | Self::Normal { .. })
    }

    /// u from a draw: u itself, or z.
    #[inline(always)]
    fn share<S: Scalar>(self, draw: S) -> S {
        match self {
            Self::Steps | Self::Uniform => draw,
            Self::LogitNormal { mean, deviation } => S::ONE / (S::ONE + (S::of(-mean) - S::of(deviation) * draw).exp()),
            Self::Normal { mean, deviation } => (S::of(mean) + S::of(deviation) * draw).clamp(S::ZERO, S::ONE),
        }
    }

    /// The settings of a kernel that draws times.
    pub(crate) fn constants(self, kernel: Kernel, last: f64) -> Kernel {
        let kernel = kernel.flag("CONTINUOUS", self.is_continuous()).flag("NORMAL", self.is_normal());
        let kernel = kernel.flag("LOGISTIC", matches!(self, Self::LogitNormal { .. }));
        let kernel = if self.is_continuous() { kernel.hyper("LAST", last) } else { kernel };
        match self {
            Self::LogitNormal { mean, deviation } | Self::Normal { mean, deviation } => {
                kernel.hyper("MEAN", mean).hyper("DEVIATION", deviation)
            }
            _ => kernel,
        }
    }
}

/// The middle of one of 2^23 parts of (0, 1), exact in f32.
#[inline(always)]
fn uniform<S: Scalar>(word: u32) -> S {
    S::of((2 * (word >> 9) + 1) as f64 / 16_777_216.0)
}

impl Noise {
    /// Columns of the table.
    pub const ROW: usize = 4;

    /// Noise at T steps, as in DDPM.
    pub fn steps(stream: u32, steps: usize) -> Self {
        Self { stream, times: TimeDraw::Steps, last: steps as f64 - 1.0, given: false }
    }

    /// Invocations that share a row and its t: many on a GPU, few on a software rasterizer.
    pub(crate) fn lanes(cols: usize, target: &Target) -> usize {
        let share = if target.software { 8 } else { 1 };
        cols.div_ceil(4 * share).next_power_of_two().min(64)
    }

    /// The time of a row.
    #[inline(always)]
    pub(crate) fn draw_t<S: Scalar>(&self, clock: Clock, row: usize, table: &[S]) -> Drawn<S> {
        let words = clock.words(self.stream + 1, row as u32);
        let rows = table.len() / Self::ROW;
        if !self.times.is_continuous() {
            return Drawn::at(below(words[0], rows as u32) as usize);
        }
        let draw = if self.times.is_normal() { normals::<S>(words)[0] } else { uniform(words[0]) };
        self.time_of(draw, rows)
    }

    /// The time of a draw, for a table of `rows`.
    #[inline(always)]
    fn time_of<S: Scalar>(&self, draw: S, rows: usize) -> Drawn<S> {
        if !self.times.is_continuous() {
            return Drawn::at((draw.f64() as usize).min(rows - 1));
        }
        let u = self.times.share(draw);
        Drawn { place: u * S::of((rows - 1) as f64), t: u * S::of(self.last) }
    }

    /// Computes one row of x_t and target; returns its time.
    #[inline(always)]
    pub(crate) fn row<S: Scalar>(
        &self,
        clock: Clock,
        first: usize,
        x0: &[S],
        table: &[S],
        x_t: &mut [S],
        target: &mut [S],
    ) -> S {
        let time = self.draw_t(clock, first, table);
        let blocks = x0.len().div_ceil(4);
        fill_normals(clock, self.stream, first * blocks, target);
        self.mix(time, x0, table, x_t, target);
        time.t
    }

    /// Computes one row of x_t, and the target in place of eps.
    #[inline(always)]
    fn mix<S: Scalar>(&self, time: Drawn<S>, x0: &[S], table: &[S], x_t: &mut [S], target: &mut [S]) {
        let [a, s, p, q] = [0, 1, 2, 3].map(|column| at_time::<S, { Self::ROW }>(table, time.place, column));
        let (x_t, target) = (&mut x_t[..x0.len()], &mut target[..x0.len()]);
        for i in 0..x0.len() {
            x_t[i] = a * x0[i] + s * target[i];
            target[i] = q * target[i] + p * x0[i];
        }
    }
}

impl Op for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("noise", inputs, if self.given { 4 } else { 2 })?;
        let (steps, _) = inputs[1].rows();
        expect_shape("noise", "table", &inputs[1], &[steps, Self::ROW])?;
        let x0 = inputs[0].shape.clone();
        let rows = inputs[0].rows().0;
        if self.given {
            expect_shape("noise", "eps", &inputs[2], &x0)?;
            expect_shape("noise", "the draws of times", &inputs[3], &[rows])?;
        }
        Ok(vec![Spec::f32(x0.clone()), Spec::f32(x0), Spec::f32([rows])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (rows, cols) = specs.inputs[0].rows();
        let lanes = Self::lanes(cols, target);
        let kernel = kernel!("noise.wgsl", "noise")
            .flag("GIVEN", self.given)
            .dim("B", rows)
            .dim("D", cols)
            .dim("T", specs.inputs[1].rows().0);
        let kernel = if self.given { kernel } else { kernel.hyper("STREAM", self.stream as f64) };
        self.times.constants(kernel, self.last).tune("LANES", lanes as u32).over(rows * lanes)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (_, cols) = io.specs.inputs[0].rows();
        let (x0, table) = (io.input(0), io.input(1));
        let (x_t, target, t) = (io.output(0), io.output(1), io.output(2));
        let (clock, first) = (io.clock, io.first_row);
        let given = self.given.then(|| (io.input(2), io.input(3)));
        let time = |row: usize| match given {
            Some((_, draws)) => self.time_of(draws[row], table.len() / Self::ROW),
            None => self.draw_t(clock, first + row, table),
        };
        t.iter_mut().enumerate().for_each(|(row, t)| *t = time(row).t);
        parallel::rows2(
            x_t,
            cols,
            target,
            cols,
            #[inline(always)]
            |row, x_t, target| {
                let x0 = &x0[row * cols..][..cols];
                match given {
                    Some((eps, _)) => {
                        target.copy_from_slice(&eps[row * cols..][..cols]);
                        self.mix(time(row), x0, table, x_t, target);
                    }
                    None => {
                        self.row(clock, first + row, x0, table, x_t, target);
                    }
                }
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
        Case::new(Noise::steps(5, 50))
            .input(shape)
            .values([50, Noise::ROW], example_table(50))
            .clock(77, 3)
            .first_row(first_row)
            // The radius is at most 6.7; polynomials and the square root add some ulp.
            .tolerance(Tolerance::absolute(40.0))
    };
    let mut cases: Vec<Case> =
        [(vec![1, 1], 0), (vec![9, 7], 6), (vec![33, 100], 0), (vec![5, 1, 28, 28], 0), (vec![3, 2, 129], 6)]
            .map(case)
            .into();
    for times in [
        TimeDraw::Uniform,
        TimeDraw::LogitNormal { mean: -0.3, deviation: 1.2 },
        TimeDraw::Normal { mean: 0.4, deviation: 0.4 },
    ] {
        let op = Noise { times, last: 4.0, ..Noise::steps(5, 7) };
        // Places in the table are rounded, and its rows differ by up to 1.5.
        let tolerance = Tolerance::absolute(80.0);
        let case = |op: Noise, shape: Vec<usize>| Case::new(op).input(shape).values([7, Noise::ROW], example_table(7));
        for (shape, first_row) in [(vec![9, 7], 6), (vec![33, 100], 0)] {
            cases.push(case(op, shape).clock(77, 3).first_row(first_row).tolerance(tolerance));
        }
        let draws = (0..9).map(|i| (i as f32 + 0.5) / 9.0).collect();
        if times == TimeDraw::Uniform {
            let steps = (0..9).map(|i| (i % 7) as f32).collect();
            let given = case(Noise { given: true, ..Noise::steps(5, 7) }, vec![9, 5]);
            cases.push(given.input([9, 5]).values([9], steps).tolerance(tolerance));
        }
        let given = case(Noise { given: true, ..op }, vec![9, 5]);
        cases.push(given.input([9, 5]).values([9], draws).tolerance(tolerance));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Noise::steps(5, STEPS)).input([1024, 784]).table([STEPS, Noise::ROW])]
}
