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

/// x0 = clip(c x + (c_x x + c_m m)); then x and the histories h and g become linear combinations of x0, x, m, x0 - h and g, and
/// noise z is added to x. Row `step` of the table holds the coefficients.
///
/// *Shapes*: m [B, ...] the network's output, table [K, 21] with rows (t, c, c_x, c_m, bound, then the weights of x0, x,
/// m, x0 - h, g and z in the next x, then those of x0, x, m, x0 - h and g in the next h, and in the next g), when `given`
/// z [K, B, ...], and when `limited` the smallest and largest x0 of each value of a row, [2, ...]; updates x [B, ...], and
/// with `histories` > 0 a tensor [histories B, ...] of h and g. Without `given`, z is drawn from the stream.
/// *Source*: `diffusion::SamplerTable`.
#[derive(Clone, Copy, Debug)]
pub struct SamplerStep {
    /// The random stream of z.
    pub stream: u32,
    /// Whether z is an input.
    pub given: bool,
    /// The number of histories: 0, 1 (h) or 2 (h and g).
    pub histories: usize,
    /// Whether the values of a row have limits besides the bound.
    pub limited: bool,
}

impl SamplerStep {
    /// Columns of the table.
    pub const ROW: usize = 21;

    /// The constants of the kernels that update a state of `batch` rows of `width` by a table of `steps` rows.
    pub(super) fn constants(&self, kernel: Kernel, [batch, width]: [usize; 2], steps: usize) -> Kernel {
        kernel
            .flag("GIVEN", self.given)
            .flag("HISTORY", self.histories > 0)
            .flag("TWO", self.histories > 1)
            .flag("LIMITED", self.limited)
            .dim("N", batch * width)
            .dim("STEPS", steps)
            .dim("W", width)
            .hyper("STREAM", self.stream as f64)
    }
}

impl Op for SamplerStep {
    fn name(&self) -> &'static str {
        "sampler_step"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let read = 2 + self.given as usize + self.limited as usize;
        expect_count("sampler_step", inputs, read + self.updates())?;
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
        if self.histories > 0 {
            let mut all = x.clone();
            all[0] *= self.histories;
            expect_shape("sampler_step", "history", &inputs[read + 1], &all)?;
        }
        Ok(vec![])
    }

    fn updates(&self) -> usize {
        1 + (self.histories > 0) as usize
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (batch, width) = specs.inputs[0].rows();
        let kernel = kernel!("sampler_step.wgsl", "sampler_step");
        // One invocation more where the rows before end within a block.
        self.constants(kernel, [batch, width], specs.inputs[1].rows().0).over((batch * width + 3).div_ceil(4))
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let n = specs.inputs[0].len();
        let cost = Cost::of(specs).reading(specs, 1, Self::ROW);
        if self.given { cost.reading(specs, 2, n) } else { cost }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (m, table, x) = (io.input(0), io.input(1), io.update(0));
        let mut nothing = [];
        let history: &mut [S] = if self.histories > 0 { io.update(1) } else { &mut nothing };
        let (n, steps) = (m.len(), table.len() / Self::ROW);
        let k = (io.clock.step as usize).min(steps - 1);
        let row = &table[k * Self::ROW..][..Self::ROW];
        let noise = match self.given {
            true => Noise::Given(&io.input(2)[k * n..][..n]),
            false if row[10] == S::ZERO => Noise::None,
            false => Noise::Drawn { clock: io.clock, stream: self.stream, first: first_element(io) },
        };
        let width = io.specs.inputs[0].rows().1;
        let limits = self.limited.then(|| io.input(2 + self.given as usize).split_at(width));
        let step = Update { row, m, noise, limits };
        match self.histories {
            0 => parallel::chunks(
                x,
                #[inline(always)]
                |start, x| step.apply(start, x, [&mut [], &mut []]),
            ),
            1 => parallel::chunks2(
                x,
                history,
                #[inline(always)]
                |start, x, h| step.apply(start, x, [h, &mut []]),
            ),
            _ => {
                let (h, g) = history.split_at_mut(n);
                parallel::chunks3(
                    x,
                    h,
                    g,
                    #[inline(always)]
                    |start, x, h, g| step.apply(start, x, [h, g]),
                );
            }
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

/// What a step reads.
struct Update<'a, S> {
    row: &'a [S],
    m: &'a [S],
    noise: Noise<'a, S>,
    limits: Option<(&'a [S], &'a [S])>,
}

impl<S: Scalar> Update<'_, S> {
    /// The step on the elements from `start` on. A history that does not exist is empty.
    #[inline(always)]
    fn apply(&self, start: usize, x: &mut [S], [h, g]: [&mut [S]; 2]) {
        const BLOCK: usize = 64;
        let row = self.row;
        let (c, c_x, c_m, k_z) = (row[1], row[2], row[3], row[10]);
        for (b, x) in x.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (start + BLOCK * b, x.len());
            let mut z = [S::ZERO; BLOCK];
            self.noise.fill(at, &mut z[..len]);
            let m = &self.m[at..][..len];
            let (low, high) = self.limits_of::<BLOCK>(at, len);
            let x0 = |i: usize, x: S| clip(c * x + (c_x * x + c_m * m[i]), low[i], high[i]);
            let part = BLOCK * b..BLOCK * b + len;
            if h.is_empty() {
                for i in 0..len {
                    let x0 = x0(i, x[i]);
                    x[i] = ((row[5] * x0 + row[6] * x[i]) + row[7] * m[i]) + k_z * z[i];
                }
            } else if g.is_empty() {
                let h = &mut h[part];
                for i in 0..len {
                    let x0 = x0(i, x[i]);
                    let mix = |k: &[S]| ((k[0] * x0 + k[1] * x[i]) + k[2] * m[i]) + k[3] * (x0 - h[i]);
                    (x[i], h[i]) = (mix(&row[5..]) + k_z * z[i], mix(&row[11..]));
                }
            } else {
                let (h, g) = (&mut h[part.clone()], &mut g[part]);
                for i in 0..len {
                    let x0 = x0(i, x[i]);
                    let mix = |k: &[S]| (((k[0] * x0 + k[1] * x[i]) + k[2] * m[i]) + k[3] * (x0 - h[i])) + k[4] * g[i];
                    (x[i], h[i], g[i]) = (mix(&row[5..]) + k_z * z[i], mix(&row[11..]), mix(&row[16..]));
                }
            }
        }
    }

    /// The least and the largest x0 of the `len` elements from `at` on.
    #[inline(always)]
    fn limits_of<const N: usize>(&self, at: usize, len: usize) -> ([S; N], [S; N]) {
        let bound = self.row[4];
        let (mut low, mut high) = ([-bound; N], [bound; N]);
        if let Some((least, most)) = self.limits {
            for i in 0..len {
                let column = (at + i) % least.len();
                (low[i], high[i]) = (least[column].max(-bound), most[column].min(bound));
            }
        }
        (low, high)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let row = |bound: f32| {
        let next = [0.6, 0.3, 0.2, -0.5, 0.25, 0.1];
        let histories = [0.7, -0.2, 0.4, 0.15, -0.35, -0.1, 0.45, 0.05, -0.3, 0.2];
        [&[9.0, 1.0, 0.1, -0.4, bound], &next[..], &histories].concat()
    };
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
        if op.histories > 0 {
            case = case.update([op.histories * shape[0], shape[1]], x(op.histories * n + 1)[1..].to_vec());
        }
        case.clock(1, step).tolerance(tolerance)
    };
    let drawn = SamplerStep { stream: 3, given: false, histories: 0, limited: false };
    let given = SamplerStep { given: true, ..drawn };
    vec![
        case(drawn, [1, 1], 0),
        case(drawn, [9, 7], 1).first_row(5),
        case(given, [5, 13], 2),
        case(SamplerStep { histories: 1, ..drawn }, [11, 17], 1).first_row(3),
        case(SamplerStep { histories: 1, ..given }, [3, 70], 0),
        case(SamplerStep { histories: 2, ..drawn }, [11, 17], 1),
        case(SamplerStep { histories: 2, ..given }, [3, 70], 0),
        case(SamplerStep { limited: true, ..drawn }, [9, 7], 1).first_row(5),
        case(SamplerStep { limited: true, histories: 1, ..given }, [3, 70], 0),
        case(SamplerStep { limited: true, histories: 2, ..drawn }, [3, 70], 0),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let case = Case::new(SamplerStep { stream: 3, given: false, histories: 0, limited: false }).input([1024, 784]);
    vec![case.table([STEPS, SamplerStep::ROW]).update([1024, 784], vec![0.5; 1024 * 784])]
}
