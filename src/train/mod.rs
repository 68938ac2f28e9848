//! Training: settings, the compiled training step, checkpoints and run folders.

mod check;
mod checkpoint;
mod config;
mod features;
mod folder;
mod memory;
mod metrics;
mod model_table;
mod objective;
mod program;
mod resume;
mod setting;
mod terms;
mod trainer;
mod validation;
mod watch;

pub use checkpoint::{Checkpoint, TensorData};
pub use config::{Config, Facts, Normalise, Task};
pub use features::load_features;
pub use folder::{Progress, RunFolder, Stop, train};
pub use memory::Memory;
pub use metrics::Summary;
pub use program::Losses;
pub use terms::{Compared, LossKind, LossMix, Steps, Term, Weighted};
pub use trainer::Trainer;
