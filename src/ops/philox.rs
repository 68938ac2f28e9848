//! Random words and normals from given counters and keys: the generator itself as an op.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{DType, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{normals, philox};
use crate::numeric::scalar::Scalar;

/// words = Philox4x32-10(counter, key), and four standard normals from them by Box-Muller.
///
/// *Shapes*: counter [n, 4] and key [n, 2] u32; words [n, 4] u32, normals [n, 4]. *Source*: Salmon et al. 2011.
#[derive(Clone, Copy, Debug)]
pub struct Philox;

impl Op for Philox {
    fn name(&self) -> &'static str {
        "philox"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("philox", inputs, 2)?;
        let n = inputs[0].rows().0;
        expect_shape("philox", "counter", &inputs[0], &[n, 4])?;
        expect_shape("philox", "key", &inputs[1], &[n, 2])?;
        Ok(vec![Spec::u32([n, 4]), Spec::f32([n, 4])])
    }

    fn dtypes(&self, _: usize, _: usize) -> &'static [DType] {
        &[DType::U32]
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].rows().0;
        kernel!("philox.wgsl", "draw").dim("N", n).over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (counter, key) = (io.input_u32(0), io.input_u32(1));
        let (words, z) = (io.output_u32(0), io.output(1));
        for i in 0..words.len() / 4 {
            let c: [u32; 4] = std::array::from_fn(|j| counter[4 * i + j]);
            let w = philox(c, [key[2 * i], key[2 * i + 1]]);
            words[4 * i..][..4].copy_from_slice(&w);
            z[4 * i..][..4].copy_from_slice(&normals::<S>(w));
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let counter = (0..1040u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    let key = (0..520u32).map(|i| i.wrapping_mul(0x9E37_79B9) ^ 7).collect();
    let case = Case::new(Philox).integers([260, 4], counter).integers([260, 2], key);
    vec![case.tolerance(Tolerance::absolute(40.0))]
}

pub(super) fn timed() -> Vec<Case> {
    const BLOCKS: usize = 65_536;
    let counters = (0..4 * BLOCKS as u32).collect();
    vec![Case::new(Philox).integers([BLOCKS, 4], counters).integers([BLOCKS, 2], vec![7; 2 * BLOCKS])]
}
