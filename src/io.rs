//! Files that are written as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Writes a file beside `path`, flushes it to the disk and moves it to `path`: readers see the old content or the new,
/// never a part.
///
/// *Errors*: [`Error::Setting`] when the folder is missing or `path` is one, [`Error::Io`] when the system refuses.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    check_place(path)?;
    let file = temporary(path)?;
    let failed = |cause| Error::io("cannot write", path, cause);
    let mut buffer = BufWriter::new(file.as_file());
    write(&mut buffer).and_then(|()| buffer.flush()).map_err(failed)?;
    drop(buffer);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|cause| failed(cause.error))?;
    sync_folder(path);
    Ok(())
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
        let full = |_: &mut BufWriter<&File>| Err(io::Error::from(io::ErrorKind::StorageFull));
        let message = write_atomically(&path, full).unwrap_err().to_string();
        assert!(message.contains("cannot write") && message.contains("a.npy"), "{message}");
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"old".to_vec(), 1));
    }
}
