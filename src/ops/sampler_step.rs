//! One row of a sampler: the update after an evaluation of the network, from a table of coefficients.

use super::case::{Case, STEPS, Tolerance};
use super::dropout::first_element;
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Cost, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, fill_normals_from};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// x0 = clip(c_x x + c_m m); then x and the history h become linear combinations of x0, x, m and h, and noise z is
/// added to x. Row `step` of the table holds the coefficients.
///
/// *Shapes*: m [B, ...] the network's output, table [K, 13] with rows (t, c_x, c_m, bound, then the weights of x0, x,
/// m, h and z in the next x, then those of x0, x, m and h in the next h), when `given` z [K, B, ...], and when `limited` the
/// smallest and largest x0 of each value of a row, [2, ...]; updates x [B, ...], and with `history` h like x. Without
/// `given`, z is drawn from the stream.
/// *Source*: `diffusion::SamplerTable`.
#[derive(Clone, Copy, Debug)]
pub struct SamplerStep {
    /// The random stream of z.
    pub stream: u32,
    /// Whether z is an input.
    pub given: bool,
    /// Whether there is a history.
    pub history: bool,
    /// Whether the values of a row have limits besides the bound.
    pub limited: bool,
}

impl SamplerStep {
    /// Columns of the table.
    pub const ROW: usize = 13;
}

impl Op for SamplerStep {
    fn name(&self) -> &'static str {
        "sampler_step"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let read = 2 + self.given as usize + self.limited as usize;
        expect_count("sampler_step", inputs, read + 1 + self.history as usize)?;
        let steps = inputs[1].rows().0;
        let x = &inputs[read].shape;
        expect_shape("sampler_step", "m", &inputs[0], x)?;
        expect_shape("sampler_step", "table", &inputs[1], &[steps, Self::ROW])?;
        if self.given {
            expect_shape("sampler_step", "z", &inputs[2], &[steps, x.iter().product()])?;
        }
        if self.limited {
            expect_shape("sampler_step", "limits", &inputs[read - 1], &[2, inputs[0].rows().1])?;
        }
        if self.history {
            expect_shape("sampler_step", "h", &inputs[read + 1], x)?;
        }
        Ok(vec![])
    }

    fn updates(&self) -> usize {
        1 + self.history as usize
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        kernel!("sampler_step.wgsl", "sampler_step")
            .flag("GIVEN", self.given)
            .flag("HISTORY", self.history)
            .flag("LIMITED", self.limited)
            .dim("N", n)
            .dim("STEPS", specs.inputs[1].rows().0)
            .dim("W", specs.inputs[0].rows().1)
            .hyper("STREAM", self.stream as f64)
            // One invocation more where the rows before end within a block.
            .over((n + 3).div_ceil(4))
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let n = specs.inputs[0].len();
        let cost = Cost::of(specs).reading(specs, 1, Self::ROW);
        if self.given { cost.reading(specs, 2, n) } else { cost }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (m, table, x) = (io.input(0), io.input(1), io.update(0));
        let mut nothing = [];
        let h: &mut [S] = if self.history { io.update(1) } else { &mut nothing };
        let (n, steps) = (m.len(), table.len() / Self::ROW);
        let k = (io.clock.step as usize).min(steps - 1);
        let row = &table[k * Self::ROW..][..Self::ROW];
        let noise = match self.given {
            true => Noise::Given(&io.input(2)[k * n..][..n]),
            false if row[8] == S::ZERO => Noise::None,
            false => Noise::Drawn { clock: io.clock, stream: self.stream, first: first_element(io) },
        };
        let width = io.specs.inputs[0].rows().1;
        let limits = self.limited.then(|| io.input(2 + self.given as usize).split_at(width));
        if self.history {
            parallel::chunks2(
                x,
                h,
                #[inline(always)]
                |start, x, h| step(row, m, start, x, Some(h), noise, limits),
            );
        } else {
            parallel::chunks(
                x,
                #[inline(always)]
                |start, x| step(row, m, start, x, None, noise, limits),
            );
        }
    }
}

/// Where z comes from.
#[derive(Clone, Copy)]
enum Noise<'a, S> {
    None,
    Given(&'a [S]),
    Drawn { clock: Clock, stream: u32, first: usize },
}

impl<S: Scalar> Noise<'_, S> {
    /// z = the noise of the elements from `at` on.
    #[inline(always)]
    fn fill(self, at: usize, z: &mut [S]) {
        match self {
            Noise::None => z.fill(S::ZERO),
            Noise::Given(given) => z.copy_from_slice(&given[at..][..z.len()]),
            Noise::Drawn { clock, stream, first } => fill_normals_from(clock, stream, first + at, z),
        }
    }
}

/// v between low and high; a NaN stays one, so that a diverged run does not look healthy.
#[inline(always)]
fn clip<S: Scalar>(v: S, low: S, high: S) -> S {
    if v > high {
        high
    } else if v < low {
        low
    } else {
        v
    }
}

/// The step on the elements from `start` on.
#[inline(always)]
fn step<S: Scalar>(
    row: &[S],
    m: &[S],
    start: usize,
    x: &mut [S],
    mut h: Option<&mut [S]>,
    noise: Noise<S>,
    limits: Option<(&[S], &[S])>,
) {
    const BLOCK: usize = 64;
    let (c_x, c_m, bound) = (row[1], row[2], row[3]);
    let (k_x0, k_x, k_m, k_h, k_z) = (row[4], row[5], row[6], row[7], row[8]);
    for (b, x) in x.chunks_mut(BLOCK).enumerate() {
        let (at, len) = (start + BLOCK * b, x.len());
        let mut z = [S::ZERO; BLOCK];
        noise.fill(at, &mut z[..len]);
        let m = &m[at..][..len];
        let (mut low, mut high) = ([-bound; BLOCK], [bound; BLOCK]);
        if let Some((least, most)) = limits {
            for i in 0..len {
                let column = (at + i) % least.len();
                (low[i], high[i]) = (least[column].max(-bound), most[column].min(bound));
            }
        }
        match &mut h {
            None => {
                for i in 0..len {
                    let x0 = clip(c_x * x[i] + c_m * m[i], low[i], high[i]);
                    x[i] = ((k_x0 * x0 + k_x * x[i]) + k_m * m[i]) + k_z * z[i];
                }
            }
            Some(h) => {
                let h = &mut h[BLOCK * b..][..len];
                for i in 0..len {
                    let x0 = clip(c_x * x[i] + c_m * m[i], low[i], high[i]);
                    let next = (((k_x0 * x0 + k_x * x[i]) + k_m * m[i]) + k_h * h[i]) + k_z * z[i];
                    h[i] = ((row[9] * x0 + row[10] * x[i]) + row[11] * m[i]) + row[12] * h[i];
                    x[i] = next;
                }
            }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let row = |bound: f32| vec![9.0, 1.1, -0.4, bound, 0.6, 0.3, 0.2, -0.5, 0.1, 0.7, -0.2, 0.4, 0.15];
    let table = [row(0.5), row(f32::MAX), row(0.9)].concat();
    let x = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin() * 2.0).collect::<Vec<f32>>();
    let tolerance = Tolerance::absolute(12.0);
    let case = |op: SamplerStep, shape: [usize; 2], step: u32| {
        let n = shape[0] * shape[1];
        let mut case = Case::new(op).input(shape).values([3, SamplerStep::ROW], table.clone());
        if op.given {
            case = case.input([3, n]);
        }
        if op.limited {
            let ends = |sign: f32| (0..shape[1]).map(move |i| sign * (0.1 + 0.01 * i as f32));
            case = case.values([2, shape[1]], ends(-1.0).chain(ends(2.0)).collect::<Vec<f32>>());
        }
        case = case.update(shape, x(n));
        if op.history {
            case = case.update(shape, x(n + 1)[1..].to_vec());
        }
        case.clock(1, step).tolerance(tolerance)
    };
    let drawn = SamplerStep { stream: 3, given: false, history: false, limited: false };
    let given = SamplerStep { given: true, ..drawn };
    vec![
        case(drawn, [1, 1], 0),
        case(drawn, [9, 7], 1).first_row(5),
        case(given, [5, 13], 2),
        case(SamplerStep { history: true, ..drawn }, [11, 17], 1).first_row(3),
        case(SamplerStep { history: true, ..given }, [3, 70], 0),
        case(SamplerStep { limited: true, ..drawn }, [9, 7], 1).first_row(5),
        case(SamplerStep { limited: true, history: true, ..given }, [3, 70], 0),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let case = Case::new(SamplerStep { stream: 3, given: false, history: false, limited: false }).input([1024, 784]);
    vec![case.table([STEPS, SamplerStep::ROW]).update([1024, 784], vec![0.5; 1024 * 784])]
}
