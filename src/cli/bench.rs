//! `langevin bench`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::Precision;
use crate::bench::{self, Baseline, Bench, Ceilings, FirstStep, Profile, Timed};
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
    /// Print the time of each dispatch instead of the throughput, and its share of the device's peak rates
    #[arg(long, conflicts_with = "compare")]
    profile: bool,
    /// f32, or f16: matrix products on the cooperative matrices ("tensor cores") of a GPU
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// f32, or f16: activations and their gradients take half of the memory, and are rounded when they are stored, on a GPU
    #[arg(long, default_value = "f32")]
    storage: Precision,
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
        let device = args.common.open_for(args.precision, args.storage)?;
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
    let device = args.common.open_for(args.precision, args.storage)?;
    let mut bench = Bench::new(device, args.quick, Some(restart(args)?));
    if args.profile {
        return profile(&mut bench, &names, args.common.json);
    }
    measure(&mut bench, &names, baseline.as_ref(), args.common.json)
}

/// The command that runs one step in a new process.
fn restart(args: &BenchArgs) -> anyhow::Result<FirstStep> {
    let mut arguments: Vec<String> = ["bench", "--first-step", "--json"].map(Into::into).into();
    if let Some(device) = &args.common.device {
        arguments.extend(["--device".into(), device.clone()]);
    }
    arguments.extend(["--precision".into(), args.precision.to_string(), "--storage".into(), args.storage.to_string()]);
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
    if let (Some(ceilings), false) = (bench.measured_ceilings(), json) {
        say_peaks(ceilings);
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn say_peaks(Ceilings { memory, arithmetic }: Ceilings) {
    let (gbytes, gflops) = (memory / 1e9, arithmetic / 1e9);
    say!("measured peak rates of this device: {gbytes:.1} GB/s of memory, {gflops:.0} GFLOP/s of arithmetic");
}

fn profile(bench: &mut Bench, names: &[&str], json: bool) -> anyhow::Result<ExitCode> {
    let ceilings = bench.ceilings()?;
    for name in names {
        match bench.profile(name) {
            Ok(profile) if json => say_rows(name, &profile, ceilings),
            Ok(profile) => show(name, &profile, ceilings),
            Err(crate::Error::Setting(why)) if names.len() > 1 => log::warn!("{name}: {why}"),
            Err(e) => return Err(e.into()),
        }
    }
    if !json {
        say_peaks(ceilings);
    }
    Ok(ExitCode::SUCCESS)
}

fn say_rows(name: &str, profile: &Profile, ceilings: Ceilings) {
    let total = profile.seconds();
    for (i, (t, timed)) in profile.0.iter().zip(profile.dispatches(ceilings)).enumerate() {
        let Timed { op, seconds, cost, .. } = timed;
        say!(
            "{}",
            json!({"workload": name, "dispatch": i, "op": op, "shapes": t.of.shapes, "seconds": seconds,
                   "share": seconds / total, "longest": t.longest.as_secs_f64(), "flops": cost.flops, "bytes": cost.bytes,
                   "share_of_ceiling": timed.share_of_ceiling(), "bound": ceilings.bound(cost)})
        );
    }
}

fn show(name: &str, profile: &Profile, ceilings: Ceilings) {
    let (total, longest) = (profile.seconds(), profile.longest().as_secs_f64());
    let line = |timed: Timed, last: &str| {
        let Timed { op, seconds, cost, .. } = timed;
        say!(
            "{op:<14} {:>10.1} {:>5.1}% {:>8.2} {:>9.2} {:>8.2} {:>6.0}% {:<10}  {last}",
            seconds * 1e6,
            100.0 * seconds / total,
            timed.intensity(),
            cost.flops as f64 / seconds / 1e9,
            cost.bytes as f64 / seconds / 1e9,
            100.0 * timed.share_of_ceiling(),
            ceilings.bound(cost),
        );
    };
    let header = |last: &str| {
        let [op, us, share, intensity, gflops, gbytes] = ["op", "us", "share", "FLOP/B", "GFLOP/s", "GB/s"];
        let [ceiling, bound] = ["ceiling", "bound by"];
        say!("{op:<14} {us:>10} {share:>6} {intensity:>8} {gflops:>9} {gbytes:>8} {ceiling:>7} {bound:<10}  {last}");
    };
    say!(
        "{name}: {} dispatches, {:.1} us on average; the longest of the last step took {:.1} us",
        profile.0.len(),
        total * 1e6,
        longest * 1e6
    );
    header("shapes");
    for (t, timed) in profile.0.iter().zip(profile.dispatches(ceilings)) {
        line(timed, &t.of.shapes);
    }
    say!("{name} by operation:");
    header("dispatches");
    for timed in profile.ops(ceilings) {
        line(timed, &timed.count.to_string());
    }
}
