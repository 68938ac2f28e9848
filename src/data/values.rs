//! The values of a data set: in memory, or in files from which they are read when they are needed.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, OnceLock};

use super::stored::Stored;
use crate::{Error, Result};

/// The values of all samples, row-major. They are shared by the clones of a data set.
///
/// They can be used as a slice. Values that are not in memory are all read then, so what works with data of any size takes them
/// by [`Values::part`].
#[derive(Clone)]
pub struct Values(Source);

#[derive(Clone)]
enum Source {
    Memory(Arc<Vec<f32>>),
    Files { stored: Arc<Stored>, read: Arc<OnceLock<Vec<f32>>> },
}

impl Values {
    pub(super) fn stored_in(stored: Stored) -> Self {
        Self(Source::Files { stored: Arc::new(stored), read: Arc::default() })
    }

    /// The files of values that are not in memory.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match &self.0 {
            Source::Memory(_) => None,
            Source::Files { stored, .. } => Some(stored),
        }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        match &self.0 {
            Source::Memory(values) => values.len(),
            Source::Files { stored, .. } => stored.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the values.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be read, [`Error::Shape`] when there are not as many.
    pub fn part(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>> {
        if range.start > range.end || range.end > self.len() {
            return Err(Error::shape("values", format!("{range:?} of {} values", self.len())));
        }
        match &self.0 {
            Source::Memory(values) => Ok(Cow::Borrowed(&values[range])),
            Source::Files { stored, .. } => stored.read(range).map(Cow::Owned),
        }
    }

    /// How many values are read at a time where `most` fill a cache: as many as are read in parallel.
    pub(crate) fn at_a_time(&self, most: usize) -> usize {
        self.stored().map_or(most, |stored| most.max(stored.parallel()))
    }

    /// The values of some samples of `len` values.
    pub(crate) fn samples(&self, len: usize, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        match &self.0 {
            Source::Memory(values) => Ok(rows.flat_map(|row| &values[row * len..][..len]).copied().collect()),
            Source::Files { .. } => {
                let mut bytes = Vec::new();
                self.read_bytes(len, rows, &mut bytes)?;
                let mut values = vec![0.0; bytes.len() / self.size()];
                self.decode(&bytes, &mut values);
                Ok(values)
            }
        }
    }

    /// Appends some samples of `len` values as they are read, for [`Values::decode`].
    pub(crate) fn read_bytes(&self, len: usize, rows: impl Iterator<Item = usize>, bytes: &mut Vec<u8>) -> Result<()> {
        let mut ranges = rows.map(|row| row * len..(row + 1) * len);
        match &self.0 {
            Source::Memory(values) => {
                ranges.for_each(|range| bytes.extend_from_slice(bytemuck::cast_slice(&values[range])));
                Ok(())
            }
            Source::Files { stored, .. } => stored.read_bytes(&mut ranges, bytes),
        }
    }

    /// The number of bytes of a value, as it is read.
    pub(crate) fn size(&self) -> usize {
        self.stored().map_or(size_of::<f32>(), Stored::size)
    }

    /// Fills `values` from the bytes of whole samples.
    pub(crate) fn decode(&self, bytes: &[u8], values: &mut [f32]) {
        match &self.0 {
            Source::Memory(_) => {
                values.iter_mut().zip(bytes.as_chunks().0).for_each(|(value, item)| *value = f32::from_ne_bytes(*item));
            }
            Source::Files { stored, .. } => stored.decode(bytes, values),
        }
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self(Source::Memory(Arc::new(values)))
    }
}

impl From<Values> for Vec<f32> {
    fn from(values: Values) -> Self {
        match values.0 {
            Source::Memory(values) => Arc::unwrap_or_clone(values),
            Source::Files { .. } => values.to_vec(),
        }
    }
}

impl FromIterator<f32> for Values {
    fn from_iter<T: IntoIterator<Item = f32>>(values: T) -> Self {
        values.into_iter().collect::<Vec<f32>>().into()
    }
}

/// # Panics
/// When values that are not in memory cannot be read.
impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Source::Memory(values) => values,
            Source::Files { stored, read } => read.get_or_init(|| {
                log::warn!("reading all of {} into memory", stored.name());
                stored.read(0..stored.len()).unwrap_or_else(|e| panic!("{e}"))
            }),
        }
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        if self.stored().is_some() {
            *self = self.to_vec().into();
        }
        match &mut self.0 {
            Source::Memory(values) => Arc::make_mut(values).as_mut_slice(),
            Source::Files { .. } => unreachable!("they were read"),
        }
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: AsRef<[f32]> + ?Sized> PartialEq<T> for Values {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl PartialEq<Values> for Vec<f32> {
    fn eq(&self, other: &Values) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.stored() {
            Some(stored) => write!(f, "{stored:?}"),
            None => fmt::Debug::fmt(&**self, f),
        }
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = &'a f32;
    type IntoIter = std::slice::Iter<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
