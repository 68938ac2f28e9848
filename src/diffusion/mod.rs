//! The mathematics of diffusion: schedules, and samplers as tables, in f64 on the host.

mod sampler;
mod schedule;

pub use sampler::*;
pub use schedule::*;
