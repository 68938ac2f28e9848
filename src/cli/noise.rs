//! `langevin noise`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use langevin::data::{self, Dataset, Normalisation};
use langevin::diffusion::Schedule;
use langevin::noise::{Extent, NOISES, NoiseKind, add_noise, forward_process, spread};
use langevin::{Error, plot};
use serde_json::json;

use super::{Common, real, whole};

/// Pictures in a film strip, and the samples it shows.
const MOST_FRAMES: usize = 64;
const SHOWN: usize = 4;
/// Steps of the process that a film strip shows.
const PROCESS: usize = 1_000;

/// Add noise to data, or draw the forward diffusion process
///
/// Kinds, each with its strength after a colon or in --strength:
///
///   gaussian:S       x + N(0, S^2), S in the units of the data
///
///   uniform:W        x + v, v uniform in +-W, in the units of the data
///
///   speckle:S        x + S x z: the noise grows with the value
///
///   salt_pepper:A    a part A of the values becomes the data's smallest or largest value; salt_pepper:A:R makes R of
///                    these the largest (a half otherwise)
///
///   poisson:P        shot noise: counts of quanta, P on average at white. White is 1 for data in [0, 1], else the
///                    largest value; black is 0, or the smallest value of data that have negative ones
///
///   jpeg:Q           compression artefacts: the 8x8 cosine transform of images, quantised with quality Q (1 to 100)
///
/// The textbook's chapter equates shot noise with salt-and-pepper; both are offered, shot noise as the counts it is.
#[derive(Args)]
pub struct NoiseArgs {
    /// A .npy, .npz, .csv, .tsv, IDX or .wav file, a folder of images, or a toy: sine, moons, circles, swissroll
    data: String,
    /// gaussian, uniform, speckle, salt_pepper, poisson or jpeg, with or without :STRENGTH
    #[arg(long, required_unless_present = "steps", conflicts_with = "steps")]
    kind: Option<String>,
    /// The strength, where --kind does not state it
    #[arg(long, value_parser = real, allow_negative_numbers = true, requires = "kind")]
    strength: Option<f64>,
    /// Draw the forward diffusion process of a few samples as a film strip of N pictures after the first (.png or .svg)
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Noise schedule of the film strip: linear, scaled_linear, cosine, sigmoid, sigmoid_alphabar, linear_scaled_T
    #[arg(long, requires = "steps", default_value = "linear")]
    schedule: String,
    /// .npy, .csv, .png or .svg
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &NoiseArgs) -> anyhow::Result<ExitCode> {
    data::check_output(&args.out)?;
    match args.steps {
        Some(n) => strip(args, n),
        None => noisy(args, kind(args)?),
    }
}

/// `--kind` with the strength of `--strength`.
fn kind(args: &NoiseArgs) -> langevin::Result<NoiseKind> {
    let text = args.kind.clone().unwrap_or_default();
    match args.strength {
        None => text.parse(),
        Some(strength) if NOISES.contains(&text.as_str()) => format!("{text}:{strength}").parse(),
        Some(strength) => {
            let text =
                format!("--kind {text} with --strength {strength}; state the strength once: {}", NOISES.join(", "));
            Err(Error::Setting(text))
        }
    }
}

fn noisy(args: &NoiseArgs, kind: NoiseKind) -> anyhow::Result<ExitCode> {
    let picture = beside(&args.out);
    data::check_output(&picture)?;
    let seed = args.common.seed.unwrap_or(0);
    let clean = Dataset::load(&args.data, seed)?;
    let device = args.common.open()?;
    let noisy = add_noise(&device, &clean, kind, seed)?;
    data::save(&args.out, &noisy.shape, &noisy.values)?;
    let (left, right) = (spread(&clean, 36), spread(&noisy, 36));
    plot::side_by_side(&picture, clean.kind(), &clean.shape, [("clean", &left), (&kind.to_string(), &right)])?;
    let extent = Extent::of(&clean.values);
    let range = extent.high - extent.low;
    // Data without a range have no PSNR.
    let psnr = langevin::evaluate::psnr(&noisy.values, &clean.values, range).ok();
    if args.common.json {
        let shape: Vec<usize> = std::iter::once(noisy.len()).chain(noisy.shape.iter().copied()).collect();
        let (kind, device) = (kind.to_string(), device.name());
        say!(
            "{}",
            json!({"out": args.out, "picture": picture, "kind": kind, "shape": shape, "psnr": psnr, "device": device})
        );
        return Ok(ExitCode::SUCCESS);
    }
    say!("{kind}: {}", kind.describe(extent));
    if matches!(kind, NoiseKind::SaltPepper { .. } | NoiseKind::Poisson(_)) {
        say!("(the textbook's chapter equates shot noise with salt_pepper; shot noise as counts of quanta is poisson)");
    }
    let psnr = psnr.map(|psnr| format!(", PSNR {psnr:.2} dB (range {range})")).unwrap_or_default();
    say!("{} samples of shape {:?}{psnr}: {}", noisy.len(), noisy.shape, args.out.display());
    say!("clean and noisy side by side: {}", picture.display());
    Ok(ExitCode::SUCCESS)
}

/// The place of the picture of data before and after: `F-compare.svg` beside the output F.
pub fn beside(out: &Path) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-compare.svg"))
}

fn strip(args: &NoiseArgs, n: usize) -> anyhow::Result<ExitCode> {
    if n == 0 || n > MOST_FRAMES {
        return Err(Error::Setting(format!("--steps {n}; a film strip has 1 to {MOST_FRAMES} pictures")).into());
    }
    if !["png", "svg"].iter().any(|e| args.out.extension().is_some_and(|ext| ext.eq_ignore_ascii_case(e))) {
        let text = format!("{}: --steps draws a film strip, which is a .png or .svg", args.out.display());
        return Err(Error::Setting(text).into());
    }
    let schedule = Schedule::named(&args.schedule, PROCESS)?;
    let seed = args.common.seed.unwrap_or(0);
    let data = Dataset::load(&args.data, seed)?;
    let normalisation = Normalisation::standard(&data)?;
    let device = args.common.open()?;
    let shown = spread(&data, SHOWN);
    let frames = forward_process(&device, &shown, &normalisation, &schedule, n, seed)?;
    let moments: Vec<_> = frames.iter().map(|f| (format!("t = {}", f.steps), &f.values[..])).collect();
    plot::film_strip(&args.out, data.kind(), &data.shape, &moments)?;
    if args.common.json {
        let steps: Vec<usize> = frames.iter().map(|f| f.steps).collect();
        say!("{}", json!({"out": args.out, "steps": steps, "schedule": args.schedule, "device": device.name()}));
        return Ok(ExitCode::SUCCESS);
    }
    say!("forward process: x_t = sqrt(1 - beta_t) x_(t-1) + z_t, z_t ~ N(0, beta_t), on normalised data");
    say!("noise schedule: {schedule}");
    say!("film strip of {} pictures from t = 0 to {PROCESS}: {}", frames.len(), args.out.display());
    Ok(ExitCode::SUCCESS)
}
