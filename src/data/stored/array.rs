//! Arrays that stay in their files, and are read by ranges and rows.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::super::Grouping;
use super::super::array::{ArrayLayout, Element};
use super::super::columns::offset_for;
use super::super::summary::{GroupSummary, summarise};
use super::{Content, Offset, in_ranges};
use crate::text::short;
use crate::{Error, Result};

/// The values of arrays in files, in the order of the samples.
#[derive(Debug)]
pub(in crate::data) struct StoredArray {
    files: Vec<StoredFile>,
    element: Element,
    big_endian: bool,
    offset: Offset,
    /// Whether the values are bytes that are scaled to 0..1.
    scaled: bool,
}

/// An array that fills the end of a file.
#[derive(Debug)]
struct StoredFile {
    path: PathBuf,
    /// Shared with the parts of the values.
    file: Arc<File>,
    /// The position of the first value in the file, in bytes.
    start: u64,
    /// The index of the first value among those of all files.
    first: usize,
    len: usize,
}

impl StoredArray {
    /// An array in C order at byte `start` of a file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be opened.
    pub fn open(path: &Path, layout: &ArrayLayout, start: u64, len: usize) -> Result<Self> {
        let file = Arc::new(super::super::open(path)?);
        let files = vec![StoredFile { path: path.into(), file, start, first: 0, len }];
        Ok(Self { files, element: layout.element, big_endian: layout.big_endian, offset: None, scaled: false })
    }

    /// Some of the values, in whole samples.
    pub fn cut(&self, range: Range<usize>) -> Self {
        let size = self.element.size() as u64;
        let mut files = Vec::new();
        for of in &self.files {
            let (from, to) = (range.start.max(of.first), range.end.min(of.first + of.len));
            if from < to {
                let (path, start) = (of.path.clone(), of.start + (from - of.first) as u64 * size);
                files.push(StoredFile {
                    path,
                    file: of.file.clone(),
                    start,
                    first: from - range.start,
                    len: to - from,
                });
            }
        }
        // A part of whole samples has the same offsets.
        Self { files, offset: self.offset.clone(), ..*self }
    }

    /// Adds the values of other files after these; false if their elements are of another type.
    #[must_use]
    pub fn append(&mut self, other: Self) -> bool {
        let (end, same) = (self.len(), (self.element, self.big_endian) == (other.element, other.big_endian));
        if same {
            self.files.extend(other.files.into_iter().map(|of| StoredFile { first: end + of.first, ..of }));
        }
        same
    }

    /// Chooses the offset of each column or channel whose digits float32 would lose. Returns those with whole numbers that are
    /// rounded. `name` is that of the data, for messages.
    ///
    /// # Errors
    /// As [`Content::read`]; [`Error::Input`] when a value exceeds the range of float32.
    pub fn narrow(&mut self, name: &str, len: usize, grouping: Grouping) -> Result<Vec<usize>> {
        if self.element.fits_f32() {
            return Ok(Vec::new());
        }
        let mut groups = vec![GroupSummary::default(); grouping.count];
        in_ranges(self, len, |range| {
            let (first, wide) = (range.start, self.read_wide(range)?);
            check_range(name, len, first, &wide)?;
            let finite: Vec<f64> = wide.iter().map(|v| if v.is_finite() { *v } else { f64::NAN }).collect();
            summarise(&mut groups, grouping, &finite);
            Ok(())
        })?;
        let offset: Vec<f64> = groups.iter().map(|g| offset_for(g.low, g.high, g.lossy)).collect();
        // Relative to an offset, they are not: it is near them.
        let rounded = |&group: &usize| groups[group].whole && groups[group].lossy && offset[group] == 0.0;
        let rounded = (0..grouping.count).filter(rounded).collect();
        self.offset = offset.iter().any(|by| *by != 0.0).then_some((offset, grouping));
        Ok(rounded)
    }

    /// The offsets that were chosen; empty if none is needed.
    pub fn offsets(&self) -> Vec<f64> {
        self.offset.as_ref().map_or(vec![], |(offset, _)| offset.clone())
    }

    /// Whether bytes are scaled to 0..1.
    pub fn scale(&mut self, scaled: bool) {
        self.scaled = scaled;
    }

    /// Some of the values as they are in the file.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub fn read_wide(&self, range: Range<usize>) -> Result<Vec<f64>> {
        let mut bytes = Vec::new();
        self.read(&mut std::iter::once(range), &mut bytes)?;
        Ok(bytes.chunks_exact(self.element.size()).map(|item| self.element.decode(item)).collect())
    }
}

impl Content for StoredArray {
    fn name(&self) -> String {
        self.files[0].path.display().to_string()
    }

    fn len(&self) -> usize {
        self.files.iter().map(|of| of.len).sum()
    }

    fn part(&self, range: Range<usize>) -> Box<dyn Content> {
        Box::new(self.cut(range))
    }

    fn relative_to(self: Box<Self>, offset: Offset) -> Box<dyn Content> {
        Box::new(Self { offset, ..*self })
    }

    fn size(&self) -> usize {
        self.element.size()
    }

    /// Little-endian bytes.
    fn read(&self, ranges: &mut dyn Iterator<Item = Range<usize>>, bytes: &mut Vec<u8>) -> Result<()> {
        let (size, start) = (self.element.size(), bytes.len());
        for Range { start: mut at, end } in ranges {
            while at < end {
                let of = &self.files[self.files.partition_point(|of| of.first <= at) - 1];
                let (first, count) = (bytes.len(), end.min(of.first + of.len) - at);
                bytes.resize(first + count * size, 0);
                of.read_at(&mut bytes[first..], of.start + ((at - of.first) * size) as u64)?;
                at += count;
            }
        }
        if self.big_endian {
            bytes[start..].chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(())
    }

    fn decode(&self, at: usize, bytes: &[u8], values: &mut [f32]) {
        let items = bytes.chunks_exact(self.element.size());
        let each = values.iter_mut();
        match (self.element, &self.offset) {
            (Element::F32, None) => {
                let items = bytes.as_chunks().0.iter();
                each.zip(items).for_each(|(value, item)| *value = f32::from_le_bytes(*item));
            }
            (Element::F16, None) => decode_halves(bytes, values),
            (Element::U8, None) if self.scaled => {
                each.zip(bytes).for_each(|(value, byte)| *value = f32::from(*byte) / 255.0);
            }
            (Element::U8, None) => each.zip(bytes).for_each(|(value, byte)| *value = f32::from(*byte)),
            (element, Some((offset, grouping))) => {
                let divisor = if self.scaled { 255.0 } else { 1.0 };
                let decoded = |i, item| (element.decode(item) / divisor - offset[grouping.at(at + i)]) as f32;
                each.zip(items).enumerate().for_each(|(i, (value, item))| *value = decoded(i, item));
            }
            (element, None) => each.zip(items).for_each(|(value, item)| *value = element.decode(item) as f32),
        }
    }

    fn of_bytes(&self) -> Option<[f32; 256]> {
        let alike = self.element == Element::U8 && self.offset.is_none();
        alike.then(|| {
            let (bytes, mut values): ([u8; 256], _) = (std::array::from_fn(|byte| byte as u8), [0.0; 256]);
            self.decode(0, &bytes, &mut values);
            values
        })
    }
}

/// The processor converts several at a time, in its cache.
fn decode_halves(bytes: &[u8], values: &mut [f32]) {
    let mut halves = [f16::ZERO; 256];
    for (part, values) in bytes.chunks(2 * halves.len()).zip(values.chunks_mut(halves.len())) {
        let items = part.as_chunks().0.iter();
        halves.iter_mut().zip(items).for_each(|(half, item)| *half = f16::from_le_bytes(*item));
        halves[..values.len()].convert_to_f32_slice(values);
    }
}

/// Refuses finite values that float32 cannot hold. `first` is the index of the first one in the data set.
pub(in crate::data) fn check_range(name: &str, len: usize, first: usize, wide: &[f64]) -> Result<()> {
    let Some(at) = wide.iter().position(|v| v.is_finite() && (*v as f32).is_infinite()) else { return Ok(()) };
    Err(Error::input(format!(
        "{name}: sample {} has {:e} at element {} (both counted from 0), which exceeds {}, the largest float32; scale the values \
         down",
        (first + at) / len,
        wide[at],
        (first + at) % len,
        short(f32::MAX.into())
    )))
}

impl StoredFile {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        read_exact_at(&self.file, bytes, at).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => {
                let text = "the file has become shorter than when it was opened; restore it, and do not write to the data of a run";
                Error::io("cannot read", &self.path, io::Error::new(cause.kind(), text))
            }
            _ => Error::io("cannot read", &self.path, cause),
        })
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (bytes, at) = (&mut bytes[n..], at + n as u64),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::{Columns, Dataset, Place, ReadOptions, npy};
    use half::f16;
    use std::io::Write;

    /// As a run with an offset reads data, whatever their element type.
    #[test]
    fn other_offsets_are_subtracted_from_every_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let columns = Columns { offset: vec![2.5], ..Columns::default() };
        let f16s = |v: &[u8]| v.iter().flat_map(|v| f16::from_f32((*v).into()).to_le_bytes()).collect::<Vec<u8>>();
        let f32s = |v: &[u8]| v.iter().flat_map(|v| f32::from(*v).to_le_bytes()).collect::<Vec<u8>>();
        let bytes = [1, 2, 3, 4, 50, 6];
        for (code, shape, content) in [
            ("<f4", &[2, 3][..], f32s(&bytes)),
            ("<f2", &[2, 3], f16s(&bytes)),
            ("|u1", &[2, 3], bytes.to_vec()),
            ("|u1", &[2, 3, 1], bytes.to_vec()),
        ] {
            std::fs::write(&path, [npy::header(code, shape), content].concat()).unwrap();
            let [memory, disk] = [Place::Memory, Place::Disk].map(|place| {
                let options = ReadOptions { place: Some(place), ..ReadOptions::default() };
                let data = Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap();
                data.relative_to(&columns).unwrap()
            });
            assert!(disk.values.stored().is_some() && memory.columns == disk.columns);
            assert_eq!((memory.values.to_vec(), memory.checksum()), (disk.values.to_vec(), disk.checksum()), "{code}");
            assert_eq!(disk.ranges().unwrap(), memory.ranges().unwrap());
        }
    }

    /// Every finite float16, in both byte orders.
    #[test]
    fn halves_are_read_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.npy");
        let finite: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()).collect();
        let halves = &finite[..finite.len() / 31 * 31];
        for (code, bytes) in [
            ("<f2", halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>()),
            (">f2", halves.iter().flat_map(|half| half.to_be_bytes()).collect()),
        ] {
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(&npy::header(code, &[halves.len() / 31, 31])).unwrap();
            file.write_all(&bytes).unwrap();
            let options = ReadOptions { place: Some(Place::Disk), ..ReadOptions::default() };
            let data = Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap();
            // From the middle of a row.
            let read = data.values.stored().unwrap().read(7..halves.len()).unwrap();
            assert!(read.iter().zip(&halves[7..]).all(|(a, b)| a.to_bits() == f32::from(*b).to_bits()), "{code}");
            assert_eq!(read.len(), halves.len() - 7);
        }
    }
}
