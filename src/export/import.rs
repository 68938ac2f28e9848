//! Weights that were trained elsewhere as a run.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::description::FORMAT;
use super::pytorch::{SETTINGS, WEIGHTS};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::text::count;
use crate::train::{Checkpoint, Config, Facts, TensorData};

/// Where weights and the settings of their network are read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The folder of an export.
    Folder(PathBuf),
    /// A state dict, with the settings of a run of the same network.
    File(PathBuf, Box<Checkpoint>),
}

/// Reads weights as the checkpoint of a run, whose `sample` uses them. It has no state of the optimizer.
///
/// # Errors
/// [`Error::Input`] with the tensors that are missing, unknown, of another shape or type, or not finite; and when a file cannot
/// be read.
pub fn import(source: &Source) -> Result<Checkpoint> {
    let (path, config, facts, step) = match source {
        Source::Folder(folder) => {
            if !folder.join(SETTINGS).exists() {
                return Err(Error::input(format!(
                    "{} has no {SETTINGS}, so it is not an export for PyTorch; name the folder that was --pytorch of langevin export",
                    folder.display()
                )));
            }
            let (config, facts, step) = settings(&folder.join(SETTINGS))?;
            (folder.join(WEIGHTS), config, facts, step)
        }
        Source::File(path, like) => (path.clone(), like.config.clone(), like.facts.clone(), like.step),
    };
    let tensors = fitting(&path, read(&path)?, &config, &facts)?;
    Ok(Checkpoint { config, facts, step, tensors, pending: vec![] })
}

/// The settings of the run that was exported, the facts about its data, and its number of steps.
fn settings(path: &Path) -> Result<(Config, Facts, u32)> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, e))?;
    let all: Value = serde_json::from_str(&text).map_err(|e| Error::input(format!("{name}: not JSON ({e})")))?;
    let invalid = |what: &str| {
        Error::input(format!(
            "{name}: {what}; use the {SETTINGS} that `langevin export --pytorch` wrote, or a state dict with --like RUN"
        ))
    };
    match all["format"].as_u64() {
        Some(FORMAT) => {}
        Some(newer) if newer > FORMAT => {
            let text = format!("{name}: format {newer} of a newer version of langevin; update langevin to use it");
            return Err(Error::input(text));
        }
        _ => return Err(invalid("not the settings of an export")),
    }
    let config =
        all["run"]["config"].as_str().ok_or_else(|| invalid("there are no settings of the run (run.config)"))?;
    let step = all["run"]["step"].as_u64().and_then(|step| u32::try_from(step).ok());
    let (config, facts) =
        Config::parse_run(config).map_err(|e| invalid(&format!("invalid settings of the run ({e})")))?;
    let facts = facts.ok_or_else(|| invalid("there are no facts about the data of the run"))?;
    Ok((config, facts, step.ok_or_else(|| invalid("there is no number of steps (run.step)"))?))
}

/// All tensors of a safetensors file.
fn read(path: &Path) -> Result<Vec<TensorData>> {
    let name = path.display();
    let bytes = fs::read(path).map_err(|e| Error::io("cannot read", path, e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::input(format!("{name}: not a safetensors file, or damaged or truncated ({e})")))?;
    let tensor = |(tensor, view): (&str, safetensors::tensor::TensorView<'_>)| {
        if view.dtype() != Dtype::F32 {
            return Err(Error::input(format!(
                "{name}: {tensor} has type {:?}, expected F32; save the state dict of model.float()",
                view.dtype()
            )));
        }
        let values = bytemuck::pod_collect_to_vec(view.data());
        Ok(TensorData { name: tensor.into(), shape: view.shape().to_vec(), values })
    };
    file.iter().map(tensor).collect()
}

/// The prefixes of the state dict of a module that contains the network, or is wrapped for training.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "network."];

/// The weights of the network in `tensors`, in the order of its parameters.
fn fitting(path: &Path, mut tensors: Vec<TensorData>, config: &Config, facts: &Facts) -> Result<Vec<TensorData>> {
    let of_all = |tensors: &[TensorData]| {
        PREFIXES.into_iter().find(|prefix| !tensors.is_empty() && tensors.iter().all(|t| t.name.starts_with(prefix)))
    };
    while let Some(prefix) = of_all(&tensors) {
        tensors.iter_mut().for_each(|t| drop(t.name.drain(..prefix.len())));
    }
    let mut g = Graph::seeded(config.seed);
    config.model.build(&mut g, &facts.shape)?;
    let (mut problems, mut found) = (Vec::new(), Vec::new());
    for p in g.parameters() {
        let Some(at) = tensors.iter().position(|t| t.name == p.name) else {
            problems.push(format!("{} {:?} is missing", p.name, p.shape));
            continue;
        };
        let tensor = tensors.swap_remove(at);
        if tensor.shape != p.shape {
            problems.push(format!("{} has shape {:?}, expected {:?}", p.name, tensor.shape, p.shape));
        } else if let Some(bad) = tensor.values.iter().find(|v| !v.is_finite()) {
            problems.push(format!("{} contains {bad}", p.name));
        }
        found.push(tensor);
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    problems.extend(tensors.iter().map(|t| format!("{} {:?} is not a parameter of the network", t.name, t.shape)));
    if problems.is_empty() {
        return Ok(found);
    }
    let (shown, more) = (problems.len().min(8), problems.len().saturating_sub(8));
    let rest = if more > 0 { format!("; and {}", count(more, "further difference")) } else { String::new() };
    Err(Error::input(format!(
        "{}: the weights do not fit the network {}: {}{rest}",
        path.display(),
        config.model.name(),
        problems[..shown].join("; ")
    )))
}
