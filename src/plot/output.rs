//! Writes samples to files in the format given by the extension: arrays, tables, pictures.

use std::path::Path;

use super::{Scale, drawing, sheet};
use crate::data::{Kind, write_csv, write_npy};
use crate::error::{Error, Result};
use crate::io::{check_place, extension, temporary, write_atomically};

/// The formats written by [`save`].
const EXTENSIONS: [&str; 4] = [".npy", ".csv", ".png", ".svg"];

/// Writes samples of `shape` in the format given by the extension of `path`: `.npy` holds `[n, ...shape]` float32 in C
/// order, `.csv` one sample per row (images flattened), `.png` a contact sheet or drawing, `.svg` a drawing. Returns
/// how many of the samples, from the first on, the file holds or shows.
///
/// # Errors
/// [`Error::Setting`] for an unknown extension, [`Error::Input`] when the values are not a whole number of samples,
/// [`Error::Io`] when the file cannot be written; an existing file at `path` is then unchanged.
pub fn save(path: &Path, shape: &[usize], values: &[f32]) -> Result<usize> {
    save_scaled(path, shape, values, || Scale::of(Kind::of(shape), shape, values))
}

/// [`save`] with a scale for pictures, that of the reference data.
///
/// # Errors
/// As [`save`].
pub fn save_scaled(path: &Path, shape: &[usize], values: &[f32], scale: impl FnOnce() -> Scale) -> Result<usize> {
    let len = shape.iter().product::<usize>();
    if len == 0 || !values.len().is_multiple_of(len) {
        return Err(Error::input(format!(
            "{}: {} values are no whole number of samples of shape {shape:?}",
            path.display(),
            values.len()
        )));
    }
    let all = |()| values.len() / len;
    match extension(path).as_str() {
        "npy" => write_atomically(path, |file| write_npy(file, shape, values)).map(all),
        "csv" => write_atomically(path, |file| write_csv(file, len, values)).map(all),
        "png" => sheet(path, Kind::of(shape), shape, values, &scale()),
        "svg" => drawing(path, Kind::of(shape), shape, values, &scale()),
        _ => Err(unknown_extension(path)),
    }
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
