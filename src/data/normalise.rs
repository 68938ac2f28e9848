//! The map between the units of the data and those of the network.

use super::{Dataset, GroupSummary, Grouping, Kind, Subset};
use crate::text::short;
use crate::{Error, Result};

/// x_norm = (x - shift) / scale, with one entry for images and signals of one channel, one per coordinate for points, one
/// per column for tables, and one per channel for other signals.
///
/// *Units*: `shift` and `scale` are in units of the data without their offsets, `bound` in normalised units.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalisation {
    /// The value that is subtracted.
    pub shift: Vec<f32>,
    /// The positive divisor.
    pub scale: Vec<f32>,
    /// The largest |x_norm| of the data, to which samplers clip their estimates of x0.
    pub bound: f32,
    /// The number of consecutive values that share an entry: the length of a channel, otherwise 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub repeat: usize,
}

fn one() -> usize {
    1
}

fn is_one(repeat: &usize) -> bool {
    *repeat == 1
}

impl Normalisation {
    /// Mean 0 and standard deviation 1, computed in f64 over all values (of a coordinate).
    ///
    /// # Errors
    /// [`Error::Input`] when the values (of a coordinate) do not vary, or by less than the resolution of float32.
    pub fn standard(data: &Dataset) -> Result<Self> {
        let data = Subset::all(data);
        Self::standard_of(&data, &data.summary()?)
    }

    /// [`Normalisation::standard`] of data with this summary.
    pub(crate) fn standard_of(data: &Subset, groups: &[GroupSummary]) -> Result<Self> {
        Self::fit(data, groups, groups.iter().map(|group| (group.mean(), group.deviation())))
    }

    /// Whether all entries are equal but for rounding.
    pub(crate) fn is_close_to(&self, other: &Self) -> bool {
        let values = |of: &Self| [&of.shift[..], &of.scale, &[of.bound]].concat();
        let (a, b) = (values(self), values(other));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 4.0 * f32::EPSILON * a.abs().max(b.abs());
        self.shift.len() == other.shift.len() && a.len() == b.len() && a.iter().zip(&b).all(close)
    }

    /// Minimum -1 and maximum 1.
    ///
    /// # Errors
    /// As [`Normalisation::standard`].
    pub fn range(data: &Dataset) -> Result<Self> {
        let data = Subset::all(data);
        Self::range_of(&data, &data.summary()?)
    }

    /// [`Normalisation::range`] of data with this summary.
    pub(crate) fn range_of(data: &Subset, groups: &[GroupSummary]) -> Result<Self> {
        let ends = groups.iter().map(|group| ((group.low + group.high) / 2.0, (group.high - group.low) / 2.0));
        Self::fit(data, groups, ends)
    }

    /// The normalisation with the shift and the scale of each coordinate.
    fn fit(data: &Subset, groups: &[GroupSummary], rules: impl Iterator<Item = (f64, f64)>) -> Result<Self> {
        let coordinates = groups.len();
        let grouping = Grouping::of(data.kind(), data.shape());
        let repeat = if coordinates == 1 { 1 } else { grouping.repeat };
        let mut fitted = Normalisation { shift: Vec::new(), scale: Vec::new(), bound: 0.0, repeat };
        for (coordinate, (values, (shift, mut scale))) in groups.iter().zip(rules).enumerate() {
            if values.is_empty() {
                let title = data.columns().title(data.kind(), coordinate);
                return Err(Error::input(format!("{}: {title} has no known value at all; leave it out", data.name())));
            }
            // A spread below the resolution of float32 is the rounding of a constant.
            if !(scale > 1e-7 * shift.abs() && scale as f32 >= f32::MIN_POSITIVE) {
                let [low, high] = values.ends().map(f64::from);
                let offset = data.columns().offset_of(coordinate);
                // A table or a signal may have constant columns or channels besides others.
                let other = |c: usize| c != coordinate && groups[c].low < groups[c].high;
                let apart = matches!(data.kind(), Kind::Table | Kind::Signals);
                if low == high && apart && (0..coordinates).any(other) {
                    scale = 1.0;
                } else {
                    let what = match (coordinates, data.kind()) {
                        (1, _) => "every value".to_string(),
                        (_, Kind::Points) => format!("coordinate {coordinate} of every point"),
                        (_, kind) => format!("every value of {}", data.columns().title(kind, coordinate)),
                    };
                    return Err(no_spread(data.name(), &what, [low + offset, high + offset]));
                }
            }
            fitted.shift.push(shift as f32);
            fitted.scale.push(scale as f32);
        }
        let ends: Vec<[f32; 2]> = groups.iter().map(GroupSummary::ends).collect();
        let ends = fitted.apply_to_ranges(&ends);
        fitted.bound = ends.as_flattened().iter().fold(0.0, |bound, x| x.abs().max(bound));
        Ok(fitted)
    }

    /// Whether samples have the same values in normalised units. The bound may differ.
    pub(crate) fn maps_like(&self, other: &Self) -> bool {
        *self == Self { bound: self.bound, ..other.clone() }
    }

    /// This normalisation for samples of another length.
    pub(crate) fn repeated_for(&self, kind: Kind, shape: &[usize]) -> Self {
        let repeat = if self.shift.len() == 1 { 1 } else { Grouping::of(kind, shape).repeat };
        Self { repeat, ..self.clone() }
    }

    /// Maps data to normalised units. `values` are whole samples.
    pub fn apply(&self, values: &[f32]) -> Vec<f32> {
        let mut values = values.to_vec();
        self.apply_in_place(&mut values);
        values
    }

    /// [`Normalisation::apply`] in place.
    #[inline(always)]
    pub(crate) fn apply_in_place(&self, values: &mut [f32]) {
        self.map(values, |x, shift, scale| (x - shift) / scale);
    }

    /// Shift and scale of each value of a sample, or of all values if they are the same.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (f32, f32)> + Clone + '_ {
        let entries = self.shift.iter().copied().zip(self.scale.iter().copied());
        entries.flat_map(move |entry| std::iter::repeat_n(entry, self.repeat))
    }

    /// Maps ranges of data, one per entry, to normalised units.
    pub(crate) fn apply_to_ranges(&self, ranges: &[[f32; 2]]) -> Vec<[f32; 2]> {
        let entries = self.shift.iter().zip(&self.scale);
        let apply = |x: f32, shift: f32, scale: f32| ((f64::from(x) - f64::from(shift)) / f64::from(scale)) as f32;
        ranges.iter().zip(entries).map(|(range, (&shift, &scale))| range.map(|x| apply(x, shift, scale))).collect()
    }

    /// Maps normalised values back to the units of the data.
    pub fn undo(&self, values: &[f32]) -> Vec<f32> {
        let mut values = values.to_vec();
        self.map(&mut values, |x, shift, scale| x * scale + shift);
        values
    }

    #[inline(always)]
    fn map(&self, values: &mut [f32], rule: impl Fn(f64, f64, f64) -> f64) {
        let wide = f64::from;
        let one = |x: &mut f32, shift: f32, scale: f32| *x = rule(wide(*x), wide(shift), wide(scale)) as f32;
        // Loops over slices, which the compiler vectorises.
        match (&self.shift[..], &self.scale[..]) {
            (&[shift], &[scale]) => values.iter_mut().for_each(|x| one(x, shift, scale)),
            (shifts, scales) if self.repeat == 1 => {
                for sample in values.chunks_mut(shifts.len()) {
                    sample.iter_mut().zip(shifts).zip(scales).for_each(|((x, shift), scale)| one(x, *shift, *scale));
                }
            }
            (shifts, scales) => {
                let entries = shifts.iter().zip(scales).cycle();
                for (channel, (shift, scale)) in values.chunks_mut(self.repeat).zip(entries) {
                    channel.iter_mut().for_each(|x| one(x, *shift, *scale));
                }
            }
        }
    }
}

/// The error for values between these limits, which are too close for a scale.
fn no_spread(name: &str, what: &str, [low, high]: [f64; 2]) -> Error {
    Error::input(match low == high {
        true => format!(
            "{name}: {what} is {}, so it cannot be normalised; check the file, or remove constant values",
            short(low)
        ),
        false => format!(
            "{name}: {what} is between {:e} and {:e}, which is too small a range for float32; subtract the mean and scale \
             the values to about 1",
            low as f32, high as f32
        ),
    })
}

impl Dataset {
    /// The smallest and largest value of each column or channel, without its offset.
    ///
    /// # Errors
    /// When the values cannot be read.
    pub fn ranges(&self) -> Result<Vec<[f32; 2]>> {
        Ok(Subset::all(self).summary()?.iter().map(GroupSummary::ends).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_has_mean_0_and_deviation_1() {
        let data = Dataset::new("d", [4], vec![1.0, 3.0, 1.0, 3.0, 5.0, -1.0, 5.0, -1.0]).unwrap();
        let norm = Normalisation::standard(&data).unwrap();
        assert_eq!((norm.shift.clone(), norm.scale.clone()), (vec![2.0], vec![5f32.sqrt()]));
        assert!((norm.bound - 3.0 / 5f32.sqrt()).abs() < 1e-6);
        // Far from 0, and with a first value that is far from the others.
        for first in [1e6f32, -1e7] {
            let mut values: Vec<f32> = (0..4000).map(|i| 1e6 + (i % 8) as f32 / 4.0).collect();
            values[0] = first;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 4000.0;
            let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
            let norm = Normalisation::standard(&Dataset::new("d", [4], values).unwrap()).unwrap();
            assert_eq!((norm.shift[0], norm.scale[0]), (mean as f32, (squares / 4000.0).sqrt() as f32));
        }
        let back = norm.undo(&norm.apply(&data.values));
        assert!(back.iter().zip(&data.values).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn points_have_one_entry_per_coordinate() {
        let data = Dataset::new("d", [2], vec![0.0, 100.0, 1.0, 300.0, 2.0, 200.0]).unwrap();
        let norm = Normalisation::range(&data).unwrap();
        assert_eq!((norm.shift.clone(), norm.scale.clone()), (vec![1.0, 200.0], vec![1.0, 100.0]));
        assert_eq!((norm.apply(&data.values), norm.bound), (vec![-1.0, -1.0, 0.0, 1.0, 1.0, 0.0], 1.0));
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let data = Dataset::new("d", [3], vec![-3e38, 3e38, 0.0, 1e38, -1e38, 2e38]).unwrap();
        assert_eq!(Normalisation::range(&data).unwrap().bound, 1.0);
        assert!(Normalisation::standard(&data).unwrap().bound.is_finite());
    }

    #[test]
    fn data_without_spread_are_refused() {
        let message = |shape: usize, values: Vec<f32>| {
            let data = Dataset::new("d", [shape], values).unwrap();
            assert!(Normalisation::range(&data).is_err());
            Normalisation::standard(&data).unwrap_err().to_string()
        };
        assert!(message(3, vec![0.1; 6]).contains("every value is 0.1,"));
        assert!(message(2, vec![1.0, 7.0, 2.0, 7.0]).contains("coordinate 1 of every point is 7"));
        let tiny = message(3, vec![-1.28e-41, 1e-41, 0.0, 1e-41, 0.0, 0.0]);
        assert!(tiny.contains("between -1.28") && tiny.contains("too small a range for float32"), "{tiny}");
    }

    #[test]
    fn tables_and_channels_have_one_entry_each() {
        let values: Vec<f32> = (0..12).map(|i| (i as f32).powi(2)).collect();
        let table = Dataset::new("d", [3], values.clone()).unwrap().of_kind(Kind::Table).unwrap();
        let norm = Normalisation::range(&table).unwrap();
        assert_eq!((norm.shift.len(), norm.repeat), (3, 1));
        let columns = norm.apply(&values);
        assert_eq!((&columns[..3], &columns[9..]), (&[-1.0; 3][..], &[1.0; 3][..]));

        let signals = Dataset::new("d", [2, 3], values.clone()).unwrap();
        let norm = Normalisation::range(&signals).unwrap();
        assert_eq!((norm.shift.len(), norm.repeat), (2, 3));
        let applied = norm.apply(&values);
        assert_eq!((applied[0], applied[8], applied[3], applied[11]), (-1.0, 1.0, -1.0, 1.0));
        assert!(norm.undo(&applied).iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-4));
        assert_eq!(norm.apply_to_ranges(&signals.ranges().unwrap()), [[-1.0, 1.0]; 2]);
    }

    /// A table may have a constant column.
    #[test]
    fn a_constant_column_stays_constant() {
        let table = Dataset::new("d", [3], vec![1.0, 7.0, 2.0, 3.0, 7.0, 5.0]).unwrap().of_kind(Kind::Table).unwrap();
        let norm = Normalisation::standard(&table).unwrap();
        assert_eq!((norm.shift[1], norm.scale[1]), (7.0, 1.0));
        let flat = Dataset::new("d", [3], vec![7.0; 6]).unwrap().of_kind(Kind::Table).unwrap();
        assert!(Normalisation::standard(&flat).unwrap_err().to_string().contains("column 1"));
    }
}
