//! `langevin import`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::Error;
use crate::export::{Source, import};
use crate::io::quoted;
use crate::text::grouped;
use crate::train::{RunFolder, Task};
use clap::Args;
use serde_json::json;

use super::{Common, local};

/// Store weights that were trained in PyTorch as a run
///
/// The weights are those of an export of `langevin export --pytorch`, changed by further training, or a state dict of its
/// network. The new run has the settings of the exported one. It can be used with sample, denoise, complete and train --init,
/// but not be resumed, because it has no state of the optimizer.
#[derive(Args)]
pub struct ImportArgs {
    /// Folder of an export, or a safetensors file with a state dict
    #[arg(value_name = "DIR|FILE")]
    source: PathBuf,
    /// A run with the same network, whose settings are used, for a safetensors file
    #[arg(long, value_name = "RUN")]
    like: Option<PathBuf>,
    /// Folder of the new run
    #[arg(long, value_name = "RUN", value_parser = local())]
    out: PathBuf,
    #[command(flatten)]
    pub common: Common,
}

/// Where the weights and the settings are read from.
fn source(args: &ImportArgs) -> crate::Result<Source> {
    let name = args.source.display();
    match (args.source.is_dir(), &args.like) {
        (true, None) => Ok(Source::Folder(args.source.clone())),
        (true, Some(_)) => Err(Error::Setting(format!(
            "--like is for a safetensors file, but {name} is a folder, which has its own settings; omit --like, or name the file \
             in it"
        ))),
        (false, Some(like)) => Ok(Source::File(args.source.clone(), Box::new(RunFolder::open(like)?.checkpoint()?))),
        (false, None) if args.source.exists() => Err(Error::Setting(format!(
            "{name} has only weights; name the folder of the export that it is in, or a run with the same network: --like RUN"
        ))),
        (false, None) => Err(Error::Input(format!("{name} does not exist; check the spelling and the current folder"))),
    }
}

pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.common.device {
        // No device is used, but a wrong name is a mistake.
        crate::Device::named(name)?;
    }
    if RunFolder::open(&args.out).is_ok() {
        let text = format!("{} already contains a run; choose a new folder for --out", args.out.display());
        return Err(Error::Setting(text).into());
    }
    let folder = RunFolder::vacant(&args.out)?;
    let checkpoint = import(&source(args)?)?;
    folder.store(&checkpoint)?;
    let parameters: usize = checkpoint.tensors.iter().map(|t| t.values.len()).sum();
    if args.common.json {
        say!("{}", json!({"out": args.out, "step": checkpoint.step, "parameters": parameters}));
        return Ok(ExitCode::SUCCESS);
    }
    let (model, out) = (checkpoint.config.model.name(), args.out.to_string_lossy());
    say!("{model} with {} parameters: {out}", grouped(parameters));
    match checkpoint.config.task {
        Task::Denoise => say!("remove noise: langevin denoise {} NOISY --out denoised.npy", quoted(&out)),
        _ => say!("draw samples: langevin sample {} --out samples.npy", quoted(&out)),
    }
    Ok(ExitCode::SUCCESS)
}
