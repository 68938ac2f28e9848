//! From the name of data to a reader: files, folders, built-in data sets, and parts of them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::address::{is_address, without_secrets};
use super::array::ArrayLayout;
use super::options::Source;
use super::range::{SampleRange, read_range};
use super::raw::Raw;
use super::{Columns, Dataset, Origin, ReadOptions, TOYS};
use super::{audio, files, idx, images, joined, npy, sounds, table, toys};
use crate::error::nearest;
use crate::io::{extension, quoted};
use crate::{Error, Result};

/// Chooses the options for a source of data, or refuses them.
pub(super) type Choose<'a> = dyn FnMut(&str, Source) -> Result<ReadOptions> + 'a;

/// What is asked of a reader.
pub(super) struct Request<'a> {
    pub choose: &'a mut Choose<'a>,
    /// The columns of the data that these are compared with.
    pub known: &'a Columns,
    /// Whether the windows of a recording contain all time steps.
    pub whole: bool,
    /// The samples to read. A reader that reads only these takes it.
    pub range: Option<&'a SampleRange<'a>>,
}

/// Reads `spec`.
pub(super) fn read(spec: &str, seed: u64, request: &mut Request) -> Result<Dataset> {
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
    let found = if is_address(spec) { Err(ErrorKind::NotFound.into()) } else { fs::metadata(path) };
    match found {
        Ok(found) if found.is_dir() => read_folder(path, request),
        Ok(found) if found.is_file() => read_file(path, None, request),
        Ok(_) => Err(Error::input(format!("{spec}: neither a file nor a folder; give a file of data"))),
        Err(cause) if cause.kind() == ErrorKind::NotFound && spec.ends_with(']') => match SampleRange::of(spec) {
            // A group can have such a name.
            Err(_) if file_and_part(spec).is_some() => read_part(spec, request),
            range => read_range(range?, seed, request),
        },
        Err(cause) if cause.kind() == ErrorKind::NotFound => read_part(spec, request),
        Err(cause) => Err(Error::io("cannot read", path, cause)),
    }
}

/// A common format that is not read, and how to convert it, from the extension and the first bytes of a file.
fn other_format(extension: &str, start: [u8; 4]) -> Option<(&'static str, &'static str)> {
    const TABLE: &str = "save it as .csv";
    const ARRAYS: &str = "save its arrays with numpy.save or numpy.savez";
    const PARQUET: &str =
        "install langevin with --features parquet, which reads it, or save it as .csv or with numpy.save";
    const SOUND: &str = "convert it to .wav, such as with: ffmpeg -i IN OUT.wav";
    let by_name = match extension {
        "mp3" | "m4a" | "aac" | "wma" | "opus" | "aif" | "aiff" => Some(("compressed or other audio", SOUND)),
        "xlsx" | "xls" | "ods" => Some(("a spreadsheet", TABLE)),
        "feather" | "arrow" => Some(("an Arrow table", TABLE)),
        "json" | "jsonl" => Some(("JSON text", "save it as .csv or .npy")),
        "pt" | "pth" | "pkl" | "pickle" => Some(("a pickled Python object", ARRAYS)),
        "heic" | "heif" | "avif" | "svg" | "pdf" => {
            Some(("a picture in another format", "convert pictures to PNG, in a folder"))
        }
        "mp4" | "avi" | "mov" | "mkv" | "webm" => Some(("a film", "save its pictures as PNG, in a folder")),
        "txt" | "dat" | "asc" => {
            Some(("text without a known extension", "if it is a table, rename it to .csv or .tsv"))
        }
        _ => None,
    };
    by_name.or(match &start {
        b"PAR1" => Some(("a Parquet table", PARQUET)),
        b"MATL" => Some(("a MATLAB file", ARRAYS)),
        [0x89, b'H', b'D', b'F'] => Some(("an HDF5 file", ARRAYS)),
        b"fLaC" => Some(("FLAC audio", SOUND)),
        b"OggS" => Some(("Ogg audio", SOUND)),
        [b'I', b'D', b'3', _] | [0xff, 0xfb, ..] => Some(("MP3 audio", SOUND)),
        _ => None,
    })
}

/// Reads a folder of pictures, of audio files if it has no pictures, or else of arrays.
fn read_folder(folder: &Path, request: &mut Request) -> Result<Dataset> {
    let (name, pictures) = (folder.display().to_string(), images::Collection::of_folder(folder)?);
    if pictures.has_pictures() {
        return images::read(pictures, &(request.choose)(&name, Source::Pictures)?, request.range.take());
    }
    if let Some(files) = sounds::files(folder)? {
        return sounds::read(folder, &files, &(request.choose)(&name, Source::Sounds)?);
    }
    let mut rest = Origin::default();
    match pictures.arrays(&mut rest) {
        files if files.is_empty() => images::read(pictures, &(request.choose)(&name, Source::Pictures)?, None),
        files => {
            let mut data = joined::read(&name, &files, None, request)?;
            data.origin.notes.extend(rest.notes);
            Ok(data)
        }
    }
}

/// Reads the pictures in tar files, or in a folder of each.
pub(super) fn read_archives(
    name: &str,
    files: &[PathBuf],
    part: Option<&str>,
    request: &mut Request,
) -> Result<Dataset> {
    let pictures = images::Collection::of_archives(name, files, part)?;
    images::read(pictures, &(request.choose)(name, Source::Pictures)?, request.range.take())
}

/// The file and the rest of a `FILE:PART`, where either may contain colons.
pub(super) fn file_and_part(spec: &str) -> Option<(&Path, &str)> {
    let colons = spec.char_indices().filter(|(_, c)| *c == ':');
    colons.map(|(at, _)| (Path::new(&spec[..at]), &spec[at + 1..])).find(|(file, _)| file.is_file())
}

/// The files, or the folder, that [`Dataset::load`] reads; none for a built-in data set.
///
/// # Errors
/// [`Error::Io`] when a folder in which a pattern is looked for cannot be read, and those of a download.
pub(crate) fn sources(spec: &str) -> Result<Vec<PathBuf>> {
    if toys::is_toy(spec) {
        return Ok(Vec::new());
    }
    match SampleRange::at_end_of(spec) {
        Some(Ok(range)) => sources(range.data),
        _ => Ok(sources_and_part(spec)?.0),
    }
}

/// The files, or the folder, and the rest of a `FILE:PART`; no files if there are none.
///
/// # Errors
/// As [`sources`].
pub(super) fn sources_and_part(spec: &str) -> Result<(Vec<PathBuf>, Option<&str>)> {
    let whole = Path::new(spec);
    if whole.exists() {
        return Ok((vec![whole.into()], None));
    }
    match file_and_part(spec) {
        Some((file, part)) => Ok((vec![file.into()], Some(part))),
        None => files::matching(spec).map(Option::unwrap_or_default),
    }
}

/// The first file that is read and in a folder.
///
/// # Errors
/// As [`sources`].
#[cfg(feature = "cli")]
pub(crate) fn inside(spec: &str, folder: &Path) -> Result<Option<PathBuf>> {
    let Ok(folder) = folder.canonicalize() else { return Ok(None) };
    let is_inside = |file: &PathBuf| file.canonicalize().is_ok_and(|file| file.starts_with(&folder));
    Ok(sources(spec)?.into_iter().find(is_inside))
}

/// Reads a file in the format of its extension, or of its first bytes if the extension is unknown. `part` is the group of a
/// table or the array of an archive.
fn read_file(path: &Path, part: Option<&str>, request: &mut Request) -> Result<Dataset> {
    if images::is_archive(path) {
        let name = path.display();
        let name = part.map_or(name.to_string(), |part| format!("{name}:{part}"));
        return read_archives(&name, &[path.into()], part, request);
    }
    let (mut raw, options, _) = read_raw(path, part, request)?;
    raw.prepare(&options, request.whole)?;
    raw.finish(&options, request.range.take())
}

/// The content of a file, the options for it, and what it is.
pub(super) fn read_raw(path: &Path, part: Option<&str>, request: &mut Request) -> Result<(Raw, ReadOptions, Source)> {
    let format = Format::of(path, part)?;
    let mut options = (request.choose)(&path.display().to_string(), format.source())?;
    let raw = match format {
        Format::Npy => npy::read(path, &options),
        Format::Npz => npy::read_archive(path, part, &options),
        Format::Idx => idx::read(path, &options),
        Format::Table => table::read(path, part, &options, request.known),
        Format::Audio => {
            options.window = options.window.or(Some(audio::WINDOW));
            audio::read(path)
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => super::parquet::read(path, &options),
    }?;
    Ok((raw, options, format.source()))
}

/// The header of the array in a file, and whether its values can be read from the middle of the file, which is not compressed
/// then; `None` for a file of another format.
pub(super) fn read_layout(path: &Path, part: Option<&str>) -> Result<Option<(ArrayLayout, bool)>> {
    match Format::of(path, part)? {
        Format::Npy => npy::layout(path).map(|layout| Some((layout, true))),
        Format::Npz => npy::layout_in_archive(path, part).map(Some),
        Format::Idx => idx::layout(path).map(Some),
        _ => Ok(None),
    }
}

/// What a file contains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    Idx,
    Table,
    Audio,
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    /// The format by the extension of a file, or by its first bytes if the extension is unknown.
    ///
    /// # Errors
    /// [`Error::Input`] for an empty file or another format, and when the format has no parts, but one is named.
    fn of(path: &Path, part: Option<&str>) -> Result<Self> {
        let name = path.display();
        let len = fs::metadata(path).map_err(|cause| Error::io("cannot read", path, cause))?.len();
        if len == 0 {
            return Err(Error::input(format!("{name}: the file is empty (0 bytes); write or copy it again")));
        }
        let format = match extension(path).as_str() {
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "csv" | "tsv" => Self::Table,
            "wav" => Self::Audio,
            "png" | "jpg" | "jpeg" | "webp" | "tif" | "tiff" | "bmp" | "gif" => {
                return Err(Error::input(format!(
                    "{name}: a single picture is not a data set; name the folder with the pictures"
                )));
            }
            _ if images::is_archive(path) => {
                return Err(Error::input(format!(
                    "{name}: a tar file, which is read together with other tar files only"
                )));
            }
            _ if images::unpacked_by(path).is_some() => {
                let (command, file) = (images::unpacked_by(path).unwrap_or_default(), quoted(&name.to_string()));
                return Err(Error::input(format!(
                    "{name}: a compressed tar file, which cannot be read from the middle; unpack it, such as with: {command} {file}"
                )));
            }
            other => Self::by_content(path, other)?,
        };
        match (part, format.undivided()) {
            (Some(part), Some(what)) => Err(Error::input(format!(
                "{name}:{part}: {what} have no parts; only .csv and .tsv files have groups that can be selected with ':', and \
                 .npz files arrays"
            ))),
            _ => Ok(format),
        }
    }

    fn by_content(path: &Path, extension: &str) -> Result<Self> {
        let name = path.display();
        match first_bytes(path)? {
            [0x1f, 0x8b, ..] | [0, 0, 0x08..=0x0e, 1..=4] => Ok(Self::Idx),
            [0x93, b'N', b'U', b'M'] => Ok(Self::Npy),
            [b'P', b'K', 3, 4] if other_format(extension, [0; 4]).is_none() => Ok(Self::Npz),
            [b'R', b'I' | b'F', b'F' | b'6', b'F' | b'4'] => Ok(Self::Audio),
            #[cfg(feature = "parquet")]
            [b'P', b'A', b'R', b'1'] => Ok(Self::Parquet),
            start => Err(Error::input(match other_format(extension, start) {
                Some((what, remedy)) => format!("{name}: {what}, which is not read; {remedy}"),
                None => format!(
                    "{name}: unknown file format; use .npy, .npz, .csv, .tsv, IDX (or IDX in .gz), .wav, a folder of pictures or a .tar file of pictures"
                ),
            })),
        }
    }

    /// The name of files that have no parts to select.
    fn undivided(self) -> Option<&'static str> {
        match self {
            Self::Npy => Some("arrays"),
            Self::Idx => Some("IDX files"),
            Self::Audio => Some("audio files"),
            #[cfg(feature = "parquet")]
            Self::Parquet => Some("Parquet files"),
            Self::Npz | Self::Table => None,
        }
    }

    /// The kind of source, which decides which options apply.
    fn source(self) -> Source {
        match self {
            Self::Npy | Self::Npz | Self::Idx => Source::Array,
            Self::Table => Source::Table,
            Self::Audio => Source::Audio,
            #[cfg(feature = "parquet")]
            Self::Parquet => Source::Parquet,
        }
    }
}

/// Reads a group such as `table.tsv:dino` or an array such as `file.npz:images`, or reports that there is no such file.
pub(super) fn read_part(spec: &str, request: &mut Request) -> Result<Dataset> {
    if let Some((file, part)) = file_and_part(spec) {
        return read_file(file, Some(part), request);
    }
    match files::matching(spec)? {
        Some((files, part)) if files.iter().all(|file| images::is_archive(file)) => {
            return read_archives(&without_secrets(spec), &files, part, request);
        }
        Some((files, part)) if files.len() == 1 => return read_file(&files[0], part, request),
        Some((files, part)) => return joined::read(&without_secrets(spec), &files, part, request),
        None if files::has_wildcards(spec) => {
            return Err(Error::input(format!(
                "{spec:?}: there is no such file, and no file matches it as a pattern; check the spelling and the current folder"
            )));
        }
        None => {}
    }
    let meant = nearest(spec, TOYS.iter().copied()).map(|toy| format!("; did you mean {toy}?")).unwrap_or_default();
    Err(Error::input(format!(
        "{spec:?}: there is no such file or folder, and no built-in data set of that name (there are: {}); check the \
         spelling and the current folder{meant}",
        TOYS.join(", ")
    )))
}

/// Opens a file to read.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened.
pub(super) fn open(path: &Path) -> Result<File> {
    match File::open(path) {
        // The parts of a large data set can be more than the files that a process may open at first.
        Err(cause) if raise_file_limit(&cause) => File::open(path),
        opened => opened,
    }
    .map_err(|cause| Error::io("cannot read", path, cause))
}

/// Raises the number of files that this process may open to what the system allows, if it is the cause of an error. Returns whether
/// it is larger then.
#[cfg(unix)]
fn raise_file_limit(cause: &io::Error) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let is_reached = cause.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error());
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let larger = current.is_some_and(|now| maximum.is_none_or(|most| now < most));
    is_reached && larger && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok()
}

#[cfg(not(unix))]
fn raise_file_limit(_: &io::Error) -> bool {
    false
}

pub(super) fn first_bytes(path: &Path) -> Result<[u8; 4]> {
    let mut bytes = [0xff; 4];
    let mut head = Vec::new();
    open(path)?.take(4).read_to_end(&mut head).map_err(|cause| Error::io("cannot read", path, cause))?;
    bytes[..head.len()].copy_from_slice(&head);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::refusal;
    use super::*;

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
    fn unknown_files_list_the_known_formats() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content, cause) in [
            ("a.bin", &b"hello"[..], "unknown file format"),
            ("a.npy", b"", "0 bytes"),
            ("a.png", b"x", "a single picture"),
            #[cfg(not(feature = "parquet"))]
            ("a.parquet", b"PAR1xxxx", "a Parquet table, which is not read; install langevin with --features parquet"),
            ("a.xlsx", b"PK\x03\x04", "a spreadsheet"),
            ("a.mat", b"MATLAB 5.0", "a MATLAB file"),
            ("a.h5", b"\x89HDF\r\n", "an HDF5 file"),
            ("a.mp3", b"ID3\x03", "to .wav"),
            ("a", b"fLaC", "FLAC audio"),
            ("a.txt", b"1 2\n", "rename it to .csv"),
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
