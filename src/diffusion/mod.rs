//! The mathematics of diffusion: paths, objectives, weightings, and samplers as tables, in f64 on the host.
//!
//! A [`Path`] says how much data and noise is in x_t, an [`Objective`] adds what the network predicts, and a
//! [`SamplerTable`] is the reverse process over it by the rule of a [`Sampler`].

mod edm;
mod noising;
mod objective;
mod path;
pub mod samplers;
mod schedule;
mod spacing;
mod table;
mod weighting;

pub use edm::Precondition;
pub use objective::{Level, Objective, Prediction};
pub use path::{Flow, Path};
pub use samplers::{Ddim, Ddpm, Sampler, SamplerSettings, Variance, sampler};
pub use schedule::{SCHEDULES, Schedule};
pub use spacing::{Spacing, karras_sigmas, timesteps};
pub use table::{Mix, PrevRule, Row, SamplerOptions, SamplerTable, Step};
pub use weighting::Weighting;
