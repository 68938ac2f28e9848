//! The mathematics of diffusion: paths, objectives, weightings, and samplers as tables, in f64 on the host.
//!
//! A [`Path`] gives the weights of data and noise in x_t, an [`Objective`] adds the prediction target, and a
//! [`SamplerTable`] holds the coefficients of the reverse process for one [`Sampler`].
//!
//! # Example
//!
//! ```
//! use langevin::diffusion::{Ddim, Objective, Prediction, SamplerOptions, SamplerTable, Schedule};
//!
//! let objective = Objective::new(Schedule::linear(1_000, 1e-4, 0.02)?, Prediction::Epsilon);
//! // x_t = a x0 + s eps keeps the variance, and ends in noise.
//! let level = objective.level(999.0);
//! assert!((level.a.powi(2) + level.s.powi(2) - 1.0).abs() < 1e-12 && level.a < 0.01);
//! // Fifty steps of DDIM, from the noisiest to the cleanest.
//! let table = SamplerTable::new(&objective, &SamplerOptions::new(Ddim { eta: 0.0 }, 50))?;
//! assert_eq!(table.rows.len(), 50);
//! assert!(table.rows[0].level.s > table.rows[49].level.s);
//! # Ok::<(), langevin::Error>(())
//! ```

mod edm;
mod loss_target;
mod noising;
mod objective;
mod path;
mod repaint;
mod sampler;
pub mod samplers;
mod schedule;
mod spacing;
mod table;
mod times;
mod weighting;

pub use edm::Precondition;
pub use loss_target::LossTarget;
pub use noising::Noised;
pub use objective::{Level, Objective, Prediction};
pub use path::{Flow, NoiseLevels, Path};
pub use repaint::{Resampling, repaint};
pub use sampler::{Mix, Row, Sampler, Step, Times};
pub use samplers::{
    Ddim, Ddpm, DpmPp2M, DpmPp2MSde, Edm, Euler, EulerAncestral, Heun, SamplerSettings, UniPc, Variance, sampler,
};
pub use schedule::{SCHEDULES, Schedule};
pub use spacing::{Spacing, karras_sigmas, shifted, timesteps};
pub use table::{PrevRule, SamplerOptions, SamplerTable};
pub use times::TrainingTimes;
pub use weighting::Weighting;
