//! Scaling of samples and data before distances are measured.

use crate::Result;
use crate::data::{Dataset, Kind};

/// Which values share a scale. A scale is the standard deviation of these values in the data, rounded to a power of two.
///
/// Rounding makes the scale a property of the distribution rather than of this draw of the data. With the exact standard
/// deviation, the data have a deviation of exactly 1 and the samples do not, which tests with many columns detect.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Scaling {
    /// Each value of a sample has its own scale, as for the columns of a table.
    Columns,
    /// One scale for each channel of images and signals.
    Channels,
}

named!(Scaling, "scaling", Columns = "columns", Channels = "channels");

/// Samples with at most this many values are scaled by column unless requested otherwise.
const SHORT: usize = 32;

/// Scaled values are limited to this distance from the mean of the data, so that their squares stay finite.
const LIMIT: f64 = 1e6;

impl Scaling {
    /// Columns for tables, points and signals with up to 32 values, otherwise channels.
    pub fn of(data: &Dataset) -> Self {
        match data.kind() {
            Kind::Points | Kind::Table => Self::Columns,
            Kind::Signals if data.sample_len() <= SHORT => Self::Columns,
            _ => Self::Channels,
        }
    }

    /// The number of consecutive values of a sample that share a scale.
    fn group(self, data: &Dataset) -> usize {
        match (self, &data.shape[..]) {
            (Self::Columns, _) => 1,
            (Self::Channels, [_, h, w]) => h * w,
            (Self::Channels, [_, length]) => *length,
            (Self::Channels, _) => data.sample_len(),
        }
    }

    /// Whether samples have more than one scale.
    pub(super) fn has_several(self, data: &Dataset) -> bool {
        self.group(data) < data.sample_len()
    }

    /// Both sets in units of the scales, with the means of the data subtracted. Values without spread in the data keep
    /// their scale.
    pub(super) fn apply(self, samples: &Dataset, data: &Dataset) -> Result<[Dataset; 2]> {
        let group = self.group(data);
        let scales: Vec<(f64, f64)> = (0..data.sample_len() / group).map(|g| mean_and_scale(data, g, group)).collect();
        let scaled = |set: &Dataset| {
            let scaled = |(i, &x): (usize, &f32)| {
                let (mean, scale) = scales[i % set.sample_len() / group];
                ((f64::from(x) - mean) / scale).clamp(-LIMIT, LIMIT) as f32
            };
            Dataset::new(set.name.clone(), set.shape.clone(), set.values.iter().enumerate().map(scaled).collect())
        };
        Ok([scaled(samples)?, scaled(data)?])
    }
}

/// Mean and scale of values `g * group` to `(g + 1) * group` of all samples.
fn mean_and_scale(data: &Dataset, g: usize, group: usize) -> (f64, f64) {
    let values = || data.values.chunks(data.sample_len()).flat_map(|sample| &sample[g * group..][..group]);
    let n = (data.len() * group) as f64;
    let mean = values().map(|&x| f64::from(x)).sum::<f64>() / n;
    let deviation = (values().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt();
    // Less than the resolution of float32 is rounding.
    let spread = deviation > 1e-7 * mean.abs();
    (mean, if spread { deviation.log2().round().exp2() } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_channels_have_their_own_scales() {
        // Columns of standard deviation 0.01, 1, 0 and 100.
        let row = |sign: f32| [0.01 * sign, 5.0 + sign, 7.0, 100.0 * sign];
        let table = Dataset::new("t", [4], [row(1.0), row(-1.0)].concat()).unwrap();
        let [scaled, _] = Scaling::Columns.apply(&table, &table).unwrap();
        assert!((scaled.values[0] - 1.28).abs() < 1e-5 && (scaled.values[3] - 0.78125).abs() < 1e-5);
        assert_eq!((scaled.values[1], scaled.values[2], Scaling::of(&table)), (1.0, 0.0, Scaling::Columns));
        let image = Dataset::new("i", [2, 1, 2], vec![0.0, 2.0, -64.0, 64.0]).unwrap();
        let [scaled, _] = Scaling::of(&image).apply(&image, &image).unwrap();
        assert_eq!(scaled.values, [-1.0, 1.0, -1.0, 1.0]);
        assert!(Scaling::of(&image).has_several(&image) && !Scaling::Channels.has_several(&table));
        let wide = Dataset::new("w", [40], vec![0.5; 80]).unwrap();
        assert_eq!(Scaling::of(&wide), Scaling::Channels);
        assert_eq!(Scaling::of(&wide.of_kind(Kind::Table).unwrap()), Scaling::Columns);
        let signals = Dataset::new("s", [2, 40], (0..80).map(|i| if i < 40 { 1.0 } else { 64.0 }).collect()).unwrap();
        assert_eq!((Scaling::of(&signals), Scaling::Channels.group(&signals)), (Scaling::Channels, 40));
        let huge = Dataset::new("h", [4], vec![3e38; 4]).unwrap();
        assert_eq!(Scaling::Columns.apply(&huge, &table).unwrap()[0].values, [1e6; 4]);
    }
}
