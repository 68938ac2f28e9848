//! A file on a server, and its version.

use std::path::Path;

use flate2::Crc;
use object_store::{GetOptions, ObjectMeta};

use super::super::address::without_secrets;
use crate::text::readable;
use crate::{Error, Result};

/// A file on a server.
pub(super) struct Object {
    pub address: String,
    pub meta: ObjectMeta,
    /// The last part of the name, as a name that every file system takes.
    pub name: String,
    pub size: u64,
    /// The name of a folder for this version of the file.
    pub version: String,
}

impl Object {
    /// `base` is the address of the server or bucket.
    pub fn of(base: &str, query: &str, meta: ObjectMeta) -> Self {
        let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name = meta.location.filename().unwrap_or("data").chars().map(plain).collect();
        let address = format!("{base}/{}", meta.location);
        // A query often has a signature that changes; without a tag, it may select the content.
        let version = match &meta.e_tag {
            Some(tag) => format!("{tag} {}", meta.size),
            None => format!("{query} {} {}", meta.last_modified, meta.size),
        };
        let version = format!("{:08x}{:08x}", checksum(&address), checksum(&version));
        Self { address, name, size: meta.size, meta, version }
    }

    /// The tag, if it stands for the bytes of the file.
    fn strong_tag(&self) -> Option<&String> {
        self.meta.e_tag.as_ref().filter(|tag| !tag.starts_with("W/"))
    }

    /// Whether the server says when the file was changed.
    fn has_time(&self) -> bool {
        self.meta.last_modified.timestamp() != 0
    }

    /// Whether a copy can be compared with the file on the server.
    pub fn has_version(&self) -> bool {
        self.meta.e_tag.is_some() || self.has_time()
    }

    /// Requests of this version.
    pub fn conditions(&self) -> GetOptions {
        match self.strong_tag() {
            Some(tag) => GetOptions { if_match: Some(tag.clone()), ..GetOptions::default() },
            None => {
                let time = self.has_time().then_some(self.meta.last_modified);
                GetOptions { if_unmodified_since: time, ..GetOptions::default() }
            }
        }
    }

    /// Checks whether a response is of this version: a server may ignore the conditions.
    pub fn check_version(&self, response: &ObjectMeta) -> Result<()> {
        let time = |meta: &ObjectMeta| meta.last_modified.timestamp();
        let same_time = self.strong_tag().is_some() || time(response) == time(&self.meta);
        if response.e_tag == self.meta.e_tag && response.size == self.size && same_time {
            return Ok(());
        }
        let address = without_secrets(&self.address);
        Err(Error::input(format!("{address}: the file was changed during the download; run the command again")))
    }

    /// Checks whether `bytes` fit on the disk of a folder. Passes if its free space is unknown.
    pub fn check_space(&self, folder: &Path, bytes: u64) -> Result<()> {
        match fs4::available_space(folder) {
            Ok(free) if bytes > free => Err(Error::setting(format!(
                "{}: needs {} in {}, but its disk has only {} left; set LANGEVIN_CACHE to a folder on another disk",
                without_secrets(&self.address),
                readable(bytes),
                folder.display(),
                readable(free)
            ))),
            _ => Ok(()),
        }
    }
}

fn checksum(text: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}
