//! `langevin evaluate`

use std::process::ExitCode;

use crate::data::{Dataset, Labels, ReadOptions};
use crate::evaluate::{
    EvaluateOptions, PERMUTATIONS, PROJECTIONS, Scaling, Sines, check_pairs, classify, compare_pairs, evaluate,
};
use crate::text::short;
use crate::{Device, Error};
use clap::Args;
use serde_json::json;

use super::progress::show_reading;
use super::reading::{ReadArgs, describe, refuse_gaps};
use super::{Common, real, whole};

/// The maximum number of projections, and of permutations.
const MOST: usize = 100_000;

#[derive(Args)]
pub struct EvaluateArgs {
    /// Generated samples
    samples: String,
    /// Data to compare with
    data: String,
    /// Which values share a scale: columns for tables, channels for signals and images [default: columns for tables, points
    /// and signals of up to 32 values]
    #[arg(long)]
    scaling: Option<Scaling>,
    /// Number of random directions of the sliced Wasserstein distance
    #[arg(long, default_value_t = PROJECTIONS, value_parser = whole::<usize>, allow_negative_numbers = true)]
    projections: usize,
    /// Number of random permutations of the permutation tests
    #[arg(long, default_value_t = PERMUTATIONS, value_parser = whole::<usize>, allow_negative_numbers = true)]
    permutations: usize,
    /// Also compare sample i with data i, for denoised or reconstructed data: PSNR and SSIM
    #[arg(long)]
    pairs: bool,
    /// Range of the values for PSNR and SSIM [default: largest minus smallest value of the data]
    #[arg(long, value_parser = real, allow_negative_numbers = true, requires = "pairs")]
    range: Option<f64>,
    /// Labels of the data (.npy, IDX, FILE.csv:COLUMN, or a folder with a subfolder for each class): train a classifier and
    /// print the class distribution of the samples
    #[arg(long)]
    labels: Option<String>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let (seed, options) = (args.common.seed.unwrap_or(0), options(args)?);
    if let (Some(name), None) = (&args.common.device, &args.labels) {
        // Not used, but a wrong name is an error as in other commands.
        Device::named(name)?;
    }
    let read = args.read.options();
    refuse_gaps(&read)?;
    let read = match &args.labels {
        Some(labels) => read.for_labels(&args.data, labels),
        None => read,
    };
    let header = read.header.filter(|_| read.label.is_some());
    show_reading(args.common.json);
    let mut data = Dataset::load_with(&args.data, seed, &read)?;
    if let Some(labels) = &args.labels {
        data = data.with_labels(Labels::load_with(labels, header)?)?;
    }
    // Outliers among the samples are errors of the samples.
    // Generated tables may not have the column of labels: it is known by its name only.
    let label = read.label.clone().filter(|name| name.parse::<usize>().is_err());
    let read = ReadOptions { clip_outliers: false, label, ..read };
    let samples = Dataset::load_like(&args.samples, seed, &read, &data)?;
    if args.pairs {
        check_pairs(&samples, &data)?;
    }
    if !args.common.json {
        describe(&data);
    }
    let classes = match &data.conditions().labels {
        Some(labels) => Some(classify(&args.common.open()?, &samples, &data, labels, seed)?),
        None => None,
    };
    let evaluation = evaluate(&samples, &data, &options)?;
    let pairs = args.pairs.then(|| compare_pairs(&samples, &data, args.range)).transpose()?;
    let sines = (args.data == "sine").then(|| Sines::of(&samples, &data));
    if args.common.json {
        let mut all = serde_json::to_value(&evaluation)?;
        all["pairs"] = json!(pairs);
        all["classes"] = json!(classes);
        all["sines"] = json!(sines);
        all["smallest_p"] = json!(smallest_p(args.permutations));
        say!("{all}");
        return Ok(ExitCode::SUCCESS);
    }
    say!("{evaluation}");
    let least = smallest_p(args.permutations);
    if least > SIGNIFICANT {
        say!(
            "note: with --permutations {}, no p-value can be below {}, so that even large differences are not told apart; use \
             {PERMUTATIONS}",
            args.permutations,
            short(least)
        );
    }
    if let Some(pairs) = pairs {
        say!("{pairs}");
    }
    if let Some(sines) = sines {
        say!("{sines}");
    }
    if let Some(classes) = classes {
        say!("{classes}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The smallest p-value of a permutation test.
fn smallest_p(permutations: usize) -> f64 {
    1.0 / (1.0 + permutations as f64)
}

/// Permutation tests should be able to reach a p-value well below the usual 0.05, as several are made.
const SIGNIFICANT: f64 = 0.005;

fn options(args: &EvaluateArgs) -> crate::Result<EvaluateOptions> {
    for (number, what) in [(args.projections, "projections"), (args.permutations, "permutations")] {
        if number == 0 || number > MOST {
            return Err(Error::Setting(format!("{number} {what}; use --{what} 1 to {MOST}")));
        }
    }
    if let Some(range) = args.range.filter(|range| !(*range > 0.0 && range.is_finite())) {
        return Err(Error::Setting(format!("a range of {range}; use --range with a positive number")));
    }
    Ok(EvaluateOptions::default()
        .seed(args.common.seed.unwrap_or(0))
        .projections(args.projections)
        .permutations(args.permutations)
        .scaling(args.scaling))
}
