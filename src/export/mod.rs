//! Models for other programs: a folder for PyTorch and diffusers, and back; and ONNX files.

mod check;
mod description;
mod import;
#[cfg(feature = "onnx")]
mod onnx;
mod pytorch;

pub use import::{Source, import};
#[cfg(feature = "onnx")]
pub use onnx::{OnnxModel, export_onnx};
pub use pytorch::export_pytorch;
