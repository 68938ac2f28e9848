//! How long dispatches take, so that a submission, and a dispatch, has a bounded time.
//!
//! A GPU that also draws a desktop does nothing else during a dispatch, and some drivers reset a GPU that is busy for
//! seconds. A step of a large network on a slow GPU takes longer than that, and so do single dispatches of it.

use std::time::Duration;

use crate::graph::Cost;

/// The intended time of a submission: short enough for watchdogs and for a responsive desktop.
const SUBMISSION: Duration = Duration::from_millis(50);
/// The arithmetic and the memory traffic per second of the slowest adapters, software on a few cores. Times that begin too
/// long are corrected after a few submissions.
const SLOWEST: Cost = Cost { flops: 2_000_000_000, bytes: 1_000_000_000 };
/// How much a time is corrected at once: a single measurement is inaccurate, but one that is too short does harm.
const SHORTER: f64 = 0.25;
const LONGER: f64 = 64.0;

/// The expected times of the dispatches of a program.
#[derive(Debug)]
pub(super) struct Pace {
    seconds: Vec<f64>,
}

/// What was submitted.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// The expected time in seconds.
    pub seconds: f64,
    /// The dispatches, each once.
    pub calls: Vec<usize>,
}

impl Load {
    /// Whether there is room for work of some seconds.
    pub fn has_room(&self, seconds: f64) -> bool {
        self.calls.is_empty() || self.seconds + seconds <= SUBMISSION.as_secs_f64()
    }

    /// Adds a part of a dispatch.
    pub fn add(&mut self, call: usize, seconds: f64) {
        self.seconds += seconds;
        if !self.calls.contains(&call) {
            self.calls.push(call);
        }
    }
}

impl Pace {
    pub fn new(costs: impl IntoIterator<Item = Cost>) -> Self {
        let share = |work: u64, per_second: u64| work as f64 / per_second as f64;
        let seconds = |cost: Cost| share(cost.flops, SLOWEST.flops) + share(cost.bytes, SLOWEST.bytes) + 1e-5;
        Self { seconds: costs.into_iter().map(seconds).collect() }
    }

    /// The expected time of a dispatch.
    pub fn of(&self, call: usize) -> f64 {
        self.seconds[call]
    }

    /// The number of parts of a dispatch that keep to the time of a submission, at most `most`.
    pub fn parts(&self, call: usize, most: usize) -> usize {
        (self.seconds[call] / SUBMISSION.as_secs_f64()).ceil().clamp(1.0, most as f64) as usize
    }

    /// Corrects the expected times by the measured time of a submission.
    pub fn learn(&mut self, load: &Load, measured: Duration) {
        let ratio = (measured.as_secs_f64() / load.seconds).clamp(SHORTER, LONGER);
        load.calls.iter().for_each(|call| self.seconds[*call] = (self.seconds[*call] * ratio).max(1e-7));
    }

    /// Corrects the expected time of a dispatch that was measured by itself.
    pub fn set(&mut self, call: usize, measured: Duration) {
        self.seconds[call] = measured.as_secs_f64().max(1e-7);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_come_to_take_the_intended_time() {
        // One of three dispatches takes ten times as long as its arithmetic suggests.
        let truth = [0.4, 0.002, 0.02];
        let flops = [80_000_000, 4_000_000, 40_000_000];
        let mut pace = Pace::new(flops.map(|flops| Cost { flops, bytes: 0 }));
        let mut longest: f64 = 0.0;
        for step in 0..40 {
            let (mut load, mut time) = (Load::default(), 0.0);
            longest = if step < 30 { 0.0 } else { longest };
            for call in [0, 1, 2] {
                let parts = pace.parts(call, 64);
                for _ in 0..parts {
                    let seconds = pace.of(call) / parts as f64;
                    if !load.has_room(seconds) {
                        pace.learn(&load, Duration::from_secs_f64(time));
                        longest = longest.max(time);
                        (load, time) = (Load::default(), 0.0);
                    }
                    load.add(call, seconds);
                    time += truth[call] / parts as f64;
                }
            }
            pace.learn(&load, Duration::from_secs_f64(time));
        }
        assert!(longest < 0.1, "{longest} s, {:?}", pace.seconds);
        assert!((6..20).contains(&pace.parts(0, 64)), "{:?}", pace.seconds);
        assert_eq!(pace.parts(0, 4), 4);
    }
}
