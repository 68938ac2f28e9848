//! Tar files of pictures.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::folder::{Listing, is_picture};
use super::picture::{Member, Picture, name_of};
use crate::io::extension;
use crate::{Error, Result};

/// The most bytes of the text of a class.
const LONGEST_CLASS: u64 = 1_000;

/// Whether a file is a tar file, by its name.
pub(in crate::data) fn is_archive(path: &Path) -> bool {
    extension(path) == "tar"
}

/// The command that unpacks a compressed tar file.
pub(in crate::data) fn unpacked_by(path: &Path) -> Option<&'static str> {
    let last = extension(path);
    let inner = Path::new(path.file_stem()?);
    let (packed, command) = match last.as_str() {
        "gz" => (is_archive(inner), "gunzip -k"),
        "xz" => (is_archive(inner), "xz -dk"),
        "bz2" => (is_archive(inner), "bunzip2 -k"),
        "zst" => (is_archive(inner), "zstd -d"),
        "tgz" => (true, "gunzip -k"),
        "txz" => (true, "xz -dk"),
        "tbz" | "tbz2" => (true, "bunzip2 -k"),
        "tzst" => (true, "zstd -d"),
        _ => (false, ""),
    };
    packed.then_some(command)
}

/// The most parts of the name of a member, which protects against damaged names.
const MOST_PARTS: usize = 64;

/// What a member is.
enum Kind {
    Picture(Member),
    Class(String),
    Other,
    /// A link, or something else without content.
    Broken,
}

/// The members of a tar file in folders, and the text of each class.
#[derive(Default)]
pub(super) struct Archive {
    pub root: Listing,
    /// The content of `NAME.cls`, by `NAME`.
    pub classes: HashMap<PathBuf, String>,
}

impl Archive {
    /// Lists the members of a tar file, without reading the pictures.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened, [`Error::Input`] when it is damaged, or a member cannot be read from its middle.
    pub fn of(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|cause| Error::io("cannot read", path, cause))?;
        let end = file.metadata().map_err(|cause| Error::io("cannot read", path, cause))?.len();
        if end == 0 {
            return Err(Error::input(format!(
                "{}: the file is empty (0 bytes); write or copy it again",
                path.display()
            )));
        }
        if is_compressed(&file).map_err(|cause| Error::io("cannot read", path, cause))? {
            return Err(Error::input(format!(
                "{}: compressed, although it is not named so; unpack it first (gunzip, xz -d, bunzip2 or zstd -d)",
                path.display()
            )));
        }
        let damaged = |cause: io::Error| {
            // The text of an error can contain that of a damaged header.
            let cause =
                Some(cause.to_string()).filter(|text| !text.contains(|c: char| c.is_control() || c == '\u{fffd}'));
            let cause = cause.unwrap_or("a damaged header".into());
            Error::input(format!("{}: not a readable tar file ({cause}); copy or write it again", path.display()))
        };
        // Of several members of one name, the last one counts, as where a tar file is unpacked.
        let (archive, mut members): (Arc<Path>, _) = (path.into(), HashMap::new());
        let (mut reader, mut next) = (tar::Archive::new(&file), 0);
        for entry in reader.entries_with_seek().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let (kind, start, len) = (entry.header().entry_type(), entry.raw_file_position(), entry.size());
            next = start.saturating_add(len).next_multiple_of(BLOCK);
            let Some(name) = entry.path().ok().and_then(|name| visible(&name)) else { continue };
            let refused = |text: &str| Err(Error::input(format!("{}:{}: {text}", path.display(), name.display())));
            if kind.is_dir() {
                continue;
            }
            if entry.path_bytes().split(|byte| *byte == b'/').any(|part| part == b"..") {
                return refused("a name with \"..\"; write the tar file from the folder that contains everything");
            }
            if name.components().count() > MOST_PARTS {
                return Err(Error::input(format!("{}: a name has more than {MOST_PARTS} folders", path.display())));
            }
            if kind.is_gnu_sparse() {
                return refused(
                    "is stored with gaps (a sparse file), which are not read; write the tar file without --sparse",
                );
            }
            if start.checked_add(len).is_none_or(|last| last > end) {
                return refused("the tar file ends within this member; copy it again");
            }
            let is_class = extension(&name) == "cls";
            if is_class && len > LONGEST_CLASS {
                return refused(&format!("{len} bytes; the name of a class has at most {LONGEST_CLASS}"));
            }
            let kind = match kind.is_file() || kind.is_contiguous() {
                false => Kind::Broken,
                true if is_picture(&name) => Kind::Picture(Member { archive: archive.clone(), start, len }),
                true if is_class => {
                    let mut text = String::new();
                    if let Err(cause) = entry.read_to_string(&mut text) {
                        return refused(&format!("the class cannot be read ({cause}); write its name as UTF-8 text"));
                    }
                    match text.trim() {
                        "" => return refused("is empty; write the class into it"),
                        text => Kind::Class(text.to_string()),
                    }
                }
                true => Kind::Other,
            };
            members.insert(name, kind);
        }
        if !is_zero(&file, next.min(end)).map_err(damaged)? {
            log::warn!("{}: the tar file has no end mark; it may have been cut off", path.display());
        }
        Ok(Self::listed(members))
    }

    fn listed(members: HashMap<PathBuf, Kind>) -> Self {
        let mut all = Self::default();
        for (name, kind) in members {
            let folder = all.root.folder_of(&name);
            match kind {
                Kind::Picture(member) => folder.pictures.push(Picture { path: name, member: Some(member) }),
                Kind::Class(text) => drop(all.classes.insert(key(&name), text)),
                Kind::Other => folder.others.push(name_of(&name)),
                Kind::Broken => folder.broken.push(name_of(&name)),
            }
        }
        all.root.sort();
        all
    }
}

/// The unit of a tar file, in bytes.
const BLOCK: u64 = 512;

/// Whether a file begins as those of gzip, xz, bzip2 and zstd do.
fn is_compressed(mut file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(6).read_to_end(&mut start)?;
    file.rewind()?;
    let starts: [&[u8]; 4] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd"];
    Ok(starts.iter().any(|magic| start.starts_with(magic)))
}

/// Whether there is a block of zeros, with which a tar file ends.
fn is_zero(mut file: &File, at: u64) -> io::Result<bool> {
    let mut block = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(BLOCK).read_to_end(&mut block)?;
    Ok(block.len() as u64 == BLOCK && block.iter().all(|byte| *byte == 0))
}

/// The names of the folders and of the file in a name; `None` for a hidden one.
fn visible(name: &Path) -> Option<PathBuf> {
    let parts = name.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part),
        _ => None,
    });
    let hidden = |part: &OsStr| part.to_string_lossy().starts_with('.');
    let name: Option<PathBuf> = parts.map(|part| (!hidden(part)).then_some(part)).collect();
    name.filter(|name| !name.as_os_str().is_empty())
}

/// What the members of a sample have in common: the name up to the first dot of its last part.
pub(super) fn key(name: &Path) -> PathBuf {
    let last = name_of(name);
    name.with_file_name(last.split('.').next().unwrap_or_default())
}
