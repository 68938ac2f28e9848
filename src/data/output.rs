//! Writing samples as tables and arrays, and protecting input files from being overwritten.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Columns, Grouping, Kind, npy};
use crate::error::{Error, Result};
use crate::io::{AtomicFile, check_space, extension};
use crate::text::shortest_sum;

/// Checks that the output `path`, which is given by `option`, does not overwrite the input data `spec` and is not a picture or a
/// sound in their folder.
///
/// # Errors
/// [`Error::Setting`] with both names.
#[cfg(feature = "cli")]
pub fn check_apart(option: &str, path: &Path, spec: &str) -> Result<()> {
    use std::fs;

    use super::address::without_secrets;
    use crate::io::folder;

    let Ok(place) = fs::canonicalize(folder(path)) else { return Ok(()) };
    let place = path.file_name().map(|name| place.join(name)).unwrap_or(place);
    let (target, name) = (fs::canonicalize(path).ok(), without_secrets(spec));
    let picture = ["png", "wav"].contains(&extension(path).as_str());
    for source in super::sources(spec)? {
        let Ok(source) = fs::canonicalize(source) else { continue };
        if target.as_ref() == Some(&source) || place == source {
            return Err(Error::setting(format!(
                "{}: would overwrite the input data {name}; choose another {option}",
                path.display()
            )));
        }
        if picture && source.is_dir() && place.starts_with(&source) {
            return Err(Error::setting(format!(
                "{}: would add a file to the input data {name}; choose another folder for {option}",
                path.display()
            )));
        }
    }
    Ok(())
}

/// How samples are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleLayout<'a> {
    /// The kind of the samples.
    pub kind: Kind,
    /// The shape of one sample.
    pub shape: &'a [usize],
    /// The names of columns or channels, and what is added to their values.
    pub columns: &'a Columns,
}

/// Writes samples part by part to a `.npy` or `.csv` file. The file appears when it is complete.
#[derive(Debug)]
pub(crate) struct SampleFile {
    path: PathBuf,
    table: bool,
    shape: Vec<usize>,
    groups: Grouping,
    columns: Columns,
    count: usize,
    /// The number of values that are not written yet.
    left: usize,
    /// Created with the first values, so that a failure before them leaves no file.
    file: Option<AtomicFile>,
}

impl SampleFile {
    /// Prepares a file for `count` samples. A `.npy` file contains `[count, ...shape]` in C order, float32 or, if columns have
    /// offsets, float64; a `.csv` file a header of column names and one sample per row. Whole numbers are rounded. Returns
    /// `None` for another extension.
    ///
    /// # Errors
    /// [`Error::Setting`] when the disk has not enough space.
    pub fn create(path: &Path, layout: SampleLayout, count: usize) -> Result<Option<Self>> {
        let SampleLayout { kind, shape, columns } = layout;
        let table = match extension(path).as_str() {
            "npy" => false,
            "csv" => true,
            _ => return Ok(None),
        };
        let left = count.saturating_mul(shape.iter().product());
        // A value takes four bytes, or at least as many as text.
        check_space(path, (left as u64).saturating_mul(4))?;
        let groups = Grouping::of(kind, shape);
        let columns = columns.clone();
        Ok(Some(Self { path: path.into(), table, shape: shape.into(), groups, columns, count, left, file: None }))
    }

    fn begin(&self) -> Result<AtomicFile> {
        let Self { path, table, shape, count, .. } = self;
        let element = if self.is_wide() { "<f8" } else { "<f4" };
        let mut file = AtomicFile::create(path)?;
        file.write(|out| match table {
            true => writeln!(out, "{}", self.header()),
            false => out.write_all(&npy::header(element, &[&[*count], &shape[..]].concat())),
        })?;
        Ok(file)
    }

    fn sample_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether values are written as float64.
    fn is_wide(&self) -> bool {
        !self.columns.offset.is_empty()
    }

    /// The value of a column or channel in the units of the data.
    fn unit(&self, group: usize, value: f32) -> f64 {
        let value = f64::from(value) + self.columns.offset_of(group);
        if self.columns.whole.get(group) == Some(&true) { value.round() } else { value }
    }

    /// The names of the columns of a table.
    fn header(&self) -> String {
        let (len, names) = (self.sample_len(), &self.columns.names);
        let name = |i: usize| match (names.get(self.groups.at(i)), len) {
            _ if names.len() == len => quoted_field(&names[i]),
            (Some(name), _) => quoted_field(&format!("{name}_{}", i % self.groups.repeat)),
            (None, 2) => ["x", "y"][i].to_string(),
            (None, _) => format!("x{i}"),
        };
        let field = |i: usize| match self.columns.categories_at(i) {
            Some(categories) => (categories.first == i).then(|| quoted_field(&categories.name)),
            None => Some(name(i)),
        };
        (0..len).filter_map(field).collect::<Vec<_>>().join(",")
    }

    /// One sample per row. Every number has the shortest form that is parsed to the same bits, without its offset.
    fn rows(&self, values: &[f32]) -> String {
        let mut text = String::new();
        for sample in values.chunks_exact(self.sample_len()) {
            let mut separator = "";
            for (i, value) in sample.iter().enumerate() {
                let categories = self.columns.categories_at(i);
                if categories.is_some_and(|categories| categories.first != i) {
                    continue;
                }
                text += separator;
                separator = ",";
                match categories {
                    Some(categories) => text += &quoted_field(&categories.values[categories.of(sample)]),
                    None => self.number(&mut text, self.groups.at(i), *value),
                }
            }
            text.push('\n');
        }
        text
    }

    fn number(&self, text: &mut String, group: usize, value: f32) {
        let whole = self.columns.whole.get(group) == Some(&true);
        let _ = match (whole, self.columns.offset_of(group)) {
            (true, _) => write!(text, "{:.0}", self.unit(group, value) + 0.0),
            (_, 0.0) => write!(text, "{value:?}"),
            (_, offset) => write!(text, "{:?}", shortest_sum(value, offset)),
        };
    }

    /// The values for a `.npy` file. A category is 1, and the others of its column are 0.
    fn array(&self, values: &[f32]) -> Vec<u8> {
        let mut values = values.to_vec();
        for sample in values.chunks_exact_mut(self.sample_len()) {
            for categories in &self.columns.categories {
                let of = categories.of(sample);
                let values = &mut sample[categories.first..][..categories.values.len()];
                values.iter_mut().enumerate().for_each(|(i, value)| *value = f32::from(u8::from(i == of)));
            }
        }
        let values = values.iter().enumerate().map(|(i, value)| self.unit(self.groups.at(i), *value));
        match self.is_wide() {
            true => values.flat_map(f64::to_le_bytes).collect(),
            false => values.flat_map(|value| (value as f32).to_le_bytes()).collect(),
        }
    }

    /// Writes the next samples.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written, [`Error::Input`] when they are not whole samples or more than expected.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        let (n, left, len) = (values.len(), self.left, self.sample_len());
        if !n.is_multiple_of(len) || n > left {
            return Err(Error::input(format!("{n} values for a file that expects {left}, in samples of {len}")));
        }
        self.left -= n;
        let mut file = self.file.take().map_or_else(|| self.begin(), Ok)?;
        for part in values.chunks(len * (PART / len).max(1)) {
            file.write(|out| match self.table {
                true => out.write_all(self.rows(part).as_bytes()),
                false => out.write_all(&self.array(part)),
            })?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Input`] when samples are missing.
    pub fn finish(self) -> Result<()> {
        match (self.left, self.file) {
            (0, Some(file)) => file.commit(),
            (left, _) => Err(Error::input(format!("{left} values are missing at the end of a file of samples"))),
        }
    }
}

/// The number of values that are converted at a time.
const PART: usize = 1 << 14;

/// A field of a table, in quotes if it needs them. In a table of one column, a blank without quotes would separate columns.
pub(super) fn quoted_field(text: &str) -> String {
    match text.contains([',', '"']) || text.contains(char::is_whitespace) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Categories;
    use super::*;

    const PLAIN: &Columns =
        &Columns { names: Vec::new(), offset: Vec::new(), whole: Vec::new(), categories: Vec::new() };

    fn plain(shape: &[usize]) -> SampleLayout<'_> {
        SampleLayout { kind: Kind::of(shape), shape, columns: PLAIN }
    }

    /// Names, offsets and whole numbers are those of the data.
    #[test]
    fn columns_are_written_in_their_units() {
        let dir = tempfile::tempdir().unwrap();
        let columns = Columns {
            names: vec!["t".into(), "a, \"b\"".into(), "n".into()],
            offset: vec![1_700_000_000.0, 0.0, 0.0],
            whole: vec![false, false, true],
            ..Columns::default()
        };
        let layout = SampleLayout { kind: Kind::Table, shape: &[3], columns: &columns };
        let path = dir.path().join("a.csv");
        let mut file = SampleFile::create(&path, layout, 2).unwrap().unwrap();
        file.write(&[0.25, 0.1, 2.6, -1.5, 2.0, -0.2]).unwrap();
        file.finish().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "t,\"a, \"\"b\"\"\",n\n1700000000.25,0.1,3\n1699999998.5,2.0,0\n");
        let back = crate::data::Dataset::load(path.to_str().unwrap(), 0).unwrap();
        assert_eq!((back.kind(), &back.columns.names), (Kind::Table, &columns.names));

        let path = dir.path().join("a.npy");
        let mut file = SampleFile::create(&path, layout, 1).unwrap().unwrap();
        file.write(&[0.25, 0.1, 2.6]).unwrap();
        file.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(&bytes[bytes.len() - 24..][..8], 1_700_000_000.25f64.to_le_bytes());
        let signals = SampleLayout { kind: Kind::Signals, shape: &[2, 2], ..layout };
        let file = SampleFile::create(&path, signals, 1).unwrap().unwrap();
        assert_eq!(file.header(), "t_0,t_1,\"a, \"\"b\"\"_0\",\"a, \"\"b\"\"_1\"");
    }

    #[test]
    fn categories_are_written_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["n", "c=a", "c=b, c", "x"].map(String::from).to_vec();
        let categories = vec![Categories { name: "c".into(), first: 1, values: vec!["a".into(), "b, c".into()] }];
        let columns = Columns { names, whole: vec![true, true, true, false], categories, ..Columns::default() };
        let layout = SampleLayout { kind: Kind::Table, shape: &[4], columns: &columns };
        let written = |name: &str| {
            let path = dir.path().join(name);
            let mut file = SampleFile::create(&path, layout, 2).unwrap().unwrap();
            file.write(&[2.2, 0.4, 0.3, 0.5, 1.0, -0.5, 0.1, 2.0]).unwrap();
            file.finish().unwrap();
            fs::read(path).unwrap()
        };
        assert_eq!(String::from_utf8(written("a.csv")).unwrap(), "n,c,x\n2,a,0.5\n1,\"b, c\",2.0\n");
        let values: Vec<u8> = [2f32, 1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(written("a.npy").ends_with(&values));
    }

    #[test]
    fn files_do_not_depend_on_the_parts() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..42).map(|i| i as f32 * 0.7 - 3.0).collect();
        for name in ["a.npy", "a.csv"] {
            let path = dir.path().join(name);
            let file = |parts: &[&[f32]]| {
                let mut file = SampleFile::create(&path, plain(&[1, 2, 3]), 7).unwrap().unwrap();
                parts.iter().for_each(|part| file.write(part).unwrap());
                assert!(!path.exists(), "an incomplete file");
                file.finish().unwrap();
                let bytes = fs::read(&path).unwrap();
                fs::remove_file(&path).unwrap();
                bytes
            };
            assert_eq!(file(&[&values]), file(&[&values[..12], &values[12..18], &values[18..]]), "{name}");
            let mut half = SampleFile::create(&path, plain(&[1, 2, 3]), 7).unwrap().unwrap();
            assert!(half.write(&values[..5]).is_err(), "half a sample");
            half.write(&values[..36]).unwrap();
            assert!(half.write(&values[..12]).unwrap_err().to_string().contains("expects 6"));
            assert!(half.finish().unwrap_err().to_string().contains("6 values are missing"));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left");
        }
        let message = SampleFile::create(&dir.path().join("a.npy"), plain(&[1_000]), 1 << 50).unwrap_err().to_string();
        assert!(message.contains("needs") && message.contains("TiB"), "{message}");
        assert!(SampleFile::create(&dir.path().join("a.png"), plain(&[2]), 7).unwrap().is_none());
    }

    #[cfg(feature = "cli")]
    #[test]
    fn input_data_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let spec = |name: &str| place(name).to_str().unwrap().to_string();
        fs::write(place("a.npy"), "x").unwrap();
        fs::write(place("t.csv"), "x").unwrap();
        fs::create_dir_all(place("pictures/more")).unwrap();
        for (out, data) in [
            ("a.npy", "a.npy"),
            ("pictures/../a.npy", "a.npy[3:5]"),
            ("t.csv", "t.csv:dino"),
            ("pictures/new.png", "pictures"),
        ] {
            let message = check_apart("--out", &place(out), &spec(data)).unwrap_err().to_string();
            assert!(message.contains(data) && message.contains("--out"), "{message}");
        }
        for (out, data) in [("b.npy", "a.npy"), ("pictures/a.npy", "pictures"), ("new.png", "pictures"), ("a.npy", "b")]
        {
            check_apart("--out", &place(out), &spec(data)).unwrap();
        }
        check_apart("--out", &place("moons.npy"), "moons").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(place("a.npy"), place("link.npy")).unwrap();
            assert!(check_apart("--out", &place("link.npy"), &spec("a.npy")).is_err());
            assert!(check_apart("--out", &place("a.npy"), &spec("link.npy")).is_err());
        }
    }
}
