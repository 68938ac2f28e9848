//! Values as a device holds them.

/// What a tensor holds, as the device holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats of a GPU or the CPU executor.
    F32(Vec<f32>),
    /// Floats of the reference.
    F64(Vec<f64>),
    /// Integers.
    U32(Vec<u32>),
}

impl Values {
    /// As f64, exactly.
    pub fn f64s(&self) -> Vec<f64> {
        match self {
            Values::F32(v) => v.iter().map(|&x| x as f64).collect(),
            Values::F64(v) => v.clone(),
            Values::U32(v) => v.iter().map(|&x| x as f64).collect(),
        }
    }

    /// As f32; the reference's values are rounded.
    pub fn f32s(self) -> Vec<f32> {
        match self {
            Values::F32(v) => v,
            Values::F64(v) => v.iter().map(|&x| x as f32).collect(),
            Values::U32(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }
}
