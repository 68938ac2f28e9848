//! One step of DDPM or DDIM, from a table of coefficients.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::Cost;
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::random::fill_normals;
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// x0 = clip(c_x x + c_m m), x = k_x0 x0 + k_x x + k_m m + k_z z, with row `step` of the table.
///
/// *Shapes*: m [B, ...] the model's output, table [K, 8] with rows (t, c_x, c_m, k_x0, k_x, k_m, k_z, bound), and when
/// `given` z [K, B, ...]; updates x [B, ...]. Without `given`, z is drawn from the stream.
/// *Source*: `diffusion::SamplerTable`.
#[derive(Clone, Copy, Debug)]
pub struct SamplerStep {
    /// The random stream of z.
    pub stream: u32,
    /// z is an input.
    pub given: bool,
}

/// Numbers in a row of the table.
pub(crate) const ROW: usize = 8;

impl Op for SamplerStep {
    fn name(&self) -> &'static str {
        "sampler_step"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("sampler_step", inputs, 3 + self.given as usize)?;
        let steps = inputs[1].rows().0;
        let x = &inputs[inputs.len() - 1].shape;
        expect_shape("sampler_step", "m", &inputs[0], x)?;
        expect_shape("sampler_step", "table", &inputs[1], &[steps, ROW])?;
        if self.given {
            let n: usize = x.iter().product();
            expect_shape("sampler_step", "z", &inputs[2], &[steps, n])?;
        }
        Ok(vec![])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        kernel!("sampler_step.wgsl", "sampler_step")
            .flag("GIVEN", self.given)
            .dim("N", n)
            .dim("STEPS", specs.inputs[1].rows().0)
            .hyper("STREAM", self.stream as f64)
            .over(n.div_ceil(4))
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let n = specs.inputs[0].len();
        let cost = Cost::of(specs).reading(specs, 1, ROW);
        if self.given { cost.reading(specs, 2, n) } else { cost }
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (m, table, x) = (io.input(0), io.input(1), io.update(0));
        let (n, steps) = (m.len(), table.len() / ROW);
        let k = (io.clock.step as usize).min(steps - 1);
        let row = &table[k * ROW..][..ROW];
        let (c_x, c_m, k_x0, k_x, k_m, k_z, bound) = (row[1], row[2], row[3], row[4], row[5], row[6], row[7]);
        let given = self.given.then(|| &io.input(2)[k * n..][..n]);
        let clock = io.clock;
        // Chunks of `par` are multiples of the block of four that shares a draw.
        parallel::chunks(
            x,
            #[inline(always)]
            |start, x| {
                for (b, x) in x.chunks_mut(64).enumerate() {
                    let at = start + 64 * b;
                    let mut z = [S::ZERO; 64];
                    match given {
                        Some(given) => z[..x.len()].copy_from_slice(&given[at..][..x.len()]),
                        None if k_z == S::ZERO => {}
                        None => fill_normals(clock, self.stream, at / 4, &mut z),
                    }
                    let m = &m[at..][..x.len()];
                    for i in 0..x.len() {
                        let x0 = (c_x * x[i] + c_m * m[i]).max(-bound).min(bound);
                        x[i] = ((k_x0 * x0 + k_x * x[i]) + k_m * m[i]) + k_z * z[i];
                    }
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let row = |bound: f32| vec![9.0, 1.1, -0.4, 0.6, 0.3, 0.2, 0.1, bound];
    let table = [row(0.5), row(f32::MAX), row(0.9)].concat();
    let x = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin() * 2.0).collect::<Vec<f32>>();
    let tolerance = Tolerance::absolute(12.0);
    let drawn = SamplerStep { stream: 3, given: false };
    vec![
        Case::new(drawn).input([1, 1]).values([3, 8], table.clone()).update([1, 1], x(1)).tolerance(tolerance),
        Case::new(drawn)
            .input([9, 7])
            .values([3, 8], table.clone())
            .update([9, 7], x(63))
            .clock(1, 1)
            .tolerance(tolerance),
        Case::new(SamplerStep { stream: 0, given: true })
            .input([5, 13])
            .values([3, 8], table)
            .input([3, 65])
            .update([5, 13], x(65))
            .clock(1, 2)
            .tolerance(tolerance),
    ]
}
