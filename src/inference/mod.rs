//! Trained runs at work, in the units of their data: drawing samples, and taking noise out.

mod denoise;
mod sample;

pub use denoise::{Denoising, Start, denoise};
pub use sample::{Sampling, sample};
