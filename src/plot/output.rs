//! Writes samples to files in the format given by the extension: arrays, tables, pictures.

use std::path::{Path, PathBuf};

use super::{Scale, drawing, sheet};
use crate::data::{Kind, SampleFile};
use crate::error::{Error, Result};
use crate::io::{check_memory, check_place, extension, temporary};

/// The formats written by [`save`].
const EXTENSIONS: [&str; 4] = [".npy", ".csv", ".png", ".svg"];

/// Samples on their way to a file, by its extension: `.npy` holds `[n, ...shape]` float32 in C order, `.csv` one sample a row
/// (images flattened), and both are written as the samples come; `.png` is a contact sheet or drawing and `.svg` a drawing,
/// of samples that are collected in memory. The file appears when it is complete.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    shape: Vec<usize>,
    count: usize,
    to: Destination,
}

#[derive(Debug)]
enum Destination {
    File(SampleFile),
    Memory(Vec<f32>),
}

impl Output {
    /// For `count` samples of `shape`.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown extension, or with the sizes when the disk or the memory has no room for them;
    /// [`Error::Io`] when the place cannot be written to.
    pub fn create(path: &Path, shape: &[usize], count: usize) -> Result<Self> {
        check_output(path)?;
        let to = match SampleFile::create(path, shape, count)? {
            Some(file) => Destination::File(file),
            None => {
                let len: usize = shape.iter().product();
                check_memory(path, 4 * (count as u64).saturating_mul(len as u64))?;
                Destination::Memory(Vec::new())
            }
        };
        Ok(Self { path: path.into(), shape: shape.to_vec(), count, to })
    }

    /// Takes the next samples.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        match &mut self.to {
            Destination::File(file) => file.write(values),
            Destination::Memory(all) => {
                all.extend_from_slice(values);
                Ok(())
            }
        }
    }

    /// Completes the file, a picture in the scale that `scale` gives for its samples. Gives how many of the samples, the first
    /// ones, the file holds or shows.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; what stood there before is then still there.
    pub fn finish(self, scale: impl FnOnce(&[f32]) -> Scale) -> Result<usize> {
        let (path, shape, kind) = (&self.path, &self.shape, Kind::of(&self.shape));
        match self.to {
            Destination::File(file) => file.finish().map(|()| self.count),
            Destination::Memory(all) if extension(path) == "png" => sheet(path, kind, shape, &all, &scale(&all)),
            Destination::Memory(all) => drawing(path, kind, shape, &all, &scale(&all)),
        }
    }
}

/// Writes samples of `shape` to a file as its extension says: `.npy`, `.csv`, `.png` or `.svg`. Gives how many of the
/// samples, the first ones, the file holds or shows.
///
/// # Errors
/// [`Error::Setting`] for an unknown extension, [`Error::Input`] when the values are not a whole number of samples,
/// [`Error::Io`] when the file cannot be written; an existing file at `path` is then unchanged.
pub fn save(path: &Path, shape: &[usize], values: &[f32]) -> Result<usize> {
    let len = shape.iter().product::<usize>();
    if len == 0 || !values.len().is_multiple_of(len) {
        return Err(Error::input(format!(
            "{}: {} values are no whole number of samples of shape {shape:?}",
            path.display(),
            values.len()
        )));
    }
    let mut output = Output::create(path, shape, values.len() / len)?;
    output.write(values)?;
    output.finish(|values| Scale::of(Kind::of(shape), shape, values))
}

/// Checks before long computations whether [`save`] could write `path`: the extension is known and the folder exists
/// and is writable.
///
/// # Errors
/// [`Error::Setting`] for an unknown extension or a missing folder, [`Error::Io`] when the folder is not writable.
pub fn check_output(path: &Path) -> Result<()> {
    if !EXTENSIONS.contains(&format!(".{}", extension(path)).as_str()) {
        return Err(unknown_extension(path));
    }
    check_place(path)?;
    temporary(path).map(drop)
}

fn unknown_extension(path: &Path) -> Error {
    Error::setting(format!(
        "{}: the extension selects the format and must be one of: {}",
        path.display(),
        EXTENSIONS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn outputs_are_checked_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let message = |name: &str| check_output(&dir.path().join(name)).unwrap_err().to_string();
        assert!(message("a.bin").contains(".npy, .csv, .png, .svg"));
        assert!(message("a").contains("must be one of"));
        assert!(message("missing/a.npy").contains("there is no folder"));
        fs::create_dir(dir.path().join("folder.npy")).unwrap();
        assert!(message("folder.npy").contains("is a folder"));
        fs::write(dir.path().join("kept.npy"), "x").unwrap();
        let mut permissions = fs::metadata(dir.path().join("kept.npy")).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(dir.path().join("kept.npy"), permissions).unwrap();
        assert!(message("kept.npy").contains("read-only"));
        check_output(&dir.path().join("a.CSV")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn pictures_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin()).collect();
        for shape in [vec![2], vec![12], vec![1, 4, 4], vec![3, 4, 4]] {
            save(&dir.path().join("a.png"), &shape, &values).unwrap();
            image::open(dir.path().join("a.png")).unwrap();
            save(&dir.path().join("a.svg"), &shape, &values).unwrap();
            assert!(fs::read_to_string(dir.path().join("a.svg")).unwrap().ends_with("</svg>\n"));
        }
        assert!(save(&dir.path().join("a.npy"), &[5], &values).is_err());
        assert!(save(&dir.path().join("a.txt"), &[2], &values).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn written_files_can_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("a.csv"), &[2], &[1.0, 2.0]).unwrap();
        fs::write(dir.path().join("plain"), "x").unwrap();
        let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("a.csv"), mode("plain"));
    }
}
