//! The devices that a test runs on.
//!
//! Without an adapter what needs one says so and is not run; `LANGEVIN_GPU=require` makes that a failure.
#![allow(dead_code)] // each test uses a part

use langevin::Device;

/// A GPU, where there is one.
pub fn gpu() -> Option<Device> {
    match Device::gpu() {
        Ok(device) => Some(device),
        Err(e) if std::env::var("LANGEVIN_GPU").as_deref() == Ok("require") => panic!("a GPU is required: {e}"),
        Err(e) => {
            eprintln!("GPU ignored, no adapter: {e}");
            None
        }
    }
}

/// The CPU executor, and a GPU where there is one.
pub fn devices() -> Vec<Device> {
    [Device::cpu()].into_iter().chain(gpu()).collect()
}
