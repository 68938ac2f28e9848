//! Trained runs at work, in the units of their data: drawing samples, and taking noise out.

mod denoise;
mod program;
mod sample;

pub use denoise::{Denoising, Start, denoise, denoise_in_parts};
pub use program::{Observer, Progress};
pub use sample::{Sampling, sample, sample_in_parts};
