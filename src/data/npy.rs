//! NumPy's `.npy` arrays and `.npz` archives.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use zip::ZipArchive;

use super::array::{ArrayLayout, Available, Element};
use super::{Dataset, open};
use crate::{Error, Result};

/// The maximum length of a header, which is a line of text.
const HEADER_LIMIT: u32 = 1 << 16;

/// Reads an array.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    with_layout(path, element, |layout, name, reader, available| layout.read(name, reader, available))
}

/// Reads an array of labels. Returns the shape and the values.
pub(super) fn read_labels(path: &Path) -> Result<(Vec<u64>, Vec<f32>)> {
    with_layout(path, label, |layout, name, reader, available| {
        let values = layout.values(name, reader, available)?;
        Ok((layout.shape, values))
    })
}

fn with_layout<T>(
    path: &Path,
    element: ElementRule,
    read: impl FnOnce(ArrayLayout, &str, &mut dyn Read, Available) -> Result<T>,
) -> Result<T> {
    let name = path.display().to_string();
    let file = open(path)?;
    let len = file.metadata().map_err(|cause| Error::io("cannot read", path, cause))?.len();
    let mut reader = BufReader::new(file);
    let (layout, header) = read_layout(&name, &mut reader, element)?;
    read(layout, &name, &mut reader, Available::Exactly(len.saturating_sub(header)))
}

/// Reads the array named `x` or `data` of an archive, or else the first one.
pub(super) fn read_archive(path: &Path) -> Result<Dataset> {
    let name = path.display().to_string();
    let damaged = |cause: &dyn std::fmt::Display| {
        Error::input(format!("{name}: not a readable .npz archive ({cause}); write it again with numpy.savez"))
    };
    let mut zip = ZipArchive::new(BufReader::new(open(path)?)).map_err(|cause| damaged(&cause))?;
    let mut arrays = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|cause| damaged(&cause))?;
        if let Some(array) = entry.name().strip_suffix(".npy") {
            arrays.push((index, array.to_string()));
        }
    }
    let chosen = arrays.iter().find(|(_, array)| array == "x" || array == "data").or(arrays.first());
    let Some((index, array)) = chosen else {
        return Err(Error::input(format!(
            "{name}: the archive contains no array; write it with numpy.savez(file, x=array)"
        )));
    };
    let mut entry = zip.by_index(*index).map_err(|cause| damaged(&cause))?;
    let name = format!("{name} ({array})");
    let available = Available::inflated(entry.compressed_size());
    let (layout, _) = read_layout(&name, &mut entry, element)?;
    layout.read(&name, &mut entry, available)
}

/// Writes values of a float32 array, after its [`header`].
pub(super) fn write_values(out: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(1 << 16);
    for part in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// The header of a float32 array in C order: version 1.0 of the format, padded to a multiple of 64 bytes.
pub(super) fn header(shape: &[usize]) -> Vec<u8> {
    const START: usize = 10;
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    let len = (START + text.len() + 1).next_multiple_of(64) - START;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((len as u16).to_le_bytes());
    bytes.extend(format!("{text:<0$}\n", len - 1).bytes());
    bytes
}

/// Reads the header. Returns the layout and the length of the header. Damaged headers must not cause overflows or deep
/// recursion.
fn read_layout(name: &str, reader: &mut dyn Read, element: ElementRule) -> Result<(ArrayLayout, u64)> {
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

/// Maps the name of a file and its `descr` to the element type and whether it is big-endian.
type ElementRule = fn(&str, &str) -> Result<(Element, bool)>;

/// The element type of samples.
fn element(name: &str, descr: &str) -> Result<(Element, bool)> {
    let remedy = "use float32, float64 or uint8: save array.astype('float32')";
    let code = type_code(name, descr, remedy)?;
    match code.trim_start_matches(['<', '>', '|', '=']) {
        "f4" => Ok((Element::F32, code.starts_with('>'))),
        "f8" => Ok((Element::F64, code.starts_with('>'))),
        "u1" => Ok((Element::U8, false)),
        other => {
            let word = type_word(other);
            Err(Error::input(format!("{name}: the array contains {word} ({code:?}); {remedy}")))
        }
    }
}

/// The element type of labels.
fn label(name: &str, descr: &str) -> Result<(Element, bool)> {
    let remedy = "labels are integers: save array.astype('int64')";
    let code = type_code(name, descr, remedy)?;
    let plain = code.trim_start_matches(['<', '>', '|', '=']);
    let signed = match plain {
        "u1" | "u2" | "u4" | "u8" => false,
        "i1" | "i2" | "i4" | "i8" => true,
        _ => return element(name, descr),
    };
    let bytes = usize::from(plain.as_bytes()[1] - b'0');
    Ok((Element::Integer { bytes, signed }, code.starts_with('>')))
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
    use std::fs::{self, File};
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
        out.write_all(&header(shape))?;
        write_values(out, values)
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
            assert_eq!((back.shape, &back.values), (shape, &values));
        }
    }

    #[test]
    fn a_header_is_text_padded_to_64_bytes() {
        let bytes = header(&[1203, 128]);
        assert!(bytes.starts_with(
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1203, 128, ), }  "
        ));
        assert!(bytes.ends_with(b"  \n") && bytes.len() == 128);
        for digits in 0..60 {
            let bytes = header(&[1, 10usize.pow(digits % 19), 10usize.pow(digits / 4)]);
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
            (file("'<i8'", "False", "(1, 2)", &[0; 16]), "int64"),
            (file("'<c16'", "False", "(1, 2)", &[0; 32]), "complex128"),
            (file("'|O'", "False", "(1, 2)", &[0; 16]), "Python objects"),
            (file("[('a', '<f4')]", "False", "(2,)", &[0; 8]), "named fields"),
            (file("'<f4'", "False", "(2,)", &[0; 8]), "the length of a sample"),
            (file("'<f4'", "False", "()", &[0; 4]), "shape []"),
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
