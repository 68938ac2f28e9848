//! The progress of a training for programs: JSON objects on standard output, one a line.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::train::{Progress, Trainer};
use serde_json::{Map, Value, json};

/// The format of the progress.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LogFormat {
    #[default]
    Text,
    Jsonl,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err("use text or jsonl"),
        }
    }
}

/// The least time between two events of progress.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints events.
pub struct Events {
    last: Option<Instant>,
}

impl Events {
    /// Prints what is known before the first step.
    pub fn start(run: &Path, trainer: &Trainer) -> Self {
        let config = trainer.config();
        // The same text for `runs/a` and `runs/a/`, so that programs can compare it.
        let run: PathBuf = run.components().collect();
        print(json!({
            "event": "start", "run": run, "step": trainer.step(), "steps": config.steps, "batch": trainer.batch(),
            "model": config.model.name(), "parameters": trainer.run().graph().parameter_count(),
            "terms": trainer.terms(), "memory_bytes": trainer.allocated(),
        }));
        Self { last: None }
    }

    /// Prints the progress at most once a second, and after the last step.
    pub fn progress(&mut self, p: &Progress) {
        if p.step < p.steps && self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        self.last = Some(Instant::now());
        let terms: Map<String, Value> = p.terms.iter().map(|(name, mean)| (name.to_string(), json!(mean))).collect();
        print(json!({
            "event": "progress", "step": p.step, "steps": p.steps, "loss": p.loss, "terms": terms,
            "validation": p.validation, "lr": p.lr, "samples_per_second": p.samples_per_second,
            "seconds_left": p.seconds_left(), "memory_bytes": p.memory,
        }));
    }

    pub fn preview(&self, step: u32, file: &Path) {
        print(json!({"event": "preview", "step": step, "file": file}));
    }
}

fn print(event: Value) {
    say!("{event}");
}
