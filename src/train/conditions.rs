//! The conditions of a model: where they come from, and the facts about them.

use serde::{Deserialize, Serialize};

use crate::data::{
    Columns, Conditions, Dataset, Header, Kind, Labels, Missing, Normalisation, ReadOptions, Subset, VECTORS,
    without_options,
};
use crate::error::{Error, Result};
use crate::nn::ConditionOptions;
#[cfg(feature = "cli")]
use crate::{
    data::{SampleLayout, channels_and_places},
    text::count,
};

/// What a model is conditioned on: the table `[condition]` of `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ConditionSources {
    /// The file with the class of each sample, see [`Labels::load`]; empty for none.
    pub labels: String,
    /// Whether the first line of a table of labels is a header; `None` decides by its content, or for the table of the samples as
    /// for these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_header: Option<Header>,
    /// The probability that the condition of a sample is removed in a training step, for classifier-free guidance.
    pub dropout: f32,
    /// The file with a condition vector for each sample; empty for none.
    pub vector: String,
    /// The file with known values for each sample; empty for none.
    pub given: String,
}

setters!(ConditionSources { labels: String, label_header: Option<Header>, dropout: f32, vector: String, given: String });

impl Default for ConditionSources {
    fn default() -> Self {
        Self { labels: String::new(), label_header: None, dropout: 0.1, vector: String::new(), given: String::new() }
    }
}

impl ConditionSources {
    /// The files of the conditions.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        [&self.labels, &self.vector, &self.given].into_iter().map(String::as_str).filter(|file| !file.is_empty())
    }

    /// Whether there is a condition.
    pub(crate) fn is_some(&self) -> bool {
        self.files().next().is_some()
    }

    /// Whether these are the default settings, without a condition.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When the probability is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        match (0.0..=1.0).contains(&self.dropout) {
            true => Ok(()),
            false => Err(Error::setting(format!(
                "condition.dropout is {}; use a probability from 0 to 1, such as 0.1",
                self.dropout
            ))),
        }
    }

    /// These settings with the files of `other`, which may have been moved.
    pub(crate) fn with_files_of(&self, other: &Self) -> Self {
        Self { dropout: self.dropout, label_header: self.label_header, ..other.clone() }
    }

    /// These settings for samples from `data`, which are read with `options`: labels in the same table have its header.
    pub(crate) fn of_table(&self, data: &str, options: &ReadOptions) -> Self {
        let same = options.for_labels(data, &self.labels).label.is_some();
        let label_header = self.label_header.or(options.header.filter(|_| same));
        Self { label_header, ..self.clone() }
    }

    /// Reads the conditions of `data`, which was read with the options `read`: known values follow those that apply to them.
    ///
    /// # Errors
    /// When a file cannot be read, or does not fit the data.
    pub fn add_to(&self, mut data: Dataset, read: &ReadOptions) -> Result<Dataset> {
        if !self.labels.is_empty() {
            data = data.with_labels(Labels::load_with(&self.labels, self.label_header)?)?;
        }
        if !self.vector.is_empty() {
            let table = ReadOptions { kind: Some(Kind::Table), ..ReadOptions::default() };
            data = data.with_vectors(Dataset::load_with(&self.vector, 0, &table).map_err(of_vectors)?)?;
        }
        if !self.given.is_empty() {
            let given = Dataset::load_applying(&self.given, 0, &for_given(read)).map_err(without_options)?;
            data = data.with_given(given)?;
        }
        Ok(data)
    }
}

/// The error of condition vectors, which are read as a table.
fn of_vectors(e: Error) -> Error {
    match without_options(e) {
        Error::Setting(text) => Error::Setting(text.replace("--kind table needs [n, columns]", VECTORS)),
        other => other,
    }
}

/// The options for reading known values of samples that are read with `read`. They have other columns, and all values.
fn for_given(read: &ReadOptions) -> ReadOptions {
    let missing = read.missing.filter(|missing| *missing != Missing::Keep);
    ReadOptions {
        missing,
        columns: vec![],
        drop_columns: vec![],
        categories: vec![],
        label: None,
        // All conditions are in memory.
        place: None,
        ..read.clone()
    }
}

/// The facts about the conditions that a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ConditionFacts {
    /// The number of classes; 0 without classes.
    pub classes: usize,
    /// The names of the classes, if they have some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The condition vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<ConditionValues>,
    /// The known values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<ConditionValues>,
    /// The number of channels of incomplete samples, of which the network is given the known values and their mask; 0
    /// for a model that does not complete samples.
    #[serde(skip_serializing_if = "is_zero")]
    pub gaps: usize,
    /// CRC-32 of all values: a run can only be resumed with the same conditions.
    pub checksum: u32,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What is known about the values of a condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConditionValues {
    /// Rows of a table for vectors; signals, points, rows of a table or images for known values.
    pub kind: Kind,
    /// The shape for one sample.
    pub shape: Vec<usize>,
    /// The names of columns or channels, what is added to their values, and the categories.
    #[serde(default, skip_serializing_if = "Columns::is_plain")]
    pub columns: Columns,
    /// The size before known values are scaled to that of the samples, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_from: Option<Vec<usize>>,
    /// The normalisation: mean 0 and standard deviation 1 for each column or channel.
    pub normalisation: Normalisation,
}

impl ConditionValues {
    fn of(kept: &Subset, scaled_from: Option<Vec<usize>>) -> Result<Self> {
        let (kind, shape, columns) = (kept.kind(), kept.shape().to_vec(), kept.columns().clone());
        let normalisation = Normalisation::standard_of(kept, &kept.summary()?)?;
        Ok(Self { kind, shape, columns, scaled_from, normalisation })
    }

    /// Known values in the size of the run. Those that were scaled in training must have the size that they had there.
    ///
    /// # Errors
    /// When they have another size.
    #[cfg(feature = "cli")]
    fn scaled(&self, data: Dataset) -> Result<Dataset> {
        let [_, size] = channels_and_places(&data.shape);
        let [_, own] = channels_and_places(&self.shape);
        match &self.scaled_from {
            Some(from) if size == from => data.resized(own),
            Some(from) => Err(Error::input(format!(
                "{}: samples of size {size:?}, but the known values of this run have the size {from:?}",
                data.name
            ))),
            None => Ok(data),
        }
    }

    /// Changes the shape to that of windows of the samples.
    pub(super) fn cut_to(&mut self, shape: Vec<usize>) {
        self.normalisation = self.normalisation.repeated_for(self.kind, &shape);
        self.shape = shape;
    }

    /// The normalised values of `data`, which have this shape, with the offsets and the categories of the run.
    ///
    /// # Errors
    /// When the categories differ.
    pub(crate) fn normalised(&self, data: &Dataset) -> Result<Vec<f32>> {
        let data = data.clone().of_kind(self.kind)?.relative_to(&self.columns)?;
        if data.columns.categories != self.columns.categories {
            return Err(Error::input(format!(
                "{}: its columns of categories are not those that the run was trained with; use a table with the same columns",
                data.name
            )));
        }
        Ok(self.normalisation.apply(&data.values))
    }
}

impl ConditionFacts {
    /// Whether there is no condition.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The facts about the conditions of the samples `kept`; `gaps` is the number of channels of incomplete ones.
    ///
    /// # Errors
    /// When the values of a condition do not vary.
    pub(crate) fn measure(kept: &Subset, gaps: usize) -> Result<Self> {
        let Conditions { labels, vectors, given, given_size, masks } = kept.conditions();
        let mut crc = flate2::Crc::new();
        if let Some(labels) = labels {
            crc.update(bytemuck::cast_slice(&labels.of));
        }
        for values in [vectors, given, masks].into_iter().flatten() {
            crc.update(bytemuck::cast_slice(&values.values));
        }
        let facts = |data: &Option<Box<Dataset>>, size: &Option<Vec<usize>>| {
            data.as_deref().map(|data| ConditionValues::of(&kept.same_rows_of(data), size.clone())).transpose()
        };
        let (classes, names) = labels.as_ref().map_or((0, vec![]), |labels| (labels.classes, labels.names.clone()));
        let any = labels.is_some() || vectors.is_some() || given.is_some() || masks.is_some();
        let checksum = if any { crc.sum() } else { 0 };
        let (vector, given) = (facts(vectors, &None)?, facts(given, given_size)?);
        Ok(Self { classes, names, vector, given, gaps, checksum })
    }

    /// Reads vectors and known values for samples, with the columns and the categories of the run; `read` are the options with
    /// which its data are read.
    ///
    /// # Errors
    /// When a file cannot be read.
    #[cfg(feature = "cli")]
    pub(crate) fn load(&self, vectors: Option<&str>, given: Option<&str>, read: &ReadOptions) -> Result<Conditions> {
        let load = |facts: &Option<ConditionValues>, file: Option<&str>, read: &ReadOptions| {
            let load = |file| match facts {
                Some(ConditionValues { kind, shape, columns, .. }) => {
                    let layout = SampleLayout { kind: *kind, shape, columns };
                    Dataset::load_for(file, 0, read, layout, false)
                }
                // It is refused, because the run does not have this condition.
                None => Dataset::load(file, 0),
            };
            Ok::<_, Error>(file.map(load).transpose().map_err(without_options)?.map(Box::new))
        };
        let vectors = load(&self.vector, vectors, &ReadOptions::default())?;
        let given = match (load(&self.given, given, &for_given(read))?, &self.given) {
            (Some(given), Some(facts)) => Some(Box::new(facts.scaled(*given)?)),
            (given, _) => given,
        };
        Ok(Conditions { vectors, given, ..Conditions::default() })
    }

    /// A description such as "10 classes"; `None` without conditions.
    #[cfg(feature = "cli")]
    pub(crate) fn describe(&self) -> Option<String> {
        let classes = (self.classes > 0).then(|| format!("{} classes", self.classes));
        let vector = self.vector.as_ref().map(|v| format!("vectors of {}", count(v.shape.iter().product(), "value")));
        let scaled = |from: &Vec<usize>| format!(", scaled from {from:?}");
        let given = self.given.as_ref().map(|given| {
            let from = given.scaled_from.as_ref().map(scaled).unwrap_or_default();
            format!("known values of shape {:?}{from}", given.shape)
        });
        let gaps = (self.gaps > 0).then(|| "the known values of incomplete samples".to_string());
        let parts: Vec<String> = [classes, vector, given, gaps].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// The vectors and the known values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &ConditionValues> {
        self.vector.iter().chain(&self.given)
    }

    /// The sizes of the conditions of data, before they are measured; `gaps` as for [`ConditionFacts::measure`].
    #[cfg(feature = "cli")]
    pub(super) fn sizes_of(conditions: &Conditions, gaps: usize) -> ConditionOptions {
        let Conditions { labels, vectors, given, .. } = conditions;
        let channels = |data: &Dataset| if data.shape.len() > 1 { data.shape[0] } else { 1 };
        ConditionOptions::default()
            .classes(labels.as_ref().map_or(0, |labels| labels.classes))
            .vector(vectors.as_ref().map_or(0, |vectors| vectors.sample_len()))
            .given(given.as_ref().map_or(0, |given| channels(given)) + 2 * gaps)
    }

    /// The sizes with which a network is built.
    pub(crate) fn options(&self) -> ConditionOptions {
        let len = |values: &Option<ConditionValues>| values.as_ref().map_or(0, |v| v.shape.iter().product());
        let channels = |values: &ConditionValues| if values.shape.len() > 1 { values.shape[0] } else { 1 };
        ConditionOptions::default()
            .classes(self.classes)
            .vector(len(&self.vector))
            .given(self.given.as_ref().map_or(0, channels) + 2 * self.gaps)
    }
}
