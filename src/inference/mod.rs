//! Inference with trained runs, in the units of their data: sampling, denoising, and completing samples.
//!
//! # Example
//!
//! ```
//! use langevin::Device;
//! use langevin::data::{Dataset, two_moons};
//! use langevin::inference::{Sampling, sample};
//! use langevin::nn::MlpOptions;
//! use langevin::train::{Config, Trainer};
//!
//! # let device = Device::cpu();
//! # let data = Dataset::new("moons", [2], two_moons(256, 1))?;
//! # let config = Config { batch: 32, ..Config::new(MlpOptions::default().width(16).depth(1)) };
//! let mut trainer = Trainer::new(&device, &config, &data)?;
//! trainer.advance(20)?;
//! let checkpoint = trainer.checkpoint()?; // or RunFolder::open("runs/moons".as_ref())?.checkpoint()?
//! let points = sample(&device, &checkpoint, &Sampling { steps: 5, seed: 1, ..Sampling::new(100) })?;
//! assert_eq!((points.len(), &points.shape[..]), (100, &[2][..])); // in the units of the data
//! # Ok::<(), langevin::Error>(())
//! ```

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
