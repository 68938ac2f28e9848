//! `langevin bench`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::{self, Baseline, Bench, FirstStep};
use crate::{OpTime, Precision};
use clap::Args;
use serde_json::json;

use super::Common;

#[derive(Args)]
pub struct BenchArgs {
    #[arg(long, value_name = "W", help = format!("Workload, can be repeated: {} [default: all]", bench::names().join(", ")))]
    workload: Vec<String>,
    /// Print ratios to an earlier output of `bench --json`; above 1 is faster
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Print the time of each dispatch instead of the throughput
    #[arg(long)]
    profile: bool,
    /// f32, or f16: matrix products on the cooperative matrices ("tensor cores") of a GPU
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Measure for a fraction of a second
    #[arg(long)]
    quick: bool,
    /// Run one training step and exit, to measure the time to the first step
    #[arg(long, hide = true)]
    first_step: bool,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    if args.first_step {
        let device = args.common.open_for(args.precision)?;
        say!("{}", json!({"loss": bench::first_step(&device)?}));
        return Ok(ExitCode::SUCCESS);
    }
    let baseline = args.compare.as_ref().map(|file| Baseline::read(file)).transpose()?;
    let known = bench::names();
    let names: Vec<&str> = match args.workload.is_empty() {
        true => known.clone(),
        false => args.workload.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = names.iter().find(|n| !known.contains(n)) {
        let text = format!("unknown workload {unknown:?}; choose from {}", known.join(", "));
        return Err(crate::Error::Setting(text).into());
    }
    let device = args.common.open_for(args.precision)?;
    let mut bench = Bench::new(device, args.quick, Some(restart(args)?));
    if args.profile {
        return profile(&bench, &names, args.common.json);
    }
    measure(&mut bench, &names, baseline.as_ref(), args.common.json)
}

/// The command that runs one step in a new process.
fn restart(args: &BenchArgs) -> anyhow::Result<FirstStep> {
    let mut arguments: Vec<String> = ["bench", "--first-step", "--json"].map(Into::into).into();
    if let Some(device) = &args.common.device {
        arguments.extend(["--device".into(), device.clone()]);
    }
    arguments.extend(["--precision".into(), args.precision.to_string()]);
    Ok(FirstStep { program: std::env::current_exe()?, arguments })
}

fn measure(bench: &mut Bench, names: &[&str], baseline: Option<&Baseline>, json: bool) -> anyhow::Result<ExitCode> {
    if !json {
        say!("{}", bench::table());
    }
    let mut failed = false;
    for name in names {
        for row in bench.row(name)? {
            failed |= row.failed();
            match json {
                true => say!("{}", row.json(baseline)),
                false => say!("{}", row.line(baseline)),
            }
        }
    }
    if let (Some((copy, gemm)), false) = (bench.rates(), json) {
        say!("measured peak rates of this device: {copy:.1} GB/s copying, {gemm:.0} GFLOP/s in matrix products");
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn profile(bench: &Bench, names: &[&str], json: bool) -> anyhow::Result<ExitCode> {
    for name in names {
        // Workloads that are not a single program are skipped unless one is requested.
        match bench.profile(name) {
            Ok(times) => show(name, &times, json),
            Err(crate::Error::Setting(_)) if names.len() > 1 => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str, times: &[OpTime], json: bool) {
    let total: f64 = times.iter().map(|t| t.time.as_secs_f64()).sum();
    if !json {
        let longest = times.iter().map(|t| t.longest).max().unwrap_or_default();
        say!(
            "{name}: {} dispatches, {:.1} us, the longest {:.1} us",
            times.len(),
            total * 1e6,
            longest.as_secs_f64() * 1e6
        );
        say!("{:<14} {:>10} {:>6} {:>9} {:>8}  shapes", "op", "us", "share", "GFLOP/s", "GB/s");
    }
    for (i, t) in times.iter().enumerate() {
        let seconds = t.time.as_secs_f64();
        let (gflops, gbytes) = (t.of.cost.flops as f64 / seconds / 1e9, t.of.cost.bytes as f64 / seconds / 1e9);
        let (op, shapes, share) = (t.of.op, &t.of.shapes, seconds / total);
        match json {
            true => say!(
                "{}",
                json!({"workload": name, "dispatch": i, "op": op, "shapes": shapes, "seconds": seconds, "share": share,
                       "longest": t.longest.as_secs_f64(), "flops": t.of.cost.flops, "bytes": t.of.cost.bytes})
            ),
            false => {
                say!("{op:<14} {:>10.1} {:>5.1}% {gflops:>9.2} {gbytes:>8.2}  {shapes}", seconds * 1e6, 100.0 * share)
            }
        }
    }
}
