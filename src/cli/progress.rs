//! Progress of a command on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::inference::Completion;
use crate::train::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal, progress is printed only for commands that take longer than this.
const LONG: Duration = Duration::from_secs(10);

/// A progress bar on a terminal, otherwise a line for each tenth of a long computation.
pub struct Meter {
    bar: ProgressBar,
    what: &'static str,
    lines: bool,
    tenth: u64,
    start: Instant,
}

impl Meter {
    /// Starts with a message such as `drawing samples`.
    pub fn new(what: &'static str, silent: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && !silent { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let style = "{msg}  {bar:24} step {pos}/{len}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        bar.set_message(what);
        Self { bar, what, lines: !terminal && !silent, tenth: 0, start: Instant::now() }
    }

    pub fn show(&mut self, Completion { done, total }: Completion) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        let (tenth, elapsed) = (done * 10 / total.max(1), self.start.elapsed());
        if self.lines && elapsed > LONG && tenth > self.tenth {
            self.tenth = tenth;
            let left = elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
            eprintln!("{}: step {done}/{total}, {left:.0} s left", self.what);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of a training: a bar on a terminal, otherwise a line for each tenth.
pub struct TrainingProgress {
    bar: ProgressBar,
    plain: bool,
    tenth: u32,
    steps: u32,
}

impl TrainingProgress {
    pub fn new(step: u32, steps: u32, silent: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && !silent { ProgressBar::new(steps as u64) } else { ProgressBar::hidden() };
        let style = "{bar:24} step {pos}/{len}  loss {msg}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        bar.set_position(step as u64);
        bar.reset_eta();
        Self { bar, plain: !terminal && !silent, tenth: step * 10 / steps, steps }
    }

    pub fn show(&mut self, p: Progress) {
        let validation = p.validation.map(|loss| format!("  validation {loss:.4}")).unwrap_or_default();
        let message = format!("{:.4}{validation}  {:.0} steps/s", p.loss, p.steps_per_second);
        self.bar.set_position(p.step as u64);
        self.bar.set_message(message.clone());
        let tenth = (p.step as u64 * 10 / self.steps as u64) as u32;
        if self.plain && tenth > self.tenth {
            self.tenth = tenth;
            let left = (p.steps - p.step) as f64 / p.steps_per_second;
            say!("step {}/{}  loss {message}  {left:.0} s left", p.step, p.steps);
        }
    }

    pub fn finish(&self) {
        self.bar.finish();
    }
}
