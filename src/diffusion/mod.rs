//! The mathematics of diffusion: schedules, and samplers as tables, in f64 on the host.

mod edm;
mod sampler;
mod schedule;
mod spacing;
mod weighting;

pub use edm::*;
pub use sampler::*;
pub use schedule::*;
pub use spacing::*;
pub use weighting::*;
