//! Arrays in `.npy` and IDX files: a shape, an element type and the bytes.

use std::io::{self, Read};

use super::Dataset;
use crate::{Error, Result};

/// The supported element types, which are converted to float32. Integers larger than a byte are supported for labels only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element {
    U8,
    F32,
    F64,
    Integer { bytes: usize, signed: bool },
}

impl Element {
    fn size(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::F32 => 4,
            Element::F64 => 8,
            Element::Integer { bytes, .. } => bytes,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Element::U8 => "uint8",
            Element::F32 => "float32",
            Element::F64 => "float64",
            Element::Integer { .. } => "integers",
        }
    }

    /// Decodes one little-endian element.
    fn decode(self, bytes: &[u8]) -> f32 {
        let low = |n: usize| bytes[..n].iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        match self {
            Element::U8 => f32::from(bytes[0]),
            Element::F32 => f32::from_bits(low(4) as u32),
            Element::F64 => f64::from_bits(low(8)) as f32,
            Element::Integer { bytes: n, signed: false } => low(n) as f32,
            Element::Integer { bytes: n, signed: true } => {
                // Sign extension.
                let unused = 64 - 8 * n as u32;
                ((low(n) << unused) as i64 >> unused) as f32
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
    pub fn read(self, name: &str, reader: &mut dyn Read, available: Available) -> Result<Dataset> {
        let values = self.values(name, reader, available)?;
        self.into_dataset(name, values)
    }

    /// Reads the elements after the header in the order of the file.
    pub fn values(&self, name: &str, reader: &mut dyn Read, available: Available) -> Result<Vec<f32>> {
        let count = self.count(name, available)?;
        let mut values = Vec::new();
        if let Available::Exactly(_) = available {
            values.try_reserve_exact(count).map_err(|_| {
                Error::input(format!("{name}: not enough memory for {count} values; use a smaller part of the data"))
            })?;
        }
        self.fill(reader, count, &mut values).map_err(|cause| match cause.kind() {
            io::ErrorKind::InvalidInput => Error::input(format!("{name}: value {} of {count}: {cause}", values.len())),
            _ => Error::input(format!(
                "{name}: the data end or are damaged after {} of {count} values ({cause}); copy or write the file again",
                values.len()
            )),
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
                bytes.map_or("too many bytes".to_string(), |bytes| format!("{bytes} bytes")),
            ))),
        }
    }

    fn fill(&self, reader: &mut dyn Read, count: usize, values: &mut Vec<f32>) -> io::Result<()> {
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
                let value = self.element.decode(item);
                if value.is_infinite() && self.element == Element::F64 && is_finite_f64(item) {
                    let text = "a value is too large for float32; rescale the data";
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
                }
                values.push(value);
            }
            left -= part;
        }
        Ok(())
    }

    fn into_dataset(self, name: &str, mut values: Vec<f32>) -> Result<Dataset> {
        let dims: Vec<usize> = self.shape.iter().map(|&dim| dim as usize).collect();
        let shape = sample_shape(name, &dims)?;
        if dims.contains(&0) {
            return Err(Error::input(format!(
                "{name}: the data set is empty (shape {dims:?}); use a file with samples"
            )));
        }
        if self.fortran {
            values = to_row_major(&dims, &values);
        }
        if self.element == Element::U8 && dims.len() >= 3 {
            values.iter_mut().for_each(|value| *value /= 255.0);
        }
        Dataset::new(name, shape, values)
    }
}

/// Whether a little-endian float64 is finite.
fn is_finite_f64(bytes: &[u8]) -> bool {
    bytes.try_into().is_ok_and(|bytes| f64::from_le_bytes(bytes).is_finite())
}

/// The shape of one sample of an array: `[n, d]`, `[n, h, w]` or `[n, c, h, w]`.
fn sample_shape(name: &str, dims: &[usize]) -> Result<Vec<usize>> {
    match *dims {
        [_, d] => Ok(vec![d]),
        [_, h, w] => Ok(vec![1, h, w]),
        [_, c, h, w @ (1 | 3 | 4)] if c > 4 => Err(Error::input(format!(
            "{name}: shape {dims:?} looks like images with the channels last ({c} x {h}, {w} channels), but images are \
             [n, channels, height, width]; save array.transpose(0, 3, 1, 2)"
        ))),
        [_, c, h, w] => Ok(vec![c, h, w]),
        [] | [_] => Err(Error::input(format!(
            "{name}: the array has shape {dims:?}, which does not contain the length of a sample; save it as [n, length] \
             for signals, [n, 2] for points or [n, c, h, w] for images, for example array.reshape(-1, 128)"
        ))),
        _ => Err(Error::input(format!(
            "{name}: the array has shape {dims:?} with {} axes, but at most 4 are supported; save it as [n, length] for \
             signals, [n, 2] for points or [n, c, h, w] for images",
            dims.len()
        ))),
    }
}

/// Column-major (first index fastest) to row-major (last index fastest).
fn to_row_major(dims: &[usize], values: &[f32]) -> Vec<f32> {
    let strides: Vec<usize> = (0..dims.len()).map(|axis| dims[..axis].iter().product()).collect();
    let mut index = vec![0; dims.len()];
    (0..values.len())
        .map(|_| {
            let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                if index[axis] < dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
            values[at]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(shape: &[u64], element: Element) -> ArrayLayout {
        ArrayLayout { shape: shape.to_vec(), element, big_endian: false, fortran: false }
    }

    fn read(layout: ArrayLayout, bytes: &[u8]) -> Result<Dataset> {
        layout.read("a", &mut &bytes[..], Available::Exactly(bytes.len() as u64))
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
        assert!(message(1e300).contains("value 1 of 2: a value is too large for float32"), "{}", message(1e300));
        assert!(message(f64::INFINITY).contains("infinite"), "{}", message(f64::INFINITY));
    }

    #[test]
    fn big_endian_values_are_read() {
        let bytes: Vec<u8> = [1.5f64, -2.0, 3.25, 0.0].iter().flat_map(|value| value.to_be_bytes()).collect();
        let layout = ArrayLayout { big_endian: true, ..layout(&[2, 2], Element::F64) };
        assert_eq!(read(layout, &bytes).unwrap().values, [1.5, -2.0, 3.25, 0.0]);
    }
}
