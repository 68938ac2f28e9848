//! The training loop, which writes metrics and checkpoints into the run folder.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::folder::{self, RunFolder};
use super::metrics::{Record, mean};
use super::{Config, Losses, Trainer};
use crate::error::{Error, Result};
use crate::io::quoted;

/// The target time between two calls of the observer.
const REPORT: Duration = Duration::from_millis(250);

/// The progress of [`train`].
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Progress {
    /// The number of completed steps.
    pub step: u32,
    /// The total number of steps.
    pub steps: u32,
    /// The mean loss of the steps since the last call.
    pub loss: f64,
    /// The names and the means of the terms of the loss, without their weights; empty if there is only one.
    pub terms: Vec<(&'static str, f64)>,
    /// The last validation loss, also that of the last step.
    pub validation: Option<f64>,
    /// The learning rate of the last step.
    pub lr: f64,
    /// The mean speed of the last ten seconds and more, without the time that [`Watch::state`] took.
    pub steps_per_second: f64,
    /// [`steps_per_second`](Self::steps_per_second) times the batch size.
    pub samples_per_second: f64,
    /// The allocated memory of the device, in bytes.
    pub memory: u64,
}

impl Progress {
    /// The progress of a run with a loss of 1, for tests.
    #[cfg(test)]
    pub(crate) fn at(step: u32, steps: u32) -> Self {
        let (loss, terms, validation) = (1.0, vec![], None);
        let (lr, steps_per_second, samples_per_second, memory) = (1e-3, 1.0, 8.0, 1 << 20);
        Self { step, steps, loss, terms, validation, lr, steps_per_second, samples_per_second, memory }
    }

    /// The expected time until the last step, in seconds.
    pub fn seconds_left(&self) -> f64 {
        f64::from(self.steps - self.step) / self.steps_per_second
    }
}

/// What follows a training: [`train_watched`] calls its methods. None of them can change the results of the run.
pub trait Watch {
    /// The progress, several times a second. The training stops when it returns false.
    fn progress(&mut self, progress: &Progress) -> bool;

    /// A complete row of `metrics.csv`, with the header of the file.
    ///
    /// # Errors
    /// They end the training.
    fn row(&mut self, _header: &str, _row: &str) -> Result<()> {
        Ok(())
    }

    /// The state after a call of [`Watch::progress`].
    ///
    /// # Errors
    /// They end the training.
    fn state(&mut self, _trainer: &mut Trainer) -> Result<()> {
        Ok(())
    }

    /// The number of steps after `step` at which [`Watch::state`] is to be called, at the latest.
    fn until_state(&self, _step: u32) -> u32 {
        u32::MAX
    }
}

/// A function as a [`Watch`].
struct Observed<'a>(&'a mut dyn FnMut(&Progress) -> bool);

impl Watch for Observed<'_> {
    fn progress(&mut self, progress: &Progress) -> bool {
        (self.0)(progress)
    }
}

/// Why [`train`] ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All steps are completed.
    Done,
    /// The validation loss did not decrease for `early_stop` evaluations. The state is saved.
    Early,
    /// The observer requested it. The state is saved.
    Requested,
}

/// Trains up to the number of steps in the settings, and writes metrics and checkpoints into `folder`. `observe` is called
/// several times a second; training stops when it returns false. A finished run is not changed.
///
/// # Errors
/// [`Error::Setting`] when the disk has not enough space for the checkpoints, [`Error::NonFinite`] when a loss is not
/// finite, [`Error::Io`] when a file cannot be written, [`Error::DeviceLost`]. The last checkpoint is kept.
pub fn train(folder: &RunFolder, trainer: &mut Trainer, observe: &mut dyn FnMut(&Progress) -> bool) -> Result<Stop> {
    train_watched(folder, trainer, &mut Observed(observe))
}

/// [`train`], followed by `watch`.
///
/// # Errors
/// As [`train`], and those of `watch`.
pub fn train_watched(folder: &RunFolder, trainer: &mut Trainer, watch: &mut dyn Watch) -> Result<Stop> {
    run(folder, trainer, watch).map_err(|e| explain(folder, e))
}

fn run(folder: &RunFolder, trainer: &mut Trainer, watch: &mut dyn Watch) -> Result<Stop> {
    folder.lock()?;
    // The lock is held, so no running process uses these files.
    folder.remove_temporary_files();
    let config = trainer.config().clone();
    if trainer.step() < config.steps {
        folder.check_space(trainer.checkpoint_size(), config.keep_best, trainer.snapshots_size())?;
    }
    let mut record = Record::new(&folder.metrics(), trainer);
    let mut speed = Speed::from(trainer.step());
    let (mut chunk, mut saved, mut last_validation) = (1, Saved::now(), None);
    let early = |record: &Record| if record.is_at_early_stop(&config) { Stop::Early } else { Stop::Done };
    let mut stop = early(&record);
    if trainer.step() < config.steps && stop == Stop::Done {
        folder.remove_previews(trainer.step())?;
    }
    while trainer.step() < config.steps && stop == Stop::Done {
        let began = Instant::now();
        let step = trainer.step();
        let to = |every: u32| every - step % every;
        let n = chunk.min(config.steps - step).min(to(config.checkpoint_every)).min(to_validation(&config, step));
        let n = if config.ema_snapshot_every > 0 { n.min(to(config.ema_snapshot_every)) } else { n };
        let n = n.min(watch.until_state(step).max(1));
        let mut losses = trainer.pending().to_vec();
        let new = trainer.advance_by_term(n)?;
        let per_step = began.elapsed().as_secs_f64() / n as f64;
        let (loss, terms) = (mean(new.iter().map(|l| l.total)), means(&trainer.terms(), &new));
        losses.extend(new);
        let (validation, best) = validate(&mut record, trainer)?;
        let done = trainer.step();
        let per_second = speed.at(done);
        last_validation = validation.or(last_validation);
        let samples_per_second = per_second * trainer.batch() as f64;
        for row in record.take(&config, done, losses, validation, samples_per_second) {
            watch.row(&record.header, &row)?;
        }
        chunk = ((REPORT.as_secs_f64() / per_step.max(1e-7)) as u32).clamp(1, 4 * chunk).min(1_000);
        stop = early(&record);
        if config.has_snapshot(done) {
            folder.create_again(trainer)?;
            folder.write_snapshot(&trainer.snapshot()?)?;
        }
        let progress = Progress {
            step: done,
            steps: config.steps,
            loss,
            terms,
            validation: last_validation.or(record.early_stopping.last),
            lr: config.lr_of(done - 1),
            steps_per_second: per_second,
            samples_per_second,
            memory: trainer.allocated(),
        };
        if !watch.progress(&progress) {
            stop = Stop::Requested;
        }
        let regular = done.is_multiple_of(config.checkpoint_every) || done == config.steps || stop != Stop::Done;
        saved.save(folder, trainer, &mut record, best, regular)?;
        if stop != Stop::Requested {
            let began = Instant::now();
            watch.state(trainer)?;
            speed.pause(began.elapsed());
        }
    }
    if let Some(row) = record.irregular() {
        watch.row(&record.header, row)?;
    }
    Ok(stop)
}

/// The recent speed of a training.
struct Speed {
    start: Instant,
    paused: Duration,
    /// Times of work and the steps that were completed then: the first is the last one that is older than [`Speed::RECENT`].
    marks: VecDeque<(Duration, u32)>,
}

impl Speed {
    const RECENT: Duration = Duration::from_secs(10);

    fn from(step: u32) -> Self {
        Self { start: Instant::now(), paused: Duration::ZERO, marks: VecDeque::from([(Duration::ZERO, step)]) }
    }

    /// Leaves out time that was not spent on steps.
    fn pause(&mut self, time: Duration) {
        self.paused += time;
    }

    /// The steps per second up to now, when `step` is completed.
    fn at(&mut self, step: u32) -> f64 {
        self.at_time(self.start.elapsed().saturating_sub(self.paused), step)
    }

    fn at_time(&mut self, now: Duration, step: u32) -> f64 {
        while self.marks.get(1).is_some_and(|(time, _)| now.saturating_sub(*time) >= Self::RECENT) {
            self.marks.pop_front();
        }
        let (since, first) = self.marks[0];
        self.marks.push_back((now, step));
        f64::from(step - first) / now.saturating_sub(since).as_secs_f64().max(1e-9)
    }
}

/// The means of the terms of the loss; none if there is only one.
fn means(names: &[&'static str], losses: &[Losses]) -> Vec<(&'static str, f64)> {
    let several = names.iter().enumerate().filter(|_| names.len() > 1);
    several.map(|(term, name)| (*name, mean(losses.iter().map(|l| l.terms[term])))).collect()
}

/// When the run was saved last. Besides the steps of `checkpoint_every`, a run is saved by time, so that slow networks do
/// not lose more than about a minute of work. When a run is saved does not change its results.
struct Saved {
    checkpoint: Instant,
    /// How long the last checkpoint took to write.
    took: Duration,
    metrics: Instant,
    /// How long the last rows of the metrics took to write, with the picture of the curves.
    metrics_took: Duration,
}

impl Saved {
    const CHECKPOINT: Duration = Duration::from_secs(60);
    /// Short enough to watch the curves.
    const METRICS: Duration = Duration::from_secs(2);

    fn now() -> Self {
        let (now, none) = (Instant::now(), Duration::ZERO);
        Self { checkpoint: now, took: none, metrics: now, metrics_took: none }
    }

    /// Saves what is due: a `regular` checkpoint or one by time, the `best` state, the new rows of the metrics.
    fn save(
        &mut self,
        folder: &RunFolder,
        trainer: &mut Trainer,
        record: &mut Record,
        best: bool,
        regular: bool,
    ) -> Result<()> {
        // At most a twentieth of the time is spent on checkpoints by time.
        let due = regular || self.checkpoint.elapsed() >= Self::CHECKPOINT.max(20 * self.took);
        if best || due {
            let began = Instant::now();
            folder.create_again(trainer)?;
            let checkpoint = trainer.checkpoint()?;
            if best {
                checkpoint.save(&folder.file(folder::BEST))?;
            }
            // `best.safetensors` can only be used in a run with a checkpoint.
            if due || !folder.has_checkpoint() {
                folder.write_metrics(record)?;
                folder.write_checkpoint(&checkpoint)?;
                *self = Self { took: began.elapsed(), metrics_took: self.metrics_took, ..Self::now() };
            }
        } else if self.metrics.elapsed() >= Self::METRICS.max(50 * self.metrics_took) && folder.path.is_dir() {
            let began = Instant::now();
            folder.write_metrics(record)?;
            (self.metrics, self.metrics_took) = (Instant::now(), began.elapsed());
        }
        Ok(())
    }
}

/// The number of steps until the next evaluation.
fn to_validation(config: &Config, step: u32) -> u32 {
    if config.validation > 0.0 { config.validation_every - step % config.validation_every } else { u32::MAX }
}

/// Evaluates the held-out data if it is due. Returns the loss, and whether the state is to be kept as the best one. Only
/// evaluations at multiples of `validation_every` count for the best state and early stopping, not the one after the last
/// step.
fn validate(record: &mut Record, trainer: &mut Trainer) -> Result<(Option<f64>, bool)> {
    let (config, step) = (trainer.config(), trainer.step());
    let (regular, keep) = (step.is_multiple_of(config.validation_every), config.keep_best);
    if !(regular || step == config.steps) {
        return Ok((None, false));
    }
    let Some(loss) = trainer.validate()? else { return Ok((None, false)) };
    // Rounded as in the file, which is all that a resumed run has.
    let loss = format!("{loss:.6e}").parse().unwrap_or(loss);
    let better = regular && record.early_stopping.observe(step, loss);
    Ok((Some(loss), better && keep))
}

/// The command that continues a run.
fn resuming(folder: &RunFolder) -> String {
    format!("langevin train --out {} --resume", quoted(&folder.path.to_string_lossy()))
}

/// Adds to an error where the last checkpoint is and how to continue.
fn explain(folder: &RunFolder, e: Error) -> Error {
    let (kept, path) = (folder.checkpoint().ok(), folder.path.display());
    match (e, kept) {
        (Error::NonFinite(text), Some(good)) => Error::NonFinite(format!(
            "{text}. The last checkpoint (step {}) is kept in {path}; a new run needs another --out",
            good.step
        )),
        (Error::NonFinite(text), None) => {
            Error::NonFinite(format!("{text}. There was no checkpoint yet: a new run can use {path} again"))
        }
        (Error::DeviceLost(text), Some(good)) => Error::DeviceLost(format!(
            "{text}. The last checkpoint (step {}) is kept; continue with: {}",
            good.step,
            resuming(folder)
        )),
        (Error::DeviceLost(text), None) => {
            Error::DeviceLost(format!("{text}. There was no checkpoint yet: a new run can use {path} again"))
        }
        (Error::Io { action, path: file, source }, Some(good)) => {
            let text = format!(
                "{source}. The last checkpoint (step {}) is kept; when the problem is solved, continue with: {}",
                good.step,
                resuming(folder)
            );
            Error::Io { action, path: file, source: io::Error::new(source.kind(), text) }
        }
        (e, _) => e,
    }
}

impl RunFolder {
    /// Why a run with these settings is finished after `step` steps; `None` if it is not.
    #[cfg(feature = "cli")]
    pub(crate) fn ended(&self, config: &Config, step: u32) -> Option<Stop> {
        let early = Record::after(&self.metrics(), config, step).is_at_early_stop(config);
        if step >= config.steps { Some(Stop::Done) } else { early.then_some(Stop::Early) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::device::Device;

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut speed = Speed::from(100);
        let seconds = Duration::from_secs;
        assert_eq!(speed.at_time(seconds(1), 150), 50.0);
        assert_eq!(speed.at_time(seconds(20), 1100), 50.0, "no mark within ten seconds");
        // Slower since then: the mark at one second is the last that is ten seconds old, then that at 20 seconds.
        assert_eq!(speed.at_time(seconds(25), 1110), 40.0);
        assert_eq!(speed.at_time(seconds(40), 1140), 2.0);
    }

    #[test]
    fn a_run_is_saved_by_time_too() {
        let data = Dataset::new("points", [2], (0..32).map(|i| (i as f32).sin()).collect()).unwrap();
        let config = Config { steps: 100, batch: 8, ..Config::for_model("simple").unwrap() };
        let mut trainer = Trainer::new(&Device::cpu(), &config, &data).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::vacant(&place.path().join("run")).unwrap();
        folder.write_config(&trainer).unwrap();
        let mut record = Record::new("", &trainer);
        let losses = trainer.advance_by_term(10).unwrap();
        record.take(trainer.config(), 10, losses, None, 1.0);
        let ago =
            |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("a machine that just started");
        let exists = |file: &str| folder.file(file).exists();
        let mut save = |checkpoint, took, metrics| {
            let took = Duration::from_secs(took);
            let mut saved = Saved { checkpoint: ago(checkpoint), took, metrics: ago(metrics), ..Saved::now() };
            saved.save(&folder, &mut trainer, &mut record, false, false).unwrap();
        };
        save(59, 0, 1);
        assert!(!exists("metrics.csv"));
        save(59, 0, 2);
        assert!(exists("metrics.csv") && !exists("checkpoint.safetensors"));
        save(61, 4, 0);
        assert!(!exists("checkpoint.safetensors"), "checkpoints that take 4 s are written every 80 s");
        save(61, 3, 0);
        assert!(exists("checkpoint.safetensors"));
        assert_eq!(RunFolder::open(&place.path().join("run")).unwrap().checkpoint().unwrap().step, 10);
    }
}
