//! Progress of a command on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::inference::Completion;
use crate::train::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Without a terminal, progress is printed only for commands that take longer than this.
const LONG: Duration = Duration::from_secs(10);
/// The maximum time between two lines of progress.
const PAUSE: Duration = Duration::from_secs(30);

/// The time after which the duration of a training is estimated, and the shortest one that is worth a line.
const PROBE: Duration = Duration::from_secs(1);
const WORTH_SAYING: f64 = 4.0;

/// When a line of progress is due where there is no terminal: after each tenth, and at least twice a minute.
#[derive(Default)]
struct Lines {
    tenth: u64,
    last: Duration,
}

impl Lines {
    fn after(done: u64, total: u64) -> Self {
        Self { tenth: done * 10 / total.max(1), last: Duration::ZERO }
    }

    fn due(&mut self, done: u64, total: u64, elapsed: Duration) -> bool {
        let tenth = done * 10 / total.max(1);
        let due = tenth > self.tenth || elapsed >= self.last + PAUSE;
        if due {
            (self.tenth, self.last) = (tenth, elapsed);
        }
        due
    }
}

/// A bar with a style, which is hidden without a terminal.
fn bar(length: Option<u64>, visible: bool, style: &str) -> ProgressBar {
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(length, target);
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar
}

/// A progress bar on a terminal, otherwise lines for a long computation.
pub struct Meter {
    bar: ProgressBar,
    what: &'static str,
    lines: Option<Lines>,
    start: Instant,
}

impl Meter {
    /// Starts with a message such as `drawing samples`.
    pub fn new(what: &'static str, silent: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = bar(None, terminal && !silent, "{msg}  {bar:24} {percent}%  {elapsed} elapsed, {eta} left");
        bar.set_message(what);
        let lines = (!terminal && !silent).then(Lines::default);
        Self { bar, what, lines, start: Instant::now() }
    }

    pub fn show(&mut self, Completion { done, total }: Completion) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        let elapsed = self.start.elapsed();
        if let Some(lines) = &mut self.lines
            && elapsed > LONG
            && done > 0
            && lines.due(done, total, elapsed)
        {
            let left = elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
            eprintln!("{}: {}%, {left:.0} s left", self.what, 100 * done / total.max(1));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of a training: a bar on a terminal, otherwise lines.
pub struct TrainingProgress {
    bar: ProgressBar,
    lines: Option<Lines>,
    start: Instant,
    /// Whether the estimated duration is still to be printed.
    estimate: bool,
}

impl TrainingProgress {
    pub fn new(step: u32, steps: u32, silent: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let style = "{bar:24} step {pos}/{len}  loss {msg}  {elapsed} elapsed, {eta} left";
        let bar = bar(Some(steps.into()), terminal && !silent, style);
        bar.set_position(step.into());
        bar.reset_eta();
        let lines = (!terminal && !silent).then(|| Lines::after(step.into(), steps.into()));
        Self { bar, lines, start: Instant::now(), estimate: !silent }
    }

    pub fn show(&mut self, p: Progress) {
        let left = f64::from(p.steps - p.step) / p.steps_per_second;
        if self.estimate && self.start.elapsed() >= PROBE {
            self.estimate = false;
            if left >= WORTH_SAYING {
                let text = format!("the training will take about {}; Ctrl-C saves it and stops", duration(left));
                self.bar.suspend(|| say!("{text}"));
            }
        }
        let validation = p.validation.map(|loss| format!("  validation {loss:.4}")).unwrap_or_default();
        let message = format!("{:.4}{validation}  {:.0} steps/s", p.loss, p.steps_per_second);
        self.bar.set_position(p.step.into());
        self.bar.set_message(message.clone());
        if let Some(lines) = &mut self.lines
            && lines.due(p.step.into(), p.steps.into(), self.start.elapsed())
        {
            say!("step {}/{}  loss {message}  {left:.0} s left", p.step, p.steps);
        }
    }

    /// Leaves the bar where it is: a run that was stopped has not done all of its steps.
    pub fn finish(&self) {
        self.bar.abandon();
    }
}

/// A duration in words with one or two digits: "40 s", "3 minutes", "2 hours".
fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.0} s"),
        ..95.0 => format!("{:.0} s", (seconds / 5.0).round() * 5.0),
        ..5_400.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{:.0} hours", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_words() {
        let of = [4.4, 42.0, 91.0, 100.0, 3_000.0, 8_000.0].map(duration);
        assert_eq!(of, ["4 s", "40 s", "90 s", "2 minutes", "50 minutes", "2 hours"]);
    }

    #[test]
    fn a_stopped_bar_stays_where_it_is() {
        let progress = TrainingProgress::new(0, 3000, true);
        progress.bar.set_position(709);
        progress.finish();
        assert_eq!((progress.bar.position(), progress.bar.length()), (709, Some(3000)));
    }

    #[test]
    fn lines_are_printed_for_each_tenth_and_twice_a_minute() {
        let seconds = Duration::from_secs;
        let mut lines = Lines::after(15, 100);
        assert!(!lines.due(19, 100, seconds(1)) && lines.due(20, 100, seconds(2)) && !lines.due(21, 100, seconds(3)));
        // A long computation.
        let mut lines = Lines::default();
        let times: Vec<u64> = (1..=120).filter(|&s| lines.due(s, 1_000_000, seconds(s))).collect();
        assert_eq!(times, [30, 60, 90, 120]);
    }
}
