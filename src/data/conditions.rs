//! What is known about each sample besides its values, for conditional models.

use super::{Dataset, Labels};
use crate::text::count;
use crate::{Error, Result};

/// What the condition vectors of samples are.
pub(crate) const VECTORS: &str = "condition vectors are an array [n, k] or [n], or a table, with one row for each sample; save array.reshape(n, -1), or use --given \
     for signals and images";

/// What is known about each sample besides its values: the conditions that a model is trained with.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Conditions {
    /// The class of each sample.
    pub labels: Option<Labels>,
    /// A vector for each sample, as a data set of shape \[k\].
    pub vectors: Option<Box<Dataset>>,
    /// Known values for each sample: a signal or an image of the same size, with any number of channels.
    pub given: Option<Box<Dataset>>,
    /// The size of the known values before they were scaled to that of the samples.
    pub given_size: Option<Vec<usize>>,
    /// Masks of samples of this shape, 1 for known values: in training, a sample gets any of them.
    pub masks: Option<Box<Dataset>>,
}

impl Conditions {
    /// The largest number of vectors or known values; `None` without them.
    #[cfg(feature = "cli")]
    pub(crate) fn len(&self) -> Option<usize> {
        [&self.vectors, &self.given].into_iter().flatten().map(|data| data.len()).max()
    }

    /// The conditions of some samples.
    #[cfg(any(test, feature = "cli"))]
    pub(crate) fn of_rows(&self, rows: &[usize]) -> Result<Self> {
        let pick = |data: &Option<Box<Dataset>>| -> Result<Option<Box<Dataset>>> {
            data.as_ref().map(|data| data.of_rows(rows).map(Box::new)).transpose()
        };
        let labels = self.labels.as_ref().map(|labels| labels.of_rows(rows));
        let (vectors, given) = (pick(&self.vectors)?, pick(&self.given)?);
        Ok(Self { labels, vectors, given, ..self.clone() })
    }
}

impl Dataset {
    /// Those of `labels` that are of these samples.
    ///
    /// # Errors
    /// As [`Dataset::with_labels`].
    #[cfg(feature = "cli")]
    pub(crate) fn labels_of(&self, labels: Labels) -> Result<Labels> {
        let rows = self.matching(&labels.name, labels.of.len(), "label")?;
        Ok(rows.map(|rows| labels.of_rows(&rows)).unwrap_or(labels))
    }

    /// These samples with their classes.
    ///
    /// # Errors
    /// [`Error::Input`] when there is not one label for each sample.
    pub fn with_labels(mut self, labels: Labels) -> Result<Self> {
        let labels = match self.matched(&labels.name, labels.of.len(), "label")? {
            None => labels,
            Some(rows) => labels.of_rows(&rows),
        };
        self.conditions.labels = Some(labels);
        Ok(self)
    }

    /// These samples with a condition vector for each, of shape \[k\].
    ///
    /// # Errors
    /// [`Error::Input`] when there is not one vector for each sample.
    pub fn with_vectors(mut self, vectors: Dataset) -> Result<Self> {
        let vectors = match self.matched(&vectors.name, vectors.len(), "vector")? {
            None => vectors,
            Some(rows) => vectors.of_rows(&rows)?,
        };
        if vectors.shape.len() != 1 {
            return Err(Error::input(format!("{}: samples of shape {:?}, but {VECTORS}", vectors.name, vectors.shape)));
        }
        self.conditions.vectors = Some(Box::new(vectors));
        Ok(self)
    }

    /// These samples with known values for each: signals or images, with any number of channels. If their size differs, they
    /// are scaled to that of the samples, by linear interpolation.
    ///
    /// # Errors
    /// [`Error::Input`] when there are not as many, or they have not as many axes.
    pub fn with_given(mut self, given: Dataset) -> Result<Self> {
        let given = match self.matched(&given.name, given.len(), "sample")? {
            None => given,
            Some(rows) => given.of_rows(&rows)?,
        };
        let ([_, known], [_, own]) = (channels_and_places(&given.shape), channels_and_places(&self.shape));
        let (same, size) = (known == own, known.to_vec());
        let given = if same { given } else { given.resized(own)? };
        self.conditions.given_size = (!same).then_some(size);
        self.conditions.given = Some(Box::new(given));
        Ok(self)
    }

    /// These samples with masks, of which each sample gets any in training.
    ///
    /// # Errors
    /// [`Error::Input`] when a mask does not have the shape of a sample.
    pub fn with_masks(mut self, masks: Dataset) -> Result<Self> {
        if masks.shape != self.shape {
            return Err(Error::input(format!(
                "{}: masks of shape {:?} for samples of shape {:?}; both need the same shape",
                masks.name, masks.shape, self.shape
            )));
        }
        self.conditions.masks = Some(Box::new(masks));
        Ok(self)
    }

    /// Which of `found` conditions are those of the samples; `None` for all. Where samples of the source were left out, there
    /// can be one for each sample that is left or for each sample of the source.
    fn matching(&self, name: &str, found: usize, what: &str) -> Result<Option<Vec<usize>>> {
        if found == self.len() {
            return Ok(None);
        }
        if let Some(kept) = self.origin.kept.as_ref().filter(|kept| kept.of == found) {
            return Ok(Some(kept.rows.clone()));
        }
        let source =
            self.origin.kept.as_ref().map(|kept| format!(", which are a part of {}", kept.of)).unwrap_or_default();
        Err(Error::input(format!(
            "{name}: {} for {} of {}{source}; one for each sample is needed",
            count(found, what),
            count(self.len(), "sample"),
            self.name
        )))
    }

    /// [`matching`](Self::matching), which is noted.
    fn matched(&mut self, name: &str, found: usize, what: &str) -> Result<Option<Vec<usize>>> {
        let rows = self.matching(name, found, what)?;
        if rows.is_some() {
            let (found, read) = (count(found, what), count(self.len(), "sample"));
            self.origin.note(format!("{name}: of {found}, those of the {read} that are read"));
        }
        Ok(rows)
    }

    /// The samples with these indices, without their conditions.
    fn of_rows(&self, rows: &[usize]) -> Result<Self> {
        let values = rows.iter().flat_map(|&row| self.sample(row)).copied().collect();
        self.with_values(self.name.clone(), values)
    }
}

/// The channels, and the other dimensions, of a sample \[L\], [C, L] or [C, H, W].
pub(crate) fn channels_and_places(shape: &[usize]) -> [&[usize]; 2] {
    let (channels, places) = shape.split_at(if shape.len() > 1 { 1 } else { 0 });
    [channels, places]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_belong_to_samples() {
        let of = |shape: &[usize], n: usize| {
            let values = (0..n * shape.iter().product::<usize>()).map(|i| i as f32).collect::<Vec<_>>();
            Dataset::new("data", shape, values).unwrap()
        };
        let images = of(&[3, 4, 4], 5);
        let cause = |result: Result<Dataset>| result.unwrap_err().to_string();
        let labels = Labels::new("l.npy", &[0.0, 1.0, 1.0]).unwrap();
        assert!(cause(images.clone().with_labels(labels)).contains("l.npy: 3 labels for 5 samples of data"));
        assert!(cause(images.clone().with_vectors(of(&[2, 2], 5))).contains("an array [n, k]"));
        assert!(cause(images.clone().with_vectors(of(&[2], 4))).contains("4 vectors for 5 samples"));
        assert!(cause(images.clone().with_given(of(&[8], 5))).contains("as many axes"));
        let scaled = images.clone().with_given(of(&[1, 2, 2], 5)).unwrap().conditions;
        assert_eq!((scaled.given.unwrap().shape, scaled.given_size), (vec![1, 4, 4], Some(vec![2, 2])));
        // Where samples were left out, the conditions of these are left out too.
        let mut part = of(&[1, 4, 4], 3);
        part.origin.keep(5, vec![0, 2, 4]);
        part.origin.keep(3, vec![1, 2]);
        let part = Dataset { values: part.values[16..].to_vec().into(), ..part };
        let labels = Labels::new("l.npy", &[0.0, 1.0, 1.0, 0.0, 0.0]).unwrap();
        let part =
            part.with_labels(labels).unwrap().with_vectors(of(&[2], 5)).unwrap().with_given(of(&[1, 4, 4], 5)).unwrap();
        let Conditions { labels, vectors, given, .. } = part.conditions();
        assert_eq!(labels.as_ref().unwrap().of, [1, 0]);
        assert_eq!(vectors.as_ref().unwrap().values, [4.0, 5.0, 8.0, 9.0]);
        assert_eq!((given.as_ref().unwrap().len(), given.as_ref().unwrap().values[0]), (2, 32.0));
        assert!(part.describe().to_string().contains("l.npy: of 5 labels, those of the 2 samples that are read"));
        assert!(
            cause(part.with_vectors(of(&[2], 4))).contains("4 vectors for 2 samples of data, which are a part of 5")
        );
        let all = images.with_vectors(of(&[2], 5)).unwrap().with_given(of(&[1, 4, 4], 5)).unwrap();
        assert!(all.conditions.vectors.is_some() && all.conditions.given.is_some());
        assert!(of(&[8], 2).with_given(of(&[2, 8], 2)).is_ok());
    }
}
