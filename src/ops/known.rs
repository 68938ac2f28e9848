//! Replaces known values in the state of a reverse process by their noisy versions.

use super::case::{Case, STEPS, Tolerance};
use super::dropout::first_element;
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Cost, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::fill_normals_from;
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// x = a x0 + s z where the mask is 1, with standard normal z and (a, s) of the current step.
///
/// *Shapes*: known [B, 2 D] with rows \[x0 | mask\], table [K, 2] with one row (a, s) for each step of the run; updates x
/// [B, D]. *Source*: Lugmayr et al. 2022, "RePaint", eq. 8a.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepKnown {
    /// The random stream of z.
    pub stream: u32,
}

impl Op for KeepKnown {
    fn name(&self) -> &'static str {
        "keep_known"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("keep_known", inputs, 3)?;
        let (rows, d) = inputs[2].rows();
        expect_shape("keep_known", "known", &inputs[0], &[rows, 2 * d])?;
        expect_shape("keep_known", "table", &inputs[1], &[inputs[1].rows().0, 2])?;
        Ok(vec![])
    }

    fn updates(&self) -> usize {
        1
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (rows, d) = specs.updates[0].rows();
        kernel!("known.wgsl", "keep_known")
            .dim("N", rows * d)
            .dim("D", d)
            .dim("W", d)
            .dim("STEPS", specs.inputs[1].rows().0)
            .hyper("STREAM", self.stream as f64)
            // One invocation more where the rows before end within a block.
            .over((rows * d + 3).div_ceil(4))
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost::of(specs).reading(specs, 1, 2)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (known, table, x) = (io.input(0), io.input(1), io.update(0));
        let d = io.specs.updates[0].rows().1;
        let row = 2 * (io.clock.step as usize).min(table.len() / 2 - 1);
        let (a, s) = (table[row], table[row + 1]);
        // The rows of the state are half as long as those of the first input.
        let (clock, stream, first) = (io.clock, self.stream, first_element(io) / 2);
        const BLOCK: usize = 64;
        parallel::chunks(
            x,
            #[inline(always)]
            |start, x| {
                for (b, x) in x.chunks_mut(BLOCK).enumerate() {
                    let at = start + BLOCK * b;
                    let mut z = [S::ZERO; BLOCK];
                    fill_normals_from(clock, stream, first + at, &mut z[..x.len()]);
                    for (i, x) in x.iter_mut().enumerate() {
                        let place = 2 * ((at + i) / d) * d + (at + i) % d;
                        if known[place + d] > S::ZERO {
                            *x = a * known[place] + s * z[i];
                        }
                    }
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |[rows, d]: [usize; 2], step: u32| {
        let values = (0..2 * rows * d).map(|i| match i / d % 2 {
            0 => (i as f32 * 0.3).sin(),
            _ => f32::from(u8::from(i % 3 > 0)),
        });
        let case = Case::new(KeepKnown { stream: 3 }).values([rows, 2 * d], values.collect());
        let case = case.values([3, 2], vec![0.3, 0.9, 0.7, 0.6, 1.0, 0.0]);
        case.update([rows, d], (0..rows * d).map(|i| i as f32 * 0.1).collect()).clock(1, step)
    };
    let tolerance = Tolerance::absolute(12.0);
    vec![
        case([1, 1], 0).tolerance(tolerance),
        case([9, 7], 1).first_row(5).tolerance(tolerance),
        case([5, 70], 2).tolerance(tolerance),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let case = Case::new(KeepKnown { stream: 3 }).input([1024, 2 * 784]).input([STEPS, 2]);
    vec![case.update([1024, 784], vec![0.5; 1024 * 784])]
}
