//! The memory of this machine, and the memory limit for programs on the CPU.

use crate::error::{Error, Result};
use crate::text::readable;

/// The memory of this machine, or of the container that the process runs in. Zero means unknown, which is always the
/// case without the feature `files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostMemory {
    pub total: u64,
    /// Currently available bytes. The page cache counts as available, because the system can reclaim it.
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
        let now = Self::of(system.total_memory(), system.available_memory(), container);
        address_space().map_or(now, |[limit, used]| Self::of(now.total, now.free, Some([limit, used])))
    }

    /// `container`: its memory limit, and the bytes in use by its processes, without the page cache.
    #[cfg(any(feature = "files", test))]
    fn of(total: u64, free: u64, container: Option<[u64; 2]>) -> Self {
        let [limit, used] = container.unwrap_or([u64::MAX, 0]);
        Self { total: total.min(limit), free: free.min(limit.saturating_sub(used)) }
    }

    /// Whether data of this many bytes fill more than a quarter of the memory.
    #[cfg(feature = "files")]
    pub fn is_filled_by(self, bytes: u64) -> bool {
        self.total > 0 && bytes > self.total / 4
    }

    /// The memory limit of a program: three quarters of the total, the rest being for scratch memory and other
    /// processes. It does not depend on the available memory, so that a command splits its batches the same way on a
    /// busy machine.
    pub fn program_limit(self) -> usize {
        if self.total == 0 { usize::MAX } else { (self.total / 4 * 3) as usize }
    }

    /// Checks the available memory before allocating: operating systems overcommit, and kill the process on first use.
    ///
    /// # Errors
    /// [`Error::Limit`] if `bytes` are not available.
    pub fn check_free(self, bytes: usize) -> Result<()> {
        if self.total == 0 || bytes as u64 <= self.free {
            return Ok(());
        }
        let [needs, free, total] = [bytes as u64, self.free, self.total].map(readable);
        let message = format!(
            "the program needs {needs} of memory, but only {free} of {total} are free; close other programs, or use \
             a smaller batch or model"
        );
        Err(Error::limit(message, false))
    }
}

/// The address space that is left for the stacks of threads and for parts of data on their way to the device.
#[cfg(all(feature = "files", target_os = "linux"))]
const SCRATCH: u64 = 128 << 20;

/// The limit of the address space of this process (`ulimit -v`), and what it uses, if there is a limit.
#[cfg(all(feature = "files", target_os = "linux"))]
fn address_space() -> Option<[u64; 2]> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let used: u64 = pages.split(' ').next()?.parse().ok()?;
    Some([limit, used.saturating_mul(rustix::param::page_size() as u64).saturating_add(SCRATCH)])
}

#[cfg(all(feature = "files", not(target_os = "linux")))]
fn address_space() -> Option<[u64; 2]> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_program_limit_does_not_depend_on_free_memory() {
        let (idle, busy) = (HostMemory::of(16 * GIB, 15 * GIB, None), HostMemory::of(16 * GIB, GIB, None));
        assert_eq!((idle.program_limit(), busy.program_limit()), (12 << 30, 12 << 30));
        idle.check_free(2 << 30).unwrap();
        let e = busy.check_free(2 << 30).unwrap_err();
        assert!(matches!(&e, Error::Limit { smaller_batch_helps: false, .. }), "{e:?}");
        assert!(e.to_string().contains("needs 2.0 GiB of memory, but only 1.0 GiB of 16.0 GiB are free"), "{e}");
    }

    #[test]
    fn a_container_has_its_limit_minus_its_used_memory() {
        // A limit of 4 GiB, of which the processes use one; the page cache is not counted.
        let container = HostMemory::of(64 * GIB, 40 * GIB, Some([4 * GIB, GIB]));
        assert_eq!(container, HostMemory { total: 4 * GIB, free: 3 * GIB });
        // Without its own limit it has the memory of the machine.
        let unlimited = HostMemory::of(64 * GIB, 40 * GIB, Some([64 * GIB, GIB]));
        assert_eq!(unlimited, HostMemory { total: 64 * GIB, free: 40 * GIB });
    }

    #[test]
    fn unknown_memory_is_not_limited() {
        let unknown = HostMemory::of(0, 0, None);
        assert_eq!(unknown.program_limit(), usize::MAX);
        unknown.check_free(usize::MAX).unwrap();
    }
}
