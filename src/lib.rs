#![doc = include_str!("../README.md")]

// The floors of the house, from the ground up: a module uses those above it in this list, never those below. The test
// `imports_point_down` reads the list and holds every `use` against it.

// What everything stands on: errors, texts of settings, numbers, loops over the CPU's cores.
mod error;
#[macro_use]
pub mod text;
pub mod numeric;
mod parallel;

// The engine: shaders become kernels, ops and tensors a graph, a graph a program on a device.
#[macro_use]
mod kernel;
mod graph;
pub mod ops;
mod device;

// Diffusion models: noise schedules and samplers, networks, the processes over them; and the checks of all kernels.
pub mod diffusion;
pub mod nn;
pub mod generate;
pub mod verify;

// Around the engine: files, pictures, training, and the use of what was trained.
mod io;
pub mod data;
pub mod plot;
pub mod train;
pub mod inference;
pub mod evaluate;
pub mod bench;

// The program.
#[doc(hidden)]
pub mod cli;

pub use device::{AdapterKind, AdapterSummary, Device, OpCost, OpTime, Run, Values, adapters};
pub use error::{Error, Result};
pub use graph::{Cost, DType, Data, Form, Gradients, Graph, HISTORY, Parameter, Reverse, Slab, Spec, Var};
pub use kernel::{Constant, Kernel, Meaning, Precision, Target};
pub use numeric::random;
pub use numeric::scalar::Scalar;
