//! Arrays in `.npy` and IDX files: a shape, an element type and the bytes.

use std::io::{self, Read};
use std::path::Path;

use half::f16;

use super::Origin;
use super::raw::{Raw, RawValues};
use super::stored::StoredArray;
use crate::{Error, Result};

/// The element types. All are read exactly as f64, except for integers beyond 2^53.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element {
    Bool,
    F16,
    F32,
    F64,
    Integer { bytes: usize, signed: bool },
}

impl Element {
    pub const U8: Self = Element::Integer { bytes: 1, signed: false };

    pub fn size(self) -> usize {
        match self {
            Element::Bool => 1,
            Element::F16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
            Element::Integer { bytes, .. } => bytes,
        }
    }

    pub fn name(self) -> String {
        match self {
            Element::Bool => "bool".into(),
            Element::F16 => "float16".into(),
            Element::F32 => "float32".into(),
            Element::F64 => "float64".into(),
            Element::Integer { bytes, signed } => format!("{}int{}", if signed { "" } else { "u" }, 8 * bytes),
        }
    }

    /// Whether float32 holds all values of the type.
    pub fn fits_f32(self) -> bool {
        match self {
            Element::Bool | Element::F16 | Element::F32 => true,
            Element::F64 => false,
            Element::Integer { bytes, .. } => bytes <= 2,
        }
    }

    /// Decodes one little-endian element.
    pub fn decode(self, bytes: &[u8]) -> f64 {
        let low = |n: usize| bytes[..n].iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        match self {
            Element::Bool => f64::from(u8::from(bytes[0] != 0)),
            Element::F16 => f16::from_bits(low(2) as u16).to_f64(),
            Element::F32 => f32::from_bits(low(4) as u32).into(),
            Element::F64 => f64::from_bits(low(8)),
            Element::Integer { bytes: n, signed: false } => low(n) as f64,
            Element::Integer { bytes: n, signed: true } => {
                // Sign extension.
                let unused = 64 - 8 * n as u32;
                ((low(n) << unused) as i64 >> unused) as f64
            }
        }
    }
}

/// The header of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ArrayLayout {
    pub shape: Vec<u64>,
    pub element: Element,
    pub big_endian: bool,
    pub fortran: bool,
}

/// The number of bytes after the header.
#[derive(Clone, Copy)]
pub(super) enum Available {
    /// The rest of a plain file.
    Exactly(u64),
    /// The upper limit of a compressed stream.
    AtMost(u64),
}

impl Available {
    /// The upper limit for `bytes` of deflate, whose maximum compression ratio is 1032.
    pub fn inflated(bytes: u64) -> Self {
        Available::AtMost(bytes.saturating_mul(1032).saturating_add(1024))
    }
}

impl ArrayLayout {
    /// Reads the elements after the header as samples along the first axis.
    pub fn read(self, name: &str, format: &str, reader: &mut dyn Read, available: Available) -> Result<Raw> {
        let mut values = self.values(name, reader, available)?;
        let dims: Vec<usize> = self.shape.iter().map(|&dim| dim as usize).collect();
        if self.fortran && !dims.contains(&0) {
            values = values.at(row_major(&dims));
        }
        let mut origin = Origin::new(format, self.element.name());
        if self.fortran {
            origin.note("the array is in Fortran order");
        }
        Ok(Raw { bytes: self.element == Element::U8, ..Raw::new(name, origin, dims, values) })
    }

    /// The elements from byte `start` of a file on, which are not read yet.
    ///
    /// # Errors
    /// When the file is too short, or cannot be opened.
    pub fn store(&self, name: &str, format: &str, path: &Path, start: u64, available: Available) -> Result<Raw> {
        let len = self.count(name, available)?;
        let dims: Vec<usize> = self.shape.iter().map(|&dim| dim as usize).collect();
        let origin = Origin::new(format, self.element.name());
        let values = RawValues::Stored(StoredArray::open(path, self, start, len)?);
        Ok(Raw { bytes: self.element == Element::U8, ..Raw::new(name, origin, dims, values) })
    }

    /// Reads the elements after the header in the order of the file.
    pub fn values(&self, name: &str, reader: &mut dyn Read, available: Available) -> Result<RawValues> {
        Ok(match self.element.fits_f32() {
            true => RawValues::F32(self.values_as(name, reader, available, |v| v as f32)?),
            false => RawValues::F64(self.values_as(name, reader, available, |v| v)?),
        })
    }

    /// Reads the elements after the header in the order of the file, converted by `convert`.
    pub fn values_as<T>(
        &self,
        name: &str,
        reader: &mut dyn Read,
        available: Available,
        convert: impl Fn(f64) -> T,
    ) -> Result<Vec<T>> {
        let count = self.count(name, available)?;
        let mut values = Vec::new();
        if let Available::Exactly(_) = available {
            values.try_reserve_exact(count).map_err(|_| {
                Error::input(format!(
                    "{name}: not enough memory for {count} values; use a smaller part of the data, or --data-from disk"
                ))
            })?;
        }
        self.fill(reader, count, &mut values, convert).map_err(|cause| {
            Error::input(format!(
                "{name}: the data end or are damaged after {} of {count} values ({cause}); copy or write the file again",
                values.len()
            ))
        })?;
        if let Available::AtMost(_) = available {
            // The decompressor verifies its checksum at the end of the stream, which may be after the values if the header
            // is damaged.
            let end = io::copy(reader, &mut io::sink());
            end.map_err(|cause| Error::input(format!("{name}: the data are damaged ({cause}); copy the file again")))?;
        }
        Ok(values)
    }

    /// The number of elements, checked against the number of available bytes.
    fn count(&self, name: &str, available: Available) -> Result<usize> {
        let count = self.shape.iter().try_fold(1u64, |count, &dim| count.checked_mul(dim));
        let bytes = count.and_then(|count| count.checked_mul(self.element.size() as u64));
        let (Available::Exactly(most) | Available::AtMost(most)) = available;
        match (count, bytes) {
            (Some(count), Some(bytes)) if bytes <= most => Ok(count as usize),
            _ => Err(Error::input(format!(
                "{name}: the header declares shape {:?} of {}, {}, but only {most} bytes follow; the file is truncated or \
                 damaged: copy or write it again",
                self.shape,
                self.element.name(),
                bytes.map_or("more than 2^64 bytes".to_string(), |bytes| format!("{bytes} bytes")),
            ))),
        }
    }

    fn fill<T>(
        &self,
        reader: &mut dyn Read,
        count: usize,
        values: &mut Vec<T>,
        convert: impl Fn(f64) -> T,
    ) -> io::Result<()> {
        let size = self.element.size();
        let mut left = count * size;
        let mut chunk = vec![0; left.min(1 << 16)];
        while left > 0 {
            let part = left.min(chunk.len());
            reader.read_exact(&mut chunk[..part])?;
            for item in chunk[..part].chunks_exact_mut(size) {
                if self.big_endian {
                    item.reverse();
                }
                values.push(convert(self.element.decode(item)));
            }
            left -= part;
        }
        Ok(())
    }
}

/// The indices of a column-major array (first index fastest) in row-major order (last index fastest).
fn row_major(dims: &[usize]) -> impl Iterator<Item = usize> {
    let strides: Vec<usize> = (0..dims.len()).map(|axis| dims[..axis].iter().product()).collect();
    let mut index = vec![0; dims.len()];
    let dims = dims.to_vec();
    (0..dims.iter().product()).map(move |_| {
        let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
        at
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, ReadOptions};

    fn layout(shape: &[u64], element: Element) -> ArrayLayout {
        ArrayLayout { shape: shape.to_vec(), element, big_endian: false, fortran: false }
    }

    fn read(layout: ArrayLayout, bytes: &[u8]) -> Result<Dataset> {
        let raw = layout.read("a", "test", &mut &bytes[..], Available::Exactly(bytes.len() as u64))?;
        raw.finish_for(&ReadOptions::default(), false)
    }

    #[test]
    fn ranks_become_kinds() {
        assert_eq!(read(layout(&[2, 3], Element::U8), &[1; 6]).unwrap().shape, [3]);
        let images = read(layout(&[2, 3, 1], Element::U8), &[255; 6]).unwrap();
        assert_eq!((images.shape, images.values[0]), (vec![1, 3, 1], 1.0));
        assert_eq!(read(layout(&[1, 3, 2, 1], Element::U8), &[1; 6]).unwrap().shape, [3, 2, 1]);
        for (shape, cause) in [
            (&[6][..], "the length of a sample"),
            (&[1, 1, 1, 2, 3], "5 axes"),
            (&[1, 6, 1, 1], "transpose(0, 3, 1, 2)"),
        ] {
            let message = read(layout(shape, Element::U8), &[1; 6]).unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn absurd_sizes_are_refused_before_allocating() {
        for shape in [&[1 << 40, 1 << 40][..], &[1 << 62, 2], &[1 << 36, 7]] {
            let message = read(layout(shape, Element::F64), &[0; 64]).unwrap_err().to_string();
            assert!(message.contains("only 64 bytes follow"), "{message}");
        }
        assert!(read(layout(&[0, 1 << 62, 3], Element::F32), &[]).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn fortran_order_is_converted() {
        let layout = ArrayLayout { fortran: true, ..layout(&[2, 3], Element::U8) };
        assert_eq!(read(layout, &[0, 3, 1, 4, 2, 5]).unwrap().values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn values_beyond_float32_are_not_called_infinite() {
        let bytes = |bad: f64| [1.0, bad].iter().flat_map(|value: &f64| value.to_le_bytes()).collect::<Vec<u8>>();
        let message = |bad| read(layout(&[1, 2], Element::F64), &bytes(bad)).unwrap_err().to_string();
        assert!(
            message(1e300).contains("1e300 at element 1 (both counted from 0), which exceeds 3.403e38"),
            "{}",
            message(1e300)
        );
        assert!(message(f64::INFINITY).contains("infinite"), "{}", message(f64::INFINITY));
    }

    #[test]
    fn big_endian_values_are_read() {
        let bytes: Vec<u8> = [1.5f64, -2.0, 3.25, 0.0].iter().flat_map(|value| value.to_be_bytes()).collect();
        let layout = ArrayLayout { big_endian: true, ..layout(&[2, 2], Element::F64) };
        assert_eq!(read(layout, &bytes).unwrap().values, [1.5, -2.0, 3.25, 0.0]);
    }

    #[test]
    fn every_element_type_is_read_exactly() {
        let integer = |bytes, signed| Element::Integer { bytes, signed };
        let pair = |element, bytes: &[u8]| read(layout(&[1, 2], element), bytes).unwrap();
        for (element, bytes, want) in [
            (Element::Bool, vec![0, 1], [0.0, 1.0]),
            (integer(1, true), vec![0x80, 0x7f], [-128.0, 127.0]),
            (integer(1, false), vec![0, 255], [0.0, 255.0]),
            (integer(2, true), vec![0x00, 0x80, 0xff, 0x7f], [-32_768.0, 32_767.0]),
            (integer(2, false), vec![0, 0, 0xff, 0xff], [0.0, 65_535.0]),
            (integer(4, true), vec![0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0], [-1.0, 2.0]),
            (integer(4, false), vec![0, 0, 0, 1, 2, 0, 0, 0], [16_777_216.0, 2.0]),
            (integer(8, true), [-3i64, 7].map(i64::to_le_bytes).concat(), [-3.0, 7.0]),
            (integer(8, false), [3u64, 7].map(u64::to_le_bytes).concat(), [3.0, 7.0]),
            (Element::F16, vec![0x00, 0xc0, 0x01, 0x00], [-2.0, 2f32.powi(-24)]),
            (Element::F16, vec![0xff, 0x7b, 0x55, 0x35], [65_504.0, 0.333_251_95]),
        ] {
            let data = pair(element, &bytes);
            assert_eq!((data.values.to_vec(), data.columns.offset), (want.to_vec(), vec![]), "{element:?}");
        }
        // Nanoseconds since 1970 keep their digits relative to an offset.
        let times: Vec<u8> =
            [1_700_000_000_000_000_512i64, 5, 1_700_000_000_000_001_024, 6].map(i64::to_le_bytes).concat();
        let data = read(layout(&[2, 2], integer(8, true)), &times).unwrap();
        assert_eq!(data.values[2] - data.values[0], 512.0);
        assert_eq!(f64::from(data.values[0]) + data.columns.offset[0], 1_700_000_000_000_000_512.0);
    }
}
