//! A part of a data set, without copying it.

use std::borrow::Cow;

#[cfg(feature = "cli")]
use super::conditions::channels_and_places;
use super::{Columns, Conditions, Dataset, Grouping, Kind};

/// Some or all samples of a data set, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Subset<'a> {
    data: &'a Dataset,
    /// The indices of the samples; `None` for all of them.
    rows: Option<Vec<usize>>,
}

impl<'a> Subset<'a> {
    /// All samples.
    pub fn all(data: &'a Dataset) -> Self {
        Self { data, rows: None }
    }

    /// The samples with these indices.
    pub fn of(data: &'a Dataset, rows: Vec<usize>) -> Self {
        Self { data, rows: Some(rows) }
    }

    /// The name of the data set.
    pub fn name(&self) -> &'a str {
        &self.data.name
    }

    /// The kind of the samples.
    pub fn kind(&self) -> Kind {
        self.data.kind()
    }

    /// The columns or channels of a sample.
    pub fn columns(&self) -> &'a Columns {
        &self.data.columns
    }

    /// The shape of one sample.
    pub fn shape(&self) -> &'a [usize] {
        &self.data.shape
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.data.len(), Vec::len)
    }

    /// The conditions of all samples of the data set, see [`Subset::rows`].
    pub fn conditions(&self) -> &'a Conditions {
        &self.data.conditions
    }

    /// The indices of the samples in the data set.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).map(|i| self.rows.as_ref().map_or(i, |rows| rows[i]))
    }

    /// The entries of `other`, a data set with as many samples, for the same samples.
    pub fn same_rows_of<'b>(&self, other: &'b Dataset) -> Subset<'b> {
        Subset { data: other, rows: self.rows.clone() }
    }

    /// The values of sample `i` of the subset.
    pub fn sample(&self, i: usize) -> &'a [f32] {
        self.data.sample(self.rows.as_ref().map_or(i, |rows| rows[i]))
    }

    /// The values in parts of up to `most` samples.
    pub fn parts(&self, most: usize) -> impl Iterator<Item = Cow<'a, [f32]>> {
        (0..self.len()).step_by(most).map(move |first| {
            let (end, len) = (self.len().min(first + most), self.data.sample_len());
            match &self.rows {
                None => Cow::Borrowed(&self.data.values[first * len..end * len]),
                Some(rows) => Cow::Owned(rows[first..end].iter().flat_map(|&i| self.data.sample(i)).copied().collect()),
            }
        })
    }

    /// At most `most` evenly spaced samples.
    ///
    /// # Errors
    /// When the subset is empty.
    #[cfg(any(test, feature = "cli"))]
    pub fn evenly_spaced(&self, most: usize) -> crate::Result<Dataset> {
        let n = self.len().min(most);
        let rows: Vec<usize> = self.rows().collect();
        let rows: Vec<usize> = (0..n).map(|i| rows[i * rows.len() / n]).collect();
        let values = rows.iter().flat_map(|&row| self.data.sample(row)).copied().collect();
        let conditions = self.data.conditions.of_rows(&rows)?;
        Ok(Dataset { conditions, ..self.data.with_values(self.name(), values)? })
    }

    /// The smallest and largest value of each column or channel, without its offset.
    pub fn ranges(&self) -> Vec<[f32; 2]> {
        (0..self.coordinates()).map(|c| self.coordinate(c).ends()).collect()
    }

    /// The number of columns or channels that are normalised separately; 1 for images.
    pub fn coordinates(&self) -> usize {
        self.data.grouping().count
    }

    pub(super) fn coordinate(&self, index: usize) -> Coordinate<'_> {
        Coordinate { of: self, index, grouping: self.data.grouping() }
    }
}

#[cfg(feature = "cli")]
impl Dataset {
    /// The middle of each sample, and of its known values, as samples of a shape with the same channels.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) when the shape is empty.
    pub(crate) fn cut_to(&self, shape: &[usize]) -> crate::Result<Self> {
        let ([_, old], [_, new]) = (channels_and_places(&self.shape), channels_and_places(shape));
        let sides = |places: &[usize]| match *places {
            [width] => [1, width],
            [height, width, ..] => [height, width],
            [] => [1, 1],
        };
        let ([h, w], [height, width]) = (sides(old), sides(new));
        let (top, left) = ((h - height) / 2, (w - width) / 2);
        let lines = self.values.chunks_exact(w).enumerate();
        let values = lines.filter(|(line, _)| (top..top + height).contains(&(line % h)));
        let values = values.flat_map(|(_, line)| &line[left..left + width]).copied().collect();
        let cut = Self::build(self.name.clone(), shape.to_vec(), values, self.has_gaps())?;
        let mut cut = Self { kind: self.kind(), ..cut };
        let named = self.columns.names.len() == cut.grouping().count;
        cut.columns = self.columns.clone();
        cut.columns.names.retain(|_| named);
        cut.conditions = self.conditions.clone();
        if let Some(given) = &mut cut.conditions.given {
            let [channels, _] = channels_and_places(&given.shape);
            **given = given.cut_to(&[channels, new].concat())?;
        }
        Ok(cut)
    }
}

/// The values that are normalised together.
pub(super) struct Coordinate<'a> {
    of: &'a Subset<'a>,
    index: usize,
    grouping: Grouping,
}

impl Coordinate<'_> {
    /// Whether no value is known.
    pub fn is_empty(&self) -> bool {
        let none = |values: &[f32]| self.grouping.values(self.index, values).all(f32::is_nan);
        match &self.of.rows {
            None => none(&self.of.data.values),
            Some(rows) => rows.iter().all(|&i| none(self.of.data.sample(i))),
        }
    }

    /// Calls `f` with each known value, in order.
    pub fn each(&self, mut f: impl FnMut(f64)) {
        let known = |v: &f32| !v.is_nan();
        let mut all = |values: &[f32]| self.grouping.values(self.index, values).filter(known).for_each(|v| f(v.into()));
        match &self.of.rows {
            None => all(&self.of.data.values),
            Some(rows) => rows.iter().for_each(|&i| all(self.of.data.sample(i))),
        }
    }

    /// The smallest and largest value.
    pub fn ends(&self) -> [f32; 2] {
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        self.each(|x| (low, high) = (low.min(x), high.max(x)));
        [low as f32, high as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cli")]
    #[test]
    fn the_middle_of_samples_is_cut_with_their_known_values() {
        let counted = |shape: &[usize]| {
            let n = 2 * shape.iter().product::<usize>();
            Dataset::new("d", shape, (0..n).map(|i| i as f32).collect()).unwrap()
        };
        let images = counted(&[1, 3, 4]).with_given(counted(&[2, 3, 4])).unwrap();
        let cut = images.cut_to(&[1, 2, 2]).unwrap();
        assert_eq!(cut.values, [1.0, 2.0, 5.0, 6.0, 13.0, 14.0, 17.0, 18.0]);
        let given = cut.conditions.given.unwrap();
        assert_eq!((&given.shape[..], &given.values[4..8]), (&[2, 2, 2][..], &[13.0, 14.0, 17.0, 18.0][..]));
        assert_eq!(counted(&[5]).cut_to(&[2]).unwrap().values, [1.0, 2.0, 6.0, 7.0]);
        assert_eq!(counted(&[2, 3]).cut_to(&[2, 1]).unwrap().values, [1.0, 4.0, 7.0, 10.0]);
        let gappy = counted(&[3]).with_gaps("gaps", vec![0.0, f32::NAN, 2.0]).unwrap();
        assert!(gappy.cut_to(&[1]).unwrap().values[0].is_nan(), "an unknown value stays unknown");
    }

    #[test]
    fn a_subset_keeps_the_order_of_its_samples() {
        let data = Dataset::new("d", [2], (0..14).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        let some = Subset::of(&data, vec![1, 2, 6]);
        assert_eq!((some.len(), some.sample(2)), (3, &[12.0, 13.0][..]));
        assert_eq!(some.parts(2).collect::<Vec<_>>(), [vec![2.0, 3.0, 4.0, 5.0], vec![12.0, 13.0]]);
        assert_eq!(some.ranges(), [[2.0, 12.0], [3.0, 13.0]]);
        assert_eq!(some.evenly_spaced(2).unwrap().values, [2.0, 3.0, 4.0, 5.0]);
        let all = Subset::all(&data);
        assert_eq!(all.parts(3).map(|part| part.len()).collect::<Vec<_>>(), [6, 6, 2]);
        assert_eq!(all.parts(7).collect::<Vec<_>>().concat(), data.values);
        assert_eq!((all.ranges(), all.coordinate(0).is_empty()), (vec![[0.0, 12.0], [1.0, 13.0]], false));
        assert_eq!(all.evenly_spaced(3).unwrap().values, [0.0, 1.0, 4.0, 5.0, 8.0, 9.0]);
    }
}
