//! `langevin schedule`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::Error;
use crate::diffusion::{Level, Objective, Prediction, SCHEDULES, Schedule, Weighting};
use crate::io::quoted;
use crate::plot::{self, Axis, Panel};
use clap::Args;
use serde_json::json;

use super::{Common, local, whole};

/// Draw noise schedules: the share of the data alpha_bar, the log SNR and the weight of the loss over the diffusion steps
#[derive(Args)]
pub struct ScheduleArgs {
    #[arg(required = true, value_name = "NAME", help = format!("One or more of: {}, flow, edm", SCHEDULES.join(", ")))]
    names: Vec<String>,
    /// Output: .svg or .png
    #[arg(long, value_name = "F", value_parser = local())]
    out: PathBuf,
    /// Number of diffusion steps
    #[arg(long, default_value_t = 1_000, value_parser = whole::<usize>, allow_negative_numbers = true)]
    steps: usize,
    /// Rescale the schedules so that they end in pure noise
    #[arg(long)]
    zero_terminal_snr: bool,
    /// Loss weight of each diffusion step: none, snr, snr_plus_one, truncated_snr, min_snr:GAMMA or p2:GAMMA
    #[arg(long, default_value = "min_snr:5")]
    weighting: Weighting,
    /// What the network predicts, on which the weight depends: epsilon, x0 or v; flow and edm have their own
    #[arg(long, default_value = "v")]
    prediction: Prediction,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(args: &ScheduleArgs) -> anyhow::Result<ExitCode> {
    plot::check_picture(&args.out)?;
    let objectives = args.names.iter().map(|name| objective(args, name)).collect::<crate::Result<Vec<_>>>()?;
    let weights = objectives.iter().map(|of| args.weighting.table(of)).collect::<crate::Result<Vec<_>>>()?;
    let levels: Vec<Vec<Level>> = objectives.iter().map(Objective::levels).collect();
    let panel = |title: &str, y, value: &dyn Fn(usize, usize) -> f64| {
        let curve = |(i, name): (usize, &String)| {
            (name.clone(), levels[i].iter().enumerate().map(|(k, level)| (level.t, value(i, k))).collect())
        };
        let curves = args.names.iter().enumerate().map(curve).collect();
        Panel { title: title.into(), x: Axis::linear("diffusion step t"), y, curves }
    };
    let share = |level: Level| level.a.powi(2) / (level.a.powi(2) + level.s.powi(2));
    let panels = [
        panel("Share of the data", Axis::linear("alpha_bar = a^2 / (a^2 + s^2)"), &|i, k| share(levels[i][k])),
        panel("Signal-to-noise ratio", Axis::linear("log SNR = ln(a^2 / s^2)"), &|i, k| levels[i][k].snr().ln()),
        panel(&format!("Weight of the loss: {}", args.weighting), Axis::linear("weight"), &|i, k| weights[i][k]),
    ];
    plot::panels(&args.out, &panels)?;
    match args.common.json {
        true => say!("{}", json!({"file": args.out, "schedules": args.names, "steps": args.steps})),
        false => {
            say!("drew {} over {} steps: {}", args.names.join(", "), args.steps, quoted(&args.out.to_string_lossy()))
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The objective of a name: a noise schedule, or one with a path of its own.
fn objective(args: &ScheduleArgs, name: &str) -> crate::Result<Objective> {
    match name {
        "flow" => Objective::flow(args.steps),
        "edm" => Objective::edm(args.steps, 1.0),
        _ if !SCHEDULES.contains(&name) => {
            let known: Vec<&str> = SCHEDULES.iter().copied().chain(["flow", "edm"]).collect();
            Err(Error::unknown("schedule", name, &known))
        }
        _ => {
            let schedule = Schedule::named(name, args.steps)?;
            let schedule = if args.zero_terminal_snr { schedule.zero_terminal_snr()? } else { schedule };
            Ok(Objective::new(schedule, args.prediction))
        }
    }
}
