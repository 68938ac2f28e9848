//! A buffer of a plan on an adapter, and the floats in it.

use std::borrow::Cow;

use half::f16;

use crate::graph::DType;
use crate::graph::plan::Place;

#[derive(Debug)]
pub(super) struct Buffer {
    pub buffer: wgpu::Buffer,
    pub dtype: DType,
}

impl Buffer {
    /// The offset and the size of a range, in bytes. The size is a multiple of four, as copies and bindings require.
    pub fn bytes(&self, place: Place) -> (u64, u64) {
        let bytes = |elements: usize| elements as u64 * self.dtype.bytes() as u64;
        (bytes(place.offset), bytes(place.len).next_multiple_of(4))
    }

    /// The bytes of floats, rounded to its element type.
    pub fn of_floats<'a>(&self, values: &'a [f32]) -> Cow<'a, [u8]> {
        if self.dtype != DType::F16 {
            return Cow::Borrowed(bytemuck::cast_slice(values));
        }
        let mut halves: Vec<u16> = values.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
        halves.resize(halves.len().next_multiple_of(2), 0);
        Cow::Owned(bytemuck::cast_slice(&halves).to_vec())
    }

    /// The floats of a range with these bytes.
    pub fn floats(&self, place: Place, bytes: &[u8]) -> Vec<f32> {
        if self.dtype != DType::F16 {
            return bytemuck::pod_collect_to_vec(bytes);
        }
        let halves: Vec<u16> = bytemuck::pod_collect_to_vec(bytes);
        halves[..place.len].iter().map(|bits| f16::from_bits(*bits).to_f32()).collect()
    }
}
