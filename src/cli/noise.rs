//! `langevin noise`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Error;
use crate::data::Join;
use crate::data::corrupt::{Extent, NoiseKind, add_noise};
use crate::data::{self, Normalisation};
use crate::diffusion::Schedule;
use crate::evaluate::decibels;
use crate::generate::forward_process;
use crate::plot::{self, Scale, evenly_spaced};
use crate::text::{exact, short};
use crate::train::ScheduleKind;
use clap::Args;
use serde_json::json;

use super::reading::DataKindArgs;
use super::recording::SamplesOrRecording;
use super::{Common, local, real, whole};

/// The maximum number of pictures in a film strip, and the number of samples in it.
const MOST_FRAMES: usize = 64;
const SHOWN: usize = 4;
/// The number of diffusion steps of a film strip.
const PROCESS: usize = 1_000;

/// Add noise to data, or draw the forward diffusion process
///
/// The strength follows the kind after a colon, or is set by --strength:
///
///   gaussian:S       x + N(0, S^2), S in the units of the data
///
///   uniform:W        x + v, v uniform in +-W, in the units of the data
///
///   speckle:S        x + S x z, z ~ N(0, 1): the noise is proportional to the value
///
///   salt_pepper:A    a fraction A of the values becomes the smallest or largest value of the data; salt_pepper:A:R
///                    makes a fraction R of these the largest (default: 0.5)
///
///   poisson:P        shot noise: counts of a Poisson process with mean P at white. White is 1 for data in [0, 1],
///                    otherwise the largest value; black is 0, or the smallest value of data with negative values
///
///   jpeg:Q           compression of images: 8x8 cosine transform, quantised with quality Q (1 to 100), of RGB images as
///                    luminance and chrominance with 4:2:0 subsampling; jpeg:Q:444 with the full resolution of colours
///
/// Some texts call salt-and-pepper noise shot noise; here, shot noise is poisson.
#[derive(Args)]
pub struct NoiseArgs {
    /// A .npy, .npz, .csv, .tsv, IDX or .wav file, a .tar file of images, several as a pattern such as "part-*.npy", a folder of
    /// images, sounds or .npy files, or sine, ecg, moons, circles, swissroll or coastline
    data: String,
    /// Kind of noise, optionally with its strength as KIND:STRENGTH
    #[arg(long, required_unless_present = "steps", conflicts_with = "steps")]
    kind: Option<String>,
    /// Strength of the noise, if --kind does not contain it
    #[arg(long, value_parser = real, allow_negative_numbers = true, conflicts_with = "steps")]
    strength: Option<f64>,
    /// Draw the forward diffusion process of some samples as a film strip of N + 1 pictures (.png or .svg)
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Noise schedule of the film strip: linear, scaled_linear, cosine, sigmoid, sigmoid_alphabar, linear_scaled_T
    /// [default: linear]
    #[arg(long, conflicts_with = "kind")]
    schedule: Option<ScheduleKind>,
    /// Output: .npy, .csv, .png or .svg, or .wav for audio. With --kind, clean and noisy samples are also drawn to F-compare.svg
    #[arg(long, value_name = "F", value_parser = local())]
    out: PathBuf,
    #[command(flatten)]
    read: DataKindArgs,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &NoiseArgs) -> anyhow::Result<ExitCode> {
    match args.steps {
        Some(_) => plot::check_output(&args.out)?,
        None => plot::check_recording_output(&args.out)?,
    }
    data::check_apart("--out", &args.out, &args.data)?;
    match args.steps {
        Some(n) => strip(args, n),
        None => noisy(args, kind(args)?),
    }
}

/// Combines `--kind` and `--strength`.
fn kind(args: &NoiseArgs) -> crate::Result<NoiseKind> {
    let text = args.kind.clone().unwrap_or_default();
    match (args.strength, text.split_once(':')) {
        (None, _) => text.parse(),
        (Some(strength), None) => format!("{text}:{}", exact(strength)).parse(),
        (Some(strength), Some((name, _))) => {
            let strength = exact(strength);
            Err(Error::Setting(format!(
                "--kind {text} with --strength {strength}: set the strength only once, as --kind {text} or as --kind {name} \
                 --strength {strength}"
            )))
        }
    }
}

fn noisy(args: &NoiseArgs, kind: NoiseKind) -> anyhow::Result<ExitCode> {
    let picture = comparison_path(&args.out)?;
    let seed = args.common.seed.unwrap_or(0);
    let clean = args.read.load_whole(&args.data, seed, args.common.json)?;
    // Noise is not rounded to whole numbers or categories.
    let columns = clean.columns.without_rounding();
    let mut out = SamplesOrRecording::create(&args.out, &clean, &columns)?;
    let device = args.common.open()?;
    let noisy = add_noise(&device, &clean, kind, seed)?;
    let scale = Scale::of(clean.kind(), &clean.shape, &clean.values).labelled(&clean.columns);
    out.write(&noisy.values)?;
    // The noise of windows that overlap is not averaged.
    let written = out.finish(Join::First, &scale)?;
    let (title, left, right) = (kind.to_string(), evenly_spaced(&clean, 36), evenly_spaced(&noisy, 36));
    plot::side_by_side(&picture, clean.kind(), &clean.shape, &[("clean", &left), (&title, &right)], &scale)?;
    let extent = Extent::of(&clean.values);
    let range = extent.high - extent.low;
    // PSNR is not defined for constant data.
    let psnr = crate::evaluate::psnr(&noisy.values, &clean.values, range).ok();
    if args.common.json {
        let (kind, device) = (kind.to_string(), device.name());
        say!(
            "{}",
            json!({"out": args.out, "held": written.held, "picture": picture, "kind": kind, "shape": written.shape, "psnr": psnr,
                   "data": clean.describe(), "device": device})
        );
        return Ok(ExitCode::SUCCESS);
    }
    say!("{kind}: {}", kind.describe(&clean.shape, extent));
    if matches!(kind, NoiseKind::SaltPepper { .. } | NoiseKind::Poisson(_)) {
        say!("(some texts call salt_pepper shot noise; here, shot noise is poisson)");
    }
    let psnr = psnr.map(|psnr| format!(", PSNR {} (range {})", decibels(psnr), short(range))).unwrap_or_default();
    say!("{}{psnr}: {}", written.text, args.out.display());
    say!("clean and noisy side by side: {}", picture.display());
    Ok(ExitCode::SUCCESS)
}

/// The path of the comparison picture: `F-compare.svg` next to the output F. The user did not choose this name, so only a
/// picture of this kind is overwritten.
pub fn comparison_path(out: &Path) -> crate::Result<PathBuf> {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let picture = out.with_file_name(format!("{stem}-compare.svg"));
    plot::check_output(&picture)?;
    if picture.exists() && !plot::is_side_by_side(&picture) {
        let (picture, out) = (picture.display(), out.display());
        return Err(Error::Setting(format!(
            "{picture}: the comparison picture of --out {out} would overwrite another file of this name; move it, or choose \
             another --out"
        )));
    }
    Ok(picture)
}

fn strip(args: &NoiseArgs, n: usize) -> anyhow::Result<ExitCode> {
    if n == 0 || n > MOST_FRAMES {
        return Err(Error::Setting(format!("--steps {n}; use 1 to {MOST_FRAMES}")).into());
    }
    if !["png", "svg"].iter().any(|e| args.out.extension().is_some_and(|ext| ext.eq_ignore_ascii_case(e))) {
        let text = format!("{}: a film strip must be a .png or .svg", args.out.display());
        return Err(Error::Setting(text).into());
    }
    let kind = args.schedule.unwrap_or_default();
    let schedule = Schedule::named(kind.name(), PROCESS)?;
    let seed = args.common.seed.unwrap_or(0);
    let data = args.read.load(&args.data, seed, args.common.json)?;
    let normalisation = Normalisation::standard(&data)?;
    let device = args.common.open()?;
    let shown = evenly_spaced(&data, SHOWN);
    let mut frames = forward_process(&device, &normalisation.apply(&shown), &schedule, n, seed)?;
    for frame in &mut frames {
        frame.values = normalisation.undo(&frame.values);
    }
    frames[0].values = shown; // without rounding errors
    let moments: Vec<_> = frames.iter().map(|f| (format!("t = {}", f.steps), &f.values[..])).collect();
    let columns = plot::film_strip(&args.out, data.kind(), &data.shape, &moments)?;
    let steps: Vec<usize> = frames.iter().map(|f| f.steps).collect();
    if args.common.json {
        say!("{}", json!({"out": args.out, "steps": steps, "schedule": kind, "device": device.name()}));
        return Ok(ExitCode::SUCCESS);
    }
    say!("forward process: x_t = sqrt(1 - beta_t) x_(t-1) + z_t, z_t ~ N(0, beta_t), on normalised data");
    say!("noise schedule: {schedule}");
    let rows = if columns < frames.len() { format!(", {columns} per row") } else { String::new() };
    say!("film strip of {} pictures from t = 0 to {PROCESS}{rows}: {}", frames.len(), args.out.display());
    say!("t = {}", steps.iter().map(usize::to_string).collect::<Vec<_>>().join(", "));
    Ok(ExitCode::SUCCESS)
}
