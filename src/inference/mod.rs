//! Inference with trained runs, in the units of their data: sampling, denoising, and completing samples.

mod complete;
mod condition;
mod denoise;
mod guide;
mod predict;
mod program;
mod sample;
mod trace;

pub use complete::{Completing, Method, complete, complete_in_parts};
pub use condition::{Guidance, SampleConditions};
#[cfg(feature = "cli")]
pub(crate) use denoise::denoise_observed;
pub use denoise::{Denoising, DenoisingStart, denoise, denoise_in_parts};
pub use predict::predict;
pub use program::{Completion, Observer};
#[cfg(feature = "cli")]
pub(crate) use sample::sample_observed;
pub use sample::{Sampling, sample, sample_in_parts};
pub use trace::{Trace, trace};
