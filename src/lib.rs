#![doc = include_str!("../README.md")]

// The modules in the order of their dependencies: a module uses those above it in this list, never those below. The test
// `imports_point_down` reads the list and checks every import against it.

// The base: errors, settings as text, numbers, loops over the CPU's cores, the memory of the machine, groups of processes.
mod error;
#[macro_use]
mod text;
#[macro_use]
mod setters;
mod numeric;
mod parallel;
mod memory;
#[cfg(feature = "files")]
mod ranks;

// The engine: kernels from shaders, graphs of ops over tensors, programs on devices.
#[macro_use]
mod kernel;
#[macro_use]
mod graph;
pub mod ops;
mod device;

// Diffusion: schedules and samplers, networks, the forward and reverse processes; and the checks of all kernels.
pub mod diffusion;
pub mod nn;
pub mod generate;
pub mod verify;

// Files, plots, training, inference with trained runs, and their export.
#[cfg(feature = "files")]
mod io;
#[cfg(feature = "files")]
pub mod data;
#[cfg(feature = "files")]
pub mod plot;
#[cfg(feature = "files")]
pub mod train;
#[cfg(feature = "files")]
pub mod inference;
#[cfg(feature = "files")]
pub mod export;
#[cfg(feature = "files")]
pub mod evaluate;

// The program.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod bench;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use device::{AdapterKind, AdapterSummary, Device, OpCost, OpTime, Run, Values, adapters};
pub use error::{Error, Result};
pub use graph::{Cost, DType, Data, Form, Gradients, Graph, HISTORY, Parameter, Reverse, Slab, Spec, Var};
pub use kernel::{Constant, ConstantKind, Kernel, Precision, Target};
pub use numeric::random;
pub use numeric::scalar::Scalar;
#[cfg(feature = "files")]
pub use ranks::Ranks;
