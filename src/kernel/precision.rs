//! The number format of matrix products.

use serde::{Deserialize, Serialize};

/// The number format of the factors of matrix products; all tensors are f32 in memory, and all sums are computed in
/// f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// The factors are rounded to f16, for a GPU's cooperative matrices ("tensor cores").
    F16,
}

named!(Precision, "precision", F32 = "f32", F16 = "f16");
