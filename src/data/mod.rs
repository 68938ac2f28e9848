//! Data sets from files, folders and built-in generators, and files of samples.
//!
//! Signals are `[length]` or `[channels, length]`, points `[2]`, rows of tables `[columns]`, images `[channels, height,
//! width]`. Values stay in the units of the file (8-bit images in 0..1); [`Normalisation`] maps them to the units of a
//! network and back.

mod array;
mod audio;
mod columns;
mod conditions;
pub mod corrupt;
mod description;
mod dialect;
mod idx;
mod images;
mod labels;
mod mask;
pub mod noise_level;
mod normalise;
mod npy;
mod options;
mod output;
mod raw;
mod recording;
mod repair;
mod resize;
mod sounds;
mod subset;
mod table;
mod toys;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::io::extension;
use crate::text::count;
use crate::{Error, Result};

pub(crate) use columns::Grouping;
use columns::narrow;
pub use columns::{Categories, Columns};
pub use conditions::Conditions;
pub(crate) use conditions::channels_and_places;
use description::Origin;
pub use description::{ColumnSummary, Description, MOST_OUTLIERS, Note, Outlier};
pub use labels::{Labels, MOST_CLASSES};
pub use mask::{MaskMix, MaskRule, Share};
pub(crate) use mask::{Places, read_masks};
pub use normalise::Normalisation;
use options::Source;
pub use options::{Fit, Header, Missing, ReadOptions};
#[cfg(feature = "cli")]
pub(crate) use output::check_apart;
pub(crate) use output::{SampleFile, SampleLayout};
pub use recording::{Join, Recording};
pub(crate) use subset::Subset;
pub use toys::{TOYS, coastline, electrocardiograms, sine_waves, swiss_roll, two_circles, two_moons};

/// The kind of a sample.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Kind {
    /// `[length]` or `[channels, length]`: a curve, a window of audio or of several sensors. Each channel has its own scale.
    Signals,
    /// `[2]`: a point in the plane.
    Points,
    /// `[channels, height, width]`.
    Images,
    /// `[columns]`: a row of a table. Each column has its own scale.
    Table,
}

named!(Kind, "kind", Signals = "signals", Points = "points", Images = "images", Table = "table");

impl Kind {
    /// The kind of a sample of this shape, if nothing else is known: rank 3 is an image, `[2]` a point, everything else a
    /// signal.
    pub fn of(shape: &[usize]) -> Self {
        match shape {
            [_, _, _] => Kind::Images,
            [2] => Kind::Points,
            _ => Kind::Signals,
        }
    }

    /// The name of one sample of this kind in a message.
    #[cfg(feature = "cli")]
    pub(crate) fn one(self) -> &'static str {
        match self {
            Kind::Signals => "signal",
            Kind::Points => "point",
            Kind::Images => "image",
            Kind::Table => "row",
        }
    }

    /// The name of samples of this kind in a message.
    pub(crate) fn samples(self) -> &'static str {
        match self {
            Kind::Table => "rows of a table",
            other => other.name(),
        }
    }
}

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
    pub values: Vec<f32>,
    /// The names of columns or channels, and what is added to their values.
    pub columns: Columns,
    kind: Kind,
    origin: Origin,
    /// What is known about each sample besides its values.
    pub(crate) conditions: Conditions,
}

impl Dataset {
    /// Reads a `.npy`, `.npz`, `.csv`, `.tsv`, IDX (optionally `.gz`) or `.wav` file, or a folder of pictures, or generates
    /// one of the built-in data sets [`TOYS`] from `seed`. A file with the name of a built-in data set is written as
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
        read(spec, seed, &mut Request { choose: &mut choose, known: &[], whole })
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
            read(spec, seed, &mut Request { choose: &mut choose, known: &columns.categories, whole })
        };
        // Data of another shape are refused by the caller, which knows what they are for.
        let data = match lenient(Some(kind)) {
            Ok(data) if data.shape == shape => data,
            Ok(_) | Err(Error::Setting(_)) => return lenient(None),
            Err(other) => return Err(other),
        };
        Ok(Self { kind, ..data }.relative_to(columns))
    }

    /// These data relative to the offsets of `columns`.
    pub(crate) fn relative_to(mut self, columns: &Columns) -> Self {
        let groups = self.grouping();
        if self.columns.offset != columns.offset {
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
        self
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
        read(spec, seed, &mut Request { choose: &mut choose, known: &[], whole: false })
    }

    /// Creates a data set from the values of all samples. `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no sample, when the last one is incomplete, or when a value is NaN or infinite.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self> {
        Self::build(name.into(), shape.into(), values, false)
    }

    /// [`Dataset::new`]; with `gaps`, NaN stands for an unknown value.
    fn build(name: String, shape: Vec<usize>, values: Vec<f32>, gaps: bool) -> Result<Self> {
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
        if let Some(at) = values.iter().position(|value| !(value.is_finite() || gaps && value.is_nan())) {
            return Err(Error::input(format!(
                "{name}: sample {} has {} at element {} (both counted from 0); remove or repair such samples first",
                at / len,
                if values[at].is_nan() { "NaN" } else { "an infinite value" },
                at % len
            )));
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
        self.with(name.into(), values, self.has_gaps())
    }

    /// [`Dataset::with_values`], where NaN stands for an unknown value.
    ///
    /// # Errors
    /// As [`Dataset::new`].
    pub fn with_gaps(&self, name: impl Into<String>, values: Vec<f32>) -> Result<Self> {
        self.with(name.into(), values, true)
    }

    fn with(&self, name: String, values: Vec<f32>, gaps: bool) -> Result<Self> {
        let data = Self::build(name, self.shape.clone(), values, gaps)?;
        Ok(Self { kind: self.kind, columns: self.columns.clone(), ..data })
    }

    /// Whether there are unknown values, which are NaN.
    pub fn has_gaps(&self) -> bool {
        self.values.iter().any(|value| value.is_nan())
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
        match fits {
            true => Ok(Self { kind, ..self }),
            false => Err(Error::setting(format!("{}: samples of shape {:?} are not {kind}", self.name, self.shape))),
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

    /// The values of sample `i`, row-major.
    pub fn sample(&self, i: usize) -> &[f32] {
        &self.values[i * self.sample_len()..][..self.sample_len()]
    }
}

/// Chooses the options for a source of data, or refuses them.
type Choose<'a> = dyn FnMut(&str, Source) -> Result<ReadOptions> + 'a;

/// What is asked of a reader.
struct Request<'a> {
    choose: &'a mut Choose<'a>,
    /// The columns of categories of the data that these are compared with.
    known: &'a [Categories],
    /// Whether the windows of a recording contain all time steps.
    whole: bool,
}

/// Reads `spec`.
fn read(spec: &str, seed: u64, request: &mut Request) -> Result<Dataset> {
    if let Some(toy) = toys::by_name(spec, seed) {
        let options = (request.choose)(spec, Source::Toy)?;
        let mut toy = toy?;
        toy.origin.format = "built-in".into();
        return match options.kind {
            Some(kind) => toy.of_kind(kind),
            None => Ok(toy),
        };
    }
    let path = Path::new(spec);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => read_folder(path, request),
        Ok(found) if found.is_file() => read_file(path, None, request),
        Ok(_) => Err(Error::input(format!("{spec}: neither a file nor a folder; give a file of data"))),
        Err(cause) if cause.kind() == ErrorKind::NotFound && spec.ends_with(']') => match SampleRange::of(spec) {
            // A group can have such a name.
            Err(_) if file_and_part(spec).is_some() => read_part(spec, request),
            range => read_range(spec, range?, seed, request),
        },
        Err(cause) if cause.kind() == ErrorKind::NotFound => read_part(spec, request),
        Err(cause) => Err(Error::io("cannot read", path, cause)),
    }
}

/// Reads a folder of pictures, or of audio files if it has no pictures.
fn read_folder(folder: &Path, request: &mut Request) -> Result<Dataset> {
    let name = folder.display().to_string();
    match sounds::files(folder) {
        Some(files) if !images::has_pictures(folder) => {
            sounds::read(folder, &files, &(request.choose)(&name, Source::Sounds)?)
        }
        _ => images::read(folder, &(request.choose)(&name, Source::Pictures)?),
    }
}

/// The file and the rest of a `FILE:PART`, where either may contain colons.
fn file_and_part(spec: &str) -> Option<(&Path, &str)> {
    let colons = spec.char_indices().filter(|(_, c)| *c == ':');
    colons.map(|(at, _)| (Path::new(&spec[..at]), &spec[at + 1..])).find(|(file, _)| file.is_file())
}

/// The file or folder that [`Dataset::load`] reads; `None` for a built-in data set.
#[cfg(feature = "cli")]
pub(crate) fn source(spec: &str) -> Option<&Path> {
    let whole = Path::new(spec);
    match spec {
        _ if toys::is_toy(spec) => None,
        _ if whole.exists() => Some(whole),
        _ if spec.ends_with(']') && spec.contains('[') => source(spec.rsplit_once('[')?.0),
        _ => file_and_part(spec).map(|(file, _)| file),
    }
}

/// Reads a file in the format of its extension, or of its first bytes if the extension is unknown. `part` is the group of a
/// table or the array of an archive.
fn read_file(path: &Path, part: Option<&str>, request: &mut Request) -> Result<Dataset> {
    let name = path.display();
    let len = fs::metadata(path).map_err(|cause| Error::io("cannot read", path, cause))?.len();
    if len == 0 {
        return Err(Error::input(format!("{name}: the file is empty (0 bytes); write or copy it again")));
    }
    let Request { choose, known, whole } = request;
    let (known, whole) = (*known, *whole);
    let mut chosen = |source| choose(&name.to_string(), source);
    let undivided = |what: &str| match part {
        None => Ok(()),
        Some(part) => Err(Error::input(format!(
            "{name}:{part}: {what} have no parts; only .csv and .tsv files have groups that can be selected with ':', and \
             .npz files arrays"
        ))),
    };
    let array = |raw: Result<raw::Raw>, options: Result<ReadOptions>| {
        let options = options?;
        raw?.finish_for(&options, whole)
    };
    let sound = |options: ReadOptions| {
        let window = options.window.or(Some(audio::WINDOW));
        audio::read(path)?.finish_for(&ReadOptions { window, ..options }, whole)
    };
    match extension(path).as_str() {
        "npy" => undivided("arrays").and_then(|()| array(npy::read(path), chosen(Source::Array))),
        "npz" => array(npy::read_archive(path, part), chosen(Source::Array)),
        "csv" | "tsv" => {
            let options = chosen(Source::Table)?;
            table::read(path, part, &options, known)?.finish_for(&options, whole)
        }
        "wav" => undivided("audio files").and_then(|()| sound(chosen(Source::Audio)?)),
        "png" | "jpg" | "jpeg" | "webp" | "tif" | "tiff" | "bmp" | "gif" => {
            Err(Error::input(format!("{name}: a single picture is not a data set; name the folder with the pictures")))
        }
        _ => match first_bytes(path)? {
            [0x1f, 0x8b, ..] | [0, 0, 0x08..=0x0e, 1..=4] => {
                undivided("IDX files").and_then(|()| array(idx::read(path), chosen(Source::Array)))
            }
            [0x93, b'N', b'U', b'M'] => {
                undivided("arrays").and_then(|()| array(npy::read(path), chosen(Source::Array)))
            }
            [b'P', b'K', 3, 4] => array(npy::read_archive(path, part), chosen(Source::Array)),
            [b'R', b'I' | b'F', b'F' | b'6', b'F' | b'4'] => {
                undivided("audio files").and_then(|()| sound(chosen(Source::Audio)?))
            }
            _ => Err(Error::input(format!(
                "{name}: unknown file format; use .npy, .npz, .csv, .tsv, IDX (or IDX in .gz), .wav or a folder of pictures"
            ))),
        },
    }
}

/// `DATA[from:to]`: samples `from` to `to` - 1, counted from 0.
fn read_range(spec: &str, range: SampleRange, seed: u64, request: &mut Request) -> Result<Dataset> {
    let all = read(range.data, seed, request)?;
    let (from, to) = range.within(all.len())?;
    let len = all.sample_len();
    let part = all.with_values(spec, all.values[from * len..to * len].to_vec())?;
    // A part of the windows is not a recording.
    Ok(Dataset { origin: Origin { recording: None, ..all.origin }, ..part })
}

/// A parsed `DATA[from:to]`.
struct SampleRange<'a> {
    spec: &'a str,
    data: &'a str,
    from: usize,
    to: Option<usize>,
}

impl<'a> SampleRange<'a> {
    fn of(spec: &'a str) -> Result<Self> {
        let wrong = || {
            Error::input(format!(
                "{spec:?}: a range of samples is written as DATA[FROM:TO], such as {0}[0:100] or {0}[100:]",
                { spec.split('[').next().unwrap_or_default() }
            ))
        };
        let (data, range) = spec.trim_end_matches(']').rsplit_once('[').ok_or_else(wrong)?;
        let (from, to) = range.split_once(':').ok_or_else(wrong)?;
        let place = |text: &str| (!text.is_empty()).then(|| text.parse().map_err(|_| wrong())).transpose();
        Ok(Self { spec, data, from: place(from)?.unwrap_or(0), to: place(to)? })
    }

    /// The limits of the range in a data set of `n` samples.
    fn within(&self, n: usize) -> Result<(usize, usize)> {
        let (Self { spec, data, from, to: given }, to) = (self, self.to.unwrap_or(n));
        let there_are = || format!("{data} has {}, counted from 0", count(n, "sample"));
        match given {
            _ if *from < to && to <= n => Ok((*from, to)),
            Some(to) if from >= to => Err(Error::input(format!(
                "{spec}: the range is empty, because TO is excluded; use a TO above {from}, such as {data}[{from}:{}]",
                from + 1
            ))),
            Some(to) if *from < n => Err(Error::input(format!(
                "{spec}: {}, so TO must be at most {n}, not {to}; {data}[{from}:] selects all samples from {from} on",
                there_are()
            ))),
            _ => Err(Error::input(format!("{spec}: {}, so FROM must be at most {}, not {from}", there_are(), n - 1))),
        }
    }
}

/// Reads a group such as `table.tsv:dino` or an array such as `file.npz:images`, or reports that there is no such file.
fn read_part(spec: &str, request: &mut Request) -> Result<Dataset> {
    if let Some((file, part)) = file_and_part(spec) {
        return read_file(file, Some(part), request);
    }
    Err(Error::input(format!(
        "{spec:?}: there is no such file or folder, and no built-in data set of that name (there are: {}); check the \
         spelling and the current folder",
        TOYS.join(", ")
    )))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|cause| Error::io("cannot read", path, cause))
}

fn first_bytes(path: &Path) -> Result<[u8; 4]> {
    let mut bytes = [0xff; 4];
    let mut head = Vec::new();
    open(path)?.take(4).read_to_end(&mut head).map_err(|cause| Error::io("cannot read", path, cause))?;
    bytes[..head.len()].copy_from_slice(&head);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes samples like `plot::save`, which is in a higher layer.
    pub(super) fn save(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
        let (kind, columns) = (Kind::of(shape), &Columns::default());
        let layout = SampleLayout { kind, shape, columns };
        let mut file = SampleFile::create(path, layout, values.len() / shape.iter().product::<usize>())?.unwrap();
        file.write(values)?;
        file.finish()
    }

    /// The message of a load that must fail.
    pub(super) fn refusal(path: &Path) -> String {
        Dataset::load(path.to_str().unwrap(), 0).unwrap_err().to_string()
    }

    #[test]
    fn a_missing_file_lists_the_built_in_data_sets() {
        let message = refusal(Path::new("no/such/file.npy"));
        assert!(message.contains("no/such/file.npy") && message.contains("moons") && message.contains("swissroll"));
    }

    #[test]
    fn a_file_wins_over_a_toy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("moons");
        fs::write(&path, [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 5, 6, 7]).unwrap();
        assert_eq!(Dataset::load(path.to_str().unwrap(), 0).unwrap().values, [5.0, 6.0, 7.0]);
        assert_eq!(Dataset::load("moons", 0).unwrap().shape, [2]);
    }

    #[test]
    fn a_range_selects_samples() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, "1,2,3\n4,5,6\n7,8,9\n").unwrap();
        let load = |range: &str| Dataset::load(&format!("{}{range}", path.display()), 0);
        assert_eq!(load("[1:2]").unwrap().values, [4.0, 5.0, 6.0]);
        assert_eq!((load("[:2]").unwrap().len(), load("[2:]").unwrap().len(), load("[:]").unwrap().len()), (2, 1, 3));
        assert_eq!(Dataset::load("moons[3:9]", 0).unwrap().values, Dataset::load("moons", 0).unwrap().values[6..18]);
        for (range, words) in [
            ("[2:2]", "the range is empty"),
            ("[2:1]", "use a TO above 2, such as"),
            ("[0:4]", "has 3 samples, counted from 0, so TO must be at most 3, not 4"),
            ("[3:]", "FROM must be at most 2, not 3"),
            ("[7:9]", "FROM must be at most 2, not 7"),
            ("[1]", "[FROM:TO]"),
            ("[a:2]", "[FROM:TO]"),
        ] {
            let message = load(range).unwrap_err().to_string();
            assert!(message.contains(words), "{range}: {message}");
        }
    }

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

    #[test]
    fn unknown_files_list_the_known_formats() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content, cause) in [
            ("a.bin", &b"hello"[..], "unknown file format"),
            ("a.npy", b"", "0 bytes"),
            ("a.png", b"x", "a single picture"),
            ("short", b"ab", "unknown file format"),
        ] {
            fs::write(dir.path().join(name), content).unwrap();
            let message = refusal(&dir.path().join(name));
            assert!(message.contains(cause), "{message}");
        }
    }

    /// Damaged files of every format give an error or data, but never a panic or a huge allocation.
    #[test]
    fn damaged_files_never_panic() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let dir = tempfile::tempdir().unwrap();
        let good = [
            ("npy", npy::tests::sample_file()),
            ("npz", npy::tests::sample_archive(dir.path())),
            ("csv", b"x,y\n1,2\n3,4\n".to_vec()),
            ("idx", idx::tests::sample_file()),
            ("gz", idx::tests::sample_gzip()),
            ("wav", audio::tests::sample_file(dir.path())),
        ];
        let mut rng = StdRng::seed_from_u64(1);
        for (extension, bytes) in good {
            let path = dir.path().join(format!("damaged.{extension}"));
            for round in 0..150 {
                let mut bytes = bytes.clone();
                for _ in 0..rng.random_range(0..6) {
                    let at = rng.random_range(0..bytes.len().min(200));
                    bytes[at] = rng.random();
                }
                if round % 3 == 0 {
                    bytes.truncate(rng.random_range(0..bytes.len()));
                }
                fs::write(&path, &bytes).unwrap();
                let _ = Dataset::load(path.to_str().unwrap(), 0);
            }
        }
    }
}
