//! The element types of written arrays, and what is lost in them.

use half::f16;
use serde::{Deserialize, Serialize};

use super::super::{Dataset, Kind};
use super::{PART, parts_of};
use crate::text::short;
use crate::{Error, Result};

/// The element type of an array that is written.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ElementType {
    /// Eight bits: whole numbers 0 to 255; the pixels 0..1 of images times 255.
    Uint8,
    /// IEEE 754 binary16: 11 significant bits, up to 65504.
    Float16,
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary64, for columns whose values differ little for their size.
    Float64,
}

named!(ElementType, "element type", Uint8 = "uint8", Float16 = "float16", Float32 = "float32", Float64 = "float64");

/// The root mean square of the rounding errors may be this part of the standard deviation of a column or channel.
const LARGEST_LOSS: f64 = 0.01;

/// Rounding errors below this part of the standard deviation are those of the last bits of float32.
const NO_LOSS: f64 = 1e-6;

impl ElementType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Uint8 => 1,
            Self::Float16 => 2,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// The type in the header of a `.npy` file.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Uint8 => "|u1",
            Self::Float16 => "<f2",
            Self::Float32 => "<f4",
            Self::Float64 => "<f8",
        }
    }

    /// What the values of samples are multiplied by.
    fn scale(self, kind: Kind) -> f64 {
        if self == Self::Uint8 && kind == Kind::Images { 255.0 } else { 1.0 }
    }

    /// The nearest value that the type holds; `None` beyond its range. Unknown values (NaN) stay unknown, if the type has one.
    fn rounded(self, kind: Kind, value: f64) -> Option<f64> {
        let scale = self.scale(kind);
        let near = match self {
            Self::Uint8 => Some((value * scale).round()).filter(|code| (0.0..=255.0).contains(code)),
            Self::Float16 => Some(f16::from_f64(value).to_f64()).filter(|near| !near.is_infinite()),
            Self::Float32 => Some(f64::from(value as f32)).filter(|near| !near.is_infinite()),
            Self::Float64 => Some(value),
        };
        near.map(|near| near / scale)
    }

    /// Appends the bytes of a value that the type holds.
    pub(super) fn append(self, kind: Kind, value: f64, bytes: &mut Vec<u8>) {
        match self {
            Self::Uint8 => bytes.push((value * self.scale(kind)).round() as u8),
            Self::Float16 => bytes.extend(f16::from_f64(value).to_le_bytes()),
            Self::Float32 => bytes.extend((value as f32).to_le_bytes()),
            Self::Float64 => bytes.extend(value.to_le_bytes()),
        }
    }

    /// The type of samples if none is stated: float32, or float64 where their values need offsets.
    pub(super) fn for_data(data: &Dataset) -> Self {
        if data.columns.offset.is_empty() { Self::Float32 } else { Self::Float64 }
    }

    /// Whether float32 values relative to the offsets of the data keep all of their bits.
    fn is_exact(self, data: &Dataset) -> bool {
        self == Self::Float64 || self == Self::Float32 && data.columns.offset.is_empty()
    }

    /// The largest rounding error of a column or channel as a part of its standard deviation (root mean square); `None`
    /// without a loss.
    ///
    /// # Errors
    /// [`Error::Setting`] when a value is beyond the range of the type, or the loss is larger than a hundredth.
    pub(super) fn loss(self, data: &Dataset) -> Result<Option<f64>> {
        if self.is_exact(data) {
            return Ok(None);
        }
        let (groups, len) = (data.grouping(), data.sample_len());
        let mut columns = vec![Rounding::default(); groups.count];
        for (first, values) in parts_of(data, 0..data.len(), PART) {
            for (i, &value) in values?.iter().enumerate() {
                let exact = f64::from(value) + data.columns.offset_of(groups.at(i));
                let Some(near) = self.rounded(data.kind(), exact) else {
                    let sample = first + i / len;
                    return Err(Error::setting(format!(
                        "{}: sample {sample} has {} at element {} (both counted from 0), which {self} does not hold; it holds \
                         {}; use --dtype {}",
                        data.name,
                        if exact.is_nan() { "an unknown value".to_string() } else { short(exact) },
                        i % len,
                        self.range(data.kind()),
                        Self::for_data(data),
                    )));
                };
                if !exact.is_nan() {
                    columns[groups.at(i)].add(value.into(), near - exact);
                }
            }
        }
        let losses = columns.iter().map(Rounding::relative).enumerate();
        let (group, most) = losses.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
        if most > LARGEST_LOSS {
            let what = match groups.count {
                1 => "the values".to_string(),
                _ => data.columns.title(data.kind(), group),
            };
            return Err(Error::setting(format!(
                "{}: {self} would change {what} by {} of their standard deviation (root mean square), more than {}; use \
                 --dtype {}",
                data.name,
                percent(most),
                percent(LARGEST_LOSS),
                Self::for_data(data),
            )));
        }
        Ok((most > NO_LOSS).then_some(most))
    }

    fn range(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Uint8, Kind::Images) => "pixels from 0 to 1",
            (Self::Uint8, _) => "whole numbers from 0 to 255",
            (Self::Float16, _) => "values from -65504 to 65504",
            _ => "values up to 3.4e38",
        }
    }
}

/// "0.03%".
pub(super) fn percent(part: f64) -> String {
    let percent = 100.0 * part;
    let digits = (1.0 - percent.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{percent:.digits$}%")
}

/// Sums over the values of a column or channel.
#[derive(Clone, Copy, Debug, Default)]
struct Rounding {
    n: f64,
    sum: f64,
    squares: f64,
    errors: f64,
}

impl Rounding {
    fn add(&mut self, value: f64, error: f64) {
        self.n += 1.0;
        self.sum += value;
        self.squares += value * value;
        self.errors += error * error;
    }

    /// The root mean square of the errors, divided by the standard deviation; for a constant, by its size.
    fn relative(&self) -> f64 {
        if self.errors == 0.0 {
            return 0.0;
        }
        let (mean, square) = (self.sum / self.n, self.squares / self.n);
        let variance = square - mean * mean;
        // A variance below the rounding of the sums is that of a constant.
        let size = if variance > 1e-12 * square { variance } else { square };
        (self.errors / self.n / size).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(element: ElementType, shape: &[usize], values: Vec<f32>) -> Result<Option<f64>> {
        element.loss(&Dataset::new("d", shape, values).unwrap())
    }

    #[test]
    fn what_a_type_holds_is_written_without_loss() {
        use ElementType::{Float16, Float32, Uint8};
        let pixels: Vec<f32> = (0..=255).map(|k| k as f32 / 255.0).collect();
        assert_eq!(loss(Uint8, &[1, 16, 16], pixels.clone()).unwrap(), None);
        assert_eq!(loss(Uint8, &[16], (0..=255).map(|k| k as f32).collect()).unwrap(), None);
        assert_eq!(loss(Float16, &[4], vec![0.5, -2.25, 65_504.0, 1024.0]).unwrap(), None);
        assert_eq!(loss(Float32, &[4], vec![0.1, 1e38, -1e-38, 3.0]).unwrap(), None);
        let mut bytes = Vec::new();
        pixels.iter().for_each(|&v| Uint8.append(Kind::Images, v.into(), &mut bytes));
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn rounding_is_measured_and_refused_if_it_is_large() {
        use ElementType::{Float16, Uint8};
        let wave: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let of_wave = loss(Float16, &[10], wave.clone()).unwrap().unwrap();
        assert!((1e-4..4e-4).contains(&of_wave), "{of_wave}");
        let message = |element, values: &[f32]| loss(element, &[10], values.to_vec()).unwrap_err().to_string();
        // Values near 1000 have steps of a half.
        let far: Vec<f32> = wave.iter().map(|v| 1000.0 + v).collect();
        assert!(
            message(Float16, &far).contains("float16 would change the values by 19%"),
            "{}",
            message(Float16, &far)
        );
        let large: Vec<f32> = wave.iter().map(|v| 1e5 * v).collect();
        assert!(message(Float16, &large).contains("values from -65504 to 65504; use --dtype float32"));
        assert!(message(Uint8, &wave).contains("which uint8 does not hold; it holds whole numbers from 0 to 255"));
        let small: Vec<f32> = wave.iter().map(|v| 1.0 + 0.4 * v).collect();
        assert!(message(Uint8, &small).contains("uint8 would change the values by"), "{}", message(Uint8, &small));
        let image: Vec<f32> = (0..600).map(|i| 0.5 + 0.5 * (i as f32 * 0.37).sin()).collect();
        let of_image = loss(Uint8, &[1, 10, 10], image).unwrap().unwrap();
        assert!((2e-3..5e-3).contains(&of_image), "{of_image}");
        let constant = loss(Float16, &[2], vec![0.1, 0.5, 0.1, 2.0, 0.1, 1.0]).unwrap().unwrap();
        assert!(constant < 1e-3, "{constant}");
    }
}
