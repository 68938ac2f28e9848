//! Writing samples as tables and arrays, and protecting input files from being overwritten.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::npy;
use crate::error::{Error, Result};
use crate::io::{AtomicFile, check_space, extension};

/// Checks that the output `path` does not overwrite the input data `spec` and is not a picture in their folder.
///
/// # Errors
/// [`Error::Setting`] with both names.
#[cfg(feature = "cli")]
pub fn check_apart(path: &Path, spec: &str) -> Result<()> {
    use std::fs;

    use crate::io::folder;

    let (Some(source), Ok(place)) = (super::source(spec), fs::canonicalize(folder(path))) else {
        return Ok(());
    };
    let Ok(source) = fs::canonicalize(source) else { return Ok(()) };
    let place = path.file_name().map(|name| place.join(name)).unwrap_or(place);
    let same = fs::canonicalize(path).is_ok_and(|path| path == source) || place == source;
    let among = source.is_dir() && place.parent() == Some(&source) && extension(path) == "png";
    match (same, among) {
        (true, _) => Err(Error::setting(format!(
            "{}: would overwrite the input data {spec}; choose another --out",
            path.display()
        ))),
        (_, true) => Err(Error::setting(format!(
            "{}: would add a picture to the input data {spec}; choose another folder for --out",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Writes samples part by part to a `.npy` or `.csv` file. The file appears when it is complete.
#[derive(Debug)]
pub(crate) struct SampleFile {
    path: PathBuf,
    table: bool,
    shape: Vec<usize>,
    count: usize,
    /// The number of values that are not written yet.
    left: usize,
    /// Created with the first values, so that a failure before them leaves no file.
    file: Option<AtomicFile>,
}

impl SampleFile {
    /// Prepares a file for `count` samples of `shape`. A `.npy` file contains `[count, ...shape]` float32 in C order, a `.csv`
    /// file a header of column names and one sample per row. Returns `None` for another extension.
    ///
    /// # Errors
    /// [`Error::Setting`] when the disk has not enough space.
    pub fn create(path: &Path, shape: &[usize], count: usize) -> Result<Option<Self>> {
        let table = match extension(path).as_str() {
            "npy" => false,
            "csv" => true,
            _ => return Ok(None),
        };
        let left = count.saturating_mul(shape.iter().product());
        // A value takes four bytes, or at least as many as text.
        check_space(path, (left as u64).saturating_mul(4))?;
        Ok(Some(Self { path: path.into(), table, shape: shape.into(), count, left, file: None }))
    }

    fn begin(&self) -> Result<AtomicFile> {
        let Self { path, table, shape, count, .. } = self;
        let mut file = AtomicFile::create(path)?;
        file.write(|out| match table {
            true => table_header(out, self.sample_len()),
            false => out.write_all(&npy::header(&[&[*count], &shape[..]].concat())),
        })?;
        Ok(file)
    }

    fn sample_len(&self) -> usize {
        self.shape.iter().product()
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
        file.write(|out| if self.table { table_rows(out, len, values) } else { npy::write_values(out, values) })?;
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

fn table_header(out: &mut dyn Write, len: usize) -> io::Result<()> {
    let header: Vec<String> = match len {
        2 => vec!["x".into(), "y".into()],
        _ => (0..len).map(|i| format!("x{i}")).collect(),
    };
    writeln!(out, "{}", header.join(","))
}

/// One sample per row. Every number has the shortest form that is parsed to the same bits.
fn table_rows(out: &mut dyn Write, len: usize, values: &[f32]) -> io::Result<()> {
    for sample in values.chunks_exact(len) {
        for (i, value) in sample.iter().enumerate() {
            write!(out, "{}{value:?}", if i > 0 { "," } else { "" })?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_do_not_depend_on_the_parts() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..42).map(|i| i as f32 * 0.7 - 3.0).collect();
        for name in ["a.npy", "a.csv"] {
            let path = dir.path().join(name);
            let file = |parts: &[&[f32]]| {
                let mut file = SampleFile::create(&path, &[1, 2, 3], 7).unwrap().unwrap();
                parts.iter().for_each(|part| file.write(part).unwrap());
                assert!(!path.exists(), "an incomplete file");
                file.finish().unwrap();
                let bytes = fs::read(&path).unwrap();
                fs::remove_file(&path).unwrap();
                bytes
            };
            assert_eq!(file(&[&values]), file(&[&values[..12], &values[12..18], &values[18..]]), "{name}");
            let mut half = SampleFile::create(&path, &[1, 2, 3], 7).unwrap().unwrap();
            assert!(half.write(&values[..5]).is_err(), "half a sample");
            half.write(&values[..36]).unwrap();
            assert!(half.write(&values[..12]).unwrap_err().to_string().contains("expects 6"));
            assert!(half.finish().unwrap_err().to_string().contains("6 values are missing"));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left");
        }
        let message = SampleFile::create(&dir.path().join("a.npy"), &[1_000], 1 << 50).unwrap_err().to_string();
        assert!(message.contains("needs") && message.contains("TiB"), "{message}");
        assert!(SampleFile::create(&dir.path().join("a.png"), &[2], 7).unwrap().is_none());
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
            let message = check_apart(&place(out), &spec(data)).unwrap_err().to_string();
            assert!(message.contains(data) && message.contains("--out"), "{message}");
        }
        for (out, data) in [("b.npy", "a.npy"), ("pictures/a.npy", "pictures"), ("new.png", "pictures"), ("a.npy", "b")]
        {
            check_apart(&place(out), &spec(data)).unwrap();
        }
        check_apart(&place("moons.npy"), "moons").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(place("a.npy"), place("link.npy")).unwrap();
            assert!(check_apart(&place("link.npy"), &spec("a.npy")).is_err());
            assert!(check_apart(&place("a.npy"), &spec("link.npy")).is_err());
        }
    }
}
