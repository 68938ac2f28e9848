//! The pictures of folders and tar files, with their classes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::super::{Origin, labels};
use super::archive::{Archive, key};
use super::folder::{Listing, natural};
use super::picture::{Picture, name_of};
use crate::io::{extension, quoted};
use crate::text::count;
use crate::{Error, Result};

/// The maximum number of names in a list of files that are left out.
const MOST_NAMES: usize = 4;

/// Some names of a list.
pub(in crate::data) fn some(names: &[String]) -> String {
    let more = if names.len() > MOST_NAMES { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(MOST_NAMES)].join(", "))
}

/// What divides pictures into classes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Division {
    Nothing,
    Subfolders,
    /// The members `NAME.cls` of a tar file.
    Members,
}

/// Pictures in the order in which they are read: class by class if they are in subfolders.
pub(in crate::data) struct Collection {
    /// The folder, tar file, or pattern.
    name: String,
    in_tar: bool,
    pictures: Vec<Picture>,
    division: Division,
    /// The class of each picture if there are classes: the index of its name, or `None` for a picture without one.
    class_of: Vec<Option<u32>>,
    /// The names of the classes in the order in which they occur.
    classes: Vec<String>,
    /// What is left out.
    rest: Listing,
}

impl Collection {
    /// Lists the pictures in a folder, or else those of its subfolders.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn of_folder(path: &Path) -> Result<Self> {
        Self::of(path.display().to_string(), false, Listing::of(path)?)
    }

    /// Lists the pictures in tar files, or in a subfolder of each.
    ///
    /// # Errors
    /// When a tar file cannot be read or has no such folder, or when only some have members that are classes.
    pub fn of_archives(name: &str, files: &[PathBuf], part: Option<&str>) -> Result<Self> {
        let mut archives = files.iter().map(|file| Archive::of(file)).collect::<Result<Vec<_>>>()?;
        if part.is_none() {
            // The folder that contains everything, such as `pets` in the tar files of a folder `pets`.
            let common = |archives: &[Archive]| {
                let first = archives.first()?.root.only_folder()?.to_string();
                archives.iter().all(|archive| archive.root.only_folder() == Some(&first)).then_some(first)
            };
            while let Some(folder) = common(&archives) {
                for archive in &mut archives {
                    archive.root.enter(&folder);
                }
            }
        }
        let mut all: Option<Self> = None;
        for (file, archive) in files.iter().zip(archives) {
            let one = Self::of_archive(file, archive, part)?;
            match &mut all {
                None => all = Some(one),
                Some(all) => all.append(one)?,
            }
        }
        let mut all = all.ok_or_else(|| Error::input(format!("{name}: no tar file")))?;
        all.name = name.to_string();
        Ok(all)
    }

    fn of_archive(file: &Path, archive: Archive, part: Option<&str>) -> Result<Self> {
        let name = match part {
            Some(part) => format!("{}:{part}", file.display()),
            None => file.display().to_string(),
        };
        let Archive { mut root, classes, hidden } = archive;
        for part in part.into_iter().flat_map(|part| part.split('/')) {
            // The folder can be in one that contains everything.
            while !root.enter(part) {
                let only = root.only_folder().map(str::to_string);
                if !only.is_some_and(|only| root.enter(&only)) {
                    let names: Vec<String> = root.folders.iter().map(|(name, _)| name.clone()).collect();
                    let there_are =
                        if names.is_empty() { "there is none".into() } else { format!("there are: {}", some(&names)) };
                    return Err(Error::input(format!("{name}: the tar file has no folder {part}; {there_are}")));
                }
            }
        }
        let mut all = Self::of(name, true, root)?;
        if !classes.is_empty() {
            all.divide_by(|picture| classes.get(&key(&picture.path)))?;
            let pictures: HashSet<PathBuf> = all.pictures.iter().map(|picture| key(&picture.path)).collect();
            let alone = classes.keys().filter(|key| part.is_none() && !pictures.contains(*key));
            all.rest.others.extend(alone.map(|key| format!("{}.cls", key.display())));
        }
        all.rest.hidden.extend(hidden.iter().filter(|_| part.is_none()).map(|path| name_of(path)));
        [&mut all.rest.others, &mut all.rest.hidden].into_iter().for_each(|names| names.sort_by(|a, b| natural(a, b)));
        Ok(all)
    }

    fn of(name: String, in_tar: bool, mut rest: Listing) -> Result<Self> {
        let classes = rest.take_classes()?;
        let mut all = Self {
            name,
            in_tar,
            pictures: std::mem::take(&mut rest.pictures),
            division: Division::Nothing,
            class_of: Vec::new(),
            classes: Vec::new(),
            rest: Listing::default(),
        };
        for (name, mut class) in classes {
            all.division = Division::Subfolders;
            all.class_of.resize(all.pictures.len() + class.pictures.len(), Some(all.classes.len() as u32));
            all.pictures.append(&mut class.pictures);
            rest.append_rest(&mut class);
            all.classes.push(name);
        }
        all.rest = rest;
        Ok(all)
    }

    /// Gives each picture the class of its name.
    fn divide_by<'a>(&mut self, class: impl Fn(&Picture) -> Option<&'a String>) -> Result<()> {
        self.division = Division::Members;
        let mut numbers = HashMap::new();
        self.classes.clear();
        self.class_of.clear();
        let mut pictures = HashMap::new();
        for picture in &self.pictures {
            let key = key(&picture.path);
            if let Some(other) = pictures.insert(key.clone(), picture) {
                return Err(Error::input(format!(
                    "{}: both {} and {} belong to {}.cls, because names are compared up to their first dot; a sample is one picture, so write \
                     a tar file with one of them, or names without other dots",
                    self.name,
                    other.path.display(),
                    picture.path.display(),
                    key.display()
                )));
            }
            let number = class(picture).map(|name| {
                *numbers.entry(name).or_insert_with(|| {
                    self.classes.push(name.clone());
                    self.classes.len() as u32 - 1
                })
            });
            self.class_of.push(number);
        }
        Ok(())
    }

    /// Adds the pictures of another tar file after these.
    fn append(&mut self, mut other: Self) -> Result<()> {
        if !other.has_pictures() {
            return Err(other.without_pictures());
        }
        if self.division != other.division {
            let what = |division| match division {
                Division::Nothing => "no classes",
                Division::Subfolders => "a folder for each class",
                Division::Members => "a member NAME.cls for the class of each picture",
            };
            return Err(Error::input(format!(
                "{}: {}, but {} has {}; files that are read together are divided in the same way",
                other.name,
                what(other.division),
                self.name,
                what(self.division)
            )));
        }
        let numbers: Vec<u32> = other.classes.drain(..).map(|name| self.number_of(name)).collect();
        self.class_of.extend(other.class_of.iter().map(|class| class.map(|class| numbers[class as usize])));
        self.pictures.append(&mut other.pictures);
        self.rest.append_rest(&mut other.rest);
        Ok(())
    }

    /// The number of a class, which is added if it is new.
    fn number_of(&mut self, name: String) -> u32 {
        let found = self.classes.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.classes.push(name);
            self.classes.len() - 1
        });
        found as u32
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there are pictures.
    pub fn has_pictures(&self) -> bool {
        !self.pictures.is_empty()
    }

    /// The `.npy` files in a folder, in natural order; what is left out besides them is noted.
    pub fn arrays(&self, origin: &mut Origin) -> Vec<PathBuf> {
        let others: Vec<String> =
            self.rest.others.iter().filter(|name| extension(Path::new(name)) != "npy").cloned().collect();
        self.note_rest(&others, origin);
        self.rest.arrays.clone()
    }

    /// The class of each picture in the order in which they are read, and the names of the classes, unless these are numbers.
    ///
    /// # Errors
    /// When there are none, or a picture has none.
    pub fn into_labels(self) -> Result<(Vec<f32>, Vec<String>)> {
        if let Some(at) = self.class_of.iter().position(Option::is_none) {
            let picture = &self.pictures[at];
            return Err(Error::input(format!(
                "{picture}: there is no class for this picture; add the member {}.cls",
                key(&picture.path).display()
            )));
        }
        let names = self.class_of.iter().flatten().map(|&class| self.classes[class as usize].clone());
        match self.division {
            Division::Members => Ok(labels::numbered(names.collect())),
            Division::Subfolders => Ok(labels::named(names.collect())),
            Division::Nothing => Err(Error::input(format!(
                "{}: labels are read from folders with a subfolder of pictures or sounds for each class, from tar files of such \
                 folders or with a member NAME.cls for each picture, or from .npy, IDX and table files",
                self.name
            ))),
        }
    }

    /// The name of a subfolder.
    fn inner(&self, folder: &str) -> String {
        let in_part = self.name.rsplit_once(':').is_some_and(|(file, _)| super::is_archive(Path::new(file)));
        let separator = if self.in_tar && !in_part { ':' } else { '/' };
        format!("{}{separator}{folder}", self.name)
    }

    fn without_pictures(&self) -> Error {
        let folders = self.rest.folders.iter().map(|(name, _)| name.clone()).collect();
        let names = [self.rest.others.clone(), folders, self.rest.hidden.clone()].concat();
        let held = match (names.is_empty(), self.in_tar) {
            (true, _) => "it is empty".to_string(),
            (_, true) => format!("it contains {}; unpack it to read other files", some(&names)),
            _ => format!("it contains {}; to read one of these, name it", some(&names)),
        };
        let (what, last) = if self.in_tar { ("tar file", "PNM or TGA") } else { ("folder", "PNM, TGA or WAV") };
        Error::input(format!("{}: a {what} without PNG, JPEG, WebP, TIFF, BMP, GIF, {last} files; {held}", self.name))
    }

    /// The pictures in order. What is left out is noted.
    ///
    /// # Errors
    /// When there are none.
    pub fn into_pictures(self, origin: &mut Origin) -> Result<Vec<Picture>> {
        if !self.has_pictures() {
            return Err(self.without_pictures());
        }
        self.note_classes(origin);
        self.note_orders(origin);
        self.note_rest(&self.rest.others, origin);
        if self.pictures.iter().any(|picture| extension(&picture.path) == "gif") {
            origin.note("of an animated picture, the first one is read");
        }
        Ok(self.pictures)
    }

    fn note_classes(&self, origin: &mut Origin) {
        let Some(first) = self.classes.first() else { return };
        let (name, n) = (quoted(&self.name), self.classes.len());
        let mut counts = vec![0; n];
        self.class_of.iter().flatten().for_each(|&class| counts[class as usize] += 1);
        let mut sizes: Vec<(&String, usize)> = self.classes.iter().zip(counts).collect();
        sizes.sort_by(|(a, _), (b, _)| natural(a, b));
        let sizes: Vec<String> = sizes.into_iter().map(|(class, count)| format!("{class} ({count})")).collect();
        if self.division == Division::Members {
            let classes = if n == 1 { "class" } else { "classes" };
            origin.note(format!("the members NAME.cls have {n} {classes}: {}", some(&sizes)));
        } else {
            let what = if n == 1 { "subfolder" } else { "subfolders, one for each class" };
            let text = format!("the pictures are in {n} {what}: {}", some(&sizes));
            origin.choice(text, format!("name one of them, such as {}", quoted(&self.inner(first))));
        }
        if let Some(at) = self.class_of.iter().position(Option::is_none) {
            let without = self.class_of.iter().filter(|class| class.is_none()).count();
            origin.note(format!("{} without a class, such as {}", count(without, "picture"), self.pictures[at]));
        } else if n > 1 {
            origin
                .note(format!("train --labels {name} learns the classes, and evaluate --labels {name} compares them"));
        }
    }

    /// Notes the order of the pictures, of each class if they are in subfolders.
    fn note_orders(&self, origin: &mut Origin) {
        let archive = |picture: &Picture| picture.member.as_ref().map(|member| member.archive.clone());
        let (first, last) = (&self.pictures[0], &self.pictures[self.pictures.len() - 1]);
        if let (Some(first), Some(last)) = (archive(first), archive(last))
            && first != last
        {
            let files = self.pictures.chunk_by(|a, b| archive(a) == archive(b)).count();
            let [files, pictures] =
                [(files, "tar file"), (self.pictures.len(), "picture")].map(|(n, what)| count(n, what));
            let [first, last] = [first, last].map(|path| name_of(&path));
            let within = if self.division == Division::Subfolders { "class by class" } else { "by their names" };
            origin.note(format!(
                "{files}, {pictures}: {first} to {last}, one after the other, {within} in each, in natural order"
            ));
            return;
        }
        if self.division != Division::Subfolders {
            return note_order("", &self.pictures, origin);
        }
        let mut left = &self.pictures[..];
        for class in self.class_of.chunk_by(|a, b| a == b) {
            let (of_class, rest) = left.split_at(class.len());
            note_order(&self.classes[class[0].unwrap_or_default() as usize], of_class, origin);
            left = rest;
        }
    }

    /// Notes what is left out.
    fn note_rest(&self, others: &[String], origin: &mut Origin) {
        let link = if self.in_tar { "link" } else { "broken link" };
        for (what, names) in [("other file", others), (link, &self.rest.broken[..])] {
            if !names.is_empty() {
                origin.note(format!("{} left out: {}", count(names.len(), what), some(names)));
            }
        }
        let hidden = &self.rest.hidden;
        if !hidden.is_empty() {
            origin.note(format!("hidden files and folders left out ({}): {}", hidden.len(), some(hidden)));
        }
        if let Some((first, _)) = self.rest.folders.first() {
            let names: Vec<String> = self.rest.folders.iter().map(|(name, _)| name.clone()).collect();
            let text = format!("{} left out: {}", count(names.len(), "subfolder"), some(&names));
            origin.choice(text, format!("name one of them, such as {}", quoted(&self.inner(first))));
        }
    }
}

/// Notes the order of pictures; for those of a class, where it is not that of a plain list.
pub(super) fn note_order(class: &str, pictures: &[Picture], origin: &mut Origin) {
    let within = if class.is_empty() { String::new() } else { format!("{class}: ") };
    let folders = pictures.chunk_by(|a, b| a.path.parent() == b.path.parent()).count();
    let order = match pictures.is_sorted_by(|a, b| a.path <= b.path) {
        _ if folders > 1 => "folder by folder, by their names in natural order",
        true if class.is_empty() => "in the order of their names",
        true => return,
        false => "in the order of the numbers in their names",
    };
    let [first, last] = apart(&pictures[0].path, &pictures[pictures.len() - 1].path);
    origin.note(format!("{within}{order}, {first} to {last}"));
}

/// The names of two files from the first folder on that differs.
fn apart(a: &Path, b: &Path) -> [String; 2] {
    let folders = |path: &Path| path.parent().unwrap_or(Path::new("")).to_path_buf();
    let shared: PathBuf =
        folders(a).iter().zip(&folders(b)).take_while(|(a, b)| a == b).map(|(part, _)| part).collect();
    [a, b].map(|path| path.strip_prefix(&shared).unwrap_or(path).display().to_string())
}
