//! The reverse process, which generates samples with a network, and the forward process.
//!
//! # Example
//!
//! The reverse process is a graph of its own. A step of its run is a step of the sampler; `examples/points.rs` copies trained
//! weights into it.
//!
//! ```
//! use langevin::diffusion::{Objective, Prediction, SamplerOptions, SamplerTable, Schedule, UniPc};
//! use langevin::generate::{reverse_process, starting_noise};
//! use langevin::nn::{Mlp, MlpOptions};
//! use langevin::{Device, Graph};
//!
//! let objective = Objective::new(Schedule::linear(1_000, 1e-4, 0.02)?, Prediction::V);
//! let table = SamplerTable::new(&objective, &SamplerOptions::new(UniPc::default(), 10))?;
//! let mut g = Graph::new();
//! let net = Mlp::new(&mut g, 2, &MlpOptions::default().width(16).depth(1))?;
//! let x = reverse_process(&mut g, &net, &table, [4, 2])?;
//! let mut run = Device::cpu().compile(&g)?;
//! let mut noise = [0.0; 8];
//! starting_noise(7, 0, &mut noise); // seed 7, from sample 0
//! run.write("x", &noise)?;
//! run.steps(table.rows.len() as u32)?;
//! assert!(run.read(x)?.iter().all(|value| value.is_finite()));
//! # Ok::<(), langevin::Error>(())
//! ```

#[cfg(feature = "files")]
pub(crate) mod batches;
mod forward;
mod reverse;

pub use forward::{Frame, forward_process};
#[cfg(feature = "files")]
pub(crate) use reverse::{HISTORY, reverse_with_output};
pub use reverse::{reverse_process, reverse_process_within, starting_noise};
