//! The latency of the CPU executor's thread pool.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::parallel::{tasks, threads};

/// The latency of a dispatch to all threads and back, on an idle machine; `None` with one thread. Between cores that
/// share a cache it is some tenths of a microsecond. It is several times that if the system places the threads on
/// distant cores, and then small steps are hardly faster on several cores than on one.
pub(super) fn dispatch_latency() -> Option<Duration> {
    const ROUNDS: usize = 1001;
    const BARRIER_TIMEOUT: Duration = Duration::from_millis(1);
    let threads = threads();
    if threads < 2 {
        return None;
    }
    let round = |_| {
        let (here, start) = (AtomicUsize::new(0), Instant::now());
        tasks(threads, |_| {
            here.fetch_add(1, SeqCst);
            // A barrier, so that no thread runs the task of another.
            while here.load(SeqCst) < threads && start.elapsed() < BARRIER_TIMEOUT {
                std::hint::spin_loop();
            }
        });
        start.elapsed()
    };
    let mut times: Vec<Duration> = (0..ROUNDS).map(round).collect();
    times.sort();
    Some(times[ROUNDS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_reaches_every_thread() {
        assert_eq!(dispatch_latency().is_some(), threads() > 1);
    }
}
