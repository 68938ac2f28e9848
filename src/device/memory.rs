//! The memory of this machine, and how much of it the programs of a CPU device may take.

use crate::error::{Error, Result};
use crate::text::readable;

/// The memory of this machine, or of the container that the process runs in; zero bytes where it is unknown, as it is
/// without the feature `files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostMemory {
    pub total: u64,
    /// What no process holds now. The cache of file contents counts as free: the system gives it up.
    free: u64,
}

impl HostMemory {
    #[cfg(not(feature = "files"))]
    pub fn now() -> Self {
        Self { total: 0, free: 0 }
    }

    #[cfg(feature = "files")]
    pub fn now() -> Self {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let container = system.cgroup_limits().map(|group| [group.total_memory, group.rss]);
        Self::of(system.total_memory(), system.available_memory(), container)
    }

    #[cfg_attr(not(feature = "files"), allow(dead_code))]
    /// `container`: its limit, and what its processes hold, without the cache of file contents.
    fn of(total: u64, free: u64, container: Option<[u64; 2]>) -> Self {
        let [limit, held] = container.unwrap_or([u64::MAX, 0]);
        Self { total: total.min(limit), free: free.min(limit.saturating_sub(held)) }
    }

    /// The most bytes for a program. It does not depend on what is free, so that the same command cuts its batches alike on
    /// a busy machine; a quarter is left to scratch memory and to other programs.
    pub fn most(self) -> usize {
        if self.total == 0 { usize::MAX } else { (self.total / 4 * 3) as usize }
    }

    /// An operating system would promise memory that is not there, and end the process when it is used.
    ///
    /// # Errors
    /// [`Error::Limit`] when `bytes` are not free now.
    pub fn check_free(self, bytes: usize) -> Result<()> {
        if self.total == 0 || bytes as u64 <= self.free {
            return Ok(());
        }
        let [needs, free, total] = [bytes as u64, self.free, self.total].map(readable);
        let message = format!(
            "the program needs {needs} of memory, and of the {total} here {free} are free now; end other programs, or \
             state a smaller batch or model"
        );
        Err(Error::limit(message, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_is_free_does_not_change_the_most_that_a_program_may_take() {
        let (idle, busy) = (HostMemory::of(16 * GIB, 15 * GIB, None), HostMemory::of(16 * GIB, GIB, None));
        assert_eq!((idle.most(), busy.most()), (12 << 30, 12 << 30));
        idle.check_free(2 << 30).unwrap();
        let e = busy.check_free(2 << 30).unwrap_err();
        assert!(matches!(&e, Error::Limit { smaller_batch_helps: false, .. }), "{e:?}");
        assert!(
            e.to_string().contains("needs 2.0 GiB of memory, and of the 16.0 GiB here 1.0 GiB are free now"),
            "{e}"
        );
    }

    #[test]
    fn a_container_has_its_limit_less_what_its_processes_hold() {
        // 4 GiB, of which the processes hold one; what more the kernel counts is file contents.
        let container = HostMemory::of(64 * GIB, 40 * GIB, Some([4 * GIB, GIB]));
        assert_eq!(container, HostMemory { total: 4 * GIB, free: 3 * GIB });
        // Without a limit of its own it has what the machine has.
        let unlimited = HostMemory::of(64 * GIB, 40 * GIB, Some([64 * GIB, GIB]));
        assert_eq!(unlimited, HostMemory { total: 64 * GIB, free: 40 * GIB });
    }

    #[test]
    fn an_unknown_memory_limits_nothing() {
        let unknown = HostMemory::of(0, 0, None);
        assert_eq!(unknown.most(), usize::MAX);
        unknown.check_free(usize::MAX).unwrap();
    }
}
