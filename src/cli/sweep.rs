//! `langevin train --sweep KEY=V1,V2`: one run per value, and a table of their losses.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use langevin::Error;
use langevin::data::Dataset;
use langevin::train::{Config, RunFolder, Stop, Summary, Trainer};
use serde_json::json;

use super::quoted;
use super::train::{TrainArgs, settings, watch_for_ctrl_c, watched};

/// One value of the setting, and what came of it.
struct Trial {
    value: String,
    path: PathBuf,
    folder: RunFolder,
    config: Config,
}

pub fn run(args: &TrainArgs, sweep: &str) -> anyhow::Result<ExitCode> {
    let base = settings(args)?;
    let (key, trials) = trials(args, &base, sweep)?;
    let device = args.common.open()?;
    let stopped = watch_for_ctrl_c()?;
    let mut results = Vec::new();
    for trial in &trials {
        if !args.common.json {
            say!("{key} = {}", trial.value);
        }
        let data = Dataset::load(&trial.config.data, trial.config.seed)?;
        let mut trainer = Trainer::new(&device, &trial.config, &data)?;
        trial.folder.write_config(trainer.config())?;
        let stop = watched(&trial.folder, &mut trainer, &stopped, args.common.json)?;
        if stop == Stop::Asked || stopped.load(Ordering::Relaxed) {
            let out = quoted(&trial.path.to_string_lossy());
            let text = format!(
                "stopped in the run of {key}={}, which is saved; go on with: langevin train --out {out} --resume",
                trial.value
            );
            return Err(Error::Interrupted(text).into());
        }
        results.push((trial, trial.folder.summary()?));
    }
    report(args, &key, &results);
    Ok(ExitCode::SUCCESS)
}

/// The runs that `sweep` asks for; all settings and folders are checked before the first one starts.
fn trials(args: &TrainArgs, base: &Config, sweep: &str) -> langevin::Result<(String, Vec<Trial>)> {
    let parts = sweep.split_once('=').filter(|(key, values)| !key.is_empty() && !values.is_empty());
    let (key, values) = parts.ok_or_else(|| {
        Error::Setting(format!("--sweep {sweep}: name a setting and its values, such as --sweep lr=0.001,0.01"))
    })?;
    let mut trials: Vec<Trial> = Vec::new();
    for value in values.split(',').map(str::trim) {
        if trials.iter().any(|trial| trial.value == value) {
            return Err(Error::Setting(format!("--sweep {sweep}: {value} is there twice")));
        }
        let config = base.with(key, value)?;
        let path = args.out.join(format!("{key}={value}"));
        let folder = RunFolder::vacant(&path)?;
        trials.push(Trial { value: value.into(), path, folder, config });
    }
    Ok((key.into(), trials))
}

/// The loss that decides: on held-out data where there is one.
fn score(summary: &Summary) -> f64 {
    summary.validation.or(summary.loss).unwrap_or(f64::INFINITY)
}

fn report(args: &TrainArgs, key: &str, results: &[(&Trial, Summary)]) {
    let best = results.iter().min_by(|a, b| score(&a.1).total_cmp(&score(&b.1)));
    let Some((best, summary)) = best else { return };
    if args.common.json {
        let runs: Vec<_> = results
            .iter()
            .map(|(trial, summary)| {
                json!({"value": trial.value, "run": trial.path, "loss": summary.loss,
                       "validation": summary.validation, "best": summary.best.map(|(step, loss)| json!([step, loss]))})
            })
            .collect();
        say!("{}", json!({"key": key, "runs": runs, "best": best.value}));
        return;
    }
    let number = |loss: Option<f64>| loss.map_or("-".to_string(), |loss| format!("{loss:.5}"));
    say!("{key:>16} {:>14} {:>16} {:>24}", "training loss", "validation loss", "lowest validation");
    for (trial, summary) in results {
        let lowest = summary.best.map_or("-".to_string(), |(step, loss)| format!("{loss:.5} at step {step}"));
        say!("{:>16} {:>14} {:>16} {lowest:>24}", trial.value, number(summary.loss), number(summary.validation));
    }
    let which = if summary.validation.is_some() { "validation" } else { "training" };
    say!("best by {which} loss: {key} = {}", best.value);
    if summary.validation.is_none() {
        say!("a training loss tells nothing of overfitting; add --validation 0.1");
    }
}
