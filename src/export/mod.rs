//! Models for other programs: a folder for PyTorch and diffusers, and back; and ONNX files.
//!
//! # Example
//!
//! ```
//! use langevin::Device;
//! use langevin::data::{Dataset, two_moons};
//! use langevin::export::{Source, export_pytorch, import};
//! use langevin::nn::MlpOptions;
//! use langevin::train::{Config, Trainer};
//!
//! # let device = Device::cpu();
//! # let data = Dataset::new("moons", [2], two_moons(256, 1))?;
//! # let config = Config { batch: 32, ..Config::new(MlpOptions::default().width(16).depth(1)) };
//! let checkpoint = Trainer::new(&device, &config, &data)?.checkpoint()?;
//! let folder = std::env::temp_dir().join(format!("langevin-{}-export", std::process::id()));
//! let files = export_pytorch(&device, &checkpoint, &folder)?;
//! assert!(files.contains(&"model.py") && files.contains(&"model.safetensors"));
//! let back = import(&Source::Folder(folder.clone()))?;
//! assert_eq!(back.facts.shape, checkpoint.facts.shape);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), langevin::Error>(())
//! ```

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
