//! The training data in a program: the samples, and their conditions.

use super::{Augmentation, ConditionFacts, Facts};
use crate::data::{Conditions, Normalisation, Subset};
use crate::device::Run;
use crate::diffusion::{Noised, Objective};
use crate::error::Result;
use crate::graph::{Data, Graph, Var};
use crate::nn::{ConditionOptions, Inputs};
use crate::ops::Gather;

/// The training data in a graph: the samples, and their conditions.
#[derive(Clone, Debug)]
pub(crate) struct DataTensors {
    /// The samples, as the rows of a table.
    samples: Data,
    class: Option<Data>,
    vector: Option<Data>,
    given: Option<Data>,
    options: ConditionOptions,
    /// The shape of a sample, from which the augmentation cuts those of the model.
    stored: Vec<usize>,
    augment: Augmentation,
}

/// The rows of a batch, and how they are changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRows {
    gather: Gather,
    /// The random stream of the augmentation.
    stream: Option<u32>,
}

/// The names of the data sets of conditions.
const CLASS: &str = "data.class";
const VECTOR: &str = "data.vector";
const GIVEN: &str = "data.given";

impl DataTensors {
    /// Adds data sets for `n` samples of a shape with these conditions, which are changed by `augment` in each batch.
    ///
    /// # Errors
    /// When a size is invalid.
    pub fn new(
        g: &mut Graph,
        n: usize,
        stored: &[usize],
        options: ConditionOptions,
        augment: Augmentation,
    ) -> Result<Self> {
        let samples = g.dataset("data", [n, stored.iter().product()])?;
        let mut add = |name: &str, width: usize| (width > 0).then(|| g.dataset(name, [n, width])).transpose();
        let class = add(CLASS, usize::from(options.classes > 0))?;
        let vector = add(VECTOR, options.vector)?;
        let given = add(GIVEN, options.given_len(stored))?;
        Ok(Self { samples, class, vector, given, options, stored: stored.to_vec(), augment })
    }

    /// The rows of the current batch.
    ///
    /// # Errors
    /// When the batch is empty or larger than the data.
    pub fn rows(&self, g: &mut Graph, batch: usize) -> Result<BatchRows> {
        let gather = Gather::new(g, &self.samples, batch)?;
        let random = !self.augment.is_none() && g.trains_with();
        Ok(BatchRows { gather, stream: random.then(|| g.stream()) })
    }

    /// The samples `rows`.
    ///
    /// # Errors
    /// When there are fewer samples than the batch has rows.
    pub fn clean(&self, g: &mut Graph, rows: BatchRows) -> Result<Var> {
        self.augmented(g, &self.samples, rows)
    }

    /// The samples `rows` with noise added.
    ///
    /// # Errors
    /// As [`DataTensors::clean`].
    pub fn noised(&self, g: &mut Graph, rows: BatchRows, objective: &Objective) -> Result<Noised> {
        // One op, without a clean batch in memory.
        if self.augment.op(&self.stored, rows.stream).is_none() {
            return g.noisy_rows(&self.samples, rows.gather, objective);
        }
        let clean = self.clean(g, rows)?;
        g.noise(clean, objective)
    }

    /// The rows of samples or of known values. Both are changed in the same way.
    fn augmented(&self, g: &mut Graph, data: &Data, rows: BatchRows) -> Result<Var> {
        let values = rows.gather.of(g, data)?;
        match self.augment.op(&self.stored, rows.stream) {
            Some(op) => g.apply1(op, &[values]),
            None => Ok(values),
        }
    }

    /// `inputs` with the conditions of the samples `rows`. In training, the condition of a sample is removed with probability
    /// `dropout`: its class is then the unknown one, and its vector and known values are 0.
    ///
    /// # Errors
    /// When the probability is out of range.
    pub fn condition(&self, g: &mut Graph, inputs: Inputs, rows: BatchRows, dropout: f32) -> Result<Inputs> {
        let Self { class, vector, given, options, .. } = self;
        if options.is_none() {
            return Ok(inputs);
        }
        let stream = g.stream();
        let class = class.as_ref().map(|class| rows.gather.of(g, class)).transpose()?;
        let vector = vector.as_ref().map(|vector| rows.gather.of(g, vector)).transpose()?;
        let given = given.as_ref().map(|given| self.augmented(g, given, rows)).transpose()?;
        let mut dropped = |values: Option<Var>, fill: f32| {
            values.map(|values| g.row_dropout(values, dropout, fill, stream)).transpose()
        };
        let (class, vector, given) =
            (dropped(class, options.classes as f32)?, dropped(vector, 0.0)?, dropped(given, 0.0)?);
        let class = class.map(|class| g.reshape(class, [g.spec(class).len()])).transpose()?;
        Ok(Inputs { class, vector, given, ..inputs })
    }
}

/// Uploads the conditions of the samples `kept`, normalised.
///
/// # Errors
/// When the device is lost.
pub(crate) fn upload_conditions(run: &mut Run, kept: &Subset, facts: &ConditionFacts) -> Result<()> {
    let Conditions { labels, vectors, given } = kept.conditions();
    if let Some(labels) = labels {
        let classes: Vec<f32> = kept.rows().map(|row| labels.of[row] as f32).collect();
        run.write(CLASS, &classes)?;
    }
    for (name, data, facts) in [(VECTOR, vectors, &facts.vector), (GIVEN, given, &facts.given)] {
        if let (Some(data), Some(facts)) = (data, facts) {
            upload_values(run, name, &kept.same_rows_of(data), &facts.normalisation)?;
        }
    }
    Ok(())
}

/// The number of values that are uploaded at a time.
const PART: usize = 1 << 22;

/// Uploads normalised data and their conditions into the data sets of a program.
///
/// # Errors
/// When the device is lost.
pub(crate) fn upload(run: &mut Run, data: &Subset, facts: &Facts) -> Result<()> {
    upload_values(run, "data", data, &facts.normalisation)?;
    upload_conditions(run, data, &facts.conditions)
}

/// Uploads normalised values into the data set `name` of a program.
///
/// # Errors
/// When the device is lost.
pub(super) fn upload_values(run: &mut Run, name: &str, data: &Subset, normalisation: &Normalisation) -> Result<()> {
    // That of the windows of an augmentation, which are shorter than the samples.
    let normalisation = &normalisation.repeated_for(data.kind(), data.shape());
    let mut at = 0;
    for part in data.parts((PART / data.sample(0).len()).max(1)) {
        run.write_from(name, at, &normalisation.apply(&part))?;
        at += part.len();
    }
    Ok(())
}
