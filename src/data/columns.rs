//! Which values of a sample belong together, and how they are written in the units of the data.

use serde::{Deserialize, Serialize};

use super::Kind;

/// Which values share a name, an offset, a range and a normalisation: the columns of tables and points, the channels of
/// signals, all values of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// The number of groups.
    pub count: usize,
    /// The number of consecutive values of one group.
    pub repeat: usize,
}

impl Grouping {
    pub fn of(kind: Kind, shape: &[usize]) -> Self {
        let len = shape.iter().product::<usize>().max(1);
        match (kind, shape) {
            (Kind::Points | Kind::Table, _) => Self { count: len, repeat: 1 },
            (Kind::Signals, &[channels, length]) => Self { count: channels, repeat: length },
            _ => Self { count: 1, repeat: len },
        }
    }

    /// The group of a value, from its index in a list of whole samples.
    pub fn at(self, index: usize) -> usize {
        index / self.repeat % self.count
    }

    /// The values of one group, from whole samples.
    pub fn values<T: Copy>(self, group: usize, values: &[T]) -> impl Iterator<Item = T> + '_ {
        values.chunks(self.repeat).skip(group).step_by(self.count).flatten().copied()
    }
}

/// How the values of a sample are written in the units of the data: the names of its columns or channels, and what is added
/// to their values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The names of columns or channels, or of the values of a signal with one channel; empty if they have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// A number for each column or channel that is added to its values, so that float32 holds the digits of large numbers
    /// that differ little, such as timestamps; empty if none is needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offset: Vec<f64>,
    /// Whether all values of a column are whole numbers; empty if there is no such column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub whole: Vec<bool>,
    /// The columns of categories, each of which is several values of a sample.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Categories>,
}

/// A column of categories in a table. A sample has a value for each category, which is 1 for the category of the row and
/// otherwise 0. Of generated values, the largest one is the category.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    /// The name of the column.
    pub name: String,
    /// The index of the value of the first category.
    pub first: usize,
    /// The categories.
    pub values: Vec<String>,
}

impl Categories {
    /// The category of a sample: the one with the largest value.
    pub fn of(&self, sample: &[f32]) -> usize {
        let values = &sample[self.first..][..self.values.len()];
        // The first of equal ones.
        (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
    }
}

impl Columns {
    /// Whether there is nothing to write but the values.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The offset of a column or channel.
    pub fn offset_of(&self, group: usize) -> f64 {
        self.offset.get(group).copied().unwrap_or(0.0)
    }

    /// The name of a column or channel for messages: "column alcohol", "column 3 (counted from 1)".
    pub(crate) fn title(&self, kind: Kind, group: usize) -> String {
        let what = if kind == Kind::Signals { "channel" } else { "column" };
        match self.names.get(group) {
            Some(name) => format!("{what} {name}"),
            None => format!("{what} {} (counted from 1)", group + 1),
        }
    }

    /// The column of categories that contains this value of a sample.
    pub(crate) fn categories_at(&self, value: usize) -> Option<&Categories> {
        self.categories.iter().find(|of| (of.first..of.first + of.values.len()).contains(&value))
    }

    /// What a model depends on: the offsets and the categories.
    pub(crate) fn essential(&self) -> Self {
        Self { offset: self.offset.clone(), categories: self.categories.clone(), ..Self::default() }
    }

    /// For values that are written as they are: neither whole numbers nor categories are restored.
    #[cfg(feature = "cli")]
    pub(crate) fn without_rounding(&self) -> Self {
        Self { whole: Vec::new(), categories: Vec::new(), ..self.clone() }
    }
}

/// Values in f64 as float32 with an offset for each group whose digits would be lost.
#[derive(Debug)]
pub(super) struct Narrowed {
    pub values: Vec<f32>,
    pub offset: Vec<f64>,
    /// The groups of whole numbers that float32 does not hold exactly, with the largest error.
    pub rounded: Vec<(usize, f64)>,
}

/// The values are shifted where their size is more than this many times their spread.
const FAR: f64 = 8.0;

/// What is subtracted from values between these limits. `lossy`: whether float32 does not hold some of them.
pub(super) fn offset_for(low: f64, high: f64, lossy: bool) -> f64 {
    let spread = high - low;
    if !(lossy && spread > 0.0 && low.abs().max(high.abs()) > FAR * spread) {
        return 0.0;
    }
    // A multiple of a power of two near the middle, so that the difference is exact.
    let unit = (spread.log2().floor() - 3.0).exp2();
    ((low + spread / 2.0) / unit).round() * unit
}

pub(super) fn narrow(values: &[f64], grouping: Grouping) -> Narrowed {
    let mut offset = vec![0.0; grouping.count];
    let mut rounded = Vec::new();
    for (group, offset) in offset.iter_mut().enumerate() {
        let each = || grouping.values(group, values).filter(|v| v.is_finite());
        let (low, high) = each().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let lossy = |by: f64| each().any(|v| f64::from((v - by) as f32) != v - by);
        if !lossy(0.0) {
            continue;
        }
        *offset = offset_for(low, high, true);
        let by = *offset;
        if each().all(|v| v.fract() == 0.0) && lossy(by) {
            rounded.push((group, each().map(|v| (f64::from((v - by) as f32) - (v - by)).abs()).fold(0.0, f64::max)));
        }
    }
    let narrowed = values.iter().enumerate().map(|(i, v)| (v - offset[grouping.at(i)]) as f32).collect();
    if offset.iter().all(|by| *by == 0.0) {
        offset.clear();
    }
    Narrowed { values: narrowed, offset, rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_columns_or_channels() {
        let values: Vec<u8> = (0..12).collect();
        let all = |kind, shape: &[usize]| -> Vec<Vec<u8>> {
            let groups = Grouping::of(kind, shape);
            (0..groups.count).map(|group| groups.values(group, &values).collect()).collect()
        };
        assert_eq!(all(Kind::Table, &[3]), [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]);
        assert_eq!(all(Kind::Signals, &[2, 3]), [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]);
        assert_eq!(all(Kind::Signals, &[6]), [&values[..]]);
        assert_eq!(all(Kind::Images, &[2, 2, 3]), [&values[..]]);
        assert_eq!((Grouping::of(Kind::Signals, &[2, 3]).at(4), Grouping::of(Kind::Table, &[3]).at(4)), (1, 1));
    }

    #[test]
    fn the_largest_value_is_the_category() {
        let values = ["a", "b", "c"].map(String::from).to_vec();
        let of = Categories { name: "kind".into(), first: 1, values };
        assert_eq!((of.of(&[9.0, 0.1, 0.7, 0.2, 9.0]), of.of(&[0.0; 4]), of.of(&[0.0, -1.0, -2.0, -0.5])), (1, 0, 2));
        let columns = Columns { categories: vec![of], ..Columns::default() };
        let at = |value| columns.categories_at(value).is_some();
        assert_eq!([0, 1, 3, 4].map(at), [false, true, true, false]);
    }

    #[test]
    fn timestamps_keep_their_digits() {
        let times: Vec<f64> = (0..1000).map(|i| 1_700_000_000.0 + f64::from(i) * 0.25).collect();
        let Narrowed { values, offset, rounded } = narrow(&times, Grouping { count: 1, repeat: 1 });
        assert!(times.iter().zip(&values).all(|(t, v)| f64::from(*v) + offset[0] == *t));
        assert!(rounded.is_empty());
        // Ordinary values have no offset, and neither has a constant.
        for values in [vec![0.1, 0.2, -3.0], vec![1e9 + 1.0; 3], vec![5e6, 5e6 + 1.0]] {
            assert!(narrow(&values, Grouping { count: 1, repeat: 1 }).offset.is_empty(), "{values:?}");
        }
        let far = narrow(&[0.0, 1.0, 123_456_789.0], Grouping { count: 1, repeat: 1 });
        assert_eq!((far.offset, far.rounded), (vec![], vec![(0, 3.0)]));
    }
}
