//! A folder with the model for PyTorch: code, weights, settings, and an example to check it with.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::check::Example;
use super::description::description;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::write_atomically;
use crate::train::{Checkpoint, TensorData};

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const SETTINGS: &str = "config.json";
const EXAMPLE: &str = "check.npz";

/// The files that are the same for every model.
const CODE: [(&str, &str); 2] = [("model.py", include_str!("model.py")), ("pipeline.py", include_str!("pipeline.py"))];

/// Writes a folder with the model of a checkpoint as a module of PyTorch, and as a pipeline of diffusers. The weights are those
/// for inference. The example in `check.npz` is computed on `device`.
///
/// # Errors
/// [`Error::Setting`] when the folder contains files; [`Error::Io`] when a file cannot be written; those of the device.
pub fn export_pytorch(device: &Device, checkpoint: &Checkpoint, folder: &Path) -> Result<Vec<&'static str>> {
    check_folder(folder)?;
    let settings = description(checkpoint)?;
    let example = Example::of(device, checkpoint)?;
    fs::create_dir_all(folder).map_err(|e| Error::io("cannot create the folder", folder, e))?;
    for (name, text) in CODE {
        write_atomically(&folder.join(name), |file| file.write_all(text.as_bytes()))?;
    }
    for (name, value) in [(SETTINGS, &settings), (INDEX, &json!({"_class_name": ["pipeline", "SamplesPipeline"]}))] {
        let text = serde_json::to_string_pretty(value).map_err(|e| Error::input(format!("{name}: {e}")))?;
        write_atomically(&folder.join(name), |file| writeln!(file, "{text}"))?;
    }
    write_weights(&folder.join(WEIGHTS), &checkpoint.inference_weights())?;
    example.save(&folder.join(EXAMPLE), &checkpoint.facts)?;
    Ok(names().collect())
}

/// The description of a pipeline of diffusers.
const INDEX: &str = "model_index.json";

/// The files of an export.
fn names() -> impl Iterator<Item = &'static str> {
    CODE.map(|(name, _)| name).into_iter().chain([SETTINGS, WEIGHTS, EXAMPLE, INDEX])
}

/// Checks that a folder is new or empty.
fn check_folder(folder: &Path) -> Result<()> {
    let name = folder.display();
    if folder.is_file() {
        return Err(Error::setting(format!(
            "{name} is a file, but a model for PyTorch is a folder; choose another name"
        )));
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    match entries.into_iter().find(|entry| !entry.to_string_lossy().starts_with('.')) {
        // Also an export: its weights may have been trained since.
        Some(entry) => {
            Err(Error::setting(format!("{name} is not empty: it contains {entry:?}; choose a new or empty folder")))
        }
        None => Ok(()),
    }
}

/// Writes a state dict of PyTorch.
fn write_weights(path: &Path, weights: &[TensorData]) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::input(format!("{}: {e}", path.display()));
    let views = weights.iter().map(|t| {
        let view =
            TensorView::new(Dtype::F32, t.shape.clone(), bytemuck::cast_slice(&t.values)).map_err(|e| failed(&e))?;
        Ok((t.name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| failed(&e))?;
    write_atomically(path, |file| file.write_all(&bytes))
}
