//! Values read from a device.

/// The values of a tensor, in the number format of the device.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Values {
    /// f32 values of a GPU or of the CPU executor.
    F32(Vec<f32>),
    /// f64 values of the reference.
    F64(Vec<f64>),
    /// Integers.
    U32(Vec<u32>),
}

impl Values {
    /// Converts to f64, exactly.
    pub fn f64s(&self) -> Vec<f64> {
        match self {
            Values::F32(v) => v.iter().map(|&x| x as f64).collect(),
            Values::F64(v) => v.clone(),
            Values::U32(v) => v.iter().map(|&x| x as f64).collect(),
        }
    }

    /// Converts to f32; f64 and large u32 values are rounded.
    pub fn f32s(self) -> Vec<f32> {
        match self {
            Values::F32(v) => v,
            Values::F64(v) => v.iter().map(|&x| x as f32).collect(),
            Values::U32(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }
}
