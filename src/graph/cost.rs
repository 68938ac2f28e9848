//! The minimum cost of each op, from the shapes: arithmetic and memory traffic.

use std::iter::Sum;
use std::ops::Add;

use super::{Spec, Specs};

/// The arithmetic and the minimum memory traffic of an op or of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Floating-point operations; a multiply-add is two.
    pub flops: u64,
    /// Bytes read and written if each tensor is transferred once; an updated tensor is read and written.
    pub bytes: u64,
}

impl Cost {
    /// The cost if every input is read, every output is written, every update is both, with one operation per written
    /// element.
    pub fn of(specs: &Specs) -> Self {
        let elements = |list: &[Spec]| list.iter().map(transferred).sum::<u64>();
        let bytes = |list: &[Spec]| list.iter().map(|spec| spec.dtype.bytes() as u64 * transferred(spec)).sum::<u64>();
        let Specs { inputs, outputs, updates, .. } = specs;
        Self {
            flops: elements(outputs) + elements(updates),
            bytes: bytes(inputs) + bytes(outputs) + 2 * bytes(updates),
        }
    }

    /// The cost of a matrix product of [m, k] and [k, n], with `epilogue` operations per element of the result.
    pub fn gemm(specs: &Specs, [m, n, k]: [usize; 3], epilogue: usize) -> Self {
        Self { flops: (m * n) as u64 * (2 * k + epilogue) as u64, ..Self::of(specs) }
    }

    /// The same cost if only `elements` elements of input `i` are read.
    pub fn reading(self, specs: &Specs, i: usize, elements: usize) -> Self {
        let (all, bytes) = (transferred(&specs.inputs[i]), specs.inputs[i].dtype.bytes() as u64);
        Self { bytes: self.bytes - bytes * (all - all.min(elements as u64)), ..self }
    }
}

/// The transferred elements per step: one of a history, none of an unstored tensor.
fn transferred(spec: &Spec) -> u64 {
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
