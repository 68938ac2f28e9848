//! Signals that stop the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// The exit code after an interrupt: 128 plus the number of SIGINT.
pub const STOPPED: u8 = 130;

/// A flag that SIGINT, SIGTERM and SIGHUP set. A second signal ends the program immediately. Signals that the parent process
/// has set to be ignored remain ignored, for example SIGHUP by `nohup`.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS.into_iter().filter(|&signal| !ignored(signal)) {
        // The order matters: the shutdown must check the flag before it is set.
        flag::register_conditional_shutdown(signal, STOPPED.into(), stopped.clone())?;
        flag::register(signal, stopped.clone())?;
    }
    Ok(stopped)
}

#[cfg(unix)]
fn ignored(signal: i32) -> bool {
    // SAFETY: a `sigaction` is plain data that may be all zeros; without a new action the call only writes to it.
    #[allow(unsafe_code)]
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &mut action) == 0).then_some(action)
    };
    action.is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

#[cfg(not(unix))]
fn ignored(_: i32) -> bool {
    false
}
