//! A run folder, and the training loop that fills it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Checkpoint, Config, Trainer};
use crate::data::write_atomically;
use crate::error::{Error, Result};
use crate::plot;

/// A folder with `config.toml`, `metrics.csv`, `checkpoint.safetensors` (and the previous one), `loss.svg`, `samples/`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

/// Steps in a row of `metrics.csv`.
const ROW: u32 = 10;
/// The loop looks at the losses about this often.
const REPORT: Duration = Duration::from_millis(250);
const HEADER: &str = "step,loss,lr,samples_per_second";

impl RunFolder {
    /// Makes a folder for a new run.
    ///
    /// # Errors
    /// When it already holds a run, or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        if path.join("config.toml").exists() || path.join("checkpoint.safetensors").exists() {
            return Err(Error::setting(format!(
                "{} already holds a run; continue it with --resume, or choose another --out",
                path.display()
            )));
        }
        if path.is_file() {
            return Err(Error::setting(format!("{} is a file; --out names a folder", path.display())));
        }
        fs::create_dir_all(path).map_err(|e| Error::io("cannot make the folder", path, e))?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// The folder of an existing run.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join("checkpoint.safetensors").exists() {
            let what = match (path.exists(), path.join("config.toml").exists()) {
                (false, _) => "does not exist",
                (true, false) => "is not a run folder: it has no config.toml and no checkpoint.safetensors",
                (true, true) => "has no checkpoint.safetensors yet: its training stopped before the first one",
            };
            let path = path.display();
            return Err(Error::input(format!("{path} {what}; make a run with `langevin train DATA --out RUN`")));
        }
        Ok(Self { path: path.to_path_buf() })
    }

    /// A file inside.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the checkpoint.
    ///
    /// # Errors
    /// When it is damaged; the message names the previous one if that is intact.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::load(&self.file("checkpoint.safetensors")).map_err(|e| {
            let previous = self.file("checkpoint.previous.safetensors");
            match Checkpoint::load(&previous) {
                Ok(good) => Error::input(format!(
                    "{e}. {} (step {}) is intact: copy it over the damaged one",
                    previous.display(),
                    good.step
                )),
                Err(_) => e,
            }
        })
    }

    /// Writes `config.toml`.
    pub fn write_config(&self, config: &Config) -> Result<()> {
        write_atomically(&self.file("config.toml"), |f| f.write_all(config.to_toml().as_bytes()))
    }

    /// Writes a checkpoint; the one before is kept as `checkpoint.previous.safetensors`.
    pub fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let (path, previous) = (self.file("checkpoint.safetensors"), self.file("checkpoint.previous.safetensors"));
        let spare = self.file("checkpoint.new.safetensors");
        checkpoint.save(&spare)?;
        let rename = |a: &Path, b: &Path| fs::rename(a, b).map_err(|e| Error::io("cannot replace", b, e));
        if path.exists() {
            // A second name for the last good file first, so that there is always one.
            let _ = fs::remove_file(&previous);
            let linked = fs::hard_link(&path, &previous).or_else(|_| fs::copy(&path, &previous).map(|_| ()));
            linked.map_err(|e| Error::io("cannot keep", &previous, e))?;
        }
        rename(&spare, &path)
    }

    /// The rows of `metrics.csv` up to `step`, for a run that continues.
    fn rows_until(&self, step: u32) -> Vec<String> {
        let text = fs::read_to_string(self.file("metrics.csv")).unwrap_or_default();
        let step_of = |row: &str| row.split(',').next()?.parse::<u32>().ok();
        text.lines().filter(|row| step_of(row).is_some_and(|s| s <= step)).map(str::to_string).collect()
    }

    fn write_metrics(&self, rows: &[String]) -> Result<()> {
        write_atomically(&self.file("metrics.csv"), |f| {
            writeln!(f, "{HEADER}")?;
            rows.iter().try_for_each(|row| writeln!(f, "{row}"))
        })?;
        let losses: Vec<(u64, f64)> = rows
            .iter()
            .filter_map(|row| {
                let mut cells = row.split(',');
                Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
            })
            .collect();
        if losses.len() > 1 { plot::loss_curve(&self.file("loss.svg"), &losses) } else { Ok(()) }
    }
}

/// What the loop tells while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u32,
    /// Steps to do.
    pub steps: u32,
    /// Mean loss of the last steps.
    pub loss: f64,
    /// Speed since the start of this call.
    pub steps_per_second: f64,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All steps are done.
    Done,
    /// The observer asked to stop; everything is saved.
    Asked,
}

/// Trains until `steps`, writing metrics and checkpoints into `folder`. `observe` is called several times a second and
/// returns whether to go on.
///
/// # Errors
/// When a loss is not finite or a file cannot be written; the last good checkpoint stays.
pub fn train(folder: &RunFolder, trainer: &mut Trainer, observe: &mut dyn FnMut(Progress) -> bool) -> Result<Stop> {
    let config = trainer.config().clone();
    let mut rows = folder.rows_until(trainer.step());
    let mut pending: Vec<f64> = Vec::new();
    let (start, first) = (Instant::now(), trainer.step());
    let mut chunk = 1;
    let mut stop = Stop::Done;
    while trainer.step() < config.steps {
        let began = Instant::now();
        let step = trainer.step();
        let to_checkpoint = config.checkpoint_every - step % config.checkpoint_every;
        let n = chunk.min(config.steps - step).min(to_checkpoint);
        let losses = trainer.advance(n).map_err(|e| explain(folder, e))?;
        for (i, loss) in losses.iter().enumerate() {
            pending.push(*loss);
            let done = step + i as u32 + 1;
            if done % ROW == 0 {
                let speed = (done - first) as f64 * trainer.batch() as f64 / start.elapsed().as_secs_f64();
                rows.push(row(done, mean(&pending), config.lr * config.decay.factor(done - 1), speed));
                pending.clear();
            }
        }
        let per_step = began.elapsed().as_secs_f64() / n as f64;
        chunk = ((REPORT.as_secs_f64() / per_step.max(1e-7)) as u32).clamp(1, 4 * chunk).min(1_000);
        let steps_per_second = (trainer.step() - first) as f64 / start.elapsed().as_secs_f64();
        let progress = Progress { step: trainer.step(), steps: config.steps, loss: mean(&losses), steps_per_second };
        if !observe(progress) {
            stop = Stop::Asked;
            break;
        }
        if trainer.step() % config.checkpoint_every == 0 && trainer.step() < config.steps {
            folder.write_metrics(&rows)?;
            folder.write_checkpoint(&trainer.checkpoint()?)?;
        }
    }
    folder.write_metrics(&rows)?;
    folder.write_checkpoint(&trainer.checkpoint()?)?;
    Ok(stop)
}

/// Adds where the last good state is.
fn explain(folder: &RunFolder, e: Error) -> Error {
    let Error::NonFinite(text) = e else { return e };
    let kept = match folder.checkpoint() {
        Ok(good) => format!("The last good checkpoint (step {}) is kept", good.step),
        Err(_) => "There is no checkpoint yet".into(),
    };
    Error::NonFinite(format!("{text}. {kept}"))
}

fn row(step: u32, loss: f64, lr: f64, speed: f64) -> String {
    let mut row = String::new();
    write!(row, "{step},{loss:.6e},{lr:.6e},{speed:.1}").expect("writing to a string");
    row
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
