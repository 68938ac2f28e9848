//! Progress of a command on standard error.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::inference::Completion;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Without a terminal, progress is printed only for commands that take longer than this.
const LONG: Duration = Duration::from_secs(10);

/// When a line is due where there is no terminal: within ten seconds, then after each tenth, but not more than once a second
/// except for the last one, and at least twice a minute.
pub struct Lines {
    tenth: u64,
    /// The time of the last line.
    last: Option<Duration>,
}

impl Lines {
    const FIRST: Duration = Duration::from_secs(5);
    const LEAST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(30);

    /// The lines of work of which `done` of `total` is done.
    pub fn after(done: u64, total: u64) -> Self {
        Self { tenth: tenth(done, total), last: None }
    }

    pub fn due(&mut self, done: u64, total: u64, elapsed: Duration) -> bool {
        let tenth = tenth(done, total);
        let since = elapsed.saturating_sub(self.last.unwrap_or_default());
        let late = since >= if self.last.is_none() { Self::FIRST } else { Self::MOST };
        let due = late || tenth > self.tenth && (since >= Self::LEAST || done == total);
        if due {
            (self.tenth, self.last) = (tenth, Some(elapsed));
        }
        due
    }
}

fn tenth(done: u64, total: u64) -> u64 {
    done * 10 / total.max(1)
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
        let lines = (!terminal && !silent).then(|| Lines::after(0, 1));
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

/// Shows the progress of measuring data that stay in their files, and of downloads.
pub fn show_reading(silent: bool) {
    let meter: Mutex<Option<Meter>> = Mutex::default();
    crate::data::watch_reading(Box::new(move |what, done, total| {
        let mut meter = meter.lock().unwrap_or_else(|e| e.into_inner());
        match done < total {
            true => meter.get_or_insert_with(|| Meter::new(what, silent)).show(Completion { done, total }),
            false => *meter = None,
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_printed_for_each_tenth_and_twice_a_minute() {
        let seconds = |s: f64| Duration::from_secs_f64(s);
        let mut lines = Lines::after(10, 100);
        assert!(!lines.due(19, 100, seconds(1.0)) && lines.due(20, 100, seconds(2.0)));
        assert!(!lines.due(21, 100, seconds(3.0)), "no tenth");
        assert!(!lines.due(30, 100, seconds(2.5)) && lines.due(30, 100, seconds(3.0)), "not more than one a second");
        assert!(lines.due(100, 100, seconds(3.1)), "the last step has a line");
        // A long computation.
        let mut lines = Lines::after(0, 1_000_000);
        let times: Vec<u64> = (1..=120).filter(|&s| lines.due(s, 1_000_000, seconds(s as f64))).collect();
        assert_eq!(times, [5, 35, 65, 95]);
    }
}
