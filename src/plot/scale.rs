//! The ranges of values shown in plots.

use crate::data::{Columns, Grouping, Kind};

/// Smallest and largest value.
pub(super) type Interval = (f64, f64);

/// The range of values shown: from black to white for images, from bottom to top for signals, and one range per
/// coordinate for points. Plots to be compared share one scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    kind: Kind,
    ranges: Vec<Interval>,
    /// The names of the columns, and what is added to the values of each axis in its labels.
    columns: Columns,
}

impl Scale {
    /// The scale for data of known minimum and maximum: one pair for images, one per column or channel for others.
    pub fn known(kind: Kind, ranges: &[[f32; 2]]) -> Self {
        Self {
            kind,
            ranges: ranges.iter().map(|&[low, high]| (low.into(), high.into())).collect(),
            columns: Columns::default(),
        }
    }

    /// The scale for samples: the `range` of the reference data, or one computed from `samples` if it is unknown.
    #[cfg(feature = "cli")]
    pub(crate) fn of_data(kind: Kind, shape: &[usize], range: &[[f32; 2]], samples: &[f32]) -> Self {
        match range {
            [] => Self::of(kind, shape, samples),
            known => Self::known(kind, known),
        }
    }

    /// The scale for samples without a known range: covers nearly all of them, ignoring outliers.
    pub fn of(kind: Kind, shape: &[usize], values: &[f32]) -> Self {
        let ranges = match kind {
            Kind::Images => vec![percentiles(values)],
            _ => fences(kind, shape, values),
        };
        let ranges = ranges.into_iter().map(|range| range.unwrap_or((0.0, 1.0))).collect();
        Self { kind, ranges, columns: Columns::default() }
    }

    /// The scale with labels in the units of the data, and names of columns.
    #[must_use]
    pub fn labelled(self, columns: &Columns) -> Self {
        Self { columns: columns.clone(), ..self }
    }

    /// What is added to the values of an axis in its labels.
    pub(super) fn offset(&self, axis: usize) -> f64 {
        self.columns.offset_of(axis)
    }

    /// The columns of the samples.
    pub(super) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The ranges of the values.
    pub(super) fn ranges(&self) -> &[Interval] {
        &self.ranges
    }

    /// Widened so that nearly all samples of these sets fit, by at most the range itself on each side. Images are
    /// unchanged.
    pub(super) fn covering(&self, shape: &[usize], sets: &[&[f32]]) -> Self {
        let mut widened = self.clone();
        if self.kind == Kind::Images {
            return widened;
        }
        for set in sets {
            for ((widened, &(low, high)), set) in
                widened.ranges.iter_mut().zip(&self.ranges).zip(fences(self.kind, shape, set))
            {
                let (from, to) = set.unwrap_or((low, high));
                let most = if high > low { high - low } else { f64::MAX };
                *widened = (widened.0.min(from.max(low - most)), widened.1.max(to.min(high + most)));
            }
        }
        widened
    }

    /// The ranges of the axes.
    pub(super) fn axes(&self) -> Vec<Interval> {
        match (self.kind, &self.ranges[..]) {
            (Kind::Images, [range]) => vec![black_and_white(*range)],
            (Kind::Points, [x, y]) => {
                let (x, y) = (widened(*x, 0.1), widened(*y, 0.1));
                let half = (x.1 - x.0).max(y.1 - y.0) / 2.0;
                let square = |(low, high): Interval| ((low + high) / 2.0 - half, (low + high) / 2.0 + half);
                vec![square(x), square(y)]
            }
            (_, ranges) => ranges.iter().map(|range| widened(*range, 0.1)).collect(),
        }
    }
}

/// Images in 0 to 1 are shown with their original brightness.
fn black_and_white((low, high): Interval) -> Interval {
    match low >= -0.1 && high <= 1.1 {
        true => (0.0, 1.0),
        false => widened((low, high), 0.0),
    }
}

/// The range of 98% of all values, or of all values if these are constant.
fn percentiles(values: &[f32]) -> Option<Interval> {
    let mut values: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let (all, n) = (extremes(values.iter().map(|&value| value.into()))?, values.len());
    let low = *values.select_nth_unstable_by(n / 100, f32::total_cmp).1;
    let high = *values.select_nth_unstable_by(n - 1 - n / 100, f32::total_cmp).1;
    Some(if low < high { (low.into(), high.into()) } else { all })
}

/// The range of each axis that contains nearly all samples completely: bounded by the outermost samples whose distance
/// from the central 95% is at most the extent of these.
fn fences(kind: Kind, shape: &[usize], values: &[f32]) -> Vec<Option<Interval>> {
    let len = shape.iter().product::<usize>().max(1);
    let one = |samples: Vec<Interval>| {
        let sorted = |of: fn(&Interval) -> f64| {
            let mut ends: Vec<f64> = samples.iter().map(of).collect();
            ends.sort_unstable_by(f64::total_cmp);
            ends
        };
        let (lows, highs, n) = (sorted(|s| s.0), sorted(|s| s.1), samples.len());
        let cut = n / 20;
        let (low, high) = (*lows.get(cut)?, *highs.get(n - 1 - cut)?);
        let beyond = if high > low { high - low } else { f64::MAX };
        let first = lows.iter().find(|&&end| end >= low - beyond);
        let last = highs.iter().rfind(|&&end| end <= high + beyond);
        Some((*first?, *last?))
    };
    let groups = Grouping::of(kind, shape);
    let of = |group: usize| values.chunks(len).filter_map(move |s| extremes(groups.values(group, s).map(f64::from)));
    (0..groups.count).map(|group| one(of(group).collect())).collect()
}

/// Smallest and largest finite value.
fn extremes(values: impl IntoIterator<Item = f64>) -> Option<Interval> {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    (low <= high).then_some((low, high))
}

/// Extended by `margin` of its length on both sides, or to a positive length if it is empty.
fn widened((low, high): Interval, margin: f64) -> Interval {
    let extra = match high - low {
        extent if extent > 1e-9 * high.abs().max(1e-30) => margin * extent,
        _ => 0.5 * high.abs().max(0.1),
    };
    (low - extra, high + extra)
}

/// [`extremes`], [`widened`].
pub(super) fn span(values: impl IntoIterator<Item = f64>, margin: f64) -> Option<Interval> {
    extremes(values).map(|range| widened(range, margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, shape: &[usize], values: &[f32]) -> Vec<Interval> {
        Scale::of(kind, shape, values).axes()
    }

    #[test]
    fn brightness_of_images_in_0_to_1_is_kept() {
        let image = |values: &[f32]| of(Kind::Images, &[1, 1, values.len()], values)[0];
        assert_eq!(image(&[0.2, 0.5, 0.6]), (0.0, 1.0));
        assert_eq!(image(&[-1.0, 0.5, 1.0]), (-1.0, 1.0));
        assert_eq!(Scale::known(Kind::Images, &[[0.0, 0.8]]).axes(), [(0.0, 1.0)]);
        assert_eq!(Scale::known(Kind::Images, &[[0.0, 16.0]]).axes(), [(0.0, 16.0)]);
    }

    #[test]
    fn outliers_do_not_set_the_scale() {
        let mut values: Vec<f32> = (0..6400).map(|i| (i % 16) as f32).collect();
        values[77] = 1e6;
        assert_eq!(of(Kind::Images, &[1, 8, 8], &values), [(0.0, 15.0)]);
        let (low, high) = of(Kind::Signals, &[64], &values)[0];
        assert_eq!((low, high), (-1.5, 16.5));
        // A value that is rare but present in every signal is not an outlier.
        let peaks: Vec<f32> = (0..6400).map(|i| if i % 64 == 7 { 50.0 } else { (i % 3) as f32 }).collect();
        assert!(of(Kind::Signals, &[64], &peaks)[0].1 >= 50.0);
        assert!(of(Kind::Points, &[2], &values)[0].1 < 50.0);
    }

    #[test]
    fn a_scale_covers_other_sets_within_limits() {
        let scale = Scale::known(Kind::Signals, &[[-1.0, 1.0]]);
        assert_eq!(scale.covering(&[2], &[&[-1.5, 1.25, -1.0, 0.0]]).ranges, [(-1.5, 1.25)]);
        assert_eq!(scale.covering(&[2], &[&[-1e9, 0.0], &[0.5, 1e9]]).ranges, [(-3.0, 3.0)]);
        let images = Scale::known(Kind::Images, &[[0.0, 1.0]]);
        assert_eq!(images.covering(&[1, 1, 2], &[&[-5.0, 5.0]]), images);
    }
}
