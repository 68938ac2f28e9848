//! Writing samples as tables and arrays, and keeping outputs apart from the data that are read.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::npy;
use crate::error::{Error, Result};
use crate::io::{extension, folder};

/// Refuses an output that would replace the data `spec`, which are read: the same file, or a picture in their folder.
///
/// *Errors*: [`Error::Setting`] with both names.
pub fn check_apart(path: &Path, spec: &str) -> Result<()> {
    let (Some(source), Ok(place)) = (super::source(spec), fs::canonicalize(folder(path))) else {
        return Ok(());
    };
    let Ok(source) = fs::canonicalize(source) else { return Ok(()) };
    let place = path.file_name().map(|name| place.join(name)).unwrap_or(place);
    let same = fs::canonicalize(path).is_ok_and(|path| path == source) || place == source;
    let among = source.is_dir() && place.parent() == Some(&source) && extension(path) == "png";
    match (same, among) {
        (true, _) => Err(Error::setting(format!(
            "{}: would replace the data that are read from {spec}; choose another --out",
            path.display()
        ))),
        (_, true) => Err(Error::setting(format!(
            "{}: would be one more picture of the data in the folder {spec}; choose another folder for --out",
            path.display()
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn write_npy(file: &mut BufWriter<&File>, shape: &[usize], values: &[f32]) -> io::Result<()> {
    let n = values.len() / shape.iter().product::<usize>();
    npy::write(file, &[&[n], shape].concat(), values)
}

/// A header of column names, then one sample a row in the shortest form that reads back to the same bits.
pub(crate) fn write_csv(file: &mut BufWriter<&File>, len: usize, values: &[f32]) -> io::Result<()> {
    let header: Vec<String> = match len {
        2 => vec!["x".into(), "y".into()],
        _ => (0..len).map(|i| format!("x{i}")).collect(),
    };
    writeln!(file, "{}", header.join(","))?;
    for sample in values.chunks_exact(len) {
        for (i, value) in sample.iter().enumerate() {
            write!(file, "{}{value:?}", if i > 0 { "," } else { "" })?;
        }
        writeln!(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_are_read_are_not_replaced() {
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
