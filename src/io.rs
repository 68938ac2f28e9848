//! Atomic writing of files, and checks of paths.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::memory::HostMemory;
use crate::text::readable;

impl Error {
    /// A failed file operation.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Error::Io { action, path: path.display().to_string(), source }
    }
}

/// A file that is written under a temporary name and renamed when it is complete, so that readers see either the old or the
/// new content. It is removed if it is not committed. A file that exists keeps its permissions, and a symbolic link keeps
/// pointing to the file that is replaced.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    /// `path` without symbolic links.
    target: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Creates an empty file that will replace `path`.
    ///
    /// # Errors
    /// [`Error::Setting`] when the folder does not exist or `path` is a folder, [`Error::Io`] when the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        check_path(path)?;
        let file = BufWriter::new(temporary(path)?);
        Ok(Self { path: path.into(), target: followed(path), file })
    }

    /// Writes to the file.
    ///
    /// # Errors
    /// [`Error::Io`] with the error of `write`.
    pub fn write(&mut self, write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> io::Result<()>) -> Result<()> {
        write(&mut self.file).map_err(|cause| Error::io("cannot write", &self.path, cause))
    }

    /// Flushes the file to the disk and renames it.
    ///
    /// # Errors
    /// [`Error::Io`] when one of these operations fails.
    pub fn commit(self) -> Result<()> {
        let failed = |cause| Error::io("cannot write", &self.path, cause);
        let file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        if let Ok(old) = fs::metadata(&self.target) {
            // Not all file systems have permissions.
            let _ = fs::set_permissions(file.path(), old.permissions());
        }
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.target).map_err(|cause| failed(cause.error))?;
        sync_folder(&self.target);
        Ok(())
    }
}

/// Writes a whole file atomically, see [`AtomicFile`].
///
/// # Errors
/// The errors of [`AtomicFile`].
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> io::Result<()>,
) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write(write)?;
    file.commit()
}

/// Checks whether the disk has space for a file of `bytes`. Passes if the free space is unknown.
///
/// # Errors
/// [`Error::Setting`] with both sizes.
pub(crate) fn check_space(path: &Path, bytes: u64) -> Result<()> {
    match fs4::available_space(folder(path)) {
        Ok(free) if bytes > free => Err(Error::setting(format!(
            "{} needs {}, but its disk has only {} left; write fewer samples, or use another disk",
            path.display(),
            readable(bytes),
            readable(free)
        ))),
        _ => Ok(()),
    }
}

/// Checks whether `bytes` fit into the memory of this machine. Passes if its size is unknown.
///
/// # Errors
/// [`Error::Setting`] with both sizes.
pub(crate) fn check_memory(path: &Path, bytes: u64) -> Result<()> {
    let total = HostMemory::now().total;
    if total == 0 || bytes <= total {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{} needs all samples in memory: {} of {}; write fewer samples, or a .npy or .csv file",
        path.display(),
        readable(bytes),
        readable(total)
    )))
}

/// Flushes the folder of a file that was renamed to `path`, so that the new name survives a power failure. Not all file
/// systems support it; the content of the file was flushed before.
pub(crate) fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Err(cause) = File::open(folder(path)).and_then(|folder| folder.sync_all())
    {
        log::debug!("cannot flush the folder of {}: {cause}", path.display());
    }
}

/// Checks whether a file can be written at `path`: it is not a folder or read-only, and its folder exists.
///
/// # Errors
/// [`Error::Setting`] with the path.
pub(crate) fn check_path(path: &Path) -> Result<()> {
    let name = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(Error::setting(format!("{name}: is a folder; name a file in it"))),
        Ok(found) if found.permissions().readonly() => {
            return Err(Error::setting(format!("{name}: exists and is read-only; choose another name")));
        }
        _ => {}
    }
    let target = followed(path);
    let folder = folder(&target);
    if !folder.is_dir() {
        return Err(Error::setting(format!("{name}: there is no folder {}; create it first", folder.display())));
    }
    Ok(())
}

/// The folder of a file.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file that `path` points to if it is a symbolic link, otherwise `path`.
fn followed(path: &Path) -> PathBuf {
    let mut target = path.to_path_buf();
    // Linux follows as many links.
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&target) else { break };
        target = folder(&target).join(next);
    }
    target
}

/// Creates a temporary file in the folder of the file that `path` points to, with the usual permissions of new files. It
/// is removed when dropped.
///
/// # Errors
/// [`Error::Io`] when it cannot be created.
pub(crate) fn temporary(path: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(&followed(path))).map_err(|cause| Error::io("cannot write", path, without_path(cause)))
}

/// An error of `tempfile` without the path of the temporary file.
fn without_path(cause: io::Error) -> io::Error {
    match cause.to_string().split_once(" at path ") {
        Some((text, _)) => io::Error::new(cause.kind(), text),
        None => cause,
    }
}

/// The extension of a path in lower case; empty if there is none.
pub(crate) fn extension(path: &Path) -> String {
    path.extension().map(|it| it.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Quotes a word for a shell, if necessary.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if word.chars().all(plain) && !word.is_empty() { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
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

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_permissions_and_links() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("folder/private"), "old").unwrap();
        fs::set_permissions(path("folder/private"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("folder/private", path("link")).unwrap();
        symlink("link", path("second")).unwrap();
        symlink("folder/new", path("dangling")).unwrap();
        for name in ["second", "dangling"] {
            write_atomically(&path(name), |file| io::Write::write_all(file, b"new")).unwrap();
            assert!(path(name).is_symlink());
        }
        assert_eq!(fs::read(path("folder/private")).unwrap(), b"new");
        assert_eq!(fs::metadata(path("folder/private")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(path("folder/new")).unwrap(), b"new");
        assert_eq!(fs::read_dir(path("folder")).unwrap().count(), 2);
    }

    #[test]
    fn messages_do_not_contain_temporary_names() {
        let dir = tempfile::tempdir().unwrap();
        let message = temporary(&dir.path().join("missing/a.npy")).unwrap_err().to_string();
        assert!(message.contains("missing/a.npy: No such file") && !message.contains(" at path "), "{message}");
    }

    #[test]
    fn sizes_beyond_disk_and_memory_are_refused() {
        let place = Path::new("a.npy");
        check_space(place, 1).unwrap();
        check_memory(place, 1).unwrap();
        let message = check_space(place, 1 << 62).unwrap_err().to_string();
        assert!(message.contains("a.npy needs 4194304.0 TiB") && message.contains("left"), "{message}");
        let message = check_memory(place, 1 << 62).unwrap_err().to_string();
        assert!(message.contains("4194304.0 TiB of") && message.contains(".npy"), "{message}");
    }
}
