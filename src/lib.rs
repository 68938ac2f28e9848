#![doc = include_str!("../README.md")]

#[macro_use]
pub mod text;

pub mod bench;
mod cache;
mod cost;
pub mod data;
pub mod denoise;
mod device;
pub mod diffusion;
mod error;
pub mod evaluate;
mod exec;
mod graph;
mod kernel;
mod matmul;
pub mod nn;
pub mod noise;
pub mod ops;
mod par;
mod plan;
pub mod plot;
mod precision;
pub mod random;
mod run;
pub mod sample;
mod scalar;
pub mod train;

pub use cost::{Cost, OpCost, OpTime};
pub use device::{AdapterKind, AdapterSummary, Device, adapters};
pub use error::{Error, Result};
pub use exec::Values;
pub use graph::{DType, Data, Form, Gradients, Graph, HISTORY, Parameter, Reverse, Slab, Spec, Var};
pub use kernel::{Constant, Kernel, Meaning, Target};
pub use precision::Precision;
pub use run::Run;
pub use scalar::Scalar;
