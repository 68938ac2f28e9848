//! Signals that stop the program.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// The last signal that was received; 0 before the first one.
static RECEIVED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// The exit code after an interrupt: 128 plus the number of the signal, as shells report it.
pub fn exit_code() -> u8 {
    match RECEIVED.load(Ordering::Relaxed) {
        0 => code_of(SIGINT),
        signal => code_of(signal as i32),
    }
}

fn code_of(signal: i32) -> u8 {
    128 + signal as u8
}

/// How long after the first signal another one has no effect: terminals and programs like `timeout` may send two at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// A flag that SIGINT, SIGTERM and SIGHUP set. A signal more than [`PATIENCE`] later ends the program immediately. Signals that
/// the parent process has set to be ignored remain ignored, for example SIGHUP by `nohup`.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let [stopped, impatient] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for signal in SIGNALS.into_iter().filter(|&signal| !ignored(signal)) {
        flag::register_conditional_shutdown(signal, code_of(signal).into(), impatient.clone())?;
        flag::register_usize(signal, RECEIVED.clone(), signal as usize)?;
        flag::register(signal, stopped.clone())?;
    }
    let first = stopped.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        while !first.load(Ordering::Relaxed) {
            thread::sleep(PATIENCE / 10);
        }
        thread::sleep(PATIENCE);
        impatient.store(true, Ordering::Relaxed);
    })?;
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
