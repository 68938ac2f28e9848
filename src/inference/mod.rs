//! Inference with trained runs, in the units of their data: sampling and denoising.

mod denoise;
mod program;
mod sample;

pub use denoise::{Denoising, DenoisingStart, denoise, denoise_in_parts};
pub use program::{Completion, Observer};
pub use sample::{Sampling, sample, sample_in_parts};
