//! Progress of a command on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::inference::Completion;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Without a terminal, progress is printed only for commands that take longer than this.
const LONG: Duration = Duration::from_secs(10);
/// The maximum time between two lines of progress.
const PAUSE: Duration = Duration::from_secs(30);

/// When a line of progress is due where there is no terminal: after each tenth, and at least twice a minute.
#[derive(Default)]
struct Lines {
    tenth: u64,
    last: Duration,
}

impl Lines {
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
pub fn bar(visible: bool, style: &str) -> ProgressBar {
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
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
        let bar = bar(terminal && !silent, "{msg}  {wide_bar} {percent}%  {eta} left");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_printed_for_each_tenth_and_twice_a_minute() {
        let seconds = Duration::from_secs;
        let mut lines = Lines { tenth: 1, last: Duration::ZERO };
        assert!(!lines.due(19, 100, seconds(1)) && lines.due(20, 100, seconds(2)) && !lines.due(21, 100, seconds(3)));
        // A long computation.
        let mut lines = Lines::default();
        let times: Vec<u64> = (1..=120).filter(|&s| lines.due(s, 1_000_000, seconds(s))).collect();
        assert_eq!(times, [30, 60, 90, 120]);
    }
}
