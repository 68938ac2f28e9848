//! Tar files of pictures.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::folder::{Listing, Subfolder, is_picture};
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
        let damaged = |cause: io::Error| {
            // The text of an error can contain that of a damaged header.
            let cause =
                Some(cause.to_string()).filter(|text| !text.contains(|c: char| c.is_control() || c == '\u{fffd}'));
            let cause = cause.unwrap_or("a damaged header".into());
            Error::input(format!("{}: not a readable tar file ({cause}); copy or write it again", path.display()))
        };
        let (archive, mut all): (Arc<Path>, _) = (path.into(), Self::default());
        let mut reader = tar::Archive::new(file);
        for entry in reader.entries_with_seek().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let Some(name) = entry.path().ok().and_then(|name| visible(&name)) else { continue };
            let (kind, start, len) = (entry.header().entry_type(), entry.raw_file_position(), entry.size());
            if kind.is_dir() {
                continue;
            }
            if kind.is_gnu_sparse() {
                let text =
                    "is stored with gaps (a sparse file), which are not read; write the tar file without --sparse";
                return Err(Error::input(format!("{}:{}: {text}", path.display(), name.display())));
            }
            if start.checked_add(len).is_none_or(|last| last > end) {
                return Err(Error::input(format!(
                    "{}: the tar file ends within its member {}; copy it again",
                    path.display(),
                    name.display()
                )));
            }
            let folder = all.root.folder_of(&name);
            if !(kind.is_file() || kind.is_contiguous()) {
                folder.broken.push(name_of(&name));
            } else if is_picture(&name) {
                let member = Some(Member { archive: archive.clone(), start, len });
                folder.pictures.push(Picture { path: name, member });
            } else if extension(&name) == "cls" {
                let mut text = String::new();
                entry.by_ref().take(LONGEST_CLASS).read_to_string(&mut text).map_err(damaged)?;
                all.classes.insert(key(&name), text.trim().to_string());
            } else {
                folder.others.push(name_of(&name));
            }
        }
        all.root.sort();
        Ok(all.without_common_folders())
    }

    /// From the folder that contains everything, such as `pets` in the tar file of a folder `pets`.
    fn without_common_folders(mut self) -> Self {
        while let ([], [], [_]) = (&self.root.pictures[..], &self.root.others[..], &self.root.folders[..]) {
            if let Some((_, Subfolder::Listed(inner))) = self.root.folders.pop() {
                self.root = inner;
            }
        }
        self
    }
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
