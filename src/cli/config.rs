//! `langevin config`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::io::write_atomically;
use crate::nn::MODELS;
use crate::train::Config;
use clap::Args;
use serde_json::json;

use super::Common;

/// Print every setting of a training with its default, unit and meaning, as a file for train --config
#[derive(Args)]
pub struct ConfigArgs {
    #[arg(long, default_value = "mlp", help = format!("The network whose defaults are printed: {}", MODELS.join(", ")))]
    model: String,
    /// Write the settings to a file instead
    #[arg(long, value_name = "F.toml")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let text = Config::commented_toml(&args.model)?;
    match &args.out {
        Some(path) => {
            write_atomically(path, |file| file.write_all(text.as_bytes()))?;
            match args.common.json {
                true => say!("{}", json!({"file": path})),
                false => say!("wrote {}; use it with: langevin train DATA --config {0} --out RUN", path.display()),
            }
        }
        None if args.common.json => say!("{}", json!({"toml": text})),
        None => say!("{}", text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
