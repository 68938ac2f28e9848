//! Tar files of pictures.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::folder::{Listing, is_hidden, is_picture};
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

impl Kind {
    /// What an entry of a tar file of `size` bytes is, or why it cannot be read.
    fn of(
        entry: &mut tar::Entry<&File>,
        name: &Path,
        archive: &Arc<Path>,
        size: u64,
    ) -> std::result::Result<Self, String> {
        let (kind, start, len) = (entry.header().entry_type(), entry.raw_file_position(), entry.size());
        if entry.path_bytes().split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err("a name with \"..\"; write the tar file from the folder that contains everything".into());
        }
        if kind.is_gnu_sparse() {
            return Err("a sparse file, which is not read; write the tar file without --sparse".into());
        }
        if start.checked_add(len).is_none_or(|last| last > size) {
            return Err("the tar file ends within this member; copy it again".into());
        }
        if !(kind.is_file() || kind.is_contiguous()) {
            return Ok(Self::Broken);
        }
        if is_picture(name) {
            return Ok(Self::Picture(Member { archive: archive.clone(), start, len }));
        }
        if extension(name) != "cls" {
            return Ok(Self::Other);
        }
        if len > LONGEST_CLASS {
            return Err(format!("{len} bytes; the name of a class has at most {LONGEST_CLASS}"));
        }
        let mut text = String::new();
        let read = entry.read_to_string(&mut text);
        read.map_err(|cause| format!("the class cannot be read ({cause}); write its name as UTF-8 text"))?;
        match text.trim() {
            "" => Err("is empty; write the class into it".into()),
            text => Ok(Self::Class(text.to_string())),
        }
    }
}

/// A tar file that is not empty and not compressed, and its size.
fn opened(path: &Path) -> Result<(File, u64)> {
    let failed = |cause| Error::io("cannot read", path, cause);
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let refused = |text| Err(Error::input(format!("{}: {text}", path.display())));
    if size == 0 {
        return refused("the file is empty (0 bytes); write or copy it again");
    }
    if is_compressed(&file).map_err(failed)? {
        return refused("compressed, although it is not named so; unpack it first (gunzip, xz -d, bunzip2 or zstd -d)");
    }
    Ok((file, size))
}

/// The text of an error, which can contain that of a damaged header.
fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    let damaged = text.contains(|c: char| c.is_control() || c == '\u{fffd}') || text.contains("numeric field");
    if damaged { "a damaged header".into() } else { text }
}

/// The members of a tar file in folders, and the text of each class.
#[derive(Default)]
pub(super) struct Archive {
    pub root: Listing,
    /// The content of `NAME.cls`, by `NAME`.
    pub classes: HashMap<PathBuf, String>,
    /// The hidden files, and the hidden folders with all that is in them.
    pub hidden: BTreeSet<PathBuf>,
}

impl Archive {
    /// Lists the members of a tar file, without reading the pictures.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened, [`Error::Input`] when it is damaged, or a member cannot be read from its middle.
    pub fn of(path: &Path) -> Result<Self> {
        let (file, size) = opened(path)?;
        let refused = |text: String| Error::input(format!("{}: {text}", path.display()));
        let damaged =
            |cause: io::Error| refused(format!("not a readable tar file ({}); copy or write it again", plain(&cause)));
        // Of several members of one name, the last one counts, as where a tar file is unpacked.
        let (archive, mut members, mut hidden): (Arc<Path>, _, _) = (path.into(), HashMap::new(), BTreeSet::new());
        let (mut reader, mut next) = (tar::Archive::new(&file), 0);
        for entry in reader.entries_with_seek().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            next = entry.raw_file_position().saturating_add(entry.size()).next_multiple_of(BLOCK);
            let Some(name) = entry.path().ok().and_then(|name| in_folders(&name)) else { continue };
            if let Some(first) = name.ancestors().filter(|part| is_hidden(&name_of(part))).last() {
                hidden.insert(first.into());
                continue;
            }
            if entry.header().entry_type().is_dir() {
                continue;
            }
            if name.components().count() > MOST_PARTS {
                return Err(refused(format!("a name has more than {MOST_PARTS} folders")));
            }
            let kind = Kind::of(&mut entry, &name, &archive, size);
            let kind = kind.map_err(|text| Error::input(format!("{}:{}: {text}", path.display(), name.display())))?;
            members.insert(name, kind);
        }
        if !is_zero(&file, next.min(size)).map_err(damaged)? {
            log::warn!("{}: the tar file has no end mark; it may have been cut off", path.display());
        }
        Ok(Self { hidden, ..Self::listed(members) })
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

/// The names of the folders and of the file in a name, if there are any.
fn in_folders(name: &Path) -> Option<PathBuf> {
    let parts = name.components().filter(|part| matches!(part, Component::Normal(_)));
    Some(parts.collect::<PathBuf>()).filter(|name| !name.as_os_str().is_empty())
}

/// What the members of a sample have in common: the name up to the first dot of its last part.
pub(super) fn key(name: &Path) -> PathBuf {
    let last = name_of(name);
    name.with_file_name(last.split('.').next().unwrap_or_default())
}
