//! `langevin evaluate`

use std::process::ExitCode;

use crate::Error;
use crate::data::{Dataset, Labels};
use crate::evaluate::{PROJECTIONS, Sines, classify, compare_pairs, evaluate};
use crate::text::count;
use clap::Args;
use serde_json::json;

use super::reading::{ReadArgs, describe};
use super::{Common, real, whole};

/// The maximum number of projections.
const MAX_PROJECTIONS: usize = 100_000;

#[derive(Args)]
pub struct EvaluateArgs {
    /// Generated samples
    samples: String,
    /// Data to compare with
    data: String,
    /// Number of random directions
    #[arg(long, default_value_t = PROJECTIONS, value_parser = whole::<usize>, allow_negative_numbers = true)]
    projections: usize,
    /// Range of the values for PSNR and SSIM [default: largest minus smallest value of the data]
    #[arg(long, value_parser = real, allow_negative_numbers = true)]
    range: Option<f64>,
    /// Labels of the data (.npy or IDX): train a classifier and print the class distribution of the samples
    #[arg(long)]
    labels: Option<String>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let (seed, projections) = (args.common.seed.unwrap_or(0), args.projections);
    if projections == 0 || projections > MAX_PROJECTIONS {
        return Err(
            Error::Setting(format!("{projections} projections; use --projections 1 to {MAX_PROJECTIONS}")).into()
        );
    }
    if let Some(range) = args.range.filter(|range| !(*range > 0.0 && range.is_finite())) {
        return Err(Error::Setting(format!("a range of {range}; use --range with a positive number")).into());
    }
    let options = args.read.options();
    let data = Dataset::load_with(&args.data, seed, &options)?;
    let samples = Dataset::load_like(&args.samples, seed, &options, &data)?;
    if !args.common.json {
        describe(&data);
    }
    let labels = args.labels.as_ref().map(|labels| Labels::load(labels)).transpose()?;
    let classes = match labels {
        Some(labels) => Some(classify(&args.common.open()?, &samples, &data, &labels, seed)?),
        None => None,
    };
    let report = evaluate(&samples, &data, seed, projections)?;
    let pairs = if samples.len() == data.len() { Some(compare_pairs(&samples, &data, args.range)?) } else { None };
    let sines = (args.data == "sine").then(|| Sines::of(&samples, &data));
    if args.common.json {
        let mut all = serde_json::to_value(&report)?;
        all["pairs"] = json!(pairs);
        all["classes"] = json!(classes);
        all["sines"] = json!(sines);
        say!("{all}");
        return Ok(ExitCode::SUCCESS);
    }
    say!("{report}");
    match pairs {
        Some(pairs) => say!("{pairs}"),
        None => {
            let n = count(samples.len(), "sample");
            say!("PSNR and SSIM omitted: {n} and {} of the data do not form pairs", data.len());
        }
    }
    if let Some(sines) = sines {
        say!("{sines}");
    }
    if let Some(classes) = classes {
        say!("{classes}");
    }
    Ok(ExitCode::SUCCESS)
}
