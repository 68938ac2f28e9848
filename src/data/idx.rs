//! IDX, the format of MNIST: two zero bytes, the type, the number of axes, a big-endian u32 per axis, the data.

use std::io::{BufReader, Read};
use std::path::Path;

use super::array::{ArrayLayout, Available, Element};
use super::raw::Raw;
use super::{Place, ReadOptions, first_bytes, open};
use crate::{Error, Result};

/// Reads an IDX file, plain or compressed with gzip.
pub(super) fn read(path: &Path, options: &ReadOptions) -> Result<Raw> {
    const FORMAT: &str = "IDX array";
    with_layout(path, |layout, name, reader, (start, available)| {
        if layout.shape.len() == 1 {
            return Err(Error::input(format!(
                "{name}: an IDX file with one axis contains labels, not samples; use the file of the images \
                 (such as train-images-idx3-ubyte)"
            )));
        }
        match (options.stays_on_disk(name, &layout)?, start) {
            (true, Some(start)) => layout.store(name, FORMAT, path, start, available),
            (true, None) if options.place == Some(Place::Disk) => Err(Error::setting(format!(
                "{name}: a compressed file cannot be read from disk during the training; unpack it with gunzip, or omit --data-from \
                 disk"
            ))),
            _ => layout.read(name, FORMAT, reader, available),
        }
    })
}

/// The header, and whether the file is not compressed.
pub(super) fn layout(path: &Path) -> Result<(ArrayLayout, bool)> {
    with_layout(path, |layout, _, _, (start, _)| Ok((layout, start.is_some())))
}

/// Reads the labels in an IDX file. Returns the shape and the values.
pub(super) fn read_labels(path: &Path) -> Result<(Vec<u64>, Vec<f32>)> {
    with_layout(path, |layout, name, reader, (_, available)| {
        let values = layout.values_as(name, reader, available, |v| v as f32)?;
        Ok((layout.shape, values))
    })
}

fn with_layout<T>(
    path: &Path,
    read: impl FnOnce(ArrayLayout, &str, &mut dyn Read, (Option<u64>, Available)) -> Result<T>,
) -> Result<T> {
    let name = path.display().to_string();
    let file = open(path)?;
    let len = file.metadata().map_err(|cause| Error::io("cannot read", path, cause))?.len();
    let mut file = BufReader::new(file);
    if first_bytes(path)?.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = flate2::bufread::MultiGzDecoder::new(file);
        read(read_layout(&name, &mut unpacked)?, &name, &mut unpacked, (None, Available::inflated(len)))
    } else {
        let layout = read_layout(&name, &mut file)?;
        let header = 4 + 4 * layout.shape.len() as u64;
        read(layout, &name, &mut file, (Some(header), Available::Exactly(len.saturating_sub(header))))
    }
}

fn read_layout(name: &str, reader: &mut dyn Read) -> Result<ArrayLayout> {
    let cut = |cause: std::io::Error| {
        Error::input(format!("{name}: the IDX header cannot be read ({cause}); copy or download the file again"))
    };
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(cut)?;
    let [0, 0, code, rank @ 1..=4] = magic else {
        return Err(Error::input(format!(
            "{name}: not an IDX file (it begins with {magic:02x?}); compressed files of other formats must be unpacked"
        )));
    };
    let element = element(name, code)?;
    let mut shape = Vec::new();
    for _ in 0..rank {
        let mut dim = [0; 4];
        reader.read_exact(&mut dim).map_err(cut)?;
        shape.push(u64::from(u32::from_be_bytes(dim)));
    }
    Ok(ArrayLayout { shape, element, big_endian: true, fortran: false })
}

fn element(name: &str, code: u8) -> Result<Element> {
    Ok(match code {
        0x08 => Element::U8,
        0x09 => Element::Integer { bytes: 1, signed: true },
        0x0b => Element::Integer { bytes: 2, signed: true },
        0x0c => Element::Integer { bytes: 4, signed: true },
        0x0d => Element::F32,
        0x0e => Element::F64,
        _ => {
            return Err(Error::input(format!(
                "{name}: the IDX file contains an unknown type (0x{code:02x}); copy or download the file again"
            )));
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::refusal;
    use crate::data::Dataset;
    use std::fs;
    use std::io::Write;

    pub fn sample_file() -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend([0, 51, 102, 153, 204, 255, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    pub fn sample_gzip() -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(&sample_file()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_compressed_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("train-images-idx3-ubyte", sample_file()), ("images.gz", sample_gzip())] {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let data = Dataset::load(path.to_str().unwrap(), 0).unwrap();
            assert_eq!((data.shape.clone(), data.len()), (vec![1, 2, 3], 2));
            assert_eq!(data.sample(0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        }
    }

    #[test]
    fn every_type_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.idx");
        for (code, bytes) in [
            (0x08, vec![1, 2, 3]),
            (0x09, vec![1, 2, 3]),
            (0x0b, [1i16, 2, 3].map(i16::to_be_bytes).concat()),
            (0x0c, [1i32, 2, 3].map(i32::to_be_bytes).concat()),
            (0x0d, [1f32, 2.0, 3.0].map(f32::to_be_bytes).concat()),
            (0x0e, [1f64, 2.0, 3.0].map(f64::to_be_bytes).concat()),
        ] {
            fs::write(&path, [&[0, 0, code, 2, 0, 0, 0, 1, 0, 0, 0, 3][..], &bytes].concat()).unwrap();
            assert_eq!(Dataset::load(path.to_str().unwrap(), 0).unwrap().values, [1.0, 2.0, 3.0], "{code:#x}");
        }
    }

    #[test]
    fn bad_files_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        let sized = |dims: [u8; 4]| [&[0, 0, 8, 2][..], &dims, &[0, 0, 0, 2], &[1, 2]].concat();
        let (file, gzip) = (sample_file(), sample_gzip());
        for (bytes, cause) in [
            (vec![0, 0, 8, 1, 0, 0, 0, 1, 7], "labels"),
            (vec![0, 0, 10, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0], "0x0a"),
            (sized([0xff; 4]), "only 2 bytes follow"),
            (file[..20].to_vec(), "only 4 bytes follow"),
            (file[..9].to_vec(), "header cannot be read"),
            (gzip[..gzip.len() - 12].to_vec(), "copy or"),
        ] {
            fs::write(&path, bytes).unwrap();
            let message = refusal(&path);
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn a_damaged_checksum_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        let mut gzip = sample_gzip();
        let at = gzip.len() - 8;
        gzip[at] ^= 1;
        fs::write(&path, gzip).unwrap();
        assert!(refusal(&path).contains("damaged"));
    }
}
