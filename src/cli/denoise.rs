//! `langevin denoise`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use langevin::data::{self, Dataset};
use langevin::denoise::{Denoising, Start, denoise};
use langevin::diffusion::Sampler;
use langevin::evaluate::compare_denoised;
use langevin::noise::spread;
use langevin::train::{RunFolder, Task};
use langevin::{Error, plot};
use serde_json::json;

use super::noise::beside;
use super::{Common, real, whole};

/// Take noise out of data with a trained model
///
/// A run of `train --task denoise` does it in one pass. A diffusion run starts its reverse process at the step whose noise
/// has the level of the data's: the one given by --noise-level, else an estimate. Of images that is Immerkaer's (1996),
/// the mean of |I * L| with L the difference of two Laplacians; of signals the median of the absolute second differences,
/// scaled to a standard deviation.
#[derive(Args)]
pub struct DenoiseArgs {
    /// A run folder
    run: PathBuf,
    /// Noisy data, of the shape the run was trained on
    noisy: String,
    /// .npy, .csv, .png or .svg
    #[arg(long)]
    out: PathBuf,
    /// The same data without noise: print the PSNR of noisy, denoised and filtered data
    #[arg(long, value_name = "CLEAN")]
    compare: Option<String>,
    /// Standard deviation of the noise in the units of the data, for a diffusion run [default: estimated]
    #[arg(long, value_parser = real, allow_negative_numbers = true)]
    noise_level: Option<f64>,
    /// Steps of a diffusion run's reverse process from there; 1 takes its estimate of the clean data [default: 1]
    #[arg(long, value_parser = whole::<usize>, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Sampler of these steps: ddim or ddpm [default: ddim]
    #[arg(long)]
    sampler: Option<Sampler>,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &DenoiseArgs) -> anyhow::Result<ExitCode> {
    data::check_output(&args.out)?;
    let picture = beside(&args.out);
    data::check_output(&picture)?;
    let seed = args.common.seed.unwrap_or(0);
    let checkpoint = RunFolder::open(&args.run)?.checkpoint()?;
    let alien = args.noise_level.is_some() || args.steps.is_some() || args.sampler.is_some();
    if checkpoint.config.task == Task::Denoise && alien {
        let text = "--noise-level, --steps and --sampler belong to a diffusion run; this run denoises in one pass";
        return Err(Error::Setting(text.into()).into());
    }
    let noisy = Dataset::load(&args.noisy, seed)?;
    let clean = args.compare.as_ref().map(|clean| Dataset::load(clean, seed)).transpose()?;
    let device = args.common.open()?;
    let default = Denoising::default();
    let (steps, sampler) = (args.steps.unwrap_or(default.steps), args.sampler.unwrap_or(default.sampler));
    let (denoised, start) =
        denoise(&device, &checkpoint, &noisy, &Denoising { level: args.noise_level, steps, sampler, seed })?;
    data::save(&args.out, &denoised.shape, &denoised.values)?;
    let (left, right) = (spread(&noisy, 36), spread(&denoised, 36));
    plot::side_by_side(&picture, noisy.kind(), &noisy.shape, [("noisy", &left), ("denoised", &right)])?;
    let report = clean.map(|clean| compare_denoised(&noisy, &denoised, &clean)).transpose()?;
    if args.common.json {
        let shape: Vec<usize> = std::iter::once(denoised.len()).chain(denoised.shape.iter().copied()).collect();
        say!(
            "{}",
            json!({"out": args.out, "picture": picture, "shape": shape, "start": start, "compare": report,
                   "device": device.name()})
        );
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Start { level, estimated, t }) = start {
        let how = if estimated { "estimated" } else { "given" };
        say!("noise level {level:.4} ({how}): the reverse process starts at t = {t}, {steps} steps of {sampler}");
    }
    say!("{} samples of shape {:?}: {}", denoised.len(), denoised.shape, args.out.display());
    if let Some(report) = report {
        say!("{report}");
    }
    say!("noisy and denoised side by side: {}", picture.display());
    Ok(ExitCode::SUCCESS)
}
