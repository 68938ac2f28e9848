//! `langevin inspect`

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::data::{ColumnSummary, Dataset, Description, Kind, Place, ReadOptions, TOYS};
use crate::io::extension;
use crate::nn::layers;
use crate::text::{count, exact, grouped, short, shortest_sum};
use crate::train::{Checkpoint, Config, MemoryEstimate, ObjectiveKind, RunFolder, TensorData};
use crate::{Error, Graph};
use anyhow::Context;
use clap::Args;
use safetensors::tensor::Metadata;
use serde_json::json;

use super::Common;
use super::progress::show_reading;
use super::reading::{READING, ReadArgs, shown};

#[derive(Args)]
pub struct InspectArgs {
    /// Run folder, safetensors file or data
    #[arg(value_name = "RUN|DATA")]
    run: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    /// Where the values of arrays and pictures are, as for train: memory, or disk for a part of the samples at a time [default: auto]
    #[arg(help_heading = READING, long, value_name = "AUTO|MEMORY|DISK")]
    data_from: Option<Place>,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.common.device {
        // No device is used, but a wrong name is a mistake.
        crate::Device::named(name)?;
    }
    if is_data(&args.run) {
        return data(args);
    }
    if args.data_from.is_some() || !args.read.options().is_default() {
        return Err(anyhow::anyhow!(Error::setting(format!(
            "{}: not data, but a run or weights; omit the options for reading data",
            args.run.display()
        ))));
    }
    if args.run.is_file() && is_foreign(&args.run) {
        return foreign(args);
    }
    let checkpoint = if args.run.is_file() { of_file(&args.run)? } else { RunFolder::open(&args.run)?.checkpoint()? };
    let config = &checkpoint.config.without_secrets();
    let weights = weights(&checkpoint)?;
    let total: usize = weights.iter().map(|t| t.values.len()).sum();
    let bytes = |prefix: &str| -> usize {
        checkpoint.tensors.iter().filter(|t| t.name.starts_with(prefix)).map(|t| 4 * t.values.len()).sum()
    };
    let (average, optimizer) = (bytes("ema.") + bytes("power_ema."), bytes("optimizer."));
    let facts = &checkpoint.facts;
    let layers = layers(&config.model, &facts.shape)?;
    let memory = config.memory(facts.samples, facts.data_shape())?;
    if args.common.json {
        let list: Vec<_> = weights.iter().map(|t| json!({"name": t.name, "shape": t.shape})).collect();
        let mut settings = json!(config);
        config.without_effect().iter().for_each(|name| drop(settings.as_object_mut().map(|all| all.remove(*name))));
        let summary: Vec<_> = layers
            .iter()
            .map(|l| json!({"layer": l.name, "op": l.op, "output": l.output, "parameters": l.parameters}))
            .collect();
        say!(
            "{}",
            json!({"model": config.model, "parameters": total, "step": checkpoint.step, "steps": config.steps,
                   "bytes": {"parameters": 4 * total, "average": average, "optimizer": optimizer,
                             "activations": memory.activations, "data": memory.data, "peak": memory.total()},
                   "layers": summary, "tensors": list, "config": settings, "facts": facts})
        );
        return Ok(ExitCode::SUCCESS);
    }
    print_settings(config, &checkpoint);
    say!("{layers}");
    table(weights.iter().map(|t| (t.name.as_str(), t.shape.as_slice())));
    say!("bytes: parameters {}, average {}, optimizer {}", grouped(4 * total), grouped(average), grouped(optimizer));
    print_memory(&memory);
    Ok(ExitCode::SUCCESS)
}

fn print_settings(config: &Config, checkpoint: &Checkpoint) {
    let facts = &checkpoint.facts;
    let steps = count(config.steps as usize, "step");
    say!("model {} on {} after {} of {steps}", config.model.name(), config.data, checkpoint.step);
    say!("data: {} {} of shape {:?}", facts.samples, facts.kind.samples(), facts.shape);
    if let Some(conditions) = facts.conditions.describe() {
        say!("conditions: {conditions}");
    }
    if !config.augment.is_none() {
        say!("augmentation: {}", config.augment);
    }
    let Config { task, optimizer, lr, schedule, prediction, seed, .. } = config;
    let trained_for = match &config.noise {
        Some(noise) => format!("removes the noise {noise}"),
        None => match config.objective {
            ObjectiveKind::Ddpm => format!("schedule {schedule}, predicts {prediction}"),
            kind => format!("objective {kind}, predicts {prediction}"),
        },
    };
    say!("settings: task {task}, {trained_for}, {optimizer}, lr {lr}, seed {seed}");
    say!("{}", used_weights(config));
}

/// Which weights are used for sampling and denoising.
fn used_weights(config: &Config) -> String {
    let used = match config.ema {
        0.0 => "the weights of the last step, as there is no moving average (ema = 0)".to_string(),
        decay => format!(
            "their moving average of decay {decay}, which starts with the initial weights and a decay of at most \
             (1 + k) / (10 + k) at step k"
        ),
    };
    let other = match config.ema_snapshot_every {
        0 => "",
        _ => "; --ema LENGTH uses a power-function average of that relative length, from the snapshots",
    };
    format!("weights for inference: {used}{other}")
}

fn print_memory(memory: &MemoryEstimate) {
    say!(
        "device memory to train, with all data on the device: {} bytes at the peak (data {}, parameters {}, gradients, moments and average {}, \
         activations {}, tables {}, validation {})",
        grouped(memory.total()),
        grouped(memory.data),
        grouped(memory.parameters),
        grouped(memory.optimizer),
        grouped(memory.activations),
        grouped(memory.tables),
        grouped(memory.validation)
    );
}

/// Reads a checkpoint from a file that the user named.
fn of_file(path: &Path) -> crate::Result<Checkpoint> {
    let start = fs::File::open(path).and_then(|file| {
        let mut start = Vec::new();
        file.take(9).read_to_end(&mut start).map(|_| start)
    });
    // A safetensors file starts with the length of its header, which is JSON.
    if start.is_ok_and(|start| start.get(8) != Some(&b'{')) && path.extension().is_none_or(|e| e != "safetensors") {
        let name = path.display();
        return Err(Error::Input(format!(
            "{name}: not a safetensors file; inspect takes a run folder or a safetensors file"
        )));
    }
    Checkpoint::load(path)
}

/// The weights in the order of the layers.
fn weights(checkpoint: &Checkpoint) -> crate::Result<Vec<&TensorData>> {
    let mut model = Graph::new();
    checkpoint.config.model.build(&mut model, &checkpoint.facts.shape)?;
    let mut weights: Vec<_> = checkpoint.tensors.iter().filter(|t| Checkpoint::is_weight(&t.name)).collect();
    weights.sort_by_key(|t| model.parameters().iter().position(|p| p.name == t.name));
    Ok(weights)
}

fn table<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone) {
    let wide = tensors.clone().map(|(name, _)| name.len()).max().unwrap_or(0).max(20);
    say!("{:<wide$} {:>18} {:>14}", "tensor", "shape", "numbers");
    let mut total = 0;
    for (name, shape) in tensors {
        let numbers = shape.iter().product();
        total += numbers;
        // A name is one line, whatever the file contains.
        let name = name.replace('\n', "\\u000a");
        say!("{name:<wide$} {:>18} {:>14}", format!("{shape:?}"), grouped(numbers));
    }
    say!("{:<wide$} {:>18} {:>14}", "total", "", grouped(total));
}

/// Whether a path is neither a run folder nor a safetensors file, but something that [`Dataset::load`] reads.
fn is_data(path: &Path) -> bool {
    if path.is_dir() {
        let run = ["config.toml", "checkpoint.safetensors"].iter().any(|name| path.join(name).exists());
        return !run && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    }
    match extension(path).as_str() {
        "safetensors" => false,
        "npy" | "npz" | "csv" | "tsv" | "wav" | "gz" | "tar" => true,
        // Built-in data, or a part of a file.
        _ if !path.exists() => {
            let text = path.to_string_lossy();
            TOYS.contains(&&*text) || text.contains(['[', ':', '*', '?'])
        }
        _ => header_of(path).is_ok_and(|header| header.is_none()),
    }
}

/// Describes data.
fn data(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let seed = args.common.seed.unwrap_or(0);
    show_reading(args.common.json);
    // What does not fit in memory is described by a part of the samples, and by what is measured for all.
    let place = args.data_from.unwrap_or(Place::Auto);
    let options = ReadOptions { place: Some(place), ..args.read.options() };
    let data = Dataset::load_with(&args.run.to_string_lossy(), seed, &options)?;
    let description = data.describe();
    if args.common.json {
        say!("{}", serde_json::to_value(&description)?);
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", shown(&description));
    say!("element type: {}", if description.element.is_empty() { "float32" } else { &description.element });
    print_columns(&description);
    for outlier in &description.outliers {
        let column = outlier.column.as_ref().map(|column| format!(", {column}")).unwrap_or_default();
        let (value, distance) = (short(outlier.value), short(outlier.distance));
        say!("outlier: sample {} (counted from 0){column}: {value}, {distance} ranges from the median", outlier.sample);
    }
    if data.values.stored().is_some() {
        say!(
            "outliers are among some samples, evenly spaced, and the smallest and largest values; the other figures are those of all samples"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what the values of each column or channel are.
fn print_columns(description: &Description) {
    let what = match description.kind {
        Kind::Table => "column",
        Kind::Points => "coordinate",
        Kind::Images => "pixels",
        _ => "channel",
    };
    say!("{what:<24} {:>14} {:>14} {:>14} {:>14}", "min", "max", "mean", "std");
    for (i, column) in description.columns.iter().enumerate() {
        let name: String = match &column.name {
            Some(name) => name.chars().filter(|c| !c.is_control()).collect(),
            None if description.columns.len() == 1 => "all".into(),
            None => (i + 1).to_string(),
        };
        let ColumnSummary { min, max, mean, std, whole, offset, .. } = column;
        // Large offsets need all digits.
        let number = |value: f64| match *offset {
            0.0 => short(value),
            offset => exact(shortest_sum((value - offset) as f32, offset)),
        };
        let whole = if *whole { "  whole numbers" } else { "" };
        // The mean has the digits that its spread gives sense to.
        let digits = (4.0 - std.max(f64::MIN_POSITIVE).log10().floor()).clamp(0.0, 12.0) as usize;
        let mean = if *offset == 0.0 { short(*mean) } else { format!("{mean:.digits$}") };
        let numbers = [number(*min), number(*max), mean];
        say!("{name:<24} {:>14} {:>14} {:>14} {:>14}{whole}", numbers[0], numbers[1], numbers[2], short(*std));
    }
}

/// The most bytes of the header of a safetensors file, as in its reader.
const MOST_HEADER: u64 = 100_000_000;

/// The header of a safetensors file; `None` for a file of another format, of which only the first bytes are read.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read.
fn header_of(path: &Path) -> crate::Result<Option<Metadata>> {
    let unreadable = |cause| Error::io("cannot read", path, cause);
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut start = [0; 8];
    if size < 8 {
        return Ok(None);
    }
    file.read_exact(&mut start).map_err(unreadable)?;
    let len = u64::from_le_bytes(start);
    if len > MOST_HEADER.min(size - 8) {
        return Ok(None);
    }
    let mut text = vec![0; len as usize];
    file.read_exact(&mut text).map_err(unreadable)?;
    let header: Option<Metadata> = serde_json::from_slice(&text).ok();
    Ok(header.filter(|header| 8 + len + header.data_len() as u64 == size))
}

/// Whether this is a safetensors file without the metadata of a checkpoint.
fn is_foreign(path: &Path) -> bool {
    let header = header_of(path).ok().flatten();
    header.is_some_and(|header| header.metadata().as_ref().is_none_or(|m| !m.contains_key("langevin")))
}

fn foreign(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let header = header_of(&args.run)?.context("not a safetensors file")?;
    let bytes = fs::metadata(&args.run).map_err(|e| Error::io("cannot read", &args.run, e))?.len() as usize;
    let tensors = header.offset_keys().into_iter().filter_map(|name| Some((header.info(&name)?, name)));
    let tensors: Vec<_> = tensors.collect();
    if args.common.json {
        let list: Vec<_> = tensors.iter().map(|(t, name)| json!({"name": name, "shape": t.shape})).collect();
        say!("{}", json!({"tensors": list, "bytes": bytes}));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}: a safetensors file of another program, {} bytes", args.run.display(), grouped(bytes));
    table(tensors.iter().map(|(t, name)| (name.as_str(), t.shape.as_slice())));
    Ok(ExitCode::SUCCESS)
}
