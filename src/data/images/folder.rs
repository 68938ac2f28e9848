//! The pictures and the classes in a folder.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use image::ImageFormat;

use super::super::Origin;
use crate::io::extension;
use crate::text::count;
use crate::{Error, Result};

/// The maximum depth of subfolders, which protects against links in a circle.
const DEEPEST: usize = 8;

/// The maximum number of names in a list of files that are left out.
const MOST_NAMES: usize = 4;

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

/// The content of a folder, each in natural order. Hidden files are ignored.
#[derive(Default)]
struct Listing {
    pictures: Vec<PathBuf>,
    /// Arrays are among the other files, too.
    arrays: Vec<PathBuf>,
    others: Vec<String>,
    folders: Vec<PathBuf>,
    broken: Vec<String>,
}

impl Listing {
    fn of(folder: &Path) -> Result<Self> {
        let mut listing = Self::default();
        let refused = |cause| Error::io("cannot read", folder, cause);
        for entry in fs::read_dir(folder).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            let name = name_of(&path);
            match (path.is_file(), path.is_dir()) {
                _ if name.starts_with('.') => {}
                (true, _) if is_picture(&path) => listing.pictures.push(path),
                (true, _) => {
                    listing.others.push(name);
                    listing.arrays.extend(Some(path).filter(|path| extension(path) == "npy"));
                }
                (_, true) => listing.folders.push(path),
                _ => listing.broken.push(name),
            }
        }
        [&mut listing.pictures, &mut listing.arrays, &mut listing.folders]
            .into_iter()
            .for_each(|paths| paths.sort_by(|a, b| natural(&name_of(a), &name_of(b))));
        [&mut listing.others, &mut listing.broken].into_iter().for_each(|names| names.sort_by(|a, b| natural(a, b)));
        Ok(listing)
    }

    /// Adds the pictures of all folders below, folder by folder.
    fn descend(&mut self, depth: usize) -> Result<()> {
        for folder in std::mem::take(&mut self.folders) {
            let mut below = Self::of(&folder)?;
            if depth < DEEPEST {
                below.descend(depth + 1)?;
            }
            self.pictures.append(&mut below.pictures);
            self.others.append(&mut below.others);
            self.broken.append(&mut below.broken);
            self.folders.append(&mut below.folders);
        }
        Ok(())
    }

    /// Notes what is left out.
    fn note_rest(&self, origin: &mut Origin) {
        for (what, names) in [("other file", &self.others), ("broken link", &self.broken)] {
            if !names.is_empty() {
                origin.note(format!("{} left out: {}", count(names.len(), what), some(names)));
            }
        }
        if let Some(first) = self.folders.first() {
            let names: Vec<String> = self.folders.iter().map(|folder| name_of(folder)).collect();
            let text = format!("{} left out: {}", count(names.len(), "subfolder"), some(&names));
            origin.choice(text, format!("name one of them, such as {}", first.display()));
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Some names of a list.
pub(in crate::data) fn some(names: &[String]) -> String {
    let more = if names.len() > MOST_NAMES { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(MOST_NAMES)].join(", "))
}

/// Whether a file has the extension of a format that is read.
pub(in crate::data) fn is_picture(path: &Path) -> bool {
    ImageFormat::from_extension(extension(path)).is_some_and(|format| format.reading_enabled())
}

/// The pictures of a class.
struct Class {
    name: String,
    pictures: Listing,
}

/// The classes of pictures in a folder that contains no pictures itself: its subfolders.
fn classes_in(listing: &Listing) -> Result<Vec<Class>> {
    let mut classes = Vec::new();
    if listing.pictures.is_empty() {
        for folder in &listing.folders {
            let mut pictures = Listing::of(folder)?;
            pictures.descend(1)?;
            classes.push(Class { name: name_of(folder), pictures });
        }
        classes.retain(|class| !class.pictures.pictures.is_empty());
    }
    Ok(classes)
}

/// A folder, with the pictures in it, or else those of its subfolders class by class.
pub(in crate::data) struct Folder {
    path: PathBuf,
    listing: Listing,
    classes: Vec<Class>,
}

impl Folder {
    /// Lists the pictures of a folder.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let listing = Listing::of(path)?;
        let classes = classes_in(&listing)?;
        Ok(Self { path: path.into(), listing, classes })
    }

    /// The name in messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether it or one of its subfolders contains pictures.
    pub fn has_pictures(&self) -> bool {
        !self.listing.pictures.is_empty() || !self.classes.is_empty()
    }

    /// The `.npy` files in it, in natural order; what is left out besides them is noted.
    pub fn arrays(&self, origin: &mut Origin) -> Vec<PathBuf> {
        let Listing { arrays, others, folders, broken, .. } = &self.listing;
        let others = others.iter().filter(|name| extension(Path::new(name)) != "npy").cloned().collect();
        let rest = Listing { others, folders: folders.clone(), broken: broken.clone(), ..Listing::default() };
        rest.note_rest(origin);
        arrays.clone()
    }

    /// The names of the classes of pictures, and the class of each picture in the order in which they are read.
    ///
    /// # Errors
    /// When there are none.
    pub fn into_labels(self) -> Result<(Vec<f32>, Vec<String>)> {
        if self.classes.is_empty() {
            return Err(Error::input(format!(
                "{}: labels are read from folders with a subfolder of pictures or sounds for each class, or from .npy, IDX \
                 and table files",
                self.name()
            )));
        }
        let of_class = |(i, class): (usize, &Class)| vec![i as f32; class.pictures.pictures.len()];
        let of = self.classes.iter().enumerate().flat_map(of_class).collect();
        Ok((of, self.classes.into_iter().map(|class| class.name).collect()))
    }

    /// The pictures in natural order. What is left out is noted.
    ///
    /// # Errors
    /// When there are none.
    pub fn into_files(self, origin: &mut Origin) -> Result<Vec<PathBuf>> {
        let has_pictures = self.has_pictures();
        let Self { path, mut listing, classes } = self;
        if !has_pictures {
            let folders = listing.folders.iter().map(|folder| name_of(folder)).collect();
            let names = [listing.others, folders].concat();
            let held = match names.is_empty() {
                true => "it is empty".to_string(),
                false => format!("it contains {}; to read one of these, name it", some(&names)),
            };
            return Err(Error::input(format!(
                "{}: a folder without PNG, JPEG, WebP, TIFF, BMP, GIF, PNM, TGA or WAV files; {held}",
                path.display()
            )));
        }
        note_classes(&path, &classes, origin);
        if !classes.is_empty() {
            listing.folders.retain(|folder| classes.iter().all(|class| class.name != name_of(folder)));
            for mut class in classes {
                note_order(&class.name, &class.pictures.pictures, origin);
                listing.pictures.append(&mut class.pictures.pictures);
                listing.others.append(&mut class.pictures.others);
                listing.broken.append(&mut class.pictures.broken);
            }
        } else {
            note_order("", &listing.pictures, origin);
        }
        listing.note_rest(origin);
        if listing.pictures.iter().any(|path| extension(path) == "gif") {
            origin.note("of an animated picture, the first one is read");
        }
        Ok(listing.pictures)
    }
}

fn note_classes(folder: &Path, classes: &[Class], origin: &mut Origin) {
    let Some(first) = classes.first() else { return };
    let folder = folder.display();
    let sizes: Vec<String> =
        classes.iter().map(|class| format!("{} ({})", class.name, class.pictures.pictures.len())).collect();
    let what = if classes.len() == 1 { "subfolder" } else { "subfolders, one for each class" };
    origin.choice(
        format!("the pictures are in {} {what}: {}", classes.len(), some(&sizes)),
        format!("name one of them, such as {folder}/{}", first.name),
    );
    if classes.len() > 1 {
        origin
            .note(format!("train --labels {folder} learns the classes, and evaluate --labels {folder} compares them"));
    }
}

/// Notes the order of pictures where it is not that of a plain list.
pub(super) fn note_order(class: &str, pictures: &[PathBuf], origin: &mut Origin) {
    let plain = pictures.is_sorted_by(|a, b| a <= b);
    let within = if class.is_empty() { String::new() } else { format!("{class}: ") };
    let (first, last) = (name_of(&pictures[0]), name_of(&pictures[pictures.len() - 1]));
    match plain {
        true if class.is_empty() => origin.note(format!("in the order of their names, {first} to {last}")),
        true => {}
        false => origin.note(format!("{within}in the order of the numbers in their names, {first} to {last}")),
    }
}
