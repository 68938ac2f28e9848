//! Files that are written as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::device::HostMemory;
use crate::error::{Error, Result};
use crate::text::readable;

impl Error {
    /// A failed file operation.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Error::Io { action, path: path.display().to_string(), source }
    }
}

/// A file that is written beside its place and moved there when it is complete: readers see the old content or the new,
/// never a part. It is removed when it is not committed.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// An empty file for the place `path`.
    ///
    /// # Errors
    /// [`Error::Setting`] when the folder is missing or `path` is one, [`Error::Io`] when the system refuses.
    pub fn create(path: &Path) -> Result<Self> {
        check_place(path)?;
        Ok(Self { path: path.into(), file: BufWriter::new(temporary(path)?) })
    }

    /// Writes more of it.
    ///
    /// # Errors
    /// [`Error::Io`] with that of `write`.
    pub fn write(&mut self, write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> io::Result<()>) -> Result<()> {
        write(&mut self.file).map_err(|cause| Error::io("cannot write", &self.path, cause))
    }

    /// Flushes it to the disk and moves it to its place.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn commit(self) -> Result<()> {
        let failed = |cause| Error::io("cannot write", &self.path, cause);
        let file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path).map_err(|cause| failed(cause.error))?;
        sync_folder(&self.path);
        Ok(())
    }
}

/// Writes a whole file as [`AtomicFile`] does.
///
/// # Errors
/// Those of [`AtomicFile`].
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> io::Result<()>,
) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write(write)?;
    file.commit()
}

/// Refuses to start a file of `bytes` that the disk has no room for. What cannot be told is let through.
///
/// # Errors
/// [`Error::Setting`] with both sizes.
pub(crate) fn check_space(path: &Path, bytes: u64) -> Result<()> {
    match fs4::available_space(folder(path)) {
        Ok(free) if bytes > free => Err(Error::setting(format!(
            "{} would take {}, and its disk has {} left; write less, or to another disk",
            path.display(),
            readable(bytes),
            readable(free)
        ))),
        _ => Ok(()),
    }
}

/// Refuses to collect `bytes` in a memory that is smaller.
///
/// # Errors
/// [`Error::Setting`] with both sizes.
pub(crate) fn check_memory(path: &Path, bytes: u64) -> Result<()> {
    let total = HostMemory::now().total;
    if total == 0 || bytes <= total {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{} needs all samples in memory: {} of {}; write fewer, or a .npy or .csv file",
        path.display(),
        readable(bytes),
        readable(total)
    )))
}

/// Flushes the entry of a file that was moved to `path`, so that it is there after a power cut. Not all systems and file
/// systems can; the file itself was flushed before.
pub(crate) fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Err(cause) = File::open(folder(path)).and_then(|folder| folder.sync_all())
    {
        log::debug!("{}: the folder is not flushed: {cause}", path.display());
    }
}

pub(crate) fn check_place(path: &Path) -> Result<()> {
    let name = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(Error::setting(format!("{name}: is a folder; name a file in it"))),
        Ok(found) if found.permissions().readonly() => {
            return Err(Error::setting(format!("{name}: exists and is read-only; choose another name")));
        }
        _ => {}
    }
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(Error::setting(format!("{name}: there is no folder {}; create it first", folder.display())));
    }
    Ok(())
}

pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that vanishes unless it is moved to its place, with the permissions any new file gets.
pub(crate) fn temporary(path: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path)).map_err(|cause| Error::io("cannot write", path, cause))
}

/// The extension of a path in small letters; empty when it has none.
pub(crate) fn extension(path: &Path) -> String {
    path.extension().map(|it| it.to_string_lossy().to_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        fs::write(&path, "old").unwrap();
        let full = |_: &mut BufWriter<NamedTempFile>| Err(io::Error::from(io::ErrorKind::StorageFull));
        let message = write_atomically(&path, full).unwrap_err().to_string();
        assert!(message.contains("cannot write") && message.contains("a.npy"), "{message}");
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"old".to_vec(), 1));
    }

    #[test]
    fn what_no_disk_or_memory_holds_is_refused_with_numbers() {
        let place = Path::new("a.npy");
        check_space(place, 1).unwrap();
        check_memory(place, 1).unwrap();
        let message = check_space(place, 1 << 62).unwrap_err().to_string();
        assert!(message.contains("a.npy would take 4194304.0 TiB") && message.contains("left"), "{message}");
        let message = check_memory(place, 1 << 62).unwrap_err().to_string();
        assert!(message.contains("4194304.0 TiB of") && message.contains(".npy"), "{message}");
    }
}
