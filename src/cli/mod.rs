//! The commands. Each has a file; this one has what they share.

mod devices;
mod evaluate;
mod inspect;
mod sample;
mod selftest;
mod train;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use langevin::{Device, Error};

/// Trains and samples diffusion models on any GPU, or on the CPU.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
struct Common {
    /// auto, gpu, cpu, reference, an adapter's index, or a part of its name [default: $LANGEVIN_DEVICE or auto]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
    /// Results as JSON on standard output
    #[arg(long)]
    json: bool,
    /// Say more (-v info, -vv debug)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// The adapters of this machine, and what auto picks
    Devices {
        #[command(flatten)]
        common: Common,
    },
    /// Train a model on data, into a run folder
    Train(train::TrainArgs),
    /// Draw samples with a trained model
    Sample(sample::SampleArgs),
    /// Layers, shapes and parameters of a run or a safetensors file
    Inspect(inspect::InspectArgs),
    /// Sliced Wasserstein distance between samples and data, its floor and their ratio
    Evaluate(evaluate::EvaluateArgs),
    /// Check every kernel on this adapter against the f64 reference
    Selftest {
        #[command(flatten)]
        common: Common,
    },
}

impl Common {
    /// Opens the device and says which and why.
    fn open(&self) -> langevin::Result<Device> {
        let device = match &self.device {
            Some(name) => Device::named(name),
            None => Device::auto(),
        }?;
        if !self.json {
            println!("device: {device}");
        }
        Ok(device)
    }
}

/// Parses the command line, runs the command, and reports an error as one paragraph: exit code 2 for a mistake in the
/// usage, 1 for a failure.
pub fn run() -> ExitCode {
    quiet_mesa();
    let cli = Cli::parse();
    let (common, result) = match cli.command {
        Command::Devices { common } => (common.clone(), with_log(&common, || devices::run(&common))),
        Command::Train(args) => (args.common.clone(), with_log(&args.common, || train::run(&args))),
        Command::Sample(args) => (args.common.clone(), with_log(&args.common, || sample::run(&args))),
        Command::Inspect(args) => (args.common.clone(), with_log(&args.common, || inspect::run(&args))),
        Command::Evaluate(args) => (args.common.clone(), with_log(&args.common, || evaluate::run(&args))),
        Command::Selftest { common } => (common.clone(), with_log(&common, || selftest::run(&common))),
    };
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            if common.verbose > 0 {
                eprintln!("{e:?}");
            }
            match e.downcast_ref::<Error>() {
                Some(Error::Setting(_)) => ExitCode::from(2),
                Some(Error::Interrupted(_)) => ExitCode::from(130),
                _ => ExitCode::from(1),
            }
        }
    }
}

fn with_log(common: &Common, command: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let filter = match common.verbose {
        // A missing loader is reported by `devices` in words a user can act on.
        0 => "warn,wgpu_hal=off",
        1 => "info,wgpu_hal=warn,wgpu_core=warn,naga=warn",
        _ => "debug",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).init();
    command()
}

/// On a machine without a desktop session Mesa complains about XDG_RUNTIME_DIR on standard error for each instance.
fn quiet_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: called first in `main`, while there is one thread, so nobody reads the environment meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir());
        }
    }
}

/// 1234567 as "1 234 567".
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(' ');
        }
        out.push(c);
    }
    out
}
