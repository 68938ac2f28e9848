//! The training data in a program: the samples, and their conditions.

use super::{ConditionFacts, Facts};
use crate::data::{Conditions, Normalisation, Subset};
use crate::device::Run;
use crate::error::Result;
use crate::graph::{Data, Graph, Var};
use crate::nn::{ConditionOptions, Inputs};
use crate::ops::Gather;

/// The training data in a graph: the samples, and their conditions.
#[derive(Clone, Debug)]
pub(crate) struct DataTensors {
    /// The samples, as the rows of a table.
    pub samples: Data,
    class: Option<Data>,
    vector: Option<Data>,
    given: Option<Data>,
    options: ConditionOptions,
}

/// The names of the data sets of conditions.
const CLASS: &str = "data.class";
const VECTOR: &str = "data.vector";
const GIVEN: &str = "data.given";

impl DataTensors {
    /// Adds data sets for `n` samples of a shape with these conditions.
    ///
    /// # Errors
    /// When a size is invalid.
    pub fn new(g: &mut Graph, n: usize, sample: &[usize], options: ConditionOptions) -> Result<Self> {
        let samples = g.dataset("data", [n, sample.iter().product()])?;
        let mut add = |name: &str, width: usize| (width > 0).then(|| g.dataset(name, [n, width])).transpose();
        let class = add(CLASS, usize::from(options.classes > 0))?;
        let vector = add(VECTOR, options.vector)?;
        let given = add(GIVEN, options.given_len(sample))?;
        Ok(Self { samples, class, vector, given, options })
    }

    /// The rows of the current batch.
    ///
    /// # Errors
    /// When the batch is empty or larger than the data.
    pub fn rows(&self, g: &mut Graph, batch: usize) -> Result<Gather> {
        Gather::new(g, &self.samples, batch)
    }

    /// `inputs` with the conditions of the samples `rows`. In training, the condition of a sample is removed with probability
    /// `dropout`: its class is then the unknown one, and its vector and known values are 0.
    ///
    /// # Errors
    /// When the probability is out of range.
    pub fn condition(&self, g: &mut Graph, inputs: Inputs, rows: Gather, dropout: f32) -> Result<Inputs> {
        let Self { class, vector, given, options, .. } = self;
        if options.is_none() {
            return Ok(inputs);
        }
        let stream = g.stream();
        let mut of_batch = |data: &Option<Data>, fill: f32| -> Result<Option<Var>> {
            let Some(data) = data else { return Ok(None) };
            let values = rows.of(g, data)?;
            Ok(Some(g.row_dropout(values, dropout, fill, stream)?))
        };
        let (class, vector, given) =
            (of_batch(class, options.classes as f32)?, of_batch(vector, 0.0)?, of_batch(given, 0.0)?);
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
    let mut at = 0;
    for part in data.parts((PART / data.sample(0).len()).max(1)) {
        run.write_from(name, at, &normalisation.apply(&part))?;
        at += part.len();
    }
    Ok(())
}
