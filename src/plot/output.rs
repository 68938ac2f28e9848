//! Writes samples to files in the format given by the extension: arrays, tables, pictures.

use std::path::{Path, PathBuf};

use super::Scale;
use super::set::Set;
use super::sheet::{drawing, sheet};
#[cfg(feature = "cli")]
use super::{canvas::save_image, contact_sheet::whole_image};
#[cfg(feature = "cli")]
use crate::data::save_sound;
use crate::data::{Columns, Kind, SampleFile, SampleLayout};
use crate::error::{Error, Result};
use crate::io::{check_memory, check_path, extension, temporary};

/// The formats written by [`save`].
const EXTENSIONS: [&str; 4] = [".npy", ".csv", ".png", ".svg"];

/// Writes samples part by part to a file in the format of its extension. `.npy` (`[n, ...shape]`, float32, C order) and
/// `.csv` (one sample per row, images flattened) are written immediately. For `.png` and `.svg` pictures the samples are
/// collected in memory. The file appears when it is complete.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    kind: Kind,
    shape: Vec<usize>,
    count: usize,
    to: Destination,
    /// The sample rate of sounds in Hz.
    rate: Option<u32>,
    /// The names of the classes, which alternate.
    rows: Vec<String>,
}

#[derive(Debug)]
enum Destination {
    File(Box<SampleFile>),
    Memory(Vec<f32>),
}

impl Output {
    /// Prepares a file for `count` samples.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown extension, or when the samples do not fit on the disk or into memory; [`Error::Io`]
    /// when the folder is not writable.
    pub fn create(path: &Path, layout: SampleLayout, count: usize) -> Result<Self> {
        check_output(path)?;
        Self::unchecked(path, layout, count)
    }

    /// [`Output::create`], also for a file for each sample: `.wav` files of sounds (one file, or a numbered file for each), and,
    /// without an extension, a folder of `.png` files of images.
    ///
    /// # Errors
    /// As [`Output::create`], and [`Error::Setting`] for `.wav` when the sample rate is unknown, and for a folder when the samples
    /// are not images.
    #[cfg(feature = "cli")]
    pub fn of_samples(path: &Path, layout: SampleLayout, count: usize, rate: Option<u32>) -> Result<Self> {
        if extension(path).is_empty() {
            if layout.kind != Kind::Images {
                return Err(Error::setting(format!(
                    "{}: a folder is for images, a .png file each; for other samples, the extension selects the format and must be \
                     one of: {}",
                    path.display(),
                    EXTENSIONS.join(", ")
                )));
            }
            return Self::unchecked(path, layout, count);
        }
        if extension(path) != "wav" {
            return Self::create(path, layout, count);
        }
        if rate.is_none() || layout.shape.len() != 1 {
            return Err(Error::setting(format!(
                "{}: the data of the run are not audio with a known sample rate; write .npy or .csv",
                path.display()
            )));
        }
        Ok(Self { rate, ..Self::unchecked(path, layout, count)? })
    }

    fn unchecked(path: &Path, layout: SampleLayout, count: usize) -> Result<Self> {
        let SampleLayout { kind, shape, .. } = layout;
        let to = match SampleFile::create(path, layout, count)? {
            Some(file) => Destination::File(Box::new(file)),
            None => {
                let len: usize = shape.iter().product();
                check_memory(path, (count as u64).saturating_mul(len as u64).saturating_mul(4))?;
                Destination::Memory(Vec::new())
            }
        };
        Ok(Self { path: path.into(), kind, shape: shape.to_vec(), count, to, rate: None, rows: Vec::new() })
    }

    /// For samples whose classes alternate: a contact sheet has a row for each class, with its name.
    #[cfg(feature = "cli")]
    #[must_use]
    pub fn of_classes(self, names: Vec<String>) -> Self {
        Self { rows: names, ..self }
    }

    /// Adds the next samples.
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

    /// Completes the file. `scale` computes the scale of a picture from its samples. Returns how many of the samples, from
    /// the first on, the file contains or shows.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; an existing file is then unchanged.
    pub fn finish(self, scale: impl FnOnce(&[f32]) -> Scale) -> Result<usize> {
        let (path, shape, kind) = (&self.path, &self.shape, self.kind);
        match (self.to, self.rate) {
            (Destination::File(file), _) => file.finish().map(|()| self.count),
            #[cfg(feature = "cli")]
            (Destination::Memory(all), Some(rate)) => {
                let mut sounds = all.chunks_exact(shape[0]).enumerate();
                sounds.try_for_each(|(i, sound)| save_sound(&numbered(path, i, self.count), rate, sound).map(drop))?;
                Ok(self.count)
            }
            #[cfg(feature = "cli")]
            (Destination::Memory(all), _) if extension(path).is_empty() => {
                save_images(path, shape, &all, &scale(&all)).map(|()| self.count)
            }
            (Destination::Memory(all), _) if extension(path) == "png" => {
                sheet(path, &Set { kind, shape, values: &all }, &scale(&all), &self.rows)
            }
            (Destination::Memory(all), _) => {
                drawing(path, &Set { kind, shape, values: &all }, &scale(&all), &self.rows)
            }
        }
    }
}

/// The file of sound `i` of `count`: `a.wav`, or `a-01.wav`, `a-02.wav` and so on.
#[cfg(feature = "cli")]
pub(crate) fn numbered(path: &Path, i: usize, count: usize) -> PathBuf {
    if count == 1 {
        return path.into();
    }
    let digits = count.to_string().len();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}-{:0digits$}.wav", i + 1))
}

/// Writes a `.png` file for each image into a new folder: `1.png`, or `01.png`, `02.png` and so on.
#[cfg(feature = "cli")]
fn save_images(folder: &Path, shape: &[usize], values: &[f32], scale: &Scale) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io("cannot create the folder", folder, e))?;
    let images = values.chunks_exact(shape.iter().product());
    let digits = images.len().to_string().len();
    images.enumerate().try_for_each(|(i, image)| {
        save_image(&folder.join(format!("{:0digits$}.png", i + 1)), &whole_image(shape, image, scale))
    })
}

/// Checks that a folder of images does not exist yet, or is empty, and can be created.
#[cfg(feature = "cli")]
fn check_folder(path: &Path) -> Result<()> {
    let name = path.display();
    match path.read_dir().map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Error::setting(format!("{name}: the folder of images is not empty; choose a new or empty folder")))
        }
        Err(_) if path.exists() => {
            Err(Error::setting(format!("{name}: this is a file; for a folder of images, choose another name")))
        }
        Err(_) => check_path(path),
    }
}

/// [`check_recording_output`], or a folder for images.
///
/// # Errors
/// As [`check_output`], and [`Error::Setting`] when the folder is not empty.
#[cfg(feature = "cli")]
pub(crate) fn check_samples_output(path: &Path) -> Result<()> {
    if extension(path).is_empty() { check_folder(path) } else { check_recording_output(path) }
}

/// Writes samples of `shape` to a file in the format of its extension: `.npy`, `.csv`, `.png` or `.svg`. Returns how many
/// of the samples, from the first on, the file contains or shows.
///
/// # Errors
/// [`Error::Setting`] for an unknown extension, [`Error::Input`] when the values are not a whole number of samples,
/// [`Error::Io`] when the file cannot be written; an existing file at `path` is then unchanged.
pub fn save(path: &Path, shape: &[usize], values: &[f32]) -> Result<usize> {
    let len = shape.iter().product::<usize>();
    if len == 0 || !values.len().is_multiple_of(len) {
        return Err(Error::input(format!(
            "{}: {} values are not a whole number of samples of shape {shape:?}",
            path.display(),
            values.len()
        )));
    }
    let (kind, columns) = (Kind::of(shape), &Columns::default());
    save_as(path, SampleLayout { kind, shape, columns }, values)
}

/// [`save`] for samples of a known kind with names and offsets.
pub(crate) fn save_as(path: &Path, layout: SampleLayout, values: &[f32]) -> Result<usize> {
    let SampleLayout { kind, shape, .. } = layout;
    let mut output = Output::create(path, layout, values.len() / shape.iter().product::<usize>())?;
    output.write(values)?;
    output.finish(|values| Scale::of(kind, shape, values))
}

/// Checks before long computations whether [`save`] could write `path`: the extension is known and the folder exists
/// and is writable.
///
/// # Errors
/// [`Error::Setting`] for an unknown extension or a missing folder, [`Error::Io`] when the folder is not writable.
pub(crate) fn check_output(path: &Path) -> Result<()> {
    check_extension(path, "")?;
    check_path(path)?;
    temporary(path).map(drop)
}

/// [`check_output`] for a picture of curves.
#[cfg(feature = "cli")]
pub(crate) fn check_picture(path: &Path) -> Result<()> {
    if !["png", "svg"].contains(&extension(path).as_str()) {
        return Err(Error::setting(format!("{}: a picture is a .png or .svg", path.display())));
    }
    check_output(path)
}

/// [`check_output`] for data that may be audio, which is written to `.wav` files.
#[cfg(feature = "cli")]
pub(crate) fn check_recording_output(path: &Path) -> Result<()> {
    if extension(path) != "wav" {
        check_extension(path, ", and .wav for audio")?;
    }
    check_path(path)?;
    temporary(path).map(drop)
}

fn check_extension(path: &Path, others: &str) -> Result<()> {
    if !EXTENSIONS.contains(&format!(".{}", extension(path)).as_str()) {
        return Err(Error::setting(format!(
            "{}: the extension selects the format and must be one of: {}{others}",
            path.display(),
            EXTENSIONS.join(", ")
        )));
    }
    Ok(())
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
    fn absurd_counts_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "a.npy"] {
            let layout = SampleLayout { kind: Kind::Images, shape: &[1, 8, 8], columns: &Columns::default() };
            let e = Output::create(&dir.path().join(name), layout, usize::MAX).unwrap_err();
            assert!(matches!(e, Error::Setting(_)), "{e}");
        }
    }

    #[test]
    fn pictures_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin()).collect();
        for shape in [vec![2], vec![12], vec![2, 12], vec![1, 4, 4], vec![3, 4, 4]] {
            save(&dir.path().join("a.png"), &shape, &values).unwrap();
            image::open(dir.path().join("a.png")).unwrap();
            save(&dir.path().join("a.svg"), &shape, &values).unwrap();
            assert!(fs::read_to_string(dir.path().join("a.svg")).unwrap().ends_with("</svg>\n"));
        }
        let table = SampleLayout { kind: Kind::Table, shape: &[3], columns: &Columns::default() };
        save_as(&dir.path().join("a.svg"), table, &values).unwrap();
        save_as(&dir.path().join("a.png"), table, &values).unwrap();
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
