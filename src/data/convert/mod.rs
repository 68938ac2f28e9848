//! Data as arrays from which a model is trained without other readers: one `.npy` file, or numbered parts of one.

mod element;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Dataset, Kind, Labels, npy};
use crate::io::{AtomicFile, check_space, folder, write_atomically};
use crate::{Error, Result};

pub use element::ElementType;

/// The number of values that are converted at a time.
const PART: usize = 1 << 18;

/// The samples of a data set as an array `[n, ...]` in C order, in the units of the data.
///
/// # Example
///
/// ```
/// use langevin::data::{ArrayOfSamples, Dataset, ElementType};
///
/// let folder = std::env::temp_dir().join(format!("langevin-array-{}", std::process::id()));
/// std::fs::create_dir(&folder)?;
/// let data = Dataset::load("sine[0:100]", 0)?;
/// let array = ArrayOfSamples::new(&data, Some(ElementType::Float32))?;
/// array.save(&folder.join("sine.npy"), &mut |_| Ok(()))?;
/// let again = Dataset::load(folder.join("sine.npy").to_str().unwrap(), 0)?;
/// assert_eq!(again.values, data.values);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayOfSamples<'a> {
    data: &'a Dataset,
    element: ElementType,
    loss: Option<f64>,
}

/// Is called with the number of samples that are written; an error ends the writing, without a file.
pub type Written<'a> = dyn FnMut(usize) -> Result<()> + 'a;

impl<'a> ArrayOfSamples<'a> {
    /// Measures what the element type loses. `None` selects float32, or float64 if columns have an offset, so that the digits
    /// of large numbers that differ little are kept.
    ///
    /// # Errors
    /// [`Error::Setting`] when a value is beyond the range of the type, or when its rounding errors (root mean square) are more
    /// than a hundredth of the standard deviation of a column or channel.
    pub fn new(data: &'a Dataset, element: Option<ElementType>) -> Result<Self> {
        let element = element.unwrap_or_else(|| ElementType::for_data(data));
        Ok(Self { data, element, loss: element.loss(data)? })
    }

    /// The element type.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// What is lost, in words; `None` if nothing is.
    pub fn loss(&self) -> Option<String> {
        let of = |loss| format!("{} of the standard deviation (root mean square)", element::percent(loss));
        self.loss.map(|loss| format!("values are rounded by up to {}", of(loss)))
    }

    /// The shape: the number of samples, then the shape of one.
    pub fn shape(&self) -> Vec<usize> {
        self.shape_of(self.data.len())
    }

    fn shape_of(&self, n: usize) -> Vec<usize> {
        let of_one = match self.data.shape[..] {
            // A signal of one value is told from a recording by its channel.
            [1] if self.data.kind() == Kind::Signals => &[1, 1],
            _ => &self.data.shape[..],
        };
        [&[n], of_one].concat()
    }

    /// The bytes of all elements.
    pub fn bytes(&self) -> u64 {
        (self.data.len() * self.data.sample_len() * self.element.size()) as u64
    }

    /// Writes a `.npy` file. It appears when it is complete.
    ///
    /// # Errors
    /// [`Error::Setting`] when the disk has not enough space, [`Error::Io`] when the file cannot be written, and those of
    /// `written`.
    pub fn save(&self, path: &Path, written: &mut Written) -> Result<()> {
        check_space(path, self.bytes())?;
        self.write(path, 0..self.data.len(), written)
    }

    /// Writes a folder of files `part-00000.npy`, `part-00001.npy`, ... of at most `most` bytes, or one sample. It appears when
    /// it is complete, and replaces a folder of such files. Returns the number of files.
    ///
    /// # Errors
    /// As [`ArrayOfSamples::save`], and [`Error::Setting`] when the folder contains other files.
    pub fn save_parts(&self, place: &Path, most: u64, written: &mut Written) -> Result<usize> {
        check_replaceable(place)?;
        // A link to a folder stays one.
        let target = fs::canonicalize(place).unwrap_or_else(|_| place.to_path_buf());
        check_space(&target, self.bytes())?;
        let failed = |cause| Error::io("cannot write", place, cause);
        let new = beside(&target).map_err(failed)?;
        let (n, sample) = (self.data.len(), self.data.sample_len() * self.element.size());
        let samples = (most / sample as u64).clamp(1, n as u64) as usize;
        let starts = (0..n).step_by(samples);
        for (i, start) in starts.clone().enumerate() {
            self.write(&new.path().join(part_name(i)), start..n.min(start + samples), written)?;
        }
        replace_folder(new, &target)?;
        crate::io::sync_folder(&target);
        Ok(starts.len())
    }

    fn write(&self, path: &Path, rows: Range<usize>, written: &mut Written) -> Result<()> {
        let Self { data, element, .. } = *self;
        let groups = data.grouping();
        let mut file = AtomicFile::create(path)?;
        file.write(|out| out.write_all(&npy::header(element.code(), &self.shape_of(rows.len()))))?;
        let mut bytes = Vec::new();
        for (first, values) in parts_of(data, rows, PART) {
            bytes.clear();
            let values = values?;
            for (i, &value) in values.iter().enumerate() {
                let value = f64::from(value) + data.columns.offset_of(groups.at(i));
                element.append(data.kind(), value, &mut bytes);
            }
            file.write(|out| out.write_all(&bytes))?;
            written(first + values.len() / data.sample_len())?;
        }
        file.commit()
    }
}

/// The values of some samples in parts of at most `most` values, or one sample, with the index of the first sample of each.
fn parts_of(data: &Dataset, rows: Range<usize>, most: usize) -> impl Iterator<Item = (usize, Result<Cow<'_, [f32]>>)> {
    let len = data.sample_len();
    let (most, end) = ((data.values.at_a_time(most) / len).max(1), rows.end);
    rows.step_by(most).map(move |first| (first, data.values.part(first * len..end.min(first + most) * len)))
}

/// The name of a part of an array.
fn part_name(index: usize) -> String {
    format!("part-{index:05}.npy")
}

/// Whether a file is a part of an array, by its name.
fn is_part(name: &str) -> bool {
    name.strip_prefix("part-")
        .and_then(|rest| rest.strip_suffix(".npy"))
        .is_some_and(|digits| digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Checks whether a folder can be replaced by one with the parts of an array: it does not exist, or contains nothing else.
///
/// # Errors
/// [`Error::Setting`] with the first other file.
fn check_replaceable(place: &Path) -> Result<()> {
    let name = place.display();
    if !place.exists() {
        let parent = folder(place);
        return match parent.is_dir() {
            true => Ok(()),
            false => Err(Error::setting(format!("{name}: there is no folder {}; create it first", parent.display()))),
        };
    }
    let entries = fs::read_dir(place).map_err(|cause| Error::io("cannot read", place, cause))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    match names.iter().find(|name| !is_part(name)) {
        Some(other) => Err(Error::setting(format!(
            "{name}: contains {other}, which is not a part of an array, and would be removed; name another folder"
        ))),
        None => Ok(()),
    }
}

/// Puts a folder in the place of another one, which may not exist. After an error, the other one is there as before, and the new
/// one is removed.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be renamed. If the old one cannot be put back, the message says where it is.
fn replace_folder(new: TempDir, target: &Path) -> Result<()> {
    let failed = |cause| Error::io("cannot write", target, cause);
    let aside = beside(target).map_err(failed)?;
    let old = aside.path().join("replaced");
    let is_replaced = target.exists();
    if is_replaced {
        fs::rename(target, &old).map_err(failed)?;
    }
    if let Err(cause) = fs::rename(new.path(), target) {
        if is_replaced && fs::rename(&old, target).is_err() {
            let old = aside.keep().join("replaced");
            let text = format!("{cause}; its old parts are in {}", old.display());
            return Err(failed(io::Error::new(cause.kind(), text)));
        }
        return Err(failed(cause));
    }
    // The folder is no longer a temporary one.
    let _ = new.keep();
    Ok(())
}

/// A temporary folder beside another one, with the usual permissions.
fn beside(place: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(folder(place))
}

impl Labels {
    /// Writes the classes as [`Labels::load`] reads them: their numbers as an int64 array `BASE.npy`, or their names as a table
    /// `BASE.csv` with one column. Returns the path.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written, [`Error::Input`] when the labels cannot be read from it again: a class
    /// has no sample, or a name that stands for a missing value.
    pub fn save(&self, base: &Path) -> Result<PathBuf> {
        let path = self.path_for(base);
        match self.names.is_empty() {
            true => write_atomically(&path, |out| {
                out.write_all(&npy::header("<i8", &[self.of.len()]))?;
                self.of.iter().try_for_each(|&class| out.write_all(&i64::from(class).to_le_bytes()))
            })?,
            false => write_atomically(&path, |out| {
                writeln!(out, "class")?;
                let field = |class: &u32| super::output::quoted_field(&self.names[*class as usize]);
                self.of.iter().try_for_each(|class| writeln!(out, "{}", field(class)))
            })?,
        }
        let spec = path.to_string_lossy();
        let again = Self::load(&spec);
        let same = |again: &Self| {
            let mut pairs = again.of.iter().zip(&self.of);
            again.of.len() == self.of.len() && pairs.all(|(&a, &b)| again.title(a) == self.title(b))
        };
        match again {
            Ok(again) if same(&again) => Ok(path),
            failed => {
                let _ = fs::remove_file(&path);
                let why = failed.err().map_or("other classes are read from it".to_string(), |e| e.to_string());
                Err(Error::input(format!(
                    "{}: the labels of the samples that are read cannot be written ({why}); rename the classes, or number them \
                     from 0",
                    self.name
                )))
            }
        }
    }

    /// The file that [`Labels::save`] writes.
    pub(crate) fn path_for(&self, base: &Path) -> PathBuf {
        let mut path = base.as_os_str().to_owned();
        path.push(if self.names.is_empty() { ".npy" } else { ".csv" });
        path.into()
    }

    /// The name of a class, or its number.
    fn title(&self, class: u32) -> String {
        self.names.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }
}
