//! `langevin plot`

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Error;
use crate::io::quoted;
use crate::plot::{self, Axis, Panel};
use crate::text::count;
use crate::train::{METRICS, RunFolder, RunView, curves_of};
use clap::Args;
use serde_json::json;

use super::serve::DEPTH;
use super::{Common, local};

/// Draw the curves of several runs in one picture, to compare them
#[derive(Args)]
pub struct PlotArgs {
    /// Run folders; a folder of runs stands for all of them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Output: .svg or .png
    #[arg(long, value_name = "F", value_parser = local())]
    out: PathBuf,
    /// Columns of metrics.csv, such as loss,validation,lr, a panel each [default: loss, and validation if a run has it]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    pub common: Common,
}

/// The curves of a run, and its name in the picture.
struct Curves {
    name: String,
    columns: Vec<(String, Vec<(f64, f64)>)>,
}

pub fn run(args: &PlotArgs) -> anyhow::Result<ExitCode> {
    plot::check_picture(&args.out)?;
    let mut runs = Vec::new();
    for path in &args.runs {
        for run in found(path)? {
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
    }
    let runs = with_values(runs)?;
    let columns = chosen(args, &runs)?;
    let panels: Vec<Panel> = columns.iter().map(|column| panel(column, &runs)).collect();
    plot::panels(&args.out, &panels)?;
    match args.common.json {
        true => {
            let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
            say!("{}", json!({"file": args.out, "runs": names, "columns": columns}));
        }
        false => {
            say!("drew {} of {}: {}", columns.join(", "), count(runs.len(), "run"), quoted(&args.out.to_string_lossy()))
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The names and folders of a run, or of all runs in a folder.
fn found(path: &Path) -> crate::Result<Vec<(String, PathBuf)>> {
    if RunView::at(path).is_some() {
        return Ok(vec![(path.to_string_lossy().into_owned(), path.into())]);
    }
    let found = crate::train::find_runs(path, DEPTH);
    if found.is_empty() {
        let name = path.display();
        return Err(Error::Input(format!(
            "{name} is not a run folder and contains none: there is no config.toml; name the folder that was --out of langevin train"
        )));
    }
    Ok(found)
}

/// The curves of the runs that have some; the others are left out with a warning.
fn with_values(runs: Vec<(String, PathBuf)>) -> crate::Result<Vec<Curves>> {
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for (name, path) in runs {
        match curves(&name, &path) {
            Ok(run) => all.push(run),
            Err(e) => failures.push(e),
        }
    }
    if all.is_empty() {
        return Err(failures.swap_remove(0));
    }
    failures.iter().for_each(|e| log::warn!("{e}; this run is left out"));
    Ok(all)
}

fn curves(name: &str, path: &Path) -> crate::Result<Curves> {
    let file = path.join(METRICS);
    let no_values = || {
        let why = match RunFolder::open(path).and_then(|run| run.checkpoint()) {
            Ok(checkpoint) if checkpoint.is_imported() => "the run was imported, not trained here",
            _ => "wait until the run has completed ten steps",
        };
        Error::Input(format!("{} has no values yet: {why}", file.display()))
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(no_values()),
        Err(e) => return Err(Error::io("cannot read", &file, e)),
    };
    let columns = curves_of(&text);
    if columns.iter().all(|(_, points)| points.is_empty()) {
        return Err(no_values());
    }
    Ok(Curves { name: name.trim_end_matches('/').into(), columns })
}

/// The columns to draw.
fn chosen(args: &PlotArgs, runs: &[Curves]) -> crate::Result<Vec<String>> {
    let mut known: Vec<&str> = Vec::new();
    for (name, points) in runs.iter().flat_map(|run| &run.columns) {
        if !points.is_empty() && !known.contains(&name.as_str()) {
            known.push(name);
        }
    }
    let mut wanted = args.columns.clone();
    let mut seen = HashSet::new();
    wanted.retain(|column| seen.insert(column.clone()));
    match wanted.iter().find(|column| !known.contains(&column.as_str())) {
        Some(column) if column == "validation" => {
            Err(Error::Setting("no run has validation losses; they need train --validation F".into()))
        }
        Some(unknown) => Err(Error::unknown("column of these runs", unknown, &known)),
        None if !wanted.is_empty() => Ok(wanted),
        None => {
            Ok(["loss", "validation"].iter().filter(|name| known.contains(name)).map(ToString::to_string).collect())
        }
    }
}

fn panel(column: &str, runs: &[Curves]) -> Panel<'static> {
    let (title, y) = match column {
        "lr" => ("Learning rate".to_string(), Axis::log("learning rate")),
        "samples_per_second" => ("Speed".to_string(), Axis::linear("samples per second")),
        "loss" => ("Training loss".to_string(), Axis::log("loss")),
        "validation" => ("Validation loss".to_string(), Axis::log("loss")),
        term => (format!("Loss term {term}"), Axis::log("loss")),
    };
    // A run without these values keeps its colour in the other panels.
    let of = |run: &Curves| {
        let found = run.columns.iter().find(|(name, _)| name == column);
        (run.name.clone(), found.map(|(_, points)| points.clone()).unwrap_or_default())
    };
    Panel { title, x: Axis::count("step"), y, curves: runs.iter().map(of).collect() }
}
