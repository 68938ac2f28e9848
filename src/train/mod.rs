//! Training: settings, the compiled training step, checkpoints and run folders.
//!
//! # Example
//!
//! A training without a run folder; [`train`] also writes one.
//!
//! ```
//! use langevin::Device;
//! use langevin::data::{Dataset, two_moons};
//! use langevin::nn::MlpOptions;
//! use langevin::train::{Config, Trainer};
//!
//! let data = Dataset::new("moons", [2], two_moons(256, 1))?;
//! let config = Config { batch: 32, ..Config::new(MlpOptions::default().width(16).depth(1)) };
//! let mut trainer = Trainer::new(&Device::cpu(), &config, &data)?;
//! let losses = trainer.advance(20)?; // twenty steps, without a transfer between them
//! assert_eq!((losses.len(), trainer.step()), (20, 20));
//! let checkpoint = trainer.checkpoint()?; // settings, normalisation, weights and optimizer state
//! assert_eq!(checkpoint.facts.shape, [2]);
//! # Ok::<(), langevin::Error>(())
//! ```

mod augment;
mod check;
mod checkpoint;
mod conditions;
mod config;
mod data;
#[cfg(feature = "cli")]
mod defaults;
mod distributed;
mod early_stopping;
mod facts;
mod features;
mod feed;
mod folder;
mod loss;
mod memory;
mod metrics;
mod model_table;
mod objective;
mod program;
mod resume;
mod setting;
mod snapshots;
mod tables;
mod trainer;
mod training;
mod validation;

pub use augment::Augmentation;
#[cfg(feature = "cli")]
pub(crate) use check::MOST_STEPS;
pub use checkpoint::{Checkpoint, TensorData};
pub use conditions::{ConditionFacts, ConditionSources, ConditionValues};
#[cfg(feature = "cli")]
pub(crate) use config::Base;
pub use config::{Config, Normalise, ObjectiveKind, ScheduleKind, Task};
#[cfg(feature = "cli")]
pub(crate) use defaults::Situation;
pub use distributed::{dismiss, follow};
pub use facts::Facts;
pub use features::load_features;
pub use folder::RunFolder;
#[cfg(feature = "cli")]
pub(crate) use folder::{Activity, CONFIG, EVENTS, METRICS, PICTURE, Rows, RunView, SAMPLES, find_runs, runs_in};
pub use loss::{DiffusionSteps, LossInputs, LossKind, LossMix, Term, WeightedLoss};
pub use memory::MemoryEstimate;
pub use metrics::Summary;
#[cfg(feature = "cli")]
pub(crate) use metrics::curves_of;
pub use program::Losses;
pub use snapshots::Averaged;
pub use trainer::Trainer;
#[cfg(feature = "cli")]
pub(crate) use trainer::other_data;
pub use training::{Progress, Stop, Watch, train, train_watched};
