//! `langevin export`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::Error;
use crate::diffusion::{SamplerSettings, Spacing, sampler};
use crate::export::{OnnxModel, export_onnx, export_pytorch};
use crate::inference::{Guidance, SampleConditions, Sampling};
use crate::io::{check_path, extension, quoted};
use crate::train::{RunFolder, Task};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::weights::{WeightArgs, Weights};
use super::{Common, real, whole};

/// Write a trained model for other programs
///
/// --pytorch writes a folder with the network and its sampler in plain PyTorch, which does not need langevin: model.py,
/// model.safetensors, config.json and an example to check it with. `python DIR/model.py` checks it and draws samples.
/// pipeline.py loads it into diffusers. `langevin import` turns weights that were trained there into a run again.
///
/// --onnx writes the network for ONNX Runtime and other programs that read ONNX. With --sampler, the file contains the whole
/// reverse process, from noise to samples. Inputs and outputs are in the units of the data.
#[derive(Args)]
#[command(group(ArgGroup::new("format").args(["pytorch", "onnx"]).required(true).multiple(true)))]
pub struct ExportArgs {
    /// Run folder
    run: PathBuf,
    /// Folder of the model for PyTorch and diffusers
    #[arg(long, value_name = "DIR")]
    pytorch: Option<PathBuf>,
    /// File of the model for ONNX
    #[arg(long, value_name = "F.onnx")]
    onnx: Option<PathBuf>,
    /// Export the reverse process of a sampler without random noise: unipc, ddim, euler, heun or dpmpp_2m [without a name: unipc]
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = Sampling::SAMPLER, requires = "onnx")]
    sampler: Option<String>,
    /// Steps of the reverse process [default: by the sampler]
    #[arg(long, value_parser = whole::<usize>, allow_negative_numbers = true, requires = "sampler")]
    steps: Option<usize>,
    /// Noise levels of the steps, as for sample [default: by the sampler]
    #[arg(long, value_name = "NAME", requires = "sampler")]
    spacing: Option<Spacing>,
    /// Scale of guidance of a conditional model [default: 1]
    #[arg(long, value_name = "W", value_parser = real, allow_negative_numbers = true, requires = "sampler")]
    guidance: Option<f64>,
    /// Do not clip the estimates of the clean data to the range of the training data
    #[arg(long, requires = "sampler")]
    no_clip: bool,
    #[command(flatten)]
    weights: WeightArgs,
    #[command(flatten)]
    pub common: Common,
}

/// What the ONNX file computes.
fn onnx_model(args: &ExportArgs) -> crate::Result<OnnxModel> {
    let Some(name) = &args.sampler else { return Ok(OnnxModel::Denoiser) };
    if args.steps == Some(0) {
        return Err(Error::Setting("--steps 0; the reverse process needs at least one step".into()));
    }
    let default = Sampling::new(1);
    let guidance = Guidance::default().scale(args.guidance.unwrap_or(1.0));
    Ok(OnnxModel::Sampler(Sampling {
        sampler: sampler(name, SamplerSettings::default())?,
        steps: args.steps.unwrap_or(0),
        spacing: args.spacing,
        clip: !args.no_clip,
        conditions: SampleConditions::default().guidance(guidance),
        ..default
    }))
}

/// Checks the name of the ONNX file before the work.
fn check_onnx(args: &ExportArgs) -> crate::Result<()> {
    let Some(path) = &args.onnx else { return Ok(()) };
    if extension(path) != "onnx" {
        return Err(Error::Setting(format!("--onnx {}: the extension must be .onnx", path.display())));
    }
    check_path(path)
}

pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    check_onnx(args)?;
    let onnx = onnx_model(args)?;
    let folder = RunFolder::open(&args.run)?;
    let Weights { checkpoint, average } = args.weights.of(&folder)?;
    if !args.common.json {
        average.iter().for_each(|average| say!("{average}"));
    }
    let mut written = json!({"weights": average});
    if let Some(folder) = &args.pytorch {
        let device = args.common.open()?;
        let files = export_pytorch(&device, &checkpoint, folder)?;
        written["pytorch"] = json!({"folder": folder, "files": files, "device": device.name()});
        if !args.common.json {
            say!("{}: {}", folder.display(), files.join(", "));
            let what = if checkpoint.config.task == Task::Denoise { "check it" } else { "check it and draw samples" };
            say!("{what}: python {}", quoted(&folder.join("model.py").to_string_lossy()));
        }
    }
    if let Some(path) = &args.onnx {
        export_onnx(&checkpoint, &onnx, path)?;
        let what = match &onnx {
            OnnxModel::Denoiser => "the network".to_string(),
            OnnxModel::Sampler(sampling) => format!("the reverse process of {}", sampling.sampler),
        };
        written["onnx"] = json!({"file": path, "model": what});
        if !args.common.json {
            say!("{}: {what}", path.display());
        }
    }
    if args.common.json {
        say!("{written}");
    }
    Ok(ExitCode::SUCCESS)
}
