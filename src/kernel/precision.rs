//! Number formats.

use serde::{Deserialize, Serialize};

/// A number format: of the factors of matrix products ([`Device::with_precision`](crate::Device::with_precision)), or of the
/// activations in memory ([`Device::with_storage`](crate::Device::with_storage)). All sums are computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// f16. As factors of products, for a GPU's cooperative matrices ("tensor cores").
    F16,
}

named!(Precision, "number format", F32 = "f32", F16 = "f16");
