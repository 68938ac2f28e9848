//! Rows of a report: as JSON, as a table, and as ratios to an earlier report.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::measure::median;
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::kernel::Precision;

/// The result of a workload on a device.
#[derive(Clone, Debug)]
pub struct ReportRow {
    /// The workload's name.
    pub workload: &'static str,
    /// The hardware or executor.
    pub device: String,
    /// Its driver, on a GPU.
    pub driver: Option<String>,
    /// `vulkan`, `metal`, `dx12`, `cpu` or `reference`.
    pub backend: String,
    /// The number format of matrix products.
    pub precision: Precision,
    /// The number format in which activations are stored.
    pub storage: Precision,
    /// Batch size.
    pub batch: Option<usize>,
    /// The measured quantity.
    pub metric: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The measured commit, if known.
    pub commit: Option<String>,
    /// The result.
    pub outcome: Outcome,
}

/// The result of a workload.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Measurements.
    Measured(Figures),
    /// The program does not support the workload, with the reason.
    Unsupported(String),
    /// An unexpected error.
    Failed(String),
}

/// The numbers of a row.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The median, in the row's unit.
    pub value: f64,
    /// All chunks, sorted.
    pub chunks: Vec<f64>,
    /// Loss of the first step.
    pub loss_first: Option<f64>,
    /// Mean loss of the last steps.
    pub loss_last: Option<f64>,
    /// Device memory of the plan, in bytes.
    pub memory_bytes: Option<usize>,
    /// Dispatches per step.
    pub dispatches: Option<usize>,
    /// The minimum cost of a step.
    pub cost: Option<Cost>,
    /// The achieved arithmetic rate, in GFLOP/s.
    pub gflops: Option<f64>,
    /// The achieved memory traffic in GB/s, counting each tensor once.
    pub gbytes: Option<f64>,
    /// Time at the device's own copy and matrix product rates divided by the measured time.
    pub share: Option<f64>,
    /// Dispatch latency of the CPU executor's threads in microseconds; it depends on the placement of threads on cores.
    pub dispatch_latency_us: Option<f64>,
}

impl Figures {
    /// Creates figures from sorted times.
    pub(super) fn of_times(times: Vec<f64>) -> Self {
        Self { value: median(&times), chunks: times, ..Self::default() }
    }
}

impl ReportRow {
    /// The row as one JSON object.
    pub fn json(&self, baseline: Option<&Baseline>) -> Value {
        let mut row = json!({
            "workload": self.workload, "device": self.device, "driver": self.driver, "backend": self.backend,
            "batch": self.batch, "metric": self.metric, "value": null, "unit": self.unit, "loss_first": null,
            "loss_last": null, "commit": self.commit, "precision": self.precision,
            "storage": self.storage,
        });
        let more = match &self.outcome {
            Outcome::Measured(f) => json!({
                "value": f.value, "loss_first": f.loss_first, "loss_last": f.loss_last, "chunks": f.chunks,
                "memory_bytes": f.memory_bytes, "dispatches": f.dispatches, "flops": f.cost.map(|c| c.flops),
                "bytes": f.cost.map(|c| c.bytes), "gflops_per_second": f.gflops, "gbytes_per_second": f.gbytes,
                "share_of_ceilings": f.share, "dispatch_latency_us": f.dispatch_latency_us, "ratio": baseline.and_then(|b| b.ratio(self)),
            }),
            Outcome::Unsupported(why) => json!({"unsupported": why}),
            Outcome::Failed(why) => json!({"error": why}),
        };
        if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
            row.extend(more.into_iter().filter(|(_, v)| !v.is_null()).collect::<Map<_, _>>());
        }
        row
    }

    /// Whether the workload failed unexpectedly.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

/// The header of the table of [`ReportRow::line`].
pub fn table() -> String {
    format!(
        "{:<10} {:>12} {:<10} {:>15} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7} {:>9}",
        "workload",
        "value",
        "unit",
        "loss",
        "dispatch",
        "MFLOP",
        "MB",
        "MiB held",
        "GFLOP/s",
        "GB/s",
        "ceiling",
        "latency"
    )
}

impl ReportRow {
    /// The row as a line of the [`table`].
    pub fn line(&self, baseline: Option<&Baseline>) -> String {
        let name = match self.metric {
            "first_step_cold" => "first cold",
            "first_step_warm" => "first warm",
            _ => self.workload,
        };
        let f = match &self.outcome {
            Outcome::Measured(f) => f,
            Outcome::Unsupported(why) => return format!("{name:<10} {:>12} {why}", "unsupported"),
            Outcome::Failed(why) => return format!("{name:<10} {:>12} {why}", "FAILED"),
        };
        let loss = f.loss_first.zip(f.loss_last).map_or(String::new(), |(a, b)| format!("{a:.3} to {b:.3}"));
        let dispatches = f.dispatches.map_or(String::new(), |d| d.to_string());
        let show = |v: Option<f64>| v.map_or(String::new(), short);
        let mega = |v: fn(&Cost) -> u64| show(f.cost.as_ref().map(|c| v(c) as f64 / 1e6));
        let ratio = baseline.and_then(|b| b.ratio(self)).map_or(String::new(), |r| format!("  {r:.2}x"));
        format!(
            "{name:<10} {:>12} {:<10} {loss:>15} {dispatches:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7} {:>9}{ratio}",
            short(f.value),
            self.unit,
            mega(|c| c.flops),
            mega(|c| c.bytes),
            show(f.memory_bytes.map(|b| b as f64 / (1 << 20) as f64)),
            show(f.gflops),
            show(f.gbytes),
            f.share.map_or(String::new(), |s| format!("{:.0}%", 100.0 * s)),
            f.dispatch_latency_us.map_or(String::new(), |us| format!("{us:.2} us")),
        )
    }
}

/// Three or four digits.
fn short(v: f64) -> String {
    match v {
        v if v >= 1e7 => format!("{:.1}e6", v / 1e6),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

/// An earlier report to compare with.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    /// (workload, metric, backend) -> value.
    values: HashMap<[String; 3], f64>,
}

impl Baseline {
    /// Parses the output of `langevin bench --json`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Input`] when a line is not JSON or no line contains a value.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, e))?;
        Self::parse(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut values = HashMap::new();
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let row: Value = serde_json::from_str(line)
                .map_err(|e| format!("line {} is not JSON ({e}); name an output of `langevin bench --json`", i + 1))?;
            let word = |key: &str| row[key].as_str().unwrap_or_default().to_string();
            if let Some(value) = row["value"].as_f64() {
                values.insert([word("workload"), word("metric"), word("backend")], value);
            }
        }
        if values.is_empty() {
            Err("contains no row of `langevin bench --json`; name an output of it".into())
        } else {
            Ok(Self { values })
        }
    }

    /// The speed of `row` relative to the baseline; above 1 is faster.
    pub fn ratio(&self, row: &ReportRow) -> Option<f64> {
        let Outcome::Measured(figures) = &row.outcome else { return None };
        let key = [row.workload.to_string(), row.metric.to_string(), row.backend.clone()];
        let before = *self.values.get(&key)?;
        Some(if row.unit == "s" { before / figures.value } else { figures.value / before })
    }
}

/// The commit: from the environment, at build time or now, or from the checkout in the current directory.
pub(super) fn commit() -> Option<String> {
    let given = std::env::var("LANGEVIN_COMMIT").ok().or_else(|| option_env!("LANGEVIN_COMMIT").map(Into::into));
    given.or_else(|| {
        let manifest = std::fs::read_to_string("Cargo.toml").ok()?;
        let ours = manifest.lines().any(|l| l.trim() == "name = \"langevin\"");
        let git = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok().filter(|_| ours)?;
        let text = String::from_utf8(git.stdout).ok()?.trim().to_string();
        (git.status.success() && !text.is_empty()).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &'static str, unit: &'static str, value: f64) -> ReportRow {
        ReportRow {
            workload: "seed-32",
            device: "d".into(),
            driver: None,
            backend: "cpu".into(),
            precision: Precision::F32,
            storage: Precision::F32,
            batch: Some(32),
            metric,
            unit,
            commit: None,
            outcome: Outcome::Measured(Figures { value, ..Figures::default() }),
        }
    }

    #[test]
    fn ratios_are_above_one_when_faster() {
        let (rate, time) = (row("training_steps", "steps/s", 20.0), row("first_step_cold", "s", 2.0));
        let text = format!("{}\n\n{}\n", rate.json(None), time.json(None));
        let before = Baseline::parse(&text).unwrap();
        assert_eq!(before.ratio(&row("training_steps", "steps/s", 30.0)), Some(1.5));
        assert_eq!(before.ratio(&row("first_step_cold", "s", 1.0)), Some(2.0));
        assert_eq!(before.ratio(&row("gemm", "GFLOP/s", 1.0)), None);
        let other = ReportRow { backend: "vulkan".into(), ..row("training_steps", "steps/s", 30.0) };
        assert_eq!(before.ratio(&other), None);
    }

    #[test]
    fn a_file_without_rows_is_refused() {
        assert!(Baseline::parse("workload value").unwrap_err().contains("line 1"));
        assert!(Baseline::parse("{\"workload\":\"conv-32\",\"unsupported\":\"no\"}").is_err());
    }

    #[test]
    fn a_row_has_the_promised_keys() {
        let row = row("training_steps", "steps/s", 20.0).json(None);
        for key in "workload device backend batch metric value unit loss_first loss_last commit".split(' ') {
            assert!(row.as_object().unwrap().contains_key(key), "{key}");
        }
    }
}
