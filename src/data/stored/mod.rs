//! Values that stay in their files, and are read by ranges and rows.

mod array;

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use super::Grouping;
use super::dataset::check_finite;
use super::summary::{GroupSummary, Survey};
use crate::Result;

pub(super) use array::{StoredArray, check_range};

/// The values that are measured at a time.
const MEASURED: usize = 1 << 20;

/// Receives what is done with the data, such as `measuring the data`, how much of it is done, and how much is to be: numbers of
/// values, samples or bytes.
pub type Watch = Box<dyn Fn(&'static str, u64, u64) + Send + Sync>;

const MEASURING: &str = "measuring the data";
#[cfg(feature = "remote")]
pub(super) const DOWNLOADING: &str = "downloading the data";

static WATCH: OnceLock<Watch> = OnceLock::new();

/// Reports the progress of measuring data that stay in their files, which takes long for those that do not fit in memory, and of
/// downloads. Only the first call of a process has an effect.
pub fn watch_reading(watch: Watch) {
    let _ = WATCH.set(watch);
}

/// Reports that `done` of `total` samples or values were measured.
pub(super) fn report_measured(done: usize, total: usize) {
    report(MEASURING, done, total);
}

/// Reports that `done` of `total` is done.
pub(super) fn report(what: &'static str, done: usize, total: usize) {
    if let Some(watch) = WATCH.get() {
        watch(what, done as u64, total as u64);
    }
}

/// What is subtracted from the values of each column or channel, if something is.
pub(crate) type Offset = Option<(Vec<f64>, Grouping)>;

/// Files from which values are read, in the order of the samples.
pub(crate) trait Content: fmt::Debug + Send + Sync {
    /// The file, or the first of several.
    fn name(&self) -> String;

    /// The number of values.
    fn len(&self) -> usize;

    /// Some of the values, in whole samples.
    fn part(&self, range: Range<usize>) -> Box<dyn Content>;

    /// With other offsets.
    fn relative_to(self: Box<Self>, offset: Offset) -> Box<dyn Content>;

    /// The number of bytes of a value, as it is read.
    fn size(&self) -> usize;

    /// Appends the bytes of several ranges of the values, one after the other.
    ///
    /// # Errors
    /// [`Io`](crate::Error::Io) or [`Input`](crate::Error::Input) when they cannot be read.
    fn read(&self, ranges: &mut dyn Iterator<Item = Range<usize>>, bytes: &mut Vec<u8>) -> Result<()>;

    /// Fills `values` from the bytes that were read for them. The first one is value `at`, or at the same place of another sample.
    fn decode(&self, at: usize, bytes: &[u8], values: &mut [f32]);

    /// The value of each byte, if the values are read as single bytes.
    fn of_bytes(&self) -> Option<[f32; 256]> {
        None
    }

    /// The number of values that are read in parallel: fewer at a time take longer.
    fn parallel(&self) -> usize {
        1
    }
}

/// Calls `take` with all values in ranges of whole samples of `len` values, and reports the progress.
fn in_ranges(content: &dyn Content, len: usize, mut take: impl FnMut(Range<usize>) -> Result<()>) -> Result<()> {
    let (most, end) = ((MEASURED.max(content.parallel()) / len).max(1) * len, content.len());
    for at in (0..end).step_by(most) {
        report_measured(at, end);
        take(at..end.min(at + most))?;
    }
    report_measured(end, end);
    Ok(())
}

/// The values of a range, which are read into `bytes`.
fn values_in(content: &dyn Content, range: Range<usize>, bytes: &mut Vec<u8>, values: &mut [f32]) -> Result<()> {
    bytes.clear();
    content.read(&mut std::iter::once(range.clone()), bytes)?;
    content.decode(range.start, bytes, values);
    Ok(())
}

/// Values in files, and what was measured over all of them.
#[derive(Debug)]
pub(crate) struct Stored {
    content: Box<dyn Content>,
    survey: Survey,
}

impl Stored {
    /// Measures all values of samples of `len` values, in one pass. With `gaps`, NaN stands for a missing value. `name` is that of
    /// the data, for messages.
    ///
    /// # Errors
    /// As [`Stored::read`]; [`Input`](crate::Error::Input) when a value is not finite.
    pub fn measured(content: Box<dyn Content>, name: &str, len: usize, grouping: Grouping, gaps: bool) -> Result<Self> {
        let mut crc = flate2::Crc::new();
        let (groups, ends) = (vec![GroupSummary::default(); grouping.count], vec![[0; 2]; grouping.count]);
        let mut survey = Survey { checksum: 0, gaps: false, groups, ends };
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        in_ranges(&*content, len, |range| {
            values.resize(range.len(), 0.0);
            values_in(&*content, range.clone(), &mut bytes, &mut values)?;
            check_finite(name, len, range.start, &values, gaps)?;
            crc.update(bytemuck::cast_slice(&values));
            survey.gaps |= gaps && values.iter().any(|value| value.is_nan());
            survey.add(grouping, &values, (range.start / len, len));
            Ok(())
        })?;
        survey.checksum = crc.sum();
        Ok(Self { content, survey })
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// The file, or the first of several.
    pub fn name(&self) -> String {
        self.content.name()
    }

    /// What was measured over all values.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The number of values that are read in parallel.
    pub fn parallel(&self) -> usize {
        self.content.parallel()
    }

    /// All of the values, which are to be measured again.
    pub fn content(&self) -> Box<dyn Content> {
        self.content.part(0..self.len())
    }

    /// Some of the values.
    ///
    /// # Errors
    /// [`Io`](crate::Error::Io) or [`Input`](crate::Error::Input) when they cannot be read.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let (mut bytes, mut values) = (Vec::new(), vec![0.0; range.len()]);
        let most = MEASURED.max(self.parallel());
        for (i, part) in values.chunks_mut(most).enumerate() {
            let at = range.start + i * most;
            values_in(&*self.content, at..at + part.len(), &mut bytes, part)?;
        }
        Ok(values)
    }

    /// The number of bytes of a value, as it is read.
    pub fn size(&self) -> usize {
        self.content.size()
    }

    /// Appends the bytes of several ranges of the values.
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub fn read_bytes(&self, ranges: impl Iterator<Item = Range<usize>>, bytes: &mut Vec<u8>) -> Result<()> {
        let mut ranges = ranges.peekable();
        // Neighbouring samples are read together.
        let mut joined = std::iter::from_fn(|| {
            let mut range = ranges.next()?;
            while let Some(next) = ranges.next_if(|next| next.start == range.end) {
                range.end = next.end;
            }
            Some(range)
        });
        self.content.read(&mut joined, bytes)
    }

    /// Fills `values` from the bytes of whole samples.
    pub fn decode(&self, bytes: &[u8], values: &mut [f32]) {
        self.content.decode(0, bytes, values);
    }

    /// The value of each byte, if the values are read as single bytes.
    pub fn of_bytes(&self) -> Option<[f32; 256]> {
        self.content.of_bytes()
    }
}
