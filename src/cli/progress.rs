//! How far a command is, on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::inference::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A command that takes no longer says nothing where there is no terminal.
const LONG: Duration = Duration::from_secs(10);

/// A bar on a terminal; elsewhere a line for each tenth of a long computation.
pub struct Meter {
    bar: ProgressBar,
    what: &'static str,
    lines: bool,
    tenth: u64,
    start: Instant,
}

impl Meter {
    /// `what` is done, such as `drawing samples`.
    pub fn new(what: &'static str, silent: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && !silent { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let style = "{msg}  {bar:24} step {pos}/{len}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        bar.set_message(what);
        Self { bar, what, lines: !terminal && !silent, tenth: 0, start: Instant::now() }
    }

    pub fn show(&mut self, Progress { done, total }: Progress) {
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
