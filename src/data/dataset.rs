//! Samples of one shape.

use super::description::Origin;
use super::source::{Request, read};
use super::stored::{Content, Stored};
use super::{Columns, Conditions, Description, Grouping, Kind, ReadOptions, Recording, SampleLayout, Values};
use crate::text::count;
use crate::{Error, Result};

/// Samples of one shape with finite float32 values, or NaN for unknown ones where a data set is made with gaps.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The source of the data, for messages: the argument of [`Dataset::load`] or [`Dataset::new`].
    pub name: String,
    /// Shape of one sample: signals `[length]` or `[channels, length]`, points `[2]`, rows of tables `[columns]`, images
    /// `[c, h, w]`.
    pub shape: Vec<usize>,
    /// The values of all samples, row-major, without the offsets in `columns`.
    pub values: Values,
    /// The names of columns or channels, and what is added to their values.
    pub columns: Columns,
    pub(super) kind: Kind,
    pub(super) origin: Origin,
    /// What is known about each sample besides its values.
    pub(crate) conditions: Conditions,
}

impl Dataset {
    /// Reads a `.npy`, `.npz`, `.csv`, `.tsv`, IDX (optionally `.gz`) or `.wav` file, or a folder of pictures, or generates
    /// one of the built-in data sets [`TOYS`](super::TOYS) from `seed`. A file with the name of a built-in data set is written as
    /// `./sine`. `table.tsv:dino` selects the rows of a table whose text column is `dino`, `file.npz:name` selects an array,
    /// and `pulse.npy[0:900]` selects samples 0 to 899; either number may be omitted.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Input`] when its content is not valid. The size in the header of
    /// a file is compared with the length of the file before memory is allocated.
    pub fn load(spec: &str, seed: u64) -> Result<Self> {
        Self::load_with(spec, seed, &ReadOptions::default())
    }

    /// [`Dataset::load`] with options.
    ///
    /// # Errors
    /// [`Error::Setting`] for an option that has no effect on these data, and as [`Dataset::load`].
    pub fn load_with(spec: &str, seed: u64, options: &ReadOptions) -> Result<Self> {
        Self::load_strictly(spec, seed, options, false)
    }

    /// [`Dataset::load_with`], but the windows of a recording contain all of its time steps, and overlap by half unless an
    /// option says otherwise. [`Recording::join`] puts them together again.
    ///
    /// # Errors
    /// As [`Dataset::load_with`]; [`Error::Setting`] when the windows leave out time steps.
    pub fn load_whole(spec: &str, seed: u64, options: &ReadOptions) -> Result<Self> {
        Self::load_strictly(spec, seed, options, true)
    }

    fn load_strictly(spec: &str, seed: u64, options: &ReadOptions, whole: bool) -> Result<Self> {
        let mut choose = |name: &str, source| options.check(name, source).map(|()| options.clone());
        read(spec, seed, &mut Request { choose: &mut choose, known: &Columns::default(), whole, range: None })
    }

    /// Reads data to compare with `like`: with the options that apply to them, as samples of the same kind if they have the
    /// same shape, and relative to the same offsets.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn load_like(spec: &str, seed: u64, options: &ReadOptions, like: &Self) -> Result<Self> {
        Self::load_for(spec, seed, options, like.layout(), like.recording().is_some_and(|like| like.whole))
    }

    /// [`Dataset::load_like`] for samples that are written like this; if `whole`, the windows of a recording contain all
    /// time steps.
    pub(crate) fn load_for(
        spec: &str,
        seed: u64,
        options: &ReadOptions,
        like: SampleLayout,
        whole: bool,
    ) -> Result<Self> {
        let SampleLayout { kind, shape, columns } = like;
        let lenient = |kind: Option<Kind>| {
            let options = ReadOptions { kind: options.kind.or(kind), ..options.clone() };
            let mut choose = |name: &str, source| {
                let options = options.applicable_to(source);
                options.check(name, source).map(|()| options)
            };
            read(spec, seed, &mut Request { choose: &mut choose, known: columns, whole, range: None })
        };
        // Data of another shape are refused by the caller, which knows what they are for.
        let data = match lenient(Some(kind)) {
            Ok(data) if data.shape == shape => data,
            Ok(data) => match lenient(None) {
                Err(cause @ Error::Io { .. }) => return Err(cause),
                other => return other.or(Ok(data)),
            },
            Err(Error::Setting(why)) => match lenient(None) {
                Err(Error::Setting(_)) => return Err(Error::Setting(why)),
                other => return other,
            },
            Err(other) => return Err(other),
        };
        Self { kind, ..data }.relative_to(columns)
    }

    /// These data relative to the offsets of `columns`.
    ///
    /// # Errors
    /// When the values stay in their files and cannot be read.
    pub(crate) fn relative_to(mut self, columns: &Columns) -> Result<Self> {
        let groups = self.grouping();
        let differ = self.columns.offset != columns.offset;
        if let (true, Some(stored)) = (differ, self.values.stored()) {
            let offset = (!columns.offset.is_empty()).then(|| (columns.offset.clone(), groups));
            let content = stored.content().relative_to(offset);
            self = self.measured(content)?;
            self.columns.offset = columns.offset.clone();
        } else if differ {
            let change: Vec<f64> =
                (0..groups.count).map(|group| self.columns.offset_of(group) - columns.offset_of(group)).collect();
            for (i, value) in self.values.iter_mut().enumerate() {
                *value = (f64::from(*value) + change[groups.at(i)]) as f32;
            }
            self.columns.offset = columns.offset.clone();
        }
        if self.columns.names.is_empty() {
            self.columns.names = columns.names.clone();
        }
        if self.columns.categories.is_empty() {
            self.columns.categories = columns.categories.clone();
        }
        // A part of the data may have whole numbers by chance.
        self.columns.whole = columns.whole.clone();
        Ok(self)
    }

    /// [`Dataset::load_with`] with those of the options that apply to the data.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub(crate) fn load_applying(spec: &str, seed: u64, options: &ReadOptions) -> Result<Self> {
        let mut choose = |name: &str, source| {
            let options = options.applicable_to(source);
            options.check(name, source).map(|()| options)
        };
        read(spec, seed, &mut Request { choose: &mut choose, known: &Columns::default(), whole: false, range: None })
    }

    /// Creates a data set from the values of all samples. `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no sample, when the last one is incomplete, or when a value is NaN or infinite.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self> {
        Self::build(name.into(), shape.into(), values.into(), false)
    }

    /// [`Dataset::new`]; with `gaps`, NaN stands for an unknown value.
    pub(super) fn build(name: String, shape: Vec<usize>, values: Values, gaps: bool) -> Result<Self> {
        if !matches!(shape.len(), 1..=3) {
            return Err(Error::input(format!(
                "{name}: samples of shape {shape:?}, but signals are [length] or [channels, length], points [2], images \
                 [c, h, w]"
            )));
        }
        let len = shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)).unwrap_or(usize::MAX);
        if len == 0 || values.is_empty() {
            return Err(Error::input(format!("{name}: the data set is empty (samples of shape {shape:?})")));
        }
        if !values.len().is_multiple_of(len) {
            return Err(Error::input(format!(
                "{name}: {} are not a whole number of samples of shape {shape:?} ({} each)",
                count(values.len(), "value"),
                count(len, "value")
            )));
        }
        // Stored values were checked when they were measured.
        if values.stored().is_none() {
            check_finite(&name, len, 0, &values, gaps)?;
        }
        Ok(Dataset {
            kind: Kind::of(&shape),
            name,
            shape,
            values,
            columns: Columns::default(),
            origin: Origin::default(),
            conditions: Conditions::default(),
        })
    }

    /// A data set with the kind and the columns of this one, and other values of the same shape. There may only be unknown
    /// values (NaN) if this one has some.
    ///
    /// # Errors
    /// As [`Dataset::new`].
    pub fn with_values(&self, name: impl Into<String>, values: Vec<f32>) -> Result<Self> {
        self.with(name.into(), values.into(), self.has_gaps())
    }

    /// [`Dataset::with_values`], where NaN stands for an unknown value.
    ///
    /// # Errors
    /// As [`Dataset::new`].
    pub fn with_gaps(&self, name: impl Into<String>, values: Vec<f32>) -> Result<Self> {
        self.with(name.into(), values.into(), true)
    }

    fn with(&self, name: String, values: Values, gaps: bool) -> Result<Self> {
        let data = Self::build(name, self.shape.clone(), values, gaps)?;
        Ok(Self { kind: self.kind, columns: self.columns.clone(), ..data })
    }

    /// Whether there are unknown values, which are NaN.
    pub fn has_gaps(&self) -> bool {
        match self.values.stored() {
            Some(stored) => stored.survey().gaps,
            None => self.values.iter().any(|value| value.is_nan()),
        }
    }

    /// The CRC-32 of all values.
    pub(crate) fn checksum(&self) -> u32 {
        match self.values.stored() {
            Some(stored) => stored.survey().checksum,
            None => {
                let mut crc = flate2::Crc::new();
                crc.update(bytemuck::cast_slice(&self.values));
                crc.sum()
            }
        }
    }

    /// These data with other names and offsets of their columns or channels. The values are unchanged.
    #[must_use]
    pub fn with_columns(self, columns: Columns) -> Self {
        Self { columns, ..self }
    }

    /// What is known about each sample besides its values.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// How the samples are written.
    pub(crate) fn layout(&self) -> SampleLayout<'_> {
        SampleLayout { kind: self.kind, shape: &self.shape, columns: &self.columns }
    }

    /// These data as samples of another kind.
    ///
    /// # Errors
    /// [`Error::Setting`] when the shape does not fit the kind.
    pub fn of_kind(self, kind: Kind) -> Result<Self> {
        let fits = match (kind, &self.shape[..]) {
            (Kind::Points, shape) => shape == [2],
            (Kind::Signals, shape) => shape.len() < 3,
            (Kind::Table, shape) => shape.len() == 1,
            (Kind::Images, shape) => shape.len() == 3,
        };
        if !fits {
            return Err(Error::setting(format!("{}: samples of shape {:?} are not {kind}", self.name, self.shape)));
        }
        let same = self.grouping() == Grouping::of(kind, &self.shape);
        match self.values.stored().filter(|_| !same).map(Stored::content) {
            Some(content) => Self { kind, ..self }.measured(content),
            None => Ok(Self { kind, ..self }),
        }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.values.len() / self.sample_len()
    }

    /// Always false for a data set created by [`Dataset::new`].
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The number of values in one sample.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().product::<usize>().max(1)
    }

    /// The kind of the samples.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Which values share a name, an offset, a range and a normalisation.
    pub(crate) fn grouping(&self) -> Grouping {
        Grouping::of(self.kind, &self.shape)
    }

    /// What was read, and how to read it otherwise.
    pub fn describe(&self) -> Description {
        Description::of(self)
    }

    /// The recording of which the samples are windows.
    pub fn recording(&self) -> Option<&Recording> {
        self.origin.recording.as_ref()
    }

    /// The sample rate of audio, in Hz.
    pub fn sample_rate(&self) -> Option<u32> {
        self.origin.rate
    }

    /// These data with the values of `content`, which are measured again.
    fn measured(self, content: Box<dyn Content>) -> Result<Self> {
        let stored = Stored::measured(content, &self.name, self.sample_len(), self.grouping(), self.has_gaps())?;
        Ok(Self { values: Values::stored_in(stored), ..self })
    }

    /// The values of some samples.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn samples(&self, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        self.values.samples(self.sample_len(), rows)
    }

    /// The values of sample `i`, row-major.
    pub fn sample(&self, i: usize) -> &[f32] {
        &self.values[i * self.sample_len()..][..self.sample_len()]
    }
}

/// Refuses values that are not finite; with `gaps`, NaN is allowed. `first` is the index of the first one in the data set.
pub(super) fn check_finite(name: &str, len: usize, first: usize, values: &[f32], gaps: bool) -> Result<()> {
    let Some(at) = values.iter().position(|value| !(value.is_finite() || gaps && value.is_nan())) else {
        return Ok(());
    };
    let (what, remedy) = match values[at].is_nan() {
        true => ("NaN", "fill such values or leave the samples out (langevin convert with --missing mean or drop)"),
        false => ("an infinite value", "remove or repair such samples first"),
    };
    let at = first + at;
    Err(Error::input(format!(
        "{name}: sample {} has {what} at element {} (both counted from 0); {remedy}",
        at / len,
        at % len
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_named() {
        let mut values = vec![0.0; 12];
        values[7] = f32::NAN;
        let message = Dataset::new("d", [4], values.clone()).unwrap_err().to_string();
        assert!(message.contains("sample 1 has NaN at element 3"), "{message}");
        values[7] = f32::INFINITY;
        let message = Dataset::new("d", [4], values).unwrap_err().to_string();
        assert!(message.contains("infinite"), "{message}");
        assert!(Dataset::new("d", [4], vec![0.0; 6]).unwrap_err().to_string().contains("not a whole number"));
        assert!(Dataset::new("d", [4], vec![]).unwrap_err().to_string().contains("empty"));
        assert!(Dataset::new("d", [2, 2, 1, 1], vec![0.0; 4]).unwrap_err().to_string().contains("[2, 2, 1, 1]"));
    }

    #[test]
    fn samples_are_slices() {
        let data = Dataset::new("d", [1, 2, 2], (0..8).map(|i| i as f32).collect()).unwrap();
        assert_eq!((data.len(), data.sample_len(), data.kind()), (2, 4, Kind::Images));
        assert_eq!(data.sample(1), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!((Kind::of(&[2]), Kind::of(&[3])), (Kind::Points, Kind::Signals));
    }
}
