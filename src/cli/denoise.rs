//! `langevin denoise`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::Error;
use crate::data::{self, Dataset};
use crate::diffusion::{Sampler, SamplerSettings, sampler};
use crate::evaluate::{check_pairs, compare_denoised, range_of};
use crate::inference::{Denoising, DenoisingStart, denoise_in_parts};
use crate::plot::{self, EvenlySpaced, Output, Scale, evenly_spaced};
use crate::text::{count, short};
use crate::train::{RunFolder, Task};
use clap::Args;
use serde_json::json;

use super::interrupt::stop_flag;
use super::noise::comparison_path;
use super::progress::Meter;
use super::{Common, real, samples, whole};

/// Remove noise from data with a trained model
///
/// A denoiser (train --task denoise) does it in one pass. A diffusion model starts its reverse process at the diffusion
/// step with the noise level of the data, which is set by --noise-level or estimated: for images by the method of
/// Immerkaer (1996), the mean of |I * L| with the difference L of two Laplacians; for signals by the median of the
/// absolute second differences, scaled to a standard deviation.
#[derive(Args)]
pub struct DenoiseArgs {
    /// Run folder
    run: PathBuf,
    /// Noisy data with the shape of the training data
    noisy: String,
    /// Output: .npy, .csv, .png or .svg. Noisy and denoised samples are also drawn to F-compare.svg
    #[arg(long, value_name = "F")]
    out: PathBuf,
    /// The same data without noise: print the PSNR of noisy, denoised and filtered data, and draw them too
    #[arg(long, value_name = "CLEAN")]
    compare: Option<String>,
    /// Standard deviation of the noise in the units of the data, for a diffusion model [default: estimated]
    #[arg(long, value_parser = real, allow_negative_numbers = true)]
    noise_level: Option<f64>,
    /// Steps of the reverse process of a diffusion model; 1 uses its estimate of the clean data [default: 1]
    #[arg(long, value_parser = whole::<usize>, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Sampler of these steps: ddim or ddpm [default: ddim]
    #[arg(long, value_name = "NAME")]
    sampler: Option<String>,
    /// Use the state with the lowest validation loss, see train --keep-best
    #[arg(long)]
    best: bool,
    #[command(flatten)]
    pub common: Common,
}

/// The number of samples in the picture.
const SHOWN: usize = 36;

pub fn run(args: &DenoiseArgs) -> anyhow::Result<ExitCode> {
    plot::check_output(&args.out)?;
    let picture = comparison_path(&args.out)?;
    let folder = RunFolder::open(&args.run)?;
    let checkpoint = if args.best { folder.best() } else { folder.checkpoint() }?;
    for read in [Some(&args.noisy), args.compare.as_ref(), Some(&checkpoint.config.data)].into_iter().flatten() {
        data::check_apart(&args.out, read)?;
    }
    let alien = args.noise_level.is_some() || args.steps.is_some() || args.sampler.is_some();
    if checkpoint.config.task == Task::Denoise && alien {
        let text = "--noise-level, --steps and --sampler need a diffusion model; this run is a denoiser";
        return Err(Error::Setting(text.into()).into());
    }
    let named = |name: &String| sampler(name, SamplerSettings::default());
    let chosen = args.sampler.as_ref().map(named).transpose()?;
    let seed = args.common.seed.unwrap_or(0);
    let noisy = Dataset::load(&args.noisy, seed)?;
    let clean = args.compare.as_ref().map(|clean| pair(&noisy, clean, seed)).transpose()?;
    let mut out = Output::create(&args.out, &noisy.shape, noisy.len())?;
    let device = args.common.open()?;
    let default = Denoising::default();
    let steps = args.steps.unwrap_or(default.steps);
    let how = Denoising { level: args.noise_level, steps, sampler: chosen.unwrap_or(default.sampler), seed };
    let (facts, stopped) = (&checkpoint.facts, stop_flag()?);
    let mut meter = Meter::new("denoising", args.common.json);
    let mut observe = |progress| {
        meter.show(progress);
        !stopped.load(Ordering::Relaxed)
    };
    // A comparison looks at all samples, the picture at some.
    let (mut all, mut shown) = (Vec::new(), EvenlySpaced::of(&noisy, SHOWN));
    let mut take = |part: &[f32]| {
        if clean.is_some() {
            all.extend_from_slice(part);
        }
        shown.take(part);
        out.write(part)
    };
    let start = denoise_in_parts(&device, &checkpoint, &noisy, &how, &mut observe, &mut take)?;
    drop(meter);
    let report = match &clean {
        Some(clean) => Some(compare_denoised(&noisy, &Dataset::new("denoised", noisy.shape.clone(), all)?, clean)?),
        None => None,
    };
    let shown = shown.values();
    let scale = match &clean {
        Some(clean) => Scale::of(clean.kind(), &clean.shape, &clean.values),
        None => Scale::of_data(facts.kind, &facts.shape, &facts.range, &shown),
    };
    let held = out.finish(|_| scale.clone())?;
    let [noisy_shown, clean_shown] = [Some(&noisy), clean.as_ref()].map(|set| set.map(|set| evenly_spaced(set, SHOWN)));
    let sets = [("noisy", noisy_shown), ("denoised", Some(shown)), ("clean", clean_shown)];
    let sets: Vec<_> = sets.iter().filter_map(|(title, values)| Some((*title, &values.as_ref()?[..]))).collect();
    plot::side_by_side(&picture, noisy.kind(), &noisy.shape, &sets, &scale)?;
    if args.common.json {
        let shape = [&[noisy.len()], &noisy.shape[..]].concat();
        say!(
            "{}",
            json!({"out": args.out, "held": held, "picture": picture, "shape": shape, "start": start,
                   "compare": report, "device": device.name()})
        );
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(start) = start {
        say!("{}", describe(start, steps, &*how.sampler));
    }
    say!("{}: {}", samples(held, noisy.len(), &noisy.shape), args.out.display());
    if let Some(report) = report {
        say!("{report}");
    }
    let drawn = if clean.is_some() { "noisy, denoised and clean" } else { "noisy and denoised" };
    say!("{drawn} side by side: {}", picture.display());
    Ok(ExitCode::SUCCESS)
}

/// Loads the clean samples and checks that they match the noisy ones.
fn pair(noisy: &Dataset, clean: &str, seed: u64) -> crate::Result<Dataset> {
    let clean = Dataset::load(clean, seed)?;
    check_pairs(noisy, &clean)?;
    range_of(&clean)?;
    Ok(clean)
}

/// Describes the reverse process of a diffusion model with `requested` steps.
fn describe(start: DenoisingStart, requested: usize, sampler: &dyn Sampler) -> String {
    let DenoisingStart { level, estimated, t, steps } = start;
    let how = if estimated { "estimated" } else { "given" };
    let less = if steps < requested { format!(" ({requested} were requested)") } else { String::new() };
    let steps = count(steps, "step");
    format!("noise level {} ({how}): the reverse process starts at t = {t}, {steps}{less} of {sampler}", short(level))
}
