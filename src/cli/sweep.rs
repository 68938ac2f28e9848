//! `langevin train --sweep KEY=V1,V2`: one run per value, and a table of their losses.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::{Dataset, word_without_secrets};
use crate::io::quoted;
use crate::train::{Config, RunFolder, Stop, Summary, runs_in};
use crate::{Device, Error};
use anyhow::Context;
use serde_json::json;

use super::interrupt::stop_flag;
use super::progress::show_reading;
use super::train::{New, Shown, TrainArgs, Watched, data_of, resume_run, start_run, watched};

/// One value of the setting and its run.
struct Trial {
    value: String,
    path: PathBuf,
    folder: RunFolder,
    config: Config,
    state: State,
}

/// The state of a run at the start of the sweep.
enum State {
    New,
    Started,
    Finished,
}

/// The result for a value.
struct TrialResult {
    value: String,
    path: PathBuf,
    config: Config,
    /// The losses, or the error message.
    result: Result<Summary, String>,
}

pub fn run(args: &TrainArgs, sweep: &str) -> anyhow::Result<ExitCode> {
    show_reading(args.common.json || args.quiet);
    let (New { config: base, device, .. }, ()) = New::of(args, || Ok(()))?;
    let (key, trials) = trials(args, &base, sweep)?;
    check_with_data(&key, &trials, &device)?;
    let stopped = stop_flag()?;
    let mut outcomes = Vec::new();
    for trial in trials {
        let name = format!("{key} = {}", trial.value);
        if !args.common.json {
            say!("{name}{}", if matches!(trial.state, State::Finished) { ": already done" } else { "" });
        }
        let result = match train(args, &trial, &device, &stopped) {
            Ok(Some((summary, untrained))) => {
                if let (Some(divergence), false) = (summary.divergence(untrained), args.common.json) {
                    say!("{name}: {divergence}, so the training diverged");
                }
                Ok(summary)
            }
            Ok(None) => return Err(interrupted(args, &name).into()),
            // Other values may still work.
            Err(e) if matches!(e.downcast_ref(), Some(Error::NonFinite(_) | Error::Limit { .. })) => Err(e.to_string()),
            Err(e) => return Err(e.context(name)),
        };
        if let (Err(cause), false) = (&result, args.common.json) {
            say!("{name} failed: {cause}");
        }
        outcomes.push(TrialResult { value: trial.value, path: trial.path, config: trial.config, result });
    }
    report(args, &key, &outcomes)?;
    Ok(ExitCode::SUCCESS)
}

/// The runs of a sweep, with checked settings and folders.
fn trials(args: &TrainArgs, base: &Config, sweep: &str) -> anyhow::Result<(String, Vec<Trial>)> {
    let parts = sweep.split_once('=').filter(|(key, values)| !key.is_empty() && !values.is_empty());
    let (key, values) = parts.ok_or_else(|| {
        Error::Setting(format!("--sweep {sweep}: name a setting and its values, such as --sweep lr=0.001,0.01"))
    })?;
    let mut trials: Vec<Trial> = Vec::new();
    let sweep = word_without_secrets(sweep);
    for value in split(values) {
        let config = base.with(key, value)?;
        let value = &word_without_secrets(value);
        if let Some(same) = trials.iter().find(|trial| trial.config == config) {
            let text = format!("--sweep {sweep}: {value} is the same as {}; name each value once", same.value);
            return Err(Error::Setting(text).into());
        }
        let trial = trial(args, key, value, config).with_context(|| format!("--sweep {key}={value}"))?;
        if let Some(same) = trials.iter().find(|other| other.path == trial.path) {
            let (folder, same) = (trial.path.display(), &same.value);
            let text = format!("--sweep {sweep}: {value} and {same} have the same folder {folder}; use two sweeps");
            return Err(Error::Setting(text).into());
        }
        trials.push(trial);
    }
    check_others(args, &trials)?;
    Ok((key.into(), trials))
}

/// Checks that the folder of a new sweep contains nothing else.
fn check_others(args: &TrainArgs, trials: &[Trial]) -> crate::Result<()> {
    if args.resume {
        return Ok(());
    }
    let name = args.out.display();
    if RunFolder::open(&args.out).is_ok() {
        return Err(Error::Setting(format!("{name} is the folder of a run; choose another --out for the sweep")));
    }
    let others = runs_in(&args.out).into_iter().filter(|run| !trials.iter().any(|trial| trial.path == *run));
    let others: Vec<String> = others.map(|run| quoted(&run.to_string_lossy())).collect();
    if let Some(first) = others.first() {
        let rest = if others.len() > 1 { format!(" and {} more", others.len() - 1) } else { String::new() };
        return Err(Error::Setting(format!(
            "{name} already contains other runs ({first}{rest}); choose another --out, or add the values to this sweep with \
             --resume"
        )));
    }
    Ok(())
}

/// Splits at the commas that are not inside brackets or quotes.
fn split(values: &str) -> Vec<&str> {
    let (mut depth, mut quoted) = (0, false);
    let between = |c: char| {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0 && !quoted
    };
    values.split(between).map(str::trim).collect()
}

fn trial(args: &TrainArgs, key: &str, value: &str, config: Config) -> crate::Result<Trial> {
    // Replaces characters that some file systems do not allow.
    let name: String = value.chars().filter(|c| *c != '"').collect();
    let path = args.out.join(format!("{key}={}", name.replace(['/', '\\', ':', '*', '?', '<', '>', '|'], "_")));
    let value = value.to_string();
    let begun = args.resume.then(|| RunFolder::open(&path).ok()).flatten();
    let Some(folder) = begun else {
        let folder = RunFolder::vacant(&path)?;
        return Ok(Trial { value, path, folder, config, state: State::New });
    };
    folder.lock()?;
    let checkpoint = folder.checkpoint()?;
    let mut wanted = config;
    wanted.read.place = wanted.read.place.or(folder.place_of_data());
    let config = checkpoint.continued(&wanted)?;
    let state = if folder.ended(&config, checkpoint.step).is_some() { State::Finished } else { State::Started };
    Ok(Trial { value, path, folder, config, state })
}

/// Checks everything that depends on the data and the network for all values, before the first run starts.
fn check_with_data(key: &str, trials: &[Trial], device: &Device) -> anyhow::Result<()> {
    let mut last: Option<(&Config, Dataset)> = None;
    for trial in trials.iter().filter(|trial| !matches!(trial.state, State::Finished)) {
        let config = &trial.config;
        let same = last.take().filter(|(of, _)| {
            let read = |c: &Config| (c.data.clone(), c.seed, c.reading(), c.condition.clone(), c.mask.clone());
            read(of) == read(config)
        });
        let check = || {
            let data = same.map_or_else(|| config.load(), |(_, data)| Ok(data))?;
            device.clone().with_precision(config.precision)?.with_storage(config.storage)?;
            config.fitted_to(&data)?.memory(data.len(), &data.shape)?;
            crate::Result::Ok(data)
        };
        last = Some((config, check().with_context(|| format!("--sweep {key}={}", trial.value))?));
    }
    Ok(())
}

/// Trains a run. Returns its results and the loss of its first step, or `None` when it was interrupted.
fn train(
    args: &TrainArgs,
    trial: &Trial,
    device: &Device,
    stopped: &AtomicBool,
) -> anyhow::Result<Option<(Summary, Option<f64>)>> {
    let Trial { folder, config, .. } = trial;
    let (mut trainer, shown) = match trial.state {
        State::Finished => return Ok(Some((folder.summary()?, None))),
        _ if stopped.load(Ordering::Relaxed) => return Ok(None),
        State::New => {
            let data = config.load()?;
            (start_run(args, folder, device, config, &data)?, Shown::of(config, &data)?)
        }
        State::Started => {
            let checkpoint = folder.checkpoint()?;
            let data = data_of(config, &checkpoint.facts)?;
            (resume_run(folder, device, config, &checkpoint, &data)?, Shown::of(config, &data)?)
        }
    };
    let Watched { stop, untrained, .. } = watched(args, (folder, device), &mut trainer, &shown.samples, stopped)?;
    Ok(if stop == Stop::Requested { None } else { Some((folder.summary()?, untrained)) })
}

fn interrupted(args: &TrainArgs, name: &str) -> Error {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    let command: Vec<String> = words.chain((!args.resume).then(|| "--resume".to_string())).collect();
    let command = command.join(" ");
    Error::Interrupted(format!("stopped at {name}; everything is saved; continue with: langevin {command}"))
}

/// The loss by which runs are compared: the validation loss if there is one.
fn score(summary: &Summary) -> f64 {
    summary.validation.or(summary.loss).unwrap_or(f64::INFINITY)
}

fn report(args: &TrainArgs, key: &str, outcomes: &[TrialResult]) -> crate::Result<()> {
    let trained = || outcomes.iter().filter_map(|o| Some((o, o.result.as_ref().ok()?)));
    let comparable = trained().all(|(o, _)| o.config.measures_like(&outcomes[0].config));
    let best = trained().filter(|_| comparable).min_by(|a, b| score(a.1).total_cmp(&score(b.1)));
    if args.common.json {
        print_json(key, outcomes, best.map(|(best, _)| best), comparable);
    } else {
        print_table(key, outcomes);
    }
    if trained().next().is_none() {
        return Err(Error::NonFinite(format!("training failed for all values of {key}; see the messages above")));
    }
    if args.common.json {
        return Ok(());
    }
    if !comparable {
        say!("these losses cannot be compared, because their definition depends on {key}");
        say!("compare samples instead, with langevin sample and langevin evaluate");
    }
    if let Some((best, summary)) = best {
        let which = if summary.validation.is_some() { "validation" } else { "training" };
        say!("best by {which} loss: {key} = {}", best.value);
        if summary.validation.is_none() {
            say!("the training loss does not show overfitting; add --validation 0.1");
        }
    }
    Ok(())
}

fn print_json(key: &str, outcomes: &[TrialResult], best: Option<&TrialResult>, comparable: bool) {
    let runs = outcomes.iter().map(|TrialResult { value, path, result, .. }| match result {
        Ok(summary) => json!({"value": value, "run": path, "loss": summary.loss, "validation": summary.validation,
                              "best": summary.best.map(|(step, loss)| json!([step, loss]))}),
        Err(cause) => json!({"value": value, "run": path, "failed": cause}),
    });
    let runs: Vec<_> = runs.collect();
    say!("{}", json!({"key": key, "runs": runs, "comparable": comparable, "best": best.map(|best| &best.value)}));
}

fn print_table(key: &str, outcomes: &[TrialResult]) {
    let number = |loss: Option<f64>| loss.map_or("-".to_string(), |loss| format!("{loss:.5}"));
    say!("{key:>16} {:>14} {:>16} {:>24}", "training loss", "validation loss", "lowest validation");
    for TrialResult { value, result, .. } in outcomes {
        let Ok(summary) = result else {
            say!("{value:>16} {:>14} {:>16} {:>24}", "failed", "-", "-");
            continue;
        };
        let lowest = summary.best.map_or("-".to_string(), |(step, loss)| format!("{loss:.5} at step {step}"));
        say!("{value:>16} {:>14} {:>16} {lowest:>24}", number(summary.loss), number(summary.validation));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_are_not_split() {
        assert_eq!(super::split("1, 2"), ["1", "2"]);
        assert_eq!(super::split("[1,2],[1,{a=2,b=[3,4]}],5"), ["[1,2]", "[1,{a=2,b=[3,4]}]", "5"]);
        assert_eq!(super::split("\"l1:1,ssim:0.1\",mse"), ["\"l1:1,ssim:0.1\"", "mse"]);
    }
}
