//! A part of a data set, without copying it.

use std::borrow::Cow;
use std::sync::Arc;

#[cfg(feature = "cli")]
use super::conditions::channels_and_places;
use super::stored::report_measured;
use super::summary::summarise;
use super::{Columns, Conditions, Dataset, GroupSummary, Kind};
use crate::Result;

/// The number of values that are read at a time.
const PART: usize = 1 << 20;

/// Some or all samples of a data set, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Subset<'a> {
    data: &'a Dataset,
    /// The indices of the samples; `None` for all of them.
    rows: Option<Arc<[u32]>>,
}

impl<'a> Subset<'a> {
    /// All samples.
    pub fn all(data: &'a Dataset) -> Self {
        Self { data, rows: None }
    }

    /// The samples with these indices.
    pub fn of(data: &'a Dataset, rows: Vec<u32>) -> Self {
        Self { data, rows: Some(rows.into()) }
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

    /// The data set.
    pub fn data(&self) -> &'a Dataset {
        self.data
    }

    /// Whether the values stay in their files.
    pub fn is_stored(&self) -> bool {
        self.data.values.stored().is_some()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.data.len(), |rows| rows.len())
    }

    /// The conditions of all samples of the data set, see [`Subset::indices`].
    pub fn conditions(&self) -> &'a Conditions {
        &self.data.conditions
    }

    /// The indices of the samples in the data set, `None` for all of them in their order.
    pub fn indices(&self) -> Option<Arc<[u32]>> {
        self.rows.clone()
    }

    /// The index in the data set of sample `i`.
    fn row(&self, i: usize) -> usize {
        self.rows.as_ref().map_or(i, |rows| rows[i] as usize)
    }

    /// The entries of `other`, a data set with as many samples, for the same samples.
    pub fn same_rows_of<'b>(&self, other: &'b Dataset) -> Subset<'b> {
        Subset { data: other, rows: self.rows.clone() }
    }

    /// The values in parts of up to `most` samples.
    ///
    /// # Errors
    /// Those of [`Values::part`](super::Values::part), for each part.
    pub fn parts(&self, most: usize) -> impl Iterator<Item = Result<Cow<'a, [f32]>>> {
        (0..self.len()).step_by(most).map(move |first| {
            let (end, len) = (self.len().min(first + most), self.data.sample_len());
            match &self.rows {
                None => self.data.values.part(first * len..end * len),
                Some(_) => self.data.samples((first..end).map(|i| self.row(i))).map(Cow::Owned),
            }
        })
    }

    /// [`Subset::parts`] of about the size of a read.
    fn whole_parts(&self) -> impl Iterator<Item = Result<Cow<'a, [f32]>>> {
        let (most, len) = ((self.data.values.at_a_time(PART) / self.data.sample_len()).max(1), self.len());
        let stored = self.is_stored();
        self.parts(most)
            .enumerate()
            .inspect(move |(i, _)| {
                if stored {
                    report_measured(((i + 1) * most).min(len), len);
                }
            })
            .map(|(_, part)| part)
    }

    /// At most `most` evenly spaced samples.
    ///
    /// # Errors
    /// When the subset is empty, or cannot be read.
    #[cfg(any(test, feature = "cli"))]
    pub fn evenly_spaced(&self, most: usize) -> Result<Dataset> {
        let n = self.len().min(most);
        let rows: Vec<usize> = (0..n).map(|i| self.row(i * self.len() / n)).collect();
        let values = self.data.samples(rows.iter().copied())?;
        let conditions = self.data.conditions.of_rows(&rows)?;
        Ok(Dataset { conditions, ..self.data.with_values(self.name(), values)? })
    }

    /// The number of columns or channels that are normalised separately; 1 for images.
    pub fn coordinates(&self) -> usize {
        self.data.grouping().count
    }

    /// What the values of each column or channel have in common, without its offset.
    ///
    /// # Errors
    /// When the values cannot be read.
    pub fn summary(&self) -> Result<Vec<GroupSummary>> {
        if let (None, Some(stored)) = (&self.rows, self.data.values.stored()) {
            return Ok(stored.survey().groups.clone());
        }
        let mut groups = vec![GroupSummary::default(); self.coordinates()];
        for part in self.whole_parts() {
            summarise(&mut groups, self.data.grouping(), &part?);
        }
        Ok(groups)
    }
}

#[cfg(feature = "cli")]
impl Dataset {
    /// The middle of each sample, and of its known values, as samples of a shape with the same channels.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) when the shape is empty.
    pub(crate) fn cut_to(&self, shape: &[usize]) -> Result<Self> {
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
        let parts = |of: &Subset, most| of.parts(most).map(|part| part.unwrap().into_owned()).collect::<Vec<_>>();
        assert_eq!((some.len(), parts(&some, 2)), (3, vec![vec![2.0, 3.0, 4.0, 5.0], vec![12.0, 13.0]]));
        let summary = some.summary().unwrap();
        assert_eq!((summary[0].ends(), summary[1].ends(), summary[1].mean()), ([2.0, 12.0], [3.0, 13.0], 7.0));
        assert_eq!(summary[1].deviation(), (56.0f64 / 3.0).sqrt());
        assert_eq!(some.evenly_spaced(2).unwrap().values, [2.0, 3.0, 4.0, 5.0]);
        let all = Subset::all(&data);
        assert_eq!(parts(&all, 3).iter().map(Vec::len).collect::<Vec<_>>(), [6, 6, 2]);
        assert_eq!(parts(&all, 7).concat(), data.values);
        assert_eq!(all.summary().unwrap()[1].ends(), [1.0, 13.0]);
        assert_eq!(all.evenly_spaced(3).unwrap().values, [0.0, 1.0, 4.0, 5.0, 8.0, 9.0]);
    }
}
