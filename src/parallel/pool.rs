//! A thread pool whose workers spin briefly before they sleep.
//!
//! A step of a small model consists of a dozen tasks of some microseconds each. Waking a sleeping thread for each of
//! them costs more than the task, so both the workers that wait for tasks and the caller that waits for their
//! completion spin on an atomic before they sleep. The assignment of tasks to threads changes from run to run; the
//! result of a task does not.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a waiting thread spins before it sleeps.
const AWAKE: Duration = Duration::from_micros(200);

/// A job that any number of threads may join.
struct Job<'a> {
    f: &'a (dyn Fn(usize) + Sync),
    count: usize,
    /// Per thread the next index of its share.
    next: &'a [Next],
    /// The first panic of a worker, to be resumed in the calling thread.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A counter on its own cache line.
#[derive(Default)]
#[repr(align(64))]
struct Next(AtomicUsize);

impl Job<'_> {
    /// Claims indices until none is left, first from the thread's own share, whose data are in its cache from the
    /// previous job. Returns whether there was one.
    fn run(&self, thread: usize) -> bool {
        let (threads, mut worked) = (self.next.len(), false);
        for share in (0..threads).map(|i| (thread + i) % threads) {
            let end = self.count * (share + 1) / threads;
            loop {
                let i = self.next[share].0.fetch_add(1, SeqCst);
                if i >= end {
                    break;
                }
                (self.f)(i);
                worked = true;
            }
        }
        worked
    }
}

struct Worker {
    thread: Thread,
    asleep: AtomicBool,
}

struct Pool {
    /// The job that may be joined, or null.
    open: AtomicPtr<Job<'static>>,
    /// Workers that may hold the pointer of `open`.
    inside: AtomicUsize,
    /// The counters of the one job at a time; a caller that finds them taken runs its tasks alone.
    busy: Mutex<Vec<Next>>,
    workers: OnceLock<Vec<Worker>>,
}

static POOL: Pool = Pool {
    open: AtomicPtr::new(std::ptr::null_mut()),
    inside: AtomicUsize::new(0),
    busy: Mutex::new(Vec::new()),
    workers: OnceLock::new(),
};

/// The number of threads.
const VARIABLE: &str = "LANGEVIN_THREADS";
/// The maximum number of threads.
const MAX_THREADS: usize = 4096;

static THREADS: OnceLock<usize> = OnceLock::new();

/// The number of threads: the value of `LANGEVIN_THREADS`, otherwise one per core that is available to this process.
pub fn threads() -> usize {
    *THREADS.get_or_init(|| wanted(std::env::var(VARIABLE).ok().as_deref()).unwrap_or_else(cores))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Divides the cores of the machine among a number of processes on it, unless each was bound to its own, or
/// `LANGEVIN_THREADS` is set. It has an effect before the first work only.
#[cfg(feature = "cli")]
pub fn share_cores(processes: usize) {
    let own = wanted(std::env::var(VARIABLE).ok().as_deref());
    let bound = cores() < sysinfo::System::physical_core_count().unwrap_or(1);
    let _ = THREADS.set(own.unwrap_or(if bound { cores() } else { (cores() / processes).max(1) }));
}

/// The value of `LANGEVIN_THREADS`, if it is valid.
fn wanted(text: Option<&str>) -> Option<usize> {
    let text = text.filter(|text| !text.is_empty())?;
    let count = text.parse().ok().filter(|count| (1..=MAX_THREADS).contains(count));
    if count.is_none() {
        log::warn!("{VARIABLE} is {text:?} and should be a number from 1 to {MAX_THREADS}; all cores are used");
    }
    count
}

/// Calls `f(0)`, ..., `f(count - 1)`, each once, on all cores; returns when all are done. A nested call runs on the
/// calling thread alone.
pub fn tasks(count: usize, f: impl Fn(usize) + Sync) {
    if count < 2 || threads() < 2 {
        return (0..count).for_each(f);
    }
    match POOL.busy.try_lock() {
        Ok(mut next) => POOL.share(&f, count, &mut next),
        // A task has panicked before; the counters are reset for each job.
        Err(TryLockError::Poisoned(next)) => POOL.share(&f, count, &mut next.into_inner()),
        Err(TryLockError::WouldBlock) => (0..count).for_each(f),
    }
}

impl Pool {
    fn share(&'static self, f: &(dyn Fn(usize) + Sync), count: usize, next: &mut Vec<Next>) {
        let shares = threads().min(count);
        next.resize_with(shares.max(next.len()), Next::default);
        for (share, next) in next[..shares].iter().enumerate() {
            next.0.store(count * share / shares, SeqCst);
        }
        let job = &Job { f, count, next: &next[..shares], panic: Mutex::new(None) };
        let workers = self.workers.get_or_init(|| (1..threads()).map_while(|i| self.start(i)).collect());
        self.open.store((job as *const Job).cast_mut().cast(), SeqCst);
        for worker in workers.iter().take(shares - 1) {
            if worker.asleep.swap(false, SeqCst) {
                worker.thread.unpark();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(|| job.run(0)));
        // From here on no thread joins. Threads that joined before have incremented `inside` first, so that it is seen
        // below.
        self.open.store(std::ptr::null_mut(), SeqCst);
        self.wait_for_workers();
        let theirs = job.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(cause) = own.err().or(theirs) {
            resume_unwind(cause);
        }
    }

    /// Waits until no worker is inside. The last task of a job may take long, so this thread stops spinning after a
    /// while.
    fn wait_for_workers(&self) {
        let mut since = None;
        while self.inside.load(SeqCst) > 0 {
            if since.get_or_insert_with(Instant::now).elapsed() < AWAKE {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(AWAKE / 4);
            }
        }
    }

    /// Starts a worker, if the system can create a thread.
    fn start(&'static self, i: usize) -> Option<Worker> {
        let spawned = std::thread::Builder::new().name(format!("langevin.{i}")).spawn(move || self.serve(i - 1));
        Some(Worker { thread: spawned.ok()?.thread().clone(), asleep: AtomicBool::new(false) })
    }

    fn serve(&self, index: usize) {
        let mut since = Instant::now();
        loop {
            if self.enter(index + 1) {
                since = Instant::now();
            } else if since.elapsed() < AWAKE {
                (0..32).for_each(|_| std::hint::spin_loop());
            } else {
                self.sleep(index);
                since = Instant::now();
            }
        }
    }

    /// Joins the open job; returns false if there is none, or nothing left of it.
    fn enter(&self, thread: usize) -> bool {
        let mut worked = false;
        if self.open.load(SeqCst).is_null() {
            return false;
        }
        self.inside.fetch_add(1, SeqCst);
        let job = self.open.load(SeqCst);
        if !job.is_null() {
            // SAFETY: `share` lets its job go only after it has closed `open` and then seen `inside` at 0. The pointer
            // was read while `inside` was raised, and every access is sequentially consistent, so `share` still waits.
            #[allow(unsafe_code)]
            let job = unsafe { &*job };
            match catch_unwind(AssertUnwindSafe(|| job.run(thread))) {
                Ok(found) => worked = found,
                Err(cause) => drop(job.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(cause)),
            }
        }
        self.inside.fetch_sub(1, SeqCst);
        worked
    }

    fn sleep(&self, index: usize) {
        let Some(me) = self.workers.get().and_then(|w| w.get(index)) else { return std::thread::yield_now() };
        me.asleep.store(true, SeqCst);
        // A job that was opened before the line above did not wake this worker.
        if !self.enter(index + 1) {
            while me.asleep.load(SeqCst) {
                std::thread::park();
            }
        }
        me.asleep.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_task_runs_once() {
        for count in [0, 1, 2, 3, 1000] {
            for pause in [Duration::ZERO, 2 * AWAKE] {
                std::thread::sleep(pause);
                let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                tasks(count, |i| {
                    done[i].fetch_add(1, SeqCst);
                });
                assert!(done.iter().all(|d| d.load(SeqCst) == 1));
            }
        }
    }

    #[test]
    fn the_environment_may_set_the_number_of_threads() {
        assert_eq!([Some("3"), Some(""), None].map(wanted), [Some(3), None, None]);
        assert_eq!([Some("0"), Some("-1"), Some("two"), Some("1000000")].map(wanted), [None; 4]);
    }

    #[test]
    fn tasks_within_tasks_and_from_many_threads() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..200 {
                        tasks(5, |_| {
                            tasks(3, |_| {
                                total.fetch_add(1, SeqCst);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(SeqCst), 4 * 200 * 15);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        // With several panics, the first may be that of the caller or of a worker.
        for _ in 0..20 {
            let failed = catch_unwind(|| tasks(64, |i| assert!(i != 40, "forty")));
            assert!(failed.is_err());
        }
        every_task_runs_once();
        // If another test holds the pool, the work is not shared.
        let shared = (0..1000).any(|_| {
            let seen = Mutex::new(HashSet::new());
            tasks(64, |_| {
                seen.lock().unwrap().insert(std::thread::current().id());
                std::thread::sleep(Duration::from_micros(100));
            });
            seen.into_inner().unwrap().len() == threads()
        });
        assert!(shared);
    }

    #[test]
    fn workers_sleep_while_the_last_task_takes_long() {
        let awake = || POOL.workers.get().into_iter().flatten().filter(|worker| !worker.asleep.load(SeqCst)).count();
        let (caller, entered, slept) = (std::thread::current().id(), AtomicBool::new(false), AtomicBool::new(false));
        let wait_for = |done: &dyn Fn() -> bool| {
            let since = Instant::now();
            while !done() && since.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(AWAKE);
            }
        };
        // The workers leave a task to the caller, who then waits until they sleep.
        let long = |_| match std::thread::current().id() == caller {
            true if !entered.swap(true, SeqCst) => {
                wait_for(&|| awake() == 0);
                slept.store(awake() == 0, SeqCst);
            }
            true => {}
            false => wait_for(&|| entered.load(SeqCst)),
        };
        let mut next = POOL.busy.lock().unwrap_or_else(|e| e.into_inner());
        POOL.share(&long, 4 * threads(), &mut next);
        assert!(slept.load(SeqCst));
    }
}
