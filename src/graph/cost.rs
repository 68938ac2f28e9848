//! What a step costs at least, from the shapes alone: arithmetic and memory traffic of each op of the plan.

use std::iter::Sum;
use std::ops::Add;

use super::{Spec, Specs};

/// Arithmetic and the least memory traffic of an op or of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add is two.
    pub flops: u64,
    /// Bytes read and written when each tensor travels once: an updated one is read and written.
    pub bytes: u64,
}

impl Cost {
    /// Every input read, every output written, every update both; one operation per element written.
    pub fn of(specs: &Specs) -> Self {
        let stored = |list: &[Spec]| list.iter().map(moved).sum::<u64>();
        let (read, written, updated) = (stored(&specs.inputs), stored(&specs.outputs), stored(&specs.updates));
        Self { flops: written + updated, bytes: 4 * (read + written + 2 * updated) }
    }

    /// [`Cost::of`], of a product [m, k] [k, n] with `epilogue` operations per element of the result.
    pub fn gemm(specs: &Specs, [m, n, k]: [usize; 3], epilogue: usize) -> Self {
        Self { flops: (m * n) as u64 * (2 * k + epilogue) as u64, ..Self::of(specs) }
    }

    /// The same where input `i` is read only at `elements` of its elements.
    pub fn reading(self, specs: &Specs, i: usize, elements: usize) -> Self {
        let all = moved(&specs.inputs[i]);
        Self { bytes: self.bytes - 4 * all + 4 * (elements as u64).min(all), ..self }
    }
}

/// Elements that move in a step: one of a history, none of an unstored tensor.
fn moved(spec: &Spec) -> u64 {
    spec.stored().min(spec.len()) as u64
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}
