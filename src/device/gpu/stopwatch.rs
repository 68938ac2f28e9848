//! Time as far as the platform tells it: WebAssembly without a host has no clock, and reading one would panic.

use std::fmt;
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

/// The time since it was started; none where there is no clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    #[cfg(not(target_arch = "wasm32"))]
    started: Instant,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            started: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        #[cfg(not(target_arch = "wasm32"))]
        return self.started.elapsed();
        #[cfg(target_arch = "wasm32")]
        Duration::ZERO
    }

    /// The time so far, and begins anew.
    pub fn restart(&mut self) -> Duration {
        let elapsed = self.elapsed();
        *self = Self::start();
        elapsed
    }
}

impl fmt::Display for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:.0?}", self.elapsed())
    }
}
