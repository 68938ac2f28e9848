//! An example of the inputs and the outputs of a network.

use std::path::Path;
use std::sync::Arc;

use crate::data::npy::{ArrayValues, NamedArray, save_archive};
use crate::data::{Conditions, Dataset};
use crate::device::Device;
use crate::error::Result;
use crate::inference::{SampleConditions, predict};
use crate::numeric::random::{Distribution, Draw};
use crate::train::{Checkpoint, ConditionValues, Facts, Task};

/// The times of the rows, as shares of the last one.
const SHARES: [f64; 5] = [0.0, 0.1, 0.3, 0.5, 0.7];

/// Inputs and outputs: x_t, t and the prediction in normalised units, conditions and estimates of the clean data in those of
/// the data.
pub(super) struct Example {
    x_t: Vec<f32>,
    t: Vec<f32>,
    conditions: SampleConditions,
    prediction: Vec<f32>,
    clean: Vec<f32>,
}

/// Independent normal numbers for each `place`.
fn normals(place: u32, n: usize) -> Vec<f32> {
    Draw { distribution: Distribution::Normal, seed: 0, place: [place, 9] }.values(n)
}

/// Values with the mean and deviation of the normalisation.
fn typical(values: &ConditionValues, place: u32) -> Result<Box<Dataset>> {
    let len: usize = values.shape.iter().product();
    let drawn = values.normalisation.undo(&normals(place, SHARES.len() * len));
    let data = Dataset::new("example", values.shape.clone(), drawn)?.of_kind(values.kind)?;
    Ok(Box::new(data.with_columns(values.columns.clone())))
}

/// Samples in which two of three values are unknown.
fn incomplete(facts: &Facts) -> Result<Dataset> {
    let len: usize = facts.shape.iter().product();
    let mut values = facts.normalisation.undo(&normals(3, SHARES.len() * len));
    values.iter_mut().enumerate().filter(|(i, _)| i % 3 > 0).for_each(|(_, value)| *value = f32::NAN);
    Dataset::new("example", facts.shape.clone(), vec![0.0; values.len()])?
        .of_kind(facts.kind)?
        .with_gaps("example", values)
}

impl Example {
    /// Evaluates the network for typical inputs.
    ///
    /// # Errors
    /// When the network does not fit the device.
    pub fn of(device: &Device, checkpoint: &Checkpoint) -> Result<Self> {
        let (facts, objective) = (&checkpoint.facts, checkpoint.config.objective()?);
        let rows = SHARES.len();
        let x_t = normals(0, rows * facts.shape.iter().product::<usize>());
        let denoises = checkpoint.config.task == Task::Denoise;
        let last = objective.path().last();
        let t: Vec<f32> = SHARES.map(|share| if denoises { 0.0 } else { (share * last).round() as f32 }).to_vec();
        let of = &facts.conditions;
        let known = Conditions {
            vectors: of.vector.as_ref().map(|values| typical(values, 1)).transpose()?,
            given: of.given.as_ref().map(|values| typical(values, 2)).transpose()?,
            ..Conditions::default()
        };
        let classes = if of.classes > 0 { (0..rows).map(|i| (i % of.classes) as u32).collect() } else { vec![] };
        let gaps = (of.gaps > 0).then(|| incomplete(facts)).transpose()?.map(Arc::new);
        let conditions = SampleConditions::default().classes(classes).known(known).incomplete(gaps);
        let prediction = predict(device, checkpoint, &x_t, &t, &conditions)?;
        let width = x_t.len() / rows;
        let estimate = |i: usize| {
            let [c_x, c_m] = if denoises { [0.0, 1.0] } else { objective.level(f64::from(t[i / width])).x0() };
            (c_x * f64::from(x_t[i]) + c_m * f64::from(prediction[i])) as f32
        };
        let clean = facts.normalisation.undo(&(0..x_t.len()).map(estimate).collect::<Vec<_>>());
        Ok(Self { x_t, t, conditions, prediction, clean })
    }

    /// Writes a `.npz` archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(self, path: &Path, facts: &Facts) -> Result<()> {
        let rows = self.t.len();
        let floats = |name, shape: &[usize], values| NamedArray {
            name,
            shape: [&[rows], shape].concat(),
            values: ArrayValues::Float(values),
        };
        let mut arrays = vec![
            floats("x_t", &facts.shape, self.x_t),
            floats("t", &[], self.t),
            floats("prediction", &facts.shape, self.prediction),
            floats("clean", &facts.shape, self.clean),
        ];
        let SampleConditions { classes, known, incomplete, .. } = self.conditions;
        if !classes.is_empty() {
            let values = ArrayValues::Int(classes.into_iter().map(i64::from).collect());
            arrays.push(NamedArray { name: "label", shape: vec![rows], values });
        }
        let known =
            [("vector", known.vectors.as_deref()), ("given", known.given.as_deref()), ("known", incomplete.as_deref())];
        for (name, data) in known {
            arrays.extend(data.map(|data| floats(name, &data.shape, data.values.to_vec())));
        }
        save_archive(path, &arrays)
    }
}
