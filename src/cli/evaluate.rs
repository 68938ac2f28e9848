//! `langevin evaluate`

use std::process::ExitCode;

use clap::Args;
use langevin::data::Dataset;
use langevin::evaluate::{PROJECTIONS, evaluate};

use super::Common;

#[derive(Args)]
pub struct EvaluateArgs {
    /// Generated samples
    samples: String,
    /// The data they should look like
    data: String,
    /// Random directions
    #[arg(long, default_value_t = PROJECTIONS)]
    projections: usize,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let seed = args.common.seed.unwrap_or(0);
    let samples = Dataset::load(&args.samples, seed)?;
    let data = Dataset::load(&args.data, seed)?;
    let report = evaluate(&samples, &data, seed, args.projections)?;
    if args.common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}
