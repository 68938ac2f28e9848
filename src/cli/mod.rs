//! The commands, one file each, and their common options, error messages and output.

/// Like `println!`, but ignores a closed pipe, as after `| head -1`. [`run`] reports other errors at the end.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print(format_args!($($text)*)) };
}

mod bench;
mod complete;
mod condition;
mod config;
mod convert;
mod denoise;
mod devices;
mod evaluate;
mod export;
mod help;
mod import;
mod inspect;
mod install;
mod interrupt;
mod noise;
mod plot;
mod progress;
mod ranks;
mod reading;
mod recording;
mod sample;
mod schedule;
mod selftest;
mod serve;
mod sweep;
mod train;
mod weights;

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::{is_address, text_without_secrets};
use crate::text::{count, printable};
use crate::{Device, Error, Precision};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind as UsageError;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Trains and samples diffusion models on any GPU, or on the CPU.
#[derive(Parser)]
#[command(
    name = "langevin",
    arg_required_else_help = true,
    after_help = "langevin COMMAND --help describes a command and ends \
          with examples."
)]
struct Cli {
    /// Print the version; with --verbose also the commit, the features and the adapters, for a report of a bug
    #[arg(short = 'V', long)]
    version: bool,
    /// See --version
    #[arg(short, long, requires = "version")]
    verbose: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The options of every command.
#[derive(Args, Clone)]
#[command(next_help_heading = "Options of every command")]
struct Common {
    /// auto, gpu, cpu, reference, or the index or part of the name of an adapter [default: $LANGEVIN_DEVICE or auto]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Seed of all random numbers
    #[arg(long, value_parser = whole::<u64>, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    /// Print more log messages (-v info, -vv debug)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// List the adapters of this machine, and the device that auto selects
    Devices {
        #[command(flatten)]
        common: Common,
    },
    Train(Box<train::TrainArgs>),
    Convert(convert::ConvertArgs),
    Sample(Box<sample::SampleArgs>),
    Noise(noise::NoiseArgs),
    Denoise(denoise::DenoiseArgs),
    Complete(Box<complete::CompleteArgs>),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    /// Describe data, or show layers, shapes and parameters of a run or a safetensors file
    Inspect(inspect::InspectArgs),
    /// Compare samples with data: distances, two-sample tests, copies, coverage, columns, classes, pairs
    Evaluate(evaluate::EvaluateArgs),
    Plot(plot::PlotArgs),
    Schedule(schedule::ScheduleArgs),
    Serve(serve::ServeArgs),
    Config(config::ConfigArgs),
    /// Measure the throughput of benchmark workloads
    Bench(bench::BenchArgs),
    /// Compare every kernel on this device with the f64 reference
    Selftest {
        #[command(flatten)]
        common: Common,
    },
    Completions(install::CompletionsArgs),
    Man(install::ManArgs),
}

impl Common {
    /// Opens the device and prints its name.
    fn open(&self) -> crate::Result<Device> {
        self.open_for(Precision::F32, Precision::F32)
    }

    /// Opens the device with a precision of matrix products and a format of stored activations.
    fn open_for(&self, precision: Precision, storage: Precision) -> crate::Result<Device> {
        let advise = |option: &'static str| {
            move |e| match e {
                Error::Setting(text) => Error::Setting(format!("{text}: omit {option}, or choose another --device")),
                other => other,
            }
        };
        let device = ranks::device(self.device.as_deref())?.with_precision(precision).map_err(advise("--precision"))?;
        let device = device.with_storage(storage).map_err(advise("--storage"))?;
        if !self.json {
            say!("device: {device}");
        }
        Ok(device)
    }
}

/// Parses the command line and runs the command. An error is reported as one paragraph, with exit code 2 for invalid usage
/// and 1 for other failures.
pub fn run() -> ExitCode {
    quiet_mesa();
    quiet_losses();
    let matches = help::with_examples(Cli::command()).try_get_matches().map_err(help::with_tip).unwrap_or_else(|e| {
        if ranks::is_follower() { std::process::exit(ranks::after_the_first(e.exit_code())) } else { exit_with(&e) }
    });
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| exit_with(&e));
    let (verbose, result) = match cli.command {
        None if cli.version => {
            install::version(cli.verbose);
            (0, Ok(ExitCode::SUCCESS))
        }
        None => Cli::command().error(UsageError::MissingSubcommand, "name a command, see langevin --help").exit(),
        Some(mut command) => {
            if let Command::Train(args) = &mut command {
                args.settle_output();
            }
            match command.common().cloned() {
                Some(common) => (common.verbose, with_log(&common, || ranks::together(&command, dispatch))),
                None => (0, dispatch(&command)),
            }
        }
    };
    let result = result.and_then(|code| match UNPRINTED.get() {
        Some(cause) => Err(anyhow::anyhow!("cannot write to standard output: {cause}")),
        None => Ok(code),
    });
    result.unwrap_or_else(|e| {
        let (start, code) = match e.downcast_ref::<Error>() {
            Some(Error::Interrupted(_)) => ("", interrupt::exit_code()),
            Some(Error::Setting(_)) => ("error: ", 2),
            _ => ("error: ", 1),
        };
        if ranks::is_follower() {
            return ExitCode::from(ranks::after_the_first(code));
        }
        let _ = writeln!(io::stderr(), "{start}{}", printable(&text_without_secrets(&paragraph(&e))));
        if verbose > 1 {
            let _ = writeln!(io::stderr(), "{}", printable(&text_without_secrets(&format!("{e:?}"))));
        }
        ExitCode::from(code)
    })
}

impl Command {
    /// The options of every command that computes something.
    fn common(&self) -> Option<&Common> {
        Some(match self {
            Self::Devices { common } | Self::Selftest { common } => common,
            Self::Train(args) => &args.common,
            Self::Convert(args) => &args.common,
            Self::Sample(args) => &args.common,
            Self::Noise(args) => &args.common,
            Self::Denoise(args) => &args.common,
            Self::Complete(args) => &args.common,
            Self::Export(args) => &args.common,
            Self::Import(args) => &args.common,
            Self::Inspect(args) => &args.common,
            Self::Evaluate(args) => &args.common,
            Self::Plot(args) => &args.common,
            Self::Schedule(args) => &args.common,
            Self::Serve(args) => &args.common,
            Self::Config(args) => &args.common,
            Self::Bench(args) => &args.common,
            Self::Completions(_) | Self::Man(_) => return None,
        })
    }
}

fn dispatch(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Devices { common } => devices::run(common),
        Command::Train(args) => train_or_sweep(args),
        Command::Convert(args) => convert::run(args),
        Command::Sample(args) => sample::run(args),
        Command::Noise(args) => noise::run(args),
        Command::Denoise(args) => denoise::run(args),
        Command::Complete(args) => complete::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Schedule(args) => schedule::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Config(args) => config::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Selftest { common } => selftest::run(common),
        Command::Completions(args) => install::completions(args, help::with_examples(Cli::command())),
        Command::Man(args) => install::man(args, help::with_examples(Cli::command())),
    }
}

fn train_or_sweep(args: &train::TrainArgs) -> anyhow::Result<ExitCode> {
    match &args.sweep {
        Some(sweep) => sweep::run(args, sweep),
        None => train::run(args),
    }
}

/// The messages of an error and its causes without repetition, and how to solve it on the command line.
fn paragraph(e: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in e.chain().map(|cause| cause.to_string()).filter(|cause| !cause.is_empty()) {
        if !text.ends_with(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    text += match e.chain().find_map(|cause| cause.downcast_ref::<Error>()) {
        Some(Error::NoAdapter(_) | Error::Unsupported(_)) => "; --device cpu works on every machine",
        Some(Error::DeviceLost(_)) => {
            "; if this happens again, update the driver, or choose another --device, such as cpu"
        }
        _ => "",
    };
    let refused = e.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    text + match refused {
        Some(ErrorKind::NotFound) => "; check the spelling and the current folder",
        Some(ErrorKind::NotADirectory) => "; a part of this path is a file, choose another path",
        Some(ErrorKind::IsADirectory) => "; name a file in it",
        Some(ErrorKind::InvalidData) => "; this is not a text file",
        Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            "; choose another path, or change its permissions"
        }
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => {
            "; free some space, or choose another disk"
        }
        _ => "",
    }
}

/// The first error of writing to standard output.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Whether `say!` prints nothing.
static QUIET: AtomicBool = AtomicBool::new(false);

/// The implementation of `say!`.
fn print(text: Arguments) {
    if QUIET.load(Ordering::Relaxed) {
        return;
    }
    match writeln!(io::stdout(), "{}", printable(&text.to_string())) {
        Err(cause) if cause.kind() != ErrorKind::BrokenPipe => drop(UNPRINTED.set(cause)),
        _ => {}
    }
}

/// Parses the path of what is written, for clap.
fn local() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match is_address(&path.to_string_lossy()) {
        true => Err("not a path; name a file or folder of this computer"),
        false => Ok(path),
    })
}

/// Prints an error of clap, which can repeat an address, and ends the process.
fn exit_with(e: &clap::Error) -> ! {
    let text = e.render().to_string();
    let shown = text_without_secrets(&text);
    if shown == text {
        e.exit();
    }
    let _ = write!(io::stderr(), "{shown}");
    std::process::exit(e.exit_code())
}

/// Parses a whole number for clap.
fn whole<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|e: ParseIntError| match e.kind() {
        IntErrorKind::PosOverflow => "the number is too large",
        _ => "use a whole number of 0 or more, such as 1000",
    })
}

/// Parses a number for clap.
fn real(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "use a number such as 0.001")
}

fn with_log(common: &Common, command: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let filter = match common.verbose {
        // `devices` reports a missing Vulkan loader with instructions.
        0 => "warn,wgpu_hal=off",
        1 => "info,wgpu_hal=warn,wgpu_core=warn,naga=warn",
        _ => "debug",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter))
        .format(|out, record| {
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "{level}: {}", printable(&record.args().to_string()))
        })
        .init();
    command()
}

/// Does not print panics that are caught and reported as an error.
fn quiet_losses() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !catches_panics() {
            print(info);
        }
    }));
}

/// Whether a panic of the current thread is caught and reported as an error.
fn catches_panics() -> bool {
    #[cfg(feature = "parquet")]
    if crate::data::catches_panics() {
        return true;
    }
    crate::device::catches_panics()
}

/// Sets XDG_RUNTIME_DIR if it is missing, because Mesa prints a warning for each instance without it.
fn quiet_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: called first in `main`, while there is a single thread, so no other thread reads the environment.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir());
        }
    }
}

/// Describes the samples in a file: "3 samples of shape [8]", "the first 16 of 40 samples of shape [8]".
fn samples(held: usize, n: usize, shape: &[usize]) -> String {
    let part = if held < n { format!("the first {held} of ") } else { String::new() };
    format!("{part}{} of shape {shape:?}", count(n, "sample"))
}
