//! The progress of a training for people: one line on a terminal that fits its width, otherwise lines from time to time.

use std::io::IsTerminal;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cli::progress::{Lines, bar};
use crate::text::{readable, short};
use crate::train::Progress;
use console::Term;
use indicatif::ProgressBar;

/// How often the display is looked at while a step takes long.
const TICK: Duration = Duration::from_secs(1);

/// The time after which the duration of a training is estimated, and the shortest one that is worth a line.
const PROBE: Duration = Duration::from_secs(1);
const WORTH_SAYING: f64 = 4.0;

/// The display of a training. It has a thread, so that it also moves during a step that takes minutes.
pub struct Live {
    sender: Option<Sender<Progress>>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Starts the display of a run that has completed `step` of `steps`.
    pub fn new(step: u32, steps: u32) -> Self {
        let (sender, receiver) = mpsc::channel();
        let display = Display::new(step, steps, std::io::stderr().is_terminal());
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || display.follow(&receiver));
        let thread = thread.inspect_err(|e| log::warn!("the progress is not displayed: {e}")).ok();
        Self { sender: Some(sender), thread }
    }

    pub fn show(&self, progress: &Progress) {
        // Without a thread there is no receiver.
        let _ = self.sender.as_ref().map(|sender| sender.send(progress.clone()));
    }
}

impl Drop for Live {
    /// Waits for the last line. The bar stays where it is: a run that was stopped has not done all of its steps.
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::warn!("the display of the progress failed");
        }
    }
}

struct Display {
    /// The line of a terminal.
    bar: Option<ProgressBar>,
    lines: Lines,
    start: Instant,
    /// The number of steps that were completed at the start, and that of all steps.
    first: u32,
    steps: u32,
    last: Option<(Progress, Instant)>,
    /// Whether the estimated duration is still to be printed.
    estimate: bool,
}

impl Display {
    fn new(first: u32, steps: u32, terminal: bool) -> Self {
        let lines = Lines::after(first.into(), steps.into());
        let bar = terminal.then(|| bar(true, "{msg}"));
        Self { bar, lines, start: Instant::now(), first, steps, last: None, estimate: first < steps }
    }

    fn follow(mut self, receiver: &Receiver<Progress>) {
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(progress) => {
                    self.say_duration(&progress);
                    self.last = Some((progress, Instant::now()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.show();
        }
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }

    fn show(&mut self) {
        let elapsed = self.start.elapsed();
        if let Some(bar) = &self.bar {
            let width = Term::stderr().size_checked().map_or(80, |(_, columns)| columns.into());
            // The last column stays free: some terminals break the line there.
            bar.set_message(line(&self.parts(), width.max(20) - 1));
        } else if self.lines.due(
            self.last.as_ref().map_or(self.first, |(p, _)| p.step).into(),
            self.steps.into(),
            elapsed,
        ) {
            let parts = self.parts();
            say!("{}", line(&parts[1..], usize::MAX));
        }
    }

    /// Estimates the duration once.
    fn say_duration(&mut self, progress: &Progress) {
        let left = progress.seconds_left();
        if !self.estimate || self.start.elapsed() < PROBE {
            return;
        }
        self.estimate = false;
        if left < WORTH_SAYING {
            return;
        }
        let text = format!("the training will take about {}; Ctrl-C saves it and stops", duration(left));
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }

    /// What is known, in the order of a line; the first part is a bar.
    fn parts(&self) -> Vec<Part> {
        let Some((p, at)) = &self.last else {
            let waited = self.start.elapsed().as_secs();
            let text = match waited {
                0..3 => String::new(),
                _ => format!("the first step is running, {waited} s"),
            };
            let step = format!("step {}/{}", self.first, self.steps);
            return vec![Part(bar_of(self.first, self.steps), 8), Part(step, 0), Part(text, 1)];
        };
        let terms: Vec<String> = p.terms.iter().map(|(name, mean)| format!("{name} {mean:.4}")).collect();
        let validation = p.validation.map(|loss| format!("validation {loss:.4}")).unwrap_or_default();
        let running = at.elapsed().as_secs();
        let left = match running {
            0..10 => format!("{} left", clock(p.seconds_left())),
            _ => format!("step {} is running, {running} s", p.step + 1),
        };
        vec![
            Part(bar_of(p.step, p.steps), 8),
            Part(format!("step {}/{}", p.step, p.steps), 0),
            Part(format!("loss {:.4}", p.loss), 1),
            Part(terms.join(" "), 5),
            Part(validation, 4),
            Part(format!("lr {}", short(p.lr)), 6),
            Part(format!("{} samples/s", rate(p.samples_per_second)), 3),
            Part(readable(p.memory), 7),
            Part(left, 2),
        ]
    }
}

/// A part of a line, and its rank: the parts of the lowest ranks are shown where there is no room for all.
struct Part(String, u8);

/// The parts that fit into `width` characters, with two spaces between them.
fn line(parts: &[Part], width: usize) -> String {
    let mut order: Vec<usize> = (0..parts.len()).filter(|&i| !parts[i].0.is_empty()).collect();
    order.sort_by_key(|&i| parts[i].1);
    let (mut shown, mut used) = (vec![false; parts.len()], 0);
    for i in order {
        let length = parts[i].0.chars().count() + if used == 0 { 0 } else { 2 };
        if length <= width - used {
            (shown[i], used) = (true, used + length);
        }
    }
    let shown: Vec<&str> = parts.iter().zip(shown).filter(|(_, shown)| *shown).map(|(p, _)| p.0.as_str()).collect();
    shown.join("  ")
}

/// The length of a bar.
const BAR: u32 = 20;

fn bar_of(step: u32, steps: u32) -> String {
    let full = (u64::from(step) * u64::from(BAR) / u64::from(steps.max(1))).min(BAR.into()) as usize;
    "\u{2588}".repeat(full) + &"\u{2591}".repeat(BAR as usize - full)
}

/// A number of samples per second with three digits: 0.53, 12.4, 980, 12.3k.
fn rate(value: f64) -> String {
    match value {
        ..0.995 => format!("{value:.2}"),
        ..99.5 => format!("{value:.1}"),
        ..9_999.5 => format!("{value:.0}"),
        ..999_500.0 => format!("{:.1}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

/// A duration for a narrow line: "40s", "3m20s", "2h05m", "3d04h".
fn clock(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    match seconds.round() as u64 {
        s @ ..60 => format!("{s}s"),
        s @ ..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        s @ ..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        s => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
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
        let of = [4.4, 91.0, 7_500.0, 1e6, f64::INFINITY].map(clock);
        assert_eq!(of, ["4s", "1m31s", "2h05m", "11d13h", "?"]);
        assert_eq!([0.525, 12.36, 980.0, 12_340.0, 2.5e6].map(rate), ["0.53", "12.4", "980", "12.3k", "2.5M"]);
    }

    fn parts() -> Vec<Part> {
        [
            (&"#".repeat(20)[..], 8),
            ("step 12000/60000", 0),
            ("loss 0.0123", 1),
            ("l1 0.1 ssim 0.2", 5),
            ("", 4),
            ("9 left", 2),
        ]
        .map(|(text, rank)| Part(text.into(), rank))
        .into()
    }

    #[test]
    fn a_line_has_what_fits() {
        assert_eq!(line(&parts(), 39), "step 12000/60000  loss 0.0123  9 left");
        assert_eq!(line(&parts(), 36), "step 12000/60000  loss 0.0123");
        assert_eq!(line(&parts(), 3), "");
        let all = line(&parts(), usize::MAX);
        assert_eq!(all, format!("{}  step 12000/60000  loss 0.0123  l1 0.1 ssim 0.2  9 left", "#".repeat(20)));
        for width in 0..100 {
            assert!(line(&parts(), width).chars().count() <= width);
        }
        assert_eq!((bar_of(0, 0).chars().count(), bar_of(7, 7)), (20, "\u{2588}".repeat(20)));
    }

    #[test]
    fn a_step_that_takes_long_is_seen() {
        let mut display = Display::new(3, 9, false);
        display.start = Instant::now().checked_sub(Duration::from_secs(12)).expect("a machine that just started");
        assert_eq!(line(&display.parts()[1..], 80), "step 3/9  the first step is running, 12 s");
        let progress = Progress::at(5, 9);
        display.last = Some((progress, display.start));
        assert!(line(&display.parts()[1..], 80).ends_with("step 6 is running, 12 s"));
    }
}
