//! `langevin inspect`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use langevin::train::{Checkpoint, RunFolder};
use serde_json::json;

use super::{Common, grouped};

#[derive(Args)]
pub struct InspectArgs {
    /// A run folder or a checkpoint
    run: PathBuf,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let checkpoint =
        if args.run.is_file() { Checkpoint::load(&args.run)? } else { RunFolder::open(&args.run)?.checkpoint()? };
    let config = &checkpoint.config;
    let is_weight = |name: &str| !name.starts_with("ema.") && !name.starts_with("optimizer.");
    let weights: Vec<_> = checkpoint.tensors.iter().filter(|t| is_weight(&t.name)).collect();
    let total: usize = weights.iter().map(|t| t.values.len()).sum();
    let bytes: usize = checkpoint.tensors.iter().map(|t| 4 * t.values.len()).sum();
    if args.common.json {
        let list: Vec<_> = weights.iter().map(|t| json!({"name": t.name, "shape": t.shape})).collect();
        println!(
            "{}",
            json!({"model": config.model, "parameters": total, "bytes": bytes, "step": checkpoint.step,
                   "steps": config.steps, "tensors": list, "config": config})
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("model {} on {} after {} of {} steps", config.model.name, config.data, checkpoint.step, config.steps);
    if let Some(facts) = &config.facts {
        let kind = format!("{:?}", facts.kind).to_lowercase();
        println!("data: {} {kind} of shape {:?}", facts.samples, facts.shape);
    }
    println!("{:<28} {:>14} {:>12}", "parameter", "shape", "numbers");
    for t in &weights {
        println!("{:<28} {:>14} {:>12}", t.name, format!("{:?}", t.shape), grouped(t.values.len()));
    }
    println!("{:<28} {:>14} {:>12}", "total", "", grouped(total));
    println!("{} bytes with average and moments; seed {}, lr {}", grouped(bytes), config.seed, config.lr);
    Ok(ExitCode::SUCCESS)
}
