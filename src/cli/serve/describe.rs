//! What the page shows of a run, as JSON.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::data::{Dataset, Kind, ReadOptions, without_secrets};
use crate::plot::{self, Scale};
use crate::train::{Activity, CONFIG, Config, Facts, PICTURE, Rows, RunView, SAMPLES, Summary};
use serde_json::{Value, json};

/// The number of samples on a page: points and rows of a table share one picture.
fn per_page(kind: Kind) -> usize {
    match kind {
        Kind::Points | Kind::Table => 500,
        Kind::Signals => 4,
        Kind::Images => 16,
    }
}

/// A run in a list: what it does, how far it is, and its losses.
pub fn summary(name: &str, run: &RunView) -> Value {
    let rows = run.last_rows();
    let (config, _) = match run.settings() {
        Ok(Some(settings)) => settings,
        Ok(None) => return json!({"name": name, "state": "unknown", "error": "config.toml has no facts about data"}),
        Err(e) => return json!({"name": name, "state": "unknown", "error": e.to_string()}),
    };
    let rows = rows.ok().flatten();
    let step = rows.as_ref().and_then(last_step).unwrap_or(0);
    let losses = Summary::of_rows(rows.as_ref());
    let state = match run.activity(&config, step) {
        Activity::Training => "training",
        Activity::Finished => "finished",
        Activity::Stopped => "stopped",
        Activity::Imported => "imported",
    };
    json!({
        "name": name, "state": state, "step": step, "steps": config.steps, "model": config.model.name(),
        "task": config.task.to_string(), "data": without_secrets(&config.data), "loss": losses.loss, "validation": losses.validation,
        "changed": changed(run), "previews": run.folder().previews().len(),
    })
}

fn last_step(rows: &Rows) -> Option<u32> {
    rows.text.lines().next_back()?.split(',').next()?.parse().ok()
}

/// When the metrics or else the settings were written, in seconds since 1970.
fn changed(run: &RunView) -> Option<u64> {
    written(&run.metrics()).or_else(|| written(&run.folder().file(CONFIG)))
}

/// When a file was written, in seconds since 1970.
fn written(path: &Path) -> Option<u64> {
    let modified = fs::metadata(path).and_then(|file| file.modified()).ok()?;
    modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// All settings of a run, and which pictures there are.
///
/// # Errors
/// When the settings cannot be read.
pub fn settings(run: &RunView) -> crate::Result<Value> {
    let Some((config, facts)) = run.settings()? else { return Ok(json!({"settings": [], "previews": []})) };
    let folder = run.folder();
    let previews: Vec<u32> = folder.previews().into_iter().map(|(step, _)| step).collect();
    let pages = read_samples(run, &facts)?.map_or(0, |samples| samples.len().div_ceil(per_page(facts.kind)));
    Ok(json!({
        "settings": named(&config, &facts), "previews": previews, "film": folder.film().is_file(),
        "picture": written(&folder.file(PICTURE)), "pages": pages, "written": written(&folder.file(CONFIG)),
    }))
}

/// The settings by name, then what is known of the data.
fn named(config: &Config, facts: &Facts) -> Vec<(String, String)> {
    let mut all = config.without_secrets().named_values();
    let facts = [
        ("data: kind", facts.kind.to_string()),
        ("data: samples", facts.samples.to_string()),
        ("data: shape of a sample", format!("{:?}", facts.shape)),
        ("data: checksum", format!("{:08x}", facts.checksum)),
    ];
    all.extend(facts.map(|(name, value)| (name.to_string(), value)));
    all
}

/// Rows of `metrics.csv` from a place on.
///
/// # Errors
/// When the file cannot be read.
pub fn rows(run: &RunView, from: u64) -> std::io::Result<Value> {
    Ok(match run.rows(from)? {
        None => json!({"header": "", "from": 0, "next": 0, "text": ""}),
        Some(Rows { header, from, next, text }) => json!({"header": header, "from": from, "next": next, "text": text}),
    })
}

/// The samples that were drawn after the training, if there are any.
fn read_samples(run: &RunView, facts: &Facts) -> crate::Result<Option<Dataset>> {
    /// Larger files are not shown.
    const MOST: u64 = 1 << 28;
    let path = run.folder().file(SAMPLES);
    match fs::symlink_metadata(&path) {
        Ok(file) if file.is_file() && file.len() <= MOST => {}
        _ => return Ok(None),
    }
    Dataset::load_for(&path.to_string_lossy(), 0, &ReadOptions::default(), facts.layout(), false).map(Some)
}

/// A picture of a page of the samples; `None` beyond the last one.
///
/// # Errors
/// When the samples cannot be read.
pub fn samples(run: &RunView, page: usize) -> crate::Result<Option<Vec<u8>>> {
    let Some((_, facts)) = run.settings()? else { return Ok(None) };
    let Some(samples) = read_samples(run, &facts)? else { return Ok(None) };
    let (per, len) = (per_page(facts.kind), samples.sample_len());
    let first = page.saturating_mul(per);
    if first >= samples.len() {
        return Ok(None);
    }
    let values = &samples.values[first * len..(first + per).min(samples.len()) * len];
    let scale = Scale::of_data(facts.kind, &facts.shape, &facts.range, &samples.values).labelled(&facts.columns);
    plot::sheet_bytes(facts.kind, &facts.shape, values, &scale).map(Some)
}
