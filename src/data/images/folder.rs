//! The pictures and the classes in a folder.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use image::ImageFormat;

use super::picture::{Picture, name_of};
use crate::io::extension;
use crate::{Error, Result};

/// The maximum depth of subfolders on the disk, where symbolic links can form a cycle.
const DEEPEST: usize = 8;

/// Compares names like a reader: 2.png comes before 10.png.
pub(in crate::data) fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (n, m) = (digits(x), digits(y));
        let order = match (n, m, x.chars().next(), y.chars().next()) {
            (_, _, None, None) => return a.cmp(b),
            (0, 0, Some(c), Some(d)) if c == d => {
                (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]);
                continue;
            }
            (1.., 1.., ..) => {
                let (i, j) = (x[..n].trim_start_matches('0'), y[..m].trim_start_matches('0'));
                (x, y) = (&x[n..], &y[m..]);
                i.len().cmp(&j.len()).then(i.cmp(j))
            }
            (_, _, c, d) => c.cmp(&d),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The content of a folder on the disk or in a tar file, each in natural order.
#[derive(Default)]
pub(super) struct Listing {
    pub pictures: Vec<Picture>,
    /// Arrays are among the other files, too.
    pub arrays: Vec<PathBuf>,
    pub others: Vec<String>,
    pub folders: Vec<(String, Subfolder)>,
    pub broken: Vec<String>,
    /// Files and folders whose names begin with a dot.
    pub hidden: Vec<String>,
}

/// A folder in a folder.
pub(super) enum Subfolder {
    OnDisk(PathBuf),
    Listed(Listing),
}

impl Subfolder {
    fn open(self) -> Result<Listing> {
        match self {
            Self::OnDisk(path) => Listing::of(&path),
            Self::Listed(listing) => Ok(listing),
        }
    }
}

impl Listing {
    /// Lists a folder on the disk, without its subfolders.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(folder: &Path) -> Result<Self> {
        let mut listing = Self::default();
        let refused = |cause| Error::io("cannot read", folder, cause);
        for entry in fs::read_dir(folder).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            let name = name_of(&path);
            match (path.is_file(), path.is_dir()) {
                _ if is_hidden(&name) => listing.hidden.push(name),
                (true, _) if is_picture(&path) => listing.pictures.push(Picture { path, member: None }),
                (true, _) => {
                    listing.others.push(name);
                    listing.arrays.extend(Some(path).filter(|path| extension(path) == "npy"));
                }
                (_, true) => listing.folders.push((name, Subfolder::OnDisk(path))),
                _ => listing.broken.push(name),
            }
        }
        listing.sort();
        Ok(listing)
    }

    /// Puts everything in natural order, also in the folders that are listed.
    pub fn sort(&mut self) {
        self.pictures.sort_by(|a, b| natural(&a.name(), &b.name()));
        self.arrays.sort_by(|a, b| natural(&name_of(a), &name_of(b)));
        self.folders.sort_by(|(a, _), (b, _)| natural(a, b));
        let names = [&mut self.others, &mut self.broken, &mut self.hidden];
        names.into_iter().for_each(|names| names.sort_by(|a, b| natural(a, b)));
        for (_, folder) in &mut self.folders {
            if let Subfolder::Listed(listing) = folder {
                listing.sort();
            }
        }
    }

    /// The listed folder of a file below this one, which is added if it is not there.
    pub fn folder_of(&mut self, file: &Path) -> &mut Self {
        let parts = file.parent().into_iter().flat_map(|folder| folder.iter());
        parts.fold(self, |at, part| {
            let part = part.to_string_lossy();
            // The files of a folder usually follow each other.
            let found = at.folders.iter().rposition(|(name, _)| *name == part).unwrap_or_else(|| {
                at.folders.push((part.into_owned(), Subfolder::Listed(Self::default())));
                at.folders.len() - 1
            });
            match &mut at.folders[found].1 {
                Subfolder::Listed(listing) => listing,
                Subfolder::OnDisk(_) => unreachable!("only folders in tar files are added"),
            }
        })
    }

    /// The name of the folder that contains everything in this one.
    pub fn only_folder(&self) -> Option<&str> {
        match (&self.pictures[..], &self.others[..], &self.folders[..]) {
            ([], [], [(name, _)]) => Some(name),
            _ => None,
        }
    }

    /// Replaces this by a listed folder in it, if it is there.
    pub fn enter(&mut self, folder: &str) -> bool {
        let at = self.folders.iter().position(|(name, inner)| name == folder && matches!(inner, Subfolder::Listed(_)));
        match at.map(|at| self.folders.swap_remove(at).1) {
            Some(Subfolder::Listed(inner)) => {
                *self = inner;
                true
            }
            _ => false,
        }
    }

    /// Adds the pictures of all folders below, folder by folder.
    fn descend(&mut self, depth: usize) -> Result<()> {
        for (_, folder) in std::mem::take(&mut self.folders) {
            // Symbolic links can form a cycle on the disk, but not in a tar file.
            let deeper = depth < DEEPEST || matches!(folder, Subfolder::Listed(_));
            let mut below = folder.open()?;
            if deeper {
                below.descend(depth + 1)?;
            }
            self.pictures.append(&mut below.pictures);
            self.append_rest(&mut below);
        }
        Ok(())
    }

    /// Adds what another listing has besides pictures and arrays.
    pub fn append_rest(&mut self, other: &mut Self) {
        self.others.append(&mut other.others);
        self.folders.append(&mut other.folders);
        self.broken.append(&mut other.broken);
        self.hidden.append(&mut other.hidden);
    }

    /// The classes of pictures in a folder that contains no pictures itself: its subfolders with pictures. Of the others, the
    /// names are left.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn take_classes(&mut self) -> Result<Vec<(String, Self)>> {
        let mut classes = Vec::new();
        if !self.pictures.is_empty() {
            return Ok(classes);
        }
        for (name, folder) in std::mem::take(&mut self.folders) {
            let mut pictures = folder.open()?;
            pictures.descend(1)?;
            match pictures.pictures.is_empty() {
                true => self.folders.push((name, Subfolder::Listed(pictures))),
                false => classes.push((name, pictures)),
            }
        }
        Ok(classes)
    }
}

/// Whether the name of a file or folder begins with a dot, as those do that file managers and other programs add.
pub(in crate::data) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether a file has the extension of a format that is read.
pub(in crate::data) fn is_picture(path: &Path) -> bool {
    ImageFormat::from_extension(extension(path)).is_some_and(|format| format.reading_enabled())
}
