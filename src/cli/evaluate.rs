//! `langevin evaluate`

use std::process::ExitCode;

use clap::Args;
use langevin::Error;
use langevin::data::Dataset;
use langevin::evaluate::{PROJECTIONS, evaluate};

use super::{Common, whole};

/// More directions than that take memory, and make nothing more exact.
const MOST: usize = 100_000;

#[derive(Args)]
pub struct EvaluateArgs {
    /// Generated samples
    samples: String,
    /// The data they should look like
    data: String,
    /// Random directions
    #[arg(long, default_value_t = PROJECTIONS, value_parser = whole::<usize>, allow_negative_numbers = true)]
    projections: usize,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let (seed, projections) = (args.common.seed.unwrap_or(0), args.projections);
    if projections == 0 || projections > MOST {
        return Err(Error::Setting(format!("{projections} projections; use --projections 1 to {MOST}")).into());
    }
    let samples = Dataset::load(&args.samples, seed)?;
    let data = Dataset::load(&args.data, seed)?;
    let report = evaluate(&samples, &data, seed, projections)?;
    if args.common.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        say!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}
