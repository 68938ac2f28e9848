//! A clock that also works on WebAssembly, where `Instant::now` panics.

use std::fmt;
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

/// Measures time; always zero on WebAssembly.
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

    /// Returns the elapsed time and restarts.
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
