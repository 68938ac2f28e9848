//! The facts about the training data that a run depends on.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tables::to_table;
use super::{Augmentation, ConditionFacts, Config, Normalise, Task};
use crate::data::{Columns, Dataset, GroupSummary, Grouping, Kind, Normalisation, Subset};
use crate::error::{Error, Result};

/// The maximum number of values of data: 4 TiB.
const MOST_VALUES: u64 = 1 << 40;

/// The facts about the training data that a run depends on.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Signals, points, images or rows of a table.
    pub kind: Kind,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// The shape of one sample of the data, if the augmentation cuts smaller ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_from: Option<Vec<usize>>,
    /// The number of samples.
    pub samples: usize,
    /// CRC-32 of the values: a run can only be resumed with the same data.
    pub checksum: u32,
    /// The normalisation of the data. Inference inverts it.
    pub normalisation: Normalisation,
    /// The smallest and largest value of each column or channel: the scale of plots of samples, and the limits of generated
    /// values. Empty in runs of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub range: Vec<[f32; 2]>,
    /// The names of columns or channels, and what is added to their values.
    #[serde(default, skip_serializing_if = "Columns::is_plain")]
    pub columns: Columns,
    /// The sample rate of audio, in Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// CRC-32 of the feature file of a perceptual loss: a run can only be resumed with the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<u32>,
    /// The conditions.
    #[serde(default, skip_serializing_if = "ConditionFacts::is_none")]
    pub conditions: ConditionFacts,
}

/// The distance from an end of the range, relative to the range, that is due to rounding.
const ROUNDING: f64 = 1e-6;

impl Facts {
    /// Normalised samples in the units of the data. Values at the ends of the range are these ends exactly: a black pixel is 0,
    /// not 5e-9.
    pub(crate) fn restore(&self, samples: &[f32]) -> Vec<f32> {
        let (mut values, groups) = (self.normalisation.undo(samples), Grouping::of(self.kind, &self.shape));
        let ends = self.range.iter().flat_map(|&[low, high]| {
            let near = (ROUNDING * (f64::from(high) - f64::from(low))) as f32;
            std::iter::repeat_n([low, high, near], groups.repeat)
        });
        for (value, [low, high, near]) in values.iter_mut().zip(ends.cycle()) {
            let end = [low, high].into_iter().find(|end| (*value - end).abs() <= near);
            *value = end.unwrap_or(*value);
        }
        values
    }

    /// Facts about ten samples, for tests.
    #[cfg(test)]
    pub(super) fn example(kind: Kind, shape: &[usize]) -> Self {
        Self {
            kind,
            shape: shape.to_vec(),
            cut_from: None,
            samples: 10,
            checksum: 7,
            normalisation: Normalisation { shift: vec![0.0], scale: vec![1.0], bound: 1.0, repeat: 1 },
            range: vec![],
            columns: Columns::default(),
            sample_rate: None,
            features: None,
            conditions: ConditionFacts::default(),
        }
    }

    /// The table `[facts]` of `config.toml`.
    pub(super) fn to_table(&self) -> toml::Table {
        toml::Table::from_iter([("facts".to_string(), to_table(self).into())])
    }

    /// Returns what no data can have.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Self { kind, shape, samples, normalisation, .. } = self;
        check_values(*kind, shape, *samples, normalisation)?;
        if let Some(stored) = &self.cut_from {
            check_values(*kind, stored, *samples, normalisation)?;
            if stored.len() != shape.len() || stored.iter().zip(shape).any(|(all, part)| part > all) {
                return Err(format!("samples of shape {shape:?}, cut from {stored:?}"));
            }
        }
        for values in self.conditions.values() {
            check_values(values.kind, &values.shape, *samples, &values.normalisation)?;
        }
        let groups = Grouping::of(*kind, shape).count;
        let len: usize = shape.iter().product();
        if let Some(bad) = self.columns.categories.iter().find(|c| {
            let end = c.first.checked_add(c.values.len());
            c.values.is_empty() || end.is_none_or(|end| end > len) || self.kind != Kind::Table
        }) {
            return Err(format!("a column of categories {bad:?}"));
        }
        let range = &self.range;
        if ![0, 1, groups].contains(&range.len()) || !range.as_flattened().iter().all(|v| v.is_finite()) {
            return Err(format!("a range of {range:?}"));
        }
        Ok(())
    }

    /// How samples are written.
    pub(crate) fn layout(&self) -> crate::data::SampleLayout<'_> {
        crate::data::SampleLayout { kind: self.kind, shape: &self.shape, columns: &self.columns }
    }

    /// The shape of one sample of the data.
    pub(crate) fn data_shape(&self) -> &[usize] {
        self.cut_from.as_ref().unwrap_or(&self.shape)
    }

    /// How the data were written.
    pub(crate) fn data_layout(&self) -> crate::data::SampleLayout<'_> {
        crate::data::SampleLayout { shape: self.data_shape(), ..self.layout() }
    }

    /// These facts for windows that the augmentation cuts from the samples.
    fn cut(mut self, augment: &Augmentation) -> Result<Self> {
        let window = augment.sample_shape(self.kind, &self.shape)?;
        if window != self.shape {
            let groups = Grouping::of(self.kind, &window).count;
            self.normalisation = self.normalisation.repeated_for(self.kind, &window);
            // The names of places are not those of a window.
            self.columns.names.truncate(if self.columns.names.len() == groups { groups } else { 0 });
            if let Some(given) = &mut self.conditions.given {
                given.cut_to(augment.window_of(&given.shape));
            }
            self.cut_from = Some(std::mem::replace(&mut self.shape, window));
        }
        Ok(self)
    }

    /// The smallest and largest value of each element of a sample in normalised units, first all of the smallest; `None` in
    /// runs of older versions.
    pub(crate) fn limits(&self) -> Option<Vec<f32>> {
        let groups = Grouping::of(self.kind, &self.shape);
        let ranges = self.normalisation.apply_to_ranges(&self.range);
        let width = groups.count * groups.repeat;
        let ends = |end: usize| (0..width).map(|i| ranges[groups.at(i)][end]).collect::<Vec<_>>();
        (ranges.len() == groups.count).then(|| [ends(0), ends(1)].concat())
    }

    /// Whether both describe the same data. The range, the sample rate and the names of columns are ignored, because runs of
    /// older versions do not have them, and the last digits of the normalisation, which other versions round differently.
    pub(crate) fn agree_with(&self, other: &Self) -> bool {
        let essential = |facts: &Self| Self {
            range: Vec::new(),
            sample_rate: None,
            columns: facts.columns.essential(),
            ..facts.clone()
        };
        let mut other = essential(other);
        if self.normalisation.is_close_to(&other.normalisation) {
            other.normalisation = self.normalisation.clone();
        }
        essential(self) == other
    }
}

impl Config {
    /// Determines the facts about the data: the normalisation and the range from the training samples `kept`, the rest
    /// from all of `data`.
    ///
    /// # Errors
    /// When there are fewer than two training samples, or their values do not vary.
    pub(crate) fn measure(&self, data: &Dataset, kept: &Subset) -> Result<Facts> {
        if kept.len() < 2 {
            return Err(Error::input(format!(
                "{}: there is only one sample to train on; at least two are needed, and hundreds are recommended",
                data.name
            )));
        }
        if data.len() > u32::MAX as usize {
            return Err(Error::input(format!(
                "{}: {} samples are more than the {} that can be trained on; use a part of them, such as DATA[0:{}]",
                data.name,
                data.len(),
                u32::MAX,
                u32::MAX
            )));
        }
        if self.task != Task::Complete && data.has_gaps() {
            return Err(Error::input(format!(
                "{}: there are missing values, which only a model that completes samples can be trained with: use the task \
                 complete",
                data.name
            )));
        }
        let groups = kept.summary()?;
        let normalisation = match self.normalise {
            Normalise::Standard => Normalisation::standard_of(kept, &groups)?,
            Normalise::Range => Normalisation::range_of(kept, &groups)?,
        };
        let (kind, shape, checksum) = (data.kind(), data.shape.clone(), data.checksum());
        let features = self.loss.features().map(checksum_of).transpose()?;
        let range = groups.iter().map(GroupSummary::ends).collect();
        let (columns, conditions) =
            (data.columns.clone(), ConditionFacts::measure(kept, self.gap_channels(&data.shape))?);
        let samples = data.len();
        let (cut_from, sample_rate) = (None, data.sample_rate());
        Facts {
            kind,
            shape,
            cut_from,
            samples,
            checksum,
            normalisation,
            range,
            columns,
            sample_rate,
            features,
            conditions,
        }
        .cut(&self.augment)
    }
}

/// Returns what no data of this kind can have: the shape of a sample, the number of samples, and their normalisation.
fn check_values(
    kind: Kind,
    shape: &[usize],
    samples: usize,
    normalisation: &Normalisation,
) -> std::result::Result<(), String> {
    let values = shape.iter().try_fold(samples, |product, &size| product.checked_mul(size));
    if values.is_none_or(|values| values == 0 || values as u64 > MOST_VALUES) || shape.is_empty() {
        return Err(format!("{samples} samples of shape {shape:?}"));
    }
    let Normalisation { shift, scale, bound, .. } = normalisation;
    let groups = Grouping::of(kind, shape).count;
    let finite = shift.iter().chain(scale).chain([bound]).all(|v| v.is_finite());
    if shift.len() != scale.len() || ![1, groups].contains(&shift.len()) || !finite || scale.iter().any(|&s| s <= 0.0) {
        return Err(format!("a normalisation with shift {shift:?}, scale {scale:?} and bound {bound}"));
    }
    Ok(())
}

/// The CRC-32 of a file.
fn checksum_of(path: &Path) -> Result<u32> {
    let mut crc = flate2::Crc::new();
    crc.update(&std::fs::read(path).map_err(|e| Error::io("cannot read", path, e))?);
    Ok(crc.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_ends_of_the_range_are_exact() {
        let normalisation = Normalisation { shift: vec![0.3, 5.0], scale: vec![0.37, 2.0], bound: 3.0, repeat: 2 };
        let facts =
            Facts { normalisation, range: vec![[0.0, 1.0], [1.0, 9.0]], ..Facts::example(Kind::Signals, &[2, 2]) };
        let sample = facts.normalisation.apply(&[0.0, 1.0, 9.0, 3.5]);
        assert_eq!(facts.restore(&sample), [0.0, 1.0, 9.0, 3.5]);
        assert!(facts.restore(&[-0.9, 1.8, 3.0, 0.0]).iter().all(|v| ![0.0, 1.0, 9.0].contains(v)));
    }
}
