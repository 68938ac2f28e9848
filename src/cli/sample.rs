//! `langevin sample`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::Precision;
use crate::data;
use crate::diffusion::{SamplerSettings, Spacing, sampler};
use crate::inference::{Sampling, sample_in_parts};
use crate::plot::{self, Output, Scale};
use crate::text::short;
use crate::train::RunFolder;
use clap::Args;
use serde_json::json;

use super::condition::SampleConditionArgs;
use super::interrupt::stop_flag;
use super::progress::Meter;
use super::{Common, real, samples, whole};

#[derive(Args)]
pub struct SampleArgs {
    /// Run folder
    run: PathBuf,
    /// Number of samples
    #[arg(long, default_value_t = 64, value_parser = whole::<usize>, allow_negative_numbers = true)]
    count: usize,
    /// Sampler: ddim or ddpm
    #[arg(long, default_value = "ddim", value_name = "NAME")]
    sampler: String,
    /// Steps of the reverse process [default: 100 for ddim, all for ddpm]
    #[arg(long, value_parser = whole::<usize>, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Noise that DDIM adds in each step: 0 for none, 1 for as much as DDPM
    #[arg(long, value_parser = real, allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Which diffusion steps are used: trailing, leading or linspace
    #[arg(long, default_value = "trailing")]
    spacing: Spacing,
    /// Do not clip the estimates of the clean data to the range of the training data
    #[arg(long)]
    no_clip: bool,
    /// f32, or f16: matrix products on the cooperative matrices ("tensor cores") of a GPU
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Use the state with the lowest validation loss, see train --keep-best
    #[arg(long)]
    best: bool,
    /// Output: .npy, .csv, .png or .svg
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    condition: SampleConditionArgs,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &SampleArgs) -> anyhow::Result<ExitCode> {
    plot::check_output(&args.out)?;
    if args.steps == Some(0) {
        return Err(crate::Error::Setting("--steps 0; the reverse process needs at least one step".into()).into());
    }
    let sampler = sampler(&args.sampler, SamplerSettings { eta: args.eta, ..SamplerSettings::default() })?;
    let folder = RunFolder::open(&args.run)?;
    let checkpoint = if args.best { folder.best() } else { folder.checkpoint() }?;
    data::check_apart(&args.out, &checkpoint.config.data)?;
    let facts = &checkpoint.facts;
    let mut out = Output::create(&args.out, facts.layout(), args.count)?;
    let device = args.common.open_for(args.precision)?;
    let sampling = Sampling {
        count: args.count,
        sampler,
        steps: args.steps.unwrap_or(0),
        spacing: args.spacing,
        clip: !args.no_clip,
        seed: args.common.seed.unwrap_or(0),
        conditions: args.condition.conditions(&checkpoint.facts)?,
    };
    let seed = sampling.seed;
    let (started, stopped) = (std::time::Instant::now(), stop_flag()?);
    let mut meter = Meter::new("drawing samples", args.common.json);
    let mut observe = |progress| {
        meter.show(progress);
        !stopped.load(Ordering::Relaxed)
    };
    let clipped = sample_in_parts(&device, &checkpoint, &sampling, &mut observe, &mut |part| out.write(part))?;
    drop(meter);
    let scale = |drawn: &[f32]| Scale::of_data(facts.kind, &facts.shape, &facts.range, drawn).labelled(&facts.columns);
    let held = out.finish(scale)?;
    let seconds = started.elapsed().as_secs_f64();
    if args.common.json {
        let shape = [&[args.count], &facts.shape[..]].concat();
        say!(
            "{}",
            json!({"out": args.out, "held": held, "shape": shape, "seed": seed, "clipped": clipped, "seconds": seconds,
                   "device": device.name()})
        );
    } else {
        let what = samples(held, args.count, &facts.shape);
        say!("{what} with seed {seed} in {seconds:.1} s: {}", args.out.display());
        if clipped > 0.0 {
            let share = short(100.0 * clipped);
            say!("{share}% of the values were clipped to the range of the training data; --no-clip does not clip");
        }
        if let Some(missing) = checkpoint.config.read.missing {
            say!("no generated value is missing, because the data were read with --missing {missing}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
