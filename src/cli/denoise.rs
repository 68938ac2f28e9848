//! `langevin denoise`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::Error;
use crate::data::{self, Columns, Dataset, Join, ReadOptions};
use crate::diffusion::{Sampler, SamplerSettings, sampler};
use crate::evaluate::{check_pairs, compare_denoised, range_of};
use crate::inference::{Denoising, DenoisingStart, denoise_in_parts};
use crate::plot::{self, EvenlySpaced, Scale, evenly_spaced};
use crate::text::{count, short};
use crate::train::{Checkpoint, Facts, RunFolder, Task};
use clap::Args;
use serde_json::json;

use super::interrupt::stop_flag;
use super::noise::comparison_path;
use super::progress::Meter;
use super::reading::{ReadArgs, describe as describe_data, refuse_gaps};
use super::recording::SamplesOrRecording;
use super::weights::{WeightArgs, Weights};
use super::{Common, local, real, whole};

/// Remove noise from data with a trained model
///
/// A denoiser (train --task denoise) does it in one pass. A diffusion model starts its reverse process at the diffusion
/// step with the noise level of the data, which is set by --noise-level or estimated: for images by the method of
/// Immerkaer (1996), the mean of |I * L| with the difference L of two Laplacians; for signals by the median of the
/// absolute second differences, scaled to a standard deviation.
///
/// A recording is denoised in windows that overlap by half (or as --hop says), and written as a recording of the same
/// length.
#[derive(Args)]
pub struct DenoiseArgs {
    /// Run folder
    run: PathBuf,
    /// Noisy data with the shape of the training data
    noisy: String,
    /// Output: .npy, .csv, .png or .svg, or .wav for audio. Noisy and denoised samples are also drawn to F-compare.svg
    #[arg(long, value_name = "F", value_parser = local())]
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
    /// Sampler of these steps, see langevin sample --help [default: ddim]
    #[arg(long, value_name = "NAME")]
    sampler: Option<String>,
    #[command(flatten)]
    weights: WeightArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    pub common: Common,
}

/// The number of samples in the picture.
const SHOWN: usize = 36;

pub fn run(args: &DenoiseArgs) -> anyhow::Result<ExitCode> {
    plot::check_recording_output(&args.out)?;
    let picture = comparison_path(&args.out)?;
    let folder = RunFolder::open(&args.run)?;
    let Weights { checkpoint, average } = args.weights.of(&folder)?;
    for read in [Some(&args.noisy), args.compare.as_ref(), Some(&checkpoint.config.data)].into_iter().flatten() {
        data::check_apart("--out", &args.out, read)?;
    }
    let how = settings(args, checkpoint.config.task)?;
    let (noisy, clean) = read(args, &checkpoint, how.seed)?;
    // Numbers are not rounded, because the result is an estimate.
    let columns = Columns { whole: Vec::new(), ..noisy.columns.clone() };
    let mut out = SamplesOrRecording::create(&args.out, &noisy, &columns)?;
    let device = args.common.open()?;
    let stopped = stop_flag()?;
    let mut meter = Meter::new("denoising", args.common.json);
    let mut observe = |completion| {
        meter.show(completion);
        !stopped.load(Ordering::Relaxed)
    };
    // A comparison needs all samples, the picture only some.
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
    let shown = shown.values();
    let scale = scale_of(&checkpoint.facts, clean.as_ref(), &shown).labelled(&noisy.columns);
    let written = out.finish(Join::Blend, &scale)?;
    let compared = match &clean {
        Some(clean) => {
            let denoised = noisy.with_values("denoised", written.windows.unwrap_or(all))?;
            Some(compare_denoised(&noisy, &denoised, clean)?)
        }
        None => None,
    };
    draw(&picture, &noisy, &shown, clean.as_ref(), &scale)?;
    if args.common.json {
        say!(
            "{}",
            json!({"out": args.out, "held": written.held, "picture": picture, "shape": written.shape, "start": start,
                   "compare": compared, "device": device.name(), "weights": average})
        );
        return Ok(ExitCode::SUCCESS);
    }
    average.iter().for_each(|average| say!("{average}"));
    if let Some(start) = &start {
        say!("{}", describe(start, &noisy, how.steps, &*how.sampler));
        uneven(start, &checkpoint.facts.normalisation.scale).iter().for_each(|warning| say!("{warning}"));
    }
    say!("{}: {}", written.text, args.out.display());
    compared.iter().for_each(|compared| say!("{compared}"));
    let drawn = if clean.is_some() { "noisy, denoised and clean" } else { "noisy and denoised" };
    say!("{drawn} side by side: {}", picture.display());
    Ok(ExitCode::SUCCESS)
}

/// Reads the noisy samples, as the data of the run were read, and the clean ones.
fn read(args: &DenoiseArgs, checkpoint: &Checkpoint, seed: u64) -> crate::Result<(Dataset, Option<Dataset>)> {
    let options = checkpoint.config.read.overridden_by(&args.read.options());
    refuse_gaps(&options)?;
    let noisy = Dataset::load_for(&args.noisy, seed, &options, checkpoint.facts.layout(), true)?;
    if !args.common.json {
        describe_data(&noisy);
    }
    other_units(&noisy, &checkpoint.facts).iter().for_each(|warning| log::warn!("{warning}"));
    let clean = args.compare.as_ref().map(|clean| pair(&noisy, clean, seed, &options)).transpose()?;
    Ok((noisy, clean))
}

/// The scale of the pictures: that of the clean samples, or else of the data of the run.
fn scale_of(facts: &Facts, clean: Option<&Dataset>, shown: &[f32]) -> Scale {
    match clean {
        Some(clean) => Scale::of(clean.kind(), &clean.shape, &clean.values),
        None => Scale::of_data(facts.kind, &facts.shape, &facts.range, shown),
    }
}

/// The distance of the mean of the data from that of the run, and the ratio of their ranges, from which on they are thought
/// to have other units.
const FAR: f64 = 5.0;
const WIDER: f64 = 20.0;

/// Warnings about data that are not like those of the run: other units, or another sample rate.
pub(super) fn other_units(noisy: &Dataset, facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if let (Some(rate), Some(trained)) = (noisy.sample_rate(), facts.sample_rate)
        && rate != trained
    {
        warnings.push(format!(
            "{}: {rate} Hz, but the run was trained on audio of {trained} Hz, so that all frequencies differ; resample it first",
            noisy.name
        ));
    }
    let groups = noisy.grouping();
    for (group, &[low, high]) in facts.range.iter().enumerate().filter(|_| facts.range.len() == groups.count) {
        let values = || groups.values(group, &noisy.values).filter(|value| !value.is_nan()).map(f64::from);
        let n = values().count() as f64;
        if n == 0.0 {
            continue;
        }
        let mean = values().sum::<f64>() / n;
        let deviation = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (middle, width) = ((f64::from(low) + f64::from(high)) / 2.0, f64::from(high) - f64::from(low));
        // A deviation is about a quarter of a range.
        if width > 0.0
            && ((mean - middle).abs() > FAR * width
                || deviation > WIDER * width / 4.0
                || 4.0 * WIDER * deviation < width)
        {
            let offset = noisy.columns.offset_of(group);
            let column = if groups.count > 1 {
                format!(", {}", noisy.columns.title(noisy.kind(), group))
            } else {
                String::new()
            };
            warnings.push(format!(
                "{}{column}: the mean is {} and the standard deviation {}, but the data of the run are between {} and {}; if they \
                 have other units, convert them first",
                noisy.name,
                short(mean + offset),
                short(deviation),
                short(f64::from(low) + offset),
                short(f64::from(high) + offset)
            ));
            break;
        }
    }
    warnings
}

/// The settings of the reverse process, which a denoiser does not have.
fn settings(args: &DenoiseArgs, task: Task) -> crate::Result<Denoising> {
    let for_diffusion = args.noise_level.is_some() || args.steps.is_some() || args.sampler.is_some();
    if task == Task::Denoise && for_diffusion {
        let text = "--noise-level, --steps and --sampler need a diffusion model; this run is a denoiser";
        return Err(Error::Setting(text.into()));
    }
    let default = Denoising::default();
    let sampler = match &args.sampler {
        Some(name) => sampler(name, SamplerSettings::default())?,
        None => default.sampler,
    };
    let steps = args.steps.unwrap_or(default.steps);
    Ok(Denoising { level: args.noise_level, steps, sampler, seed: args.common.seed.unwrap_or(0) })
}

/// Draws noisy, denoised and clean samples side by side. `denoised` contains only the samples to show.
fn draw(
    picture: &Path,
    noisy: &Dataset,
    denoised: &[f32],
    clean: Option<&Dataset>,
    scale: &Scale,
) -> crate::Result<()> {
    let (before, after) = (evenly_spaced(noisy, SHOWN), clean.map(|clean| evenly_spaced(clean, SHOWN)));
    let mut sets = vec![("noisy", &before[..]), ("denoised", denoised)];
    sets.extend(after.as_ref().map(|clean| ("clean", &clean[..])));
    plot::side_by_side(picture, noisy.kind(), &noisy.shape, &sets, scale)
}

/// Loads the clean samples and checks that they match the noisy ones.
fn pair(noisy: &Dataset, clean: &str, seed: u64, options: &ReadOptions) -> crate::Result<Dataset> {
    let clean = Dataset::load_like(clean, seed, options, noisy)?;
    check_pairs(noisy, &clean)?;
    range_of(&clean)?;
    Ok(clean)
}

/// Describes the reverse process of a diffusion model with `requested` steps.
fn describe(start: &DenoisingStart, noisy: &Dataset, requested: usize, sampler: &dyn Sampler) -> String {
    let DenoisingStart { levels, estimated, t, steps } = start;
    let how = if *estimated { "estimated" } else { "given" };
    let less = if *steps < requested { format!(" ({requested} were requested)") } else { String::new() };
    let (steps, many) = (count(*steps, "step"), levels.len() > 1);
    let of = |(channel, level): (usize, &f64)| match noisy.columns.names.get(channel) {
        Some(name) if many => format!("{name} {}", short(*level)),
        _ => short(*level),
    };
    let list = levels.iter().enumerate().map(of).collect::<Vec<_>>().join(", ");
    let what = if many { "noise levels of the channels" } else { "noise level" };
    format!("{what} {list} ({how}): the reverse process starts at t = {t}, {steps}{less} of {sampler}")
}

/// A warning if the noise levels of channels, relative to the scales of their values, differ by more than a factor of two:
/// the reverse process starts at one level.
fn uneven(start: &DenoisingStart, scales: &[f32]) -> Option<String> {
    // Runs of older versions have one scale for all channels.
    let each = start.levels.iter().zip(scales.iter().cycle());
    let relative: Vec<f64> = each.map(|(level, scale)| level / f64::from(*scale)).collect();
    let (low, high) = relative.iter().fold((f64::MAX, 0.0f64), |(low, high), r| (low.min(*r), high.max(*r)));
    (start.levels.len() > 1 && high > 2.0 * low).then(|| {
        format!(
            "warning: relative to the scale of each channel, the noise of the channels is between {} and {}; the reverse \
             process assumes the same for all, so it smooths some channels too much and others too little. Separate runs of \
             these channels avoid this",
            short(low),
            short(high)
        )
    })
}
