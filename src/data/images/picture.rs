//! Where pictures are: in files of their own, or in tar files.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, Result};

/// A file, or a member of a tar file.
#[derive(Clone, Debug)]
pub(in crate::data) struct Picture {
    /// The path of the file, or the name in the tar file.
    pub path: PathBuf,
    /// The tar file.
    pub member: Option<Member>,
}

/// A part of a tar file.
#[derive(Clone, Debug)]
pub(in crate::data) struct Member {
    pub archive: Arc<Path>,
    /// The position of the first byte.
    pub start: u64,
    /// The number of bytes.
    pub len: u64,
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(member) = &self.member {
            write!(f, "{}:", member.archive.display())?;
        }
        write!(f, "{}", self.path.display())
    }
}

impl Picture {
    /// The last part of the path.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }

    /// The file that contains it.
    fn file(&self) -> &Path {
        self.member.as_ref().map_or(&self.path, |member| &member.archive)
    }

    /// A failed read.
    pub fn failed(&self, cause: io::Error) -> Error {
        Error::io("cannot read", self.file(), cause)
    }

    /// Content that is not what it should be. Like a failed read, it can occur during a training.
    pub fn refused(&self, text: String) -> Error {
        Error::Io { action: "cannot read", path: self.to_string(), source: io::Error::other(text) }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened.
    pub fn open(&self) -> Result<BufReader<Section>> {
        let whole = || Section::of(File::open(self.file())?, self.member.as_ref());
        whole().map(BufReader::new).map_err(|cause| self.failed(cause))
    }
}

pub(in crate::data) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A part of a file.
pub(in crate::data) struct Section {
    file: File,
    start: u64,
    len: u64,
    /// The position in the part.
    at: u64,
}

impl Section {
    fn of(mut file: File, member: Option<&Member>) -> io::Result<Self> {
        let (start, len) = match member {
            Some(member) => (member.start, member.len),
            None => (0, file.metadata()?.len()),
        };
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { file, start, len, at: 0 })
    }
}

impl Read for Section {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = self.len.saturating_sub(self.at).min(bytes.len() as u64) as usize;
        let read = self.file.read(&mut bytes[..most])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Section {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the start");
        self.at = at.ok_or_else(before)?;
        self.file.seek(SeekFrom::Start(self.start.saturating_add(self.at)))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_section_ends_where_its_part_does() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let member = Member { archive: Path::new("").into(), start: 3, len: 4 };
        let mut section = Section::of(file, Some(&member)).unwrap();
        let mut text = String::new();
        section.read_to_string(&mut text).unwrap();
        assert_eq!(text, "3456");
        for (to, rest) in [(SeekFrom::Start(1), "456"), (SeekFrom::End(-1), "6"), (SeekFrom::Current(-2), "56")] {
            section.seek(to).unwrap();
            text.clear();
            section.read_to_string(&mut text).unwrap();
            assert_eq!(text, rest, "{to:?}");
        }
        assert!(section.seek(SeekFrom::Current(-9)).is_err());
    }
}
