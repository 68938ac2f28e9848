//! NumPy's `.npy` arrays and `.npz` archives.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::array::{ArrayLayout, Available, Element};
use super::raw::Raw;
use super::{Place, ReadOptions, open};
use crate::io::write_atomically;
use crate::{Error, Result};

/// The maximum length of a header, which is a line of text.
const HEADER_LIMIT: u32 = 1 << 16;

/// Reads an array.
pub(super) fn read(path: &Path, options: &ReadOptions) -> Result<Raw> {
    const FORMAT: &str = "NumPy array";
    with_layout(path, |layout, name, reader, (start, available)| match options.stays_on_disk(name, &layout)? {
        true => layout.store(name, FORMAT, path, start, available),
        false => layout.read(name, FORMAT, reader, available),
    })
}

/// Reads an array of labels. Returns the shape and the values.
pub(super) fn read_labels(path: &Path) -> Result<(Vec<u64>, Vec<f32>)> {
    with_layout(path, |layout, name, reader, (_, available)| {
        let values = layout.values_as(name, reader, available, |v| v as f32)?;
        Ok((layout.shape, values))
    })
}

fn with_layout<T>(
    path: &Path,
    read: impl FnOnce(ArrayLayout, &str, &mut dyn Read, (u64, Available)) -> Result<T>,
) -> Result<T> {
    let name = path.display().to_string();
    let file = open(path)?;
    let len = file.metadata().map_err(|cause| Error::io("cannot read", path, cause))?.len();
    let mut reader = BufReader::new(file);
    let (layout, header) = read_layout(&name, &mut reader)?;
    read(layout, &name, &mut reader, (header, Available::Exactly(len.saturating_sub(header))))
}

fn damaged(name: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::input(format!("{name}: not a readable .npz archive ({cause}); write it again with numpy.savez"))
}

/// The header of an array.
pub(super) fn layout(path: &Path) -> Result<ArrayLayout> {
    with_layout(path, |layout, _, _, _| Ok(layout))
}

/// The header of the array that [`read_archive`] reads, and whether it is not compressed.
pub(super) fn layout_in_archive(path: &Path, wanted: Option<&str>) -> Result<(ArrayLayout, bool)> {
    let mut archive = Archive::open(path)?;
    let (index, array) = archive.choose(wanted)?;
    archive.with_layout(index, &array, |layout, _, _, (stored, _)| Ok((layout, stored.is_some())))
}

/// Reads the array `wanted` of an archive, or else its only array, or the one that is named `x` or `data`.
pub(super) fn read_archive(path: &Path, wanted: Option<&str>, options: &ReadOptions) -> Result<Raw> {
    const FORMAT: &str = "NumPy archive";
    let mut archive = Archive::open(path)?;
    let (index, array) = archive.choose(wanted)?;
    let mut raw = archive.with_layout(index, &array, |layout, described, reader, (stored, available)| {
        match (options.stays_on_disk(described, &layout)?, stored) {
            (true, Some((start, available))) => layout.store(described, FORMAT, path, start, available),
            (true, None) if options.place == Some(Place::Disk) => Err(Error::setting(format!(
                "{described}: a compressed array cannot be read from disk during the training; write it with numpy.save, or omit \
                 --data-from disk"
            ))),
            _ => layout.read(described, FORMAT, reader, available),
        }
    })?;
    let name = &archive.name;
    raw.name = format!("{name}:{array}");
    if wanted.is_none() && archive.arrays.len() > 1 {
        let others = archive.arrays.iter().filter(|(_, other)| *other != array);
        let others: Vec<String> = others.map(|(_, other)| format!("{name}:{other}")).collect();
        raw.origin.choice(format!("the array {array} of {}", archive.list()), others.join(" or "));
    }
    Ok(raw)
}

/// An open archive.
struct Archive {
    name: String,
    zip: ZipArchive<BufReader<File>>,
    /// The names of the arrays, with their index.
    arrays: Vec<(usize, String)>,
}

/// Where an array that is not compressed begins in the file, and its number of bytes; then the number of bytes for any array.
type InArchive = (Option<(u64, Available)>, Available);

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let mut zip = ZipArchive::new(BufReader::new(open(path)?)).map_err(|cause| damaged(&name, &cause))?;
        let mut arrays = Vec::new();
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(|cause| damaged(&name, &cause))?;
            if let Some(array) = entry.name().strip_suffix(".npy") {
                arrays.push((index, array.to_string()));
            }
        }
        Ok(Self { name, zip, arrays })
    }

    fn list(&self) -> String {
        self.arrays.iter().map(|(_, array)| array.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The array `wanted`, or else the only one, or the one that is named `x` or `data`.
    fn choose(&self, wanted: Option<&str>) -> Result<(usize, String)> {
        let Self { name, arrays, .. } = self;
        let named = |is: &dyn Fn(&str) -> bool| arrays.iter().find(|(_, array)| is(array));
        let chosen = match (wanted, &arrays[..]) {
            (_, []) => Err(Error::input(format!(
                "{name}: the archive contains no array; write it with numpy.savez(file, x=array)"
            ))),
            (Some(wanted), _) => named(&|array| array == wanted).ok_or_else(|| {
                Error::input(format!("{name}: there is no array {wanted:?}; there are: {}", self.list()))
            }),
            (None, [only]) => Ok(only),
            (None, [(_, first), ..]) => named(&|array| array == "x" || array == "data").ok_or_else(|| {
                Error::input(format!(
                    "{name}: the archive contains {} arrays; select one as {name}:{first}; there are: {}",
                    arrays.len(),
                    self.list()
                ))
            }),
        };
        chosen.cloned()
    }

    /// Calls `read` with the header of an array, its name for messages, and what follows the header.
    fn with_layout<T>(
        &mut self,
        index: usize,
        array: &str,
        read: impl FnOnce(ArrayLayout, &str, &mut dyn Read, InArchive) -> Result<T>,
    ) -> Result<T> {
        let described = format!("{} ({array})", self.name);
        let mut entry = self.zip.by_index(index).map_err(|cause| damaged(&self.name, &cause))?;
        let (size, available) = (entry.size(), Available::inflated(entry.compressed_size()));
        // Compressed arrays cannot be read from the middle.
        let stored = (entry.compression() == CompressionMethod::Stored).then(|| entry.data_start()).flatten();
        let (layout, header) = read_layout(&described, &mut entry)?;
        let stored = stored.map(|start| (start + header, Available::Exactly(size.saturating_sub(header))));
        read(layout, &described, &mut entry, (stored, available))
    }
}

/// The header of an array in C order: version 1.0 of the format, padded to a multiple of 64 bytes.
pub(super) fn header(element: &str, shape: &[usize]) -> Vec<u8> {
    const START: usize = 10;
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({dims}), }}");
    let len = (START + text.len() + 1).next_multiple_of(64) - START;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((len as u16).to_le_bytes());
    bytes.extend(format!("{text:<0$}\n", len - 1).bytes());
    bytes
}

/// An array of an archive.
pub(crate) struct NamedArray<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub values: ArrayValues,
}

/// The values of an array, in C order.
pub(crate) enum ArrayValues {
    /// `float32`
    Float(Vec<f32>),
    /// `int64`
    Int(Vec<i64>),
}

/// Writes a `.npz` archive, the same bytes for the same arrays.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub(crate) fn save_archive(path: &Path, arrays: &[NamedArray]) -> Result<()> {
    write_atomically(path, |file| {
        let mut zip = ZipWriter::new(file);
        // Without the time of writing.
        let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Stored);
        for NamedArray { name, shape, values } in arrays {
            zip.start_file(format!("{name}.npy"), options)?;
            let (element, bytes): (_, &[u8]) = match values {
                ArrayValues::Float(values) => ("<f4", bytemuck::cast_slice(values)),
                ArrayValues::Int(values) => ("<i8", bytemuck::cast_slice(values)),
            };
            zip.write_all(&header(element, shape))?;
            zip.write_all(bytes)?;
        }
        zip.finish()?;
        Ok(())
    })
}

/// Reads the header. Returns the layout and the length of the header. Damaged headers must not cause overflows or deep
/// recursion.
fn read_layout(name: &str, reader: &mut dyn Read) -> Result<(ArrayLayout, u64)> {
    let (text, len) = read_header(reader)
        .map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => "the file is too short".to_string(),
            _ => cause.to_string(),
        })
        .map_err(|cause| Error::input(format!("{name}: not a .npy array ({cause}); write it again with numpy.save")))?;
    let garbage = |what: &str| {
        Error::input(format!("{name}: the .npy header has no valid {what}: {:?}; write the file again", shorten(&text)))
    };
    let (element, big_endian) = element(name, entry(&text, "descr").ok_or_else(|| garbage("'descr'"))?)?;
    let fortran = match entry(&text, "fortran_order") {
        Some(value) if value.starts_with("True") => true,
        Some(value) if value.starts_with("False") => false,
        _ => return Err(garbage("'fortran_order'")),
    };
    let shape = entry(&text, "shape").and_then(tuple).ok_or_else(|| garbage("'shape'"))?;
    Ok((ArrayLayout { shape, element, big_endian, fortran }, len))
}

fn read_header(reader: &mut dyn Read) -> io::Result<(String, u64)> {
    let bad = |cause: String| io::Error::new(io::ErrorKind::InvalidData, cause);
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(bad("it does not begin with the .npy signature".into()));
    }
    let width = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(bad(format!("version {version} of the format is unknown"))),
    };
    let mut len = [0; 4];
    reader.read_exact(&mut len[..width])?;
    let len = u32::from_le_bytes(len);
    if len > HEADER_LIMIT {
        return Err(bad(format!("the header is {len} bytes long")));
    }
    let mut text = vec![0; len as usize];
    reader.read_exact(&mut text)?;
    Ok((String::from_utf8_lossy(&text).into_owned(), (8 + width) as u64 + u64::from(len)))
}

/// The text after `'key':` in a Python dictionary.
fn entry<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let at = text.find(&format!("'{key}'")).or_else(|| text.find(&format!("\"{key}\"")))?;
    Some(text[at + key.len() + 2..].trim_start().strip_prefix(':')?.trim_start())
}

/// Parses a shape such as `(3, 4)`.
fn tuple(text: &str) -> Option<Vec<u64>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let dims = inside.split(',').map(|dim| dim.trim().trim_end_matches('L')).filter(|dim| !dim.is_empty());
    dims.map(|dim| dim.parse().ok()).collect()
}

/// The element type, and whether it is big-endian.
fn element(name: &str, descr: &str) -> Result<(Element, bool)> {
    let remedy = "save numbers: array.astype('float64')";
    let code = type_code(name, descr, remedy)?;
    let element = match code.trim_start_matches(['<', '>', '|', '=']) {
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        "b1" => Element::Bool,
        plain @ ("u1" | "u2" | "u4" | "u8" | "i1" | "i2" | "i4" | "i8") => {
            Element::Integer { bytes: usize::from(plain.as_bytes()[1] - b'0'), signed: plain.starts_with('i') }
        }
        other => {
            let word = type_word(other);
            return Err(Error::input(format!("{name}: the array contains {word} ({code:?}); {remedy}")));
        }
    };
    Ok((element, code.starts_with('>')))
}

/// The text between the quotes of `descr`.
fn type_code<'a>(name: &str, descr: &'a str, remedy: &str) -> Result<&'a str> {
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let code = quote.and_then(|quote| descr[1..].split(quote).next());
    code.ok_or_else(|| Error::input(format!("{name}: the array has named fields ({}); {remedy}", shorten(descr))))
}

/// The name of a type code: `int64` for `i8`.
fn type_word(code: &str) -> String {
    let bits = |word: &str| match code.get(1..).and_then(|bytes| bytes.parse::<u32>().ok()) {
        Some(bytes) if bytes <= 64 => format!("{word}{}", 8 * bytes),
        _ => word.to_string(),
    };
    match code.chars().next() {
        Some('i') => bits("int"),
        Some('u') => bits("uint"),
        Some('f') => bits("float"),
        Some('c') => bits("complex"),
        Some('b') => "bool".to_string(),
        Some('O') => "Python objects".to_string(),
        Some('U' | 'S') => "text".to_string(),
        Some('M' | 'm') => "dates or times".to_string(),
        _ => "values of an unknown type".to_string(),
    }
}

fn shorten(text: &str) -> String {
    text.trim().chars().take(80).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{refusal, save};
    use super::*;
    use crate::data::Dataset;
    use std::fs;
    use std::io::Write;
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    pub fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    pub fn sample_file() -> Vec<u8> {
        file("'<f4'", "False", "(3, 4)", &[0; 48])
    }

    fn write(out: &mut dyn Write, shape: &[usize], values: &[f32]) -> io::Result<()> {
        out.write_all(&header("<f4", shape))?;
        values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    }

    pub fn sample_archive(dir: &Path) -> Vec<u8> {
        let path = dir.join("sample.npz");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        for (name, first) in [("labels.npy", 0.0f32), ("x.npy", 10.0)] {
            archive.start_file(name, SimpleFileOptions::default()).unwrap();
            let values: Vec<f32> = (0..12).map(|i| first + i as f32).collect();
            write(&mut archive, &[3, 4], &values).unwrap();
        }
        archive.finish().unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn npy_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let values: Vec<f32> = (0..24).map(|i| i as f32 / 7.0).collect();
        for shape in [vec![4], vec![2], vec![3, 2, 2]] {
            save(&path, &shape, &values).unwrap();
            let back = Dataset::load(path.to_str().unwrap(), 0).unwrap();
            assert_eq!((back.shape, back.values.to_vec()), (shape, values.clone()));
        }
    }

    #[test]
    fn a_header_is_text_padded_to_64_bytes() {
        let bytes = header("<f4", &[1203, 128]);
        assert!(bytes.starts_with(
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1203, 128, ), }  "
        ));
        assert!(bytes.ends_with(b"  \n") && bytes.len() == 128);
        for digits in 0..60 {
            let bytes = header("<f8", &[1, 10usize.pow(digits % 19), 10usize.pow(digits / 4)]);
            let (text, len) = read_header(&mut &bytes[..]).unwrap();
            assert!(len == bytes.len() as u64 && len.is_multiple_of(64) && text.ends_with('\n'), "{text}");
        }
    }

    #[test]
    fn archives_give_the_array_named_x() {
        let dir = tempfile::tempdir().unwrap();
        sample_archive(dir.path());
        let path = dir.path().join("sample.npz");
        assert_eq!(Dataset::load(path.to_str().unwrap(), 0).unwrap().values[0], 10.0);
        fs::write(&path, b"PK\x03\x04 no").unwrap();
        assert!(refusal(&path).contains("numpy.savez"));
    }

    /// `numpy.savez` stores arrays as they are, `numpy.savez_compressed` deflates them.
    #[test]
    fn stored_and_deflated_arrays_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let values = [0.5; 600];
        let mut sizes = Vec::new();
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let mut archive = ZipWriter::new(File::create(&path).unwrap());
            archive.start_file("data.npy", SimpleFileOptions::default().compression_method(method)).unwrap();
            write(&mut archive, &[100, 6], &values).unwrap();
            archive.finish().unwrap();
            let read = Dataset::load(path.to_str().unwrap(), 0).unwrap();
            assert_eq!((read.shape, &read.values[..]), (vec![6], &values[..]));
            sizes.push(fs::metadata(&path).unwrap().len());
        }
        assert!(sizes[0] > 2400 && sizes[1] < 600, "{sizes:?}");
    }

    /// Every flipped bit and every truncation of an archive gives an error or the original values.
    #[test]
    fn damaged_archives_are_refused_or_read_correctly() {
        let dir = tempfile::tempdir().unwrap();
        let good = sample_archive(dir.path());
        let path = dir.path().join("damaged.npz");
        let load = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Dataset::load(path.to_str().unwrap(), 0)
        };
        let [x, labels] = [10.0f32, 0.0].map(|first| (0..12).map(|i| first + i as f32).collect::<Vec<_>>());
        for at in 0..good.len() {
            assert!(load(&good[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                // If the name of `x` is damaged, the first array is read.
                if let Ok(read) = load(&bytes) {
                    assert!(read.values == x || read.values == labels, "bit {bit} of byte {at}: {:?}", read.values);
                }
            }
        }
    }

    #[test]
    fn fortran_order_and_float64_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let data: Vec<u8> = [0.0f64, 2.0, 1.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(&path, file("'<f8'", "True", "(2, 2)", &data)).unwrap();
        assert_eq!(Dataset::load(path.to_str().unwrap(), 0).unwrap().values, [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn bad_files_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        for (bytes, cause) in [
            (file("'<f16'", "False", "(1, 2)", &[0; 32]), "float128"),
            (file("'<M8[ns]'", "False", "(1, 2)", &[0; 16]), "date"),
            (file("'<c16'", "False", "(1, 2)", &[0; 32]), "complex128"),
            (file("'|O'", "False", "(1, 2)", &[0; 16]), "Python objects"),
            (file("[('a', '<f4')]", "False", "(2,)", &[0; 8]), "named fields"),
            (file("'<f4'", "False", "(2,)", &[0; 8]), "the length of a sample"),
            (file("'<f4'", "False", "()", &[0; 4]), "the array is a single number"),
            (file("'<f4'", "False", "(1, 1, 1, 1, 2)", &[0; 8]), "5 axes"),
            (file("'<f4'", "False", "(9, 2)", &[0; 8]), "72 bytes, but only 8 bytes follow"),
            (file("'<f4'", "False", "(99999999999, 99999999999)", &[0; 8]), "only 8 bytes follow"),
            (file("'<f4'", "False", "(-1, 2)", &[0; 8]), "no valid 'shape'"),
            (file("'<f4'", "Maybe", "(1, 2)", &[0; 8]), "no valid 'fortran_order'"),
            (b"\x93NUMPY\x01\x00\x10\x00%%%%%%%%%%%%%%%%".to_vec(), "no valid 'descr'"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "4294967295 bytes long"),
            (b"\x93NUMPY\x09\x00\x10\x00".to_vec(), "version 9"),
            (b"plain text here".to_vec(), "signature"),
        ] {
            fs::write(&path, bytes).unwrap();
            let message = refusal(&path);
            assert!(message.contains(cause) && message.contains("a.npy"), "{message}");
        }
    }
}
