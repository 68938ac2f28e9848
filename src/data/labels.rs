//! Class labels of samples.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::address::without_secrets;
use super::range::SampleRange;
use super::{Header, ReadOptions, first_bytes, idx, images, npy, sounds, sources, sources_and_part, table};
use crate::io::extension;
use crate::{Error, Result};

/// The maximum number of classes; larger labels indicate a wrong file.
pub const MOST_CLASSES: usize = 1_000;

/// The class of each sample, numbered from 0 without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// The source of the labels, for messages.
    pub name: String,
    /// The class of each sample.
    pub of: Vec<u32>,
    /// The number of classes.
    pub classes: usize,
    /// The names of the classes; empty if they are only numbers.
    pub names: Vec<String>,
}

impl Labels {
    /// Reads a `.npy` array \[n\] or [n, 1] of integers of any width, an IDX file with one axis (optionally `.gz`), a folder
    /// or tar file with a subfolder of pictures or sounds for each class, in the order of [`super::Dataset::load`], a tar file with a
    /// member `NAME.cls` for each picture `NAME.png`, or a column of a `.csv` or `.tsv` table: `table.csv:species`, or `table.csv`
    /// if there is only one. Texts are the names of classes, which are numbered in natural order. `labels.npy[0:900]` selects a range, as in [`super::Dataset::load`].
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Input`] when its content is not valid, and as [`Labels::new`].
    pub fn load(spec: &str) -> Result<Self> {
        Self::load_with(spec, None)
    }

    /// [`Labels::load`], where `header` says whether the first line of a table is a header; `None` decides by its content.
    ///
    /// # Errors
    /// As [`Labels::load`], and [`Error::Setting`] for a header of something else than a table.
    pub fn load_with(spec: &str, header: Option<Header>) -> Result<Self> {
        let range = SampleRange::at_end_of(spec).transpose()?;
        let (all, names) = read_part(range.as_ref().map_or(spec, |range| range.data), header)?;
        let (from, to) = range.map_or(Ok((0, all.len())), |range| range.within(all.len()))?;
        Ok(Self { names, ..Self::new(without_secrets(spec), &all[from..to])? })
    }

    /// The number of the class with this name or number.
    ///
    /// # Errors
    /// [`Error::Setting`] with the classes that there are.
    pub fn class_named(name: &str, classes: usize, names: &[String]) -> Result<u32> {
        if let Some(class) = names.iter().position(|known| known == name) {
            return Ok(class as u32);
        }
        // A number among codes is a code, and not the place of one.
        let coded = names.iter().any(|name| name.parse::<u32>().is_ok());
        match name.parse::<u32>() {
            Ok(class) if (class as usize) < classes && !coded => Ok(class),
            _ if names.is_empty() => Err(Error::setting(format!(
                "there is no class {name}; the classes of this run are 0 to {}",
                classes.saturating_sub(1)
            ))),
            _ => Err(Error::unknown("class", name, &names.iter().map(String::as_str).collect::<Vec<_>>())),
        }
    }

    /// Creates labels from numbers. `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::Input`] when a label is not a whole number from 0 to [`MOST_CLASSES`] - 1, when there is only one class, or
    /// when a class below the largest has no sample.
    pub fn new(name: impl Into<String>, values: &[f32]) -> Result<Self> {
        let name = name.into();
        let refuse = |text: String| Err(Error::input(format!("{name}: {text}")));
        let fine = |v: &f32| v.fract() == 0.0 && (0.0..MOST_CLASSES as f32).contains(v);
        if let Some(at) = values.iter().position(|v| !fine(v)) {
            let (bad, last) = (values[at], MOST_CLASSES - 1);
            return refuse(format!(
                "label {at} is {bad}; labels are whole numbers from 0 to {last}, one for each sample"
            ));
        }
        let of: Vec<u32> = values.iter().map(|v| *v as u32).collect();
        let classes = of.iter().max().map_or(0, |most| *most as usize + 1);
        if classes < 2 {
            return refuse(format!("all {} labels are 0; at least two classes are needed", of.len()));
        }
        let labels = Self { name: name.clone(), of, classes, names: vec![] };
        let counts = labels.counts();
        match counts.iter().position(|n| *n == 0) {
            None => Ok(labels),
            Some(absent) => refuse(format!(
                "no sample has class {absent}, but the largest label is {}; number the classes from 0 without gaps",
                classes - 1
            )),
        }
    }

    /// The labels of some samples.
    pub(super) fn of_rows(&self, rows: &[usize]) -> Self {
        Self { of: rows.iter().map(|&row| self.of[row]).collect(), ..self.clone() }
    }

    /// The number of samples of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.of.iter().for_each(|&class| counts[class as usize] += 1);
        counts
    }
}

/// The files of labels, and the column of a table.
fn place(spec: &str) -> Result<(Vec<PathBuf>, Option<&str>)> {
    Ok(match sources_and_part(spec)? {
        (files, _) if files.is_empty() => (vec![spec.into()], None),
        found => found,
    })
}

/// Whether a file is a table, by its name.
pub(crate) fn is_table(file: &Path) -> bool {
    matches!(extension(file).as_str(), "csv" | "tsv")
}

/// Whether labels can be a column of a file.
fn has_columns(file: &Path) -> bool {
    is_table(file) || cfg!(feature = "parquet") && extension(file) == "parquet"
}

/// The texts of a column of a file.
fn texts(file: &Path, column: Option<&str>, header: Option<Header>) -> Result<Vec<String>> {
    #[cfg(feature = "parquet")]
    if !is_table(file) {
        return super::parquet::texts(file, column);
    }
    table::texts(file, column, header)
}

impl ReadOptions {
    /// These options for `data` with these labels: if they are a column of the same table, it is not a value of the samples.
    pub(crate) fn for_labels(&self, data: &str, labels: &str) -> Self {
        Self { label: self.label_in(data, labels), ..self.clone() }
    }

    /// The column of `data` that contains the labels.
    fn label_in(&self, data: &str, labels: &str) -> Option<String> {
        let labels = SampleRange::at_end_of(labels).and_then(Result::ok).map_or(labels, |range| range.data);
        // The reader of the files reports those that cannot be read.
        let ((files, column), data) = (place(labels).ok()?, sources(data).ok()?);
        let known = |files: Vec<PathBuf>| -> Vec<PathBuf> {
            files.into_iter().map(|file| file.canonicalize().unwrap_or(file)).collect()
        };
        let same = files.iter().all(|file| has_columns(file)) && known(data) == known(files);
        column.filter(|_| same).map(str::to_string)
    }
}

/// Reads files of labels, or the columns of tables: the numbers of the classes, and their names if they have some.
fn read_part(spec: &str, header: Option<Header>) -> Result<(Vec<f32>, Vec<String>)> {
    let ((files, column), spec) = (place(spec)?, without_secrets(spec));
    if files.iter().all(|file| images::is_archive(file)) {
        return images::Collection::of_archives(&spec, &files, column)?.into_labels();
    }
    let has_columns = files.iter().all(|file| has_columns(file));
    if has_columns && (header.is_none() || files.iter().all(|file| is_table(file))) {
        let texts = files.iter().map(|file| texts(file, column, header)).collect::<Result<Vec<_>>>()?;
        return Ok(numbered(texts.concat()));
    }
    if header.is_some() {
        return Err(Error::setting(format!("{spec}: only tables (.csv, .tsv) have a header; omit --label-header")));
    }
    if let Some(column) = column {
        return Err(Error::input(format!(
            "{spec}: only tables (.csv, .tsv) have columns; name the file without \":{column}\""
        )));
    }
    match &files[..] {
        [name] if !name.exists() && name.extension().is_none() => Err(Error::input(format!(
            "{spec}: there is no such file or folder; a column of a table is named TABLE:{spec}, such as table.csv:{spec}"
        ))),
        [folder] if folder.is_dir() => {
            let pictures = images::Collection::of_folder(folder)?;
            match sounds::files(folder)? {
                Some(files) if !pictures.has_pictures() => sounds::read_labels(folder, &files),
                _ => pictures.into_labels(),
            }
        }
        files => Ok((files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?.concat(), vec![])),
    }
}

/// The numbers of classes in a table. Whole numbers from 0 without gaps are used as they are, anything else is a name: the
/// classes of the codes 1, 2, 3 have these names, in the order of the codes.
pub(super) fn numbered(texts: Vec<String>) -> (Vec<f32>, Vec<String>) {
    let codes: Option<Vec<u32>> = texts.iter().map(|text| text.parse().ok()).collect();
    if let Some(codes) = codes {
        let all: Vec<u32> = codes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let number = |code: &u32| all.binary_search(code).expect("all are among the codes") as f32;
        let names = if all.last().is_some_and(|last| *last as usize >= all.len()) { all.as_slice() } else { &[] };
        return (codes.iter().map(number).collect(), names.iter().map(u32::to_string).collect());
    }
    named(texts)
}

/// The numbers of classes with names, which are in natural order.
pub(super) fn named(texts: Vec<String>) -> (Vec<f32>, Vec<String>) {
    let mut names: Vec<String> = texts.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    names.sort_by(|a, b| images::natural(a, b));
    let number: HashMap<&String, usize> = names.iter().enumerate().map(|(number, name)| (name, number)).collect();
    (texts.iter().map(|text| number[text] as f32).collect(), names)
}

/// Reads the numbers in a file of labels.
fn read(path: &Path) -> Result<Vec<f32>> {
    let name = path.display();
    let (shape, values) = match (extension(path).as_str(), first_bytes(path)?) {
        ("npy", _) | (_, [0x93, b'N', b'U', b'M']) => npy::read_labels(path)?,
        (_, [0x1f, 0x8b, ..] | [0, 0, 0x08..=0x0e, 1..=4]) => idx::read_labels(path)?,
        _ => {
            return Err(Error::input(format!(
                "{name}: unknown file format; labels are read from .npy files of integers, IDX (or IDX in .gz), and tables (.csv, .tsv)"
            )));
        }
    };
    match shape[..] {
        [0] | [0, 1] => Err(Error::input(format!("{name}: the file contains no labels (shape {shape:?})"))),
        [_] | [_, 1] => Ok(values),
        _ => Err(Error::input(format!("{name}: the array has shape {shape:?}; labels are [n], one for each sample"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::npy::tests::file;
    use super::*;
    use std::fs;

    fn loaded(name: &str, bytes: &[u8], range: &str) -> Result<Labels> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        Labels::load(&format!("{}{range}", path.display()))
    }

    #[test]
    fn integers_of_every_width_are_read() {
        let wide = |n: usize, big: bool| -> Vec<u8> {
            let one = |v: u8| if big { [vec![0; n - 1], vec![v]] } else { [vec![v], vec![0; n - 1]] }.concat();
            [1, 0, 2, 1].into_iter().flat_map(one).collect()
        };
        for (descr, n, big) in
            [("|u1", 1, false), ("|i1", 1, false), ("<i2", 2, false), (">u4", 4, true), ("<i8", 8, false)]
        {
            let found = loaded("a.npy", &file(&format!("'{descr}'"), "False", "(4,)", &wide(n, big)), "").unwrap();
            assert_eq!((found.of, found.classes), (vec![1, 0, 2, 1], 3), "{descr}");
        }
        let floats: Vec<u8> = [1f32, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(loaded("a.npy", &file("'<f4'", "False", "(2, 1)", &floats), "").unwrap().of, [1, 0]);
        let idx = [0, 0, 8, 1, 0, 0, 0, 4, 1, 0, 2, 1];
        assert_eq!(loaded("labels", &idx, "").unwrap().counts(), [1, 2, 1]);
        assert_eq!(loaded("labels", &idx, "[0:2]").unwrap().of, [1, 0]);
    }

    #[test]
    fn labels_are_columns_of_tables() {
        let table = b"x,species,n\n1,b,2\n2,a,0\n3,b,1\n";
        let of = |range: &str| loaded("a.csv", table, range);
        let species = of(":species").unwrap();
        assert_eq!((species.of, species.names), (vec![1, 0, 1], vec!["a".to_string(), "b".into()]));
        let numbers = of(":n").unwrap();
        assert_eq!((numbers.of, numbers.names.len()), (vec![2, 0, 1], 0));
        assert_eq!(of(":2[0:2]").unwrap().of, [1, 0]);
        let message = |range: &str| of(range).unwrap_err().to_string();
        assert!(message(":kind").contains("there are: x, species, n"), "{}", message(":kind"));
        assert!(message("").contains("3 columns; name the one with the labels, such as"), "{}", message(""));
        assert_eq!(loaded("a.csv", b"0\n1\n1\n", "").unwrap().of, [0, 1, 1]);
        for missing in ["", "NA", "?"] {
            let text = loaded("a.csv", format!("x,s\n1,a\n2,{missing}\n3,b\n").as_bytes(), ":s").unwrap_err();
            assert!(
                text.to_string().contains(&format!("row 2: column 2 (s) is {missing:?}, which is no class")),
                "{text}"
            );
        }
        // A header in a comment is not a row.
        assert_eq!(loaded("a.csv", b"# x,n\n7,1\n8,0\n9,1\n", ":n").unwrap().of, [1, 0, 1]);
        let names = ["a".to_string(), "b".into()];
        assert_eq!(Labels::class_named("b", 2, &names).unwrap(), 1);
        assert_eq!(Labels::class_named("0", 2, &names).unwrap(), 0);
        assert!(Labels::class_named("c", 2, &names).unwrap_err().to_string().contains("a, b"));
        assert!(Labels::class_named("3", 3, &[]).unwrap_err().to_string().contains("0 to 2"));
    }

    #[test]
    fn a_header_is_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, "2\n0\n1\n").unwrap();
        let load = |header| Labels::load_with(path.to_str().unwrap(), header).map(|labels| labels.of);
        assert_eq!(load(Some(Header::Yes)).unwrap(), [0, 1]);
        assert_eq!(load(Some(Header::No)).unwrap(), [2, 0, 1]);
        let idx = dir.path().join("idx");
        fs::write(&idx, [0, 0, 8, 1, 0, 0, 0, 2, 1, 0]).unwrap();
        let e = Labels::load_with(idx.to_str().unwrap(), Some(Header::Yes)).unwrap_err().to_string();
        assert!(e.contains("--label-header"), "{e}");
    }

    #[test]
    fn codes_of_a_table_are_names_unless_they_are_the_numbers_of_classes() {
        let of = |codes: &[&str]| numbered(codes.iter().map(|code| code.to_string()).collect());
        assert_eq!(of(&["1", "0", "2", "1"]), (vec![1.0, 0.0, 2.0, 1.0], vec![]));
        let names = |all: &[&str]| all.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(of(&["3", "1", "10", "1"]), (vec![1.0, 0.0, 2.0, 0.0], names(&["1", "3", "10"])));
        let class = |name: &str| Labels::class_named(name, 3, &names(&["1", "3", "10"]));
        assert_eq!((class("3").unwrap(), class("10").unwrap(), class("2").is_err()), (1, 2, true));
    }

    #[test]
    fn classes_keep_their_numbers_when_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        for names in [["c2", "c10"], ["2", "10"], ["0", "1"]] {
            let texts = [1, 0, 1].map(|class: usize| names[class].to_string()).to_vec();
            let (of, names) = named(texts);
            let labels = Labels { names, ..Labels::new("labels", &of).unwrap() };
            let path = labels.save(&dir.path().join("labels")).unwrap();
            let again = Labels::load(path.to_str().unwrap()).unwrap();
            assert_eq!((again.of, labels.of), (vec![1, 0, 1], vec![1, 0, 1]), "{:?}", labels.names);
        }
    }

    #[test]
    fn labels_in_the_table_of_the_samples_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.csv", "b.csv"] {
            fs::write(dir.path().join(name), "x,s\n1,a\n2,b\n").unwrap();
        }
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let column = |labels: &str| ReadOptions::default().for_labels(&at("a.csv[0:1]"), &at(labels)).label;
        assert_eq!((column("a.csv:s").as_deref(), column("a.csv:s[0:1]").as_deref()), (Some("s"), Some("s")));
        assert_eq!((column("./a.csv:2").as_deref(), column("b.csv:s"), column("a.csv")), (Some("2"), None, None));
        assert_eq!(ReadOptions::default().for_labels("moons", "").label, None);
    }

    #[test]
    fn bad_labels_say_why() {
        let absent = Labels::load("species").unwrap_err().to_string();
        assert!(absent.contains("a column of a table is named TABLE:species"), "{absent}");
        let idx = |labels: &[u8]| [&[0, 0, 8, 1, 0, 0, 0, labels.len() as u8], labels].concat();
        let shorts = |values: &[i16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let npy = |values: &[i16]| file("'<i2'", "False", &format!("({},)", values.len()), &shorts(values));
        let halves: Vec<u8> = [0f32, 0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
        for (bytes, range, cause) in [
            (idx(&[0, 3, 1]), "", "no sample has class 2, but the largest label is 3"),
            (idx(&[0, 0]), "", "all 2 labels are 0"),
            (idx(&[0, 1]), "[1:3]", "has 2 samples"),
            (idx(&[]), "", "contains no labels"),
            (npy(&[0, -1]), "", "label 1 is -1; labels are whole numbers from 0 to 999"),
            (npy(&[0, 1, 1000]), "", "label 2 is 1000"),
            (file("'<f4'", "False", "(2,)", &halves), "", "label 1 is 0.5"),
            (file("'<f4'", "False", "(1, 2)", &halves), "", "[1, 2]"),
            (file("'<c8'", "False", "(1,)", &halves), "", "complex64"),
            (b"hello".to_vec(), "", "unknown file format"),
        ] {
            let message = loaded("labels", &bytes, range).unwrap_err().to_string();
            assert!(message.contains(cause) && message.contains("labels"), "{message}");
        }
        assert!(Labels::load("no/such/file.npy").unwrap_err().to_string().contains("no/such/file.npy"));
    }
}
