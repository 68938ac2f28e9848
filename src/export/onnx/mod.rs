//! Models as ONNX files: the network with its estimate of the clean data, or the whole reverse process.
//!
//! Inputs and outputs are in the units of the data. The nodes are those of the graph of the engine ([`ops`]), so that every
//! network is exported in the same way.

mod builder;
mod ops;
mod proto;
mod sampler;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;

use prost::Message;

use self::builder::{Builder, batch_of, int, value_info};
use self::ops::Translator;
use self::proto::{DOUBLE, Entry, FLOAT, INT64, Model, OperatorSet, ValueInfo};
use crate::data::{Columns, Grouping, Kind, Normalisation};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::inference::Sampling;
use crate::io::write_atomically;
use crate::nn::Inputs;
use crate::train::{Checkpoint, ConditionValues, Facts, Task, TensorData};

/// The version of the operators. Version 17 has LayerNormalization.
const OPSET: i64 = 17;
/// The version of the file format that belongs to it.
const IR_VERSION: i64 = 8;

/// What an ONNX file computes.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // There is one value, for an export.
pub enum OnnxModel {
    /// One evaluation of the network: from noisy data and times to the prediction, and to the estimate of the clean data.
    Denoiser,
    /// The reverse process: from noise to samples, with the scale of guidance. The count, the seed and the other conditions of the
    /// settings are not used, because conditions are inputs of the model.
    Sampler(Sampling),
}

/// Writes an ONNX file. The size of the batch is free.
///
/// # Errors
/// [`Error::Setting`] when the sampler adds noise, guidance is by another run or only within an interval, or the network has an operation without a counterpart; [`Error::Io`] when the
/// file cannot be written.
pub fn export_onnx(checkpoint: &Checkpoint, model: &OnnxModel, path: &Path) -> Result<()> {
    let model = match model {
        OnnxModel::Denoiser => denoiser(checkpoint)?,
        OnnxModel::Sampler(sampling) => sampler::model(checkpoint, sampling)?,
    };
    let bytes = model.encode_to_vec();
    // The limit of protocol buffers.
    if bytes.len() > i32::MAX as usize {
        return Err(Error::setting(format!(
            "{}: the model takes {} bytes, but an ONNX file holds at most 2 GiB; export it with --pytorch",
            path.display(),
            bytes.len()
        )));
    }
    write_atomically(path, |file| file.write_all(&bytes))
}

/// The network of a run as a graph for one sample.
struct Network<'a> {
    checkpoint: &'a Checkpoint,
    weights: Vec<TensorData>,
    graph: Graph,
    inputs: Inputs,
    prediction: Var,
}

/// The names of the inputs of a network in normalised units: x_t [B, D], t \[B\], and those of the conditions that it has.
#[derive(Clone, Default)]
struct Names {
    x_t: String,
    t: String,
    label: String,
    vector: String,
    given: String,
}

impl<'a> Network<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Result<Self> {
        let Checkpoint { config, facts, .. } = checkpoint;
        let mut graph = Graph::seeded(config.seed);
        let network = config.model.build(&mut graph, &facts.shape)?;
        let inputs = Inputs::new(graph.state("x", [1, facts.shape.iter().product()])?, graph.state("t", [1])?);
        let inputs = facts.conditions.options().add_states(&mut graph, inputs, &facts.shape)?;
        let prediction = network.forward(&mut graph, inputs)?;
        Ok(Self { checkpoint, weights: checkpoint.inference_weights(), graph, inputs, prediction })
    }

    /// Adds one evaluation, and returns the prediction [B, D].
    fn evaluate(&self, b: &mut Builder, names: &Names) -> Result<String> {
        let Inputs { x_t, t, class, vector, given } = self.inputs;
        let all = [
            (Some(x_t), &names.x_t),
            (Some(t), &names.t),
            (class, &names.label),
            (vector, &names.vector),
            (given, &names.given),
        ];
        let inputs: Vec<(Var, &str)> = all.into_iter().filter_map(|(var, name)| Some((var?, name.as_str()))).collect();
        Translator::new(&self.graph, &self.weights, &inputs).translate(b, self.prediction)
    }

    /// The number of values of a sample.
    fn width(&self) -> usize {
        self.checkpoint.facts.shape.iter().product()
    }

    /// Adds the inputs of the conditions, in the units of the data, and their conversion to those of the network.
    fn conditions(&self, b: &mut Builder, inputs: &mut Vec<ValueInfo>) -> Names {
        let facts = &self.checkpoint.facts;
        let of = &facts.conditions;
        let mut names = Names::default();
        if of.classes > 0 {
            let doc = format!("class of each sample, {} for none", of.classes);
            inputs.push(value_info("label", INT64, &[None], &doc));
            names.label = b.cast("label", FLOAT);
        }
        if let Some(values) = &of.vector {
            let units = Units::of_condition(values);
            inputs.push(value_info("vector", units.element, &batch_of(&values.shape), "condition vector"));
            names.vector = units.normalise(b, "vector");
        }
        let mut parts = Vec::new();
        if let Some(values) = &of.given {
            let units = Units::of_condition(values);
            inputs.push(value_info("given", units.element, &batch_of(&values.shape), "known values"));
            parts.push(units.normalise(b, "given"));
        }
        if of.gaps > 0 {
            let (units, shape) = (Units::of_samples(facts), batch_of(&facts.shape));
            inputs.push(value_info("known", units.element, &shape, "samples, NaN where a value is to be filled in"));
            let unknown = b.node("IsNaN", &["known"], vec![]);
            let zero = b.floats(&[], &[0.0]);
            let [unknown_rows, values] = [b.rows(&unknown, &[self.width()]), units.normalise(b, "known")];
            let values = b.node("Where", &[&unknown_rows, &zero, &values], vec![]);
            let mask = b.node("Not", &[&unknown_rows], vec![]);
            parts.extend([values, b.cast(&mask, FLOAT)]);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        names.given = match parts[..] {
            [] => String::new(),
            [only] => only.to_string(),
            _ => b.node("Concat", &parts, vec![int("axis", 1)]),
        };
        names
    }

    /// The model of a finished graph.
    fn model(&self, b: Builder, name: &str, doc: &str, input: Vec<ValueInfo>, output: Vec<ValueInfo>) -> Model {
        let facts = &self.checkpoint.facts;
        let mut entries = vec![("network", self.checkpoint.config.model.name().to_string())];
        if !facts.conditions.names.is_empty() {
            entries.push(("classes", facts.conditions.names.join("\n")));
        }
        if !facts.columns.names.is_empty() {
            entries.push(("columns", facts.columns.names.join("\n")));
        }
        entries.extend(facts.sample_rate.map(|rate| ("sample_rate", rate.to_string())));
        Model {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: doc.into(),
            graph: Some(b.finish(name, input, output)),
            opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
            metadata_props: entries.into_iter().map(|(key, value)| Entry { key: key.into(), value }).collect(),
        }
    }
}

/// value = scale * normalised + shift for each value of a sample, with the offsets of columns, which need float64.
struct Units {
    shift: Vec<f64>,
    scale: Vec<f64>,
    /// The type of the values.
    element: i32,
}

impl Units {
    fn of(kind: Kind, shape: &[usize], normalisation: &Normalisation, columns: &Columns) -> Self {
        let (width, groups) = (shape.iter().product(), Grouping::of(kind, shape));
        let entries = normalisation.entries().cycle().take(width).enumerate();
        let (shift, scale) = entries
            .map(|(i, (shift, scale))| (f64::from(shift) + columns.offset_of(groups.at(i)), f64::from(scale)))
            .unzip();
        Self { shift, scale, element: if columns.offset.is_empty() { FLOAT } else { DOUBLE } }
    }

    fn of_samples(facts: &Facts) -> Self {
        Self::of(facts.kind, &facts.shape, &facts.normalisation, &facts.columns)
    }

    fn of_condition(values: &ConditionValues) -> Self {
        Self::of(values.kind, &values.shape, &values.normalisation, &values.columns)
    }

    fn tensors(&self, b: &mut Builder) -> [String; 2] {
        [&self.shift, &self.scale].map(|values| b.doubles(&[values.len()], values))
    }

    /// Rows [B, width] of (x - shift) / scale, computed in float64 as everywhere else.
    fn normalise(&self, b: &mut Builder, x: &str) -> String {
        let [shift, scale] = self.tensors(b);
        let x = b.rows(x, &[self.shift.len()]);
        let x = b.cast(&x, DOUBLE);
        let x = b.node("Sub", &[&x, &shift], vec![]);
        let x = b.node("Div", &[&x, &scale], vec![]);
        b.cast(&x, FLOAT)
    }

    /// Adds the output `name` [B, *shape] with the values scale x + shift of rows x.
    fn restore(&self, b: &mut Builder, x: &str, shape: &[usize], name: &str, doc: &str) -> ValueInfo {
        let [shift, scale] = self.tensors(b);
        let x = b.cast(x, DOUBLE);
        let x = b.node("Mul", &[&x, &scale], vec![]);
        let x = b.node("Add", &[&x, &shift], vec![]);
        let x = b.cast(&x, self.element);
        let dims: Vec<i64> = std::iter::once(-1).chain(shape.iter().map(|n| *n as i64)).collect();
        let dims = b.integers(&dims);
        b.named(name, "Reshape", &[&x, &dims], vec![]);
        value_info(name, self.element, &batch_of(shape), doc)
    }
}

/// One evaluation of the network.
fn denoiser(checkpoint: &Checkpoint) -> Result<Model> {
    let network = Network::new(checkpoint)?;
    let facts = &checkpoint.facts;
    let mut b = Builder::default();
    let (units, shape) = (Units::of_samples(facts), batch_of(&facts.shape));
    if checkpoint.config.task == Task::Denoise {
        let inputs = vec![value_info("noisy", units.element, &shape, "noisy data")];
        let x_t = units.normalise(&mut b, "noisy");
        let t = zeros(&mut b, "noisy");
        let prediction = network.evaluate(&mut b, &Names { x_t, t, ..Names::default() })?;
        let clean = units.restore(&mut b, &prediction, &facts.shape, "clean", "the data without noise");
        return Ok(network.model(b, "denoiser", "A denoiser, in the units of the data.", inputs, vec![clean]));
    }
    let mut inputs = vec![
        value_info("x_t", units.element, &shape, "noisy data: shift + scale (a x0 + s eps) for normalised data x0"),
        value_info("t", FLOAT, &[None], "diffusion time of each sample"),
    ];
    let x_t = units.normalise(&mut b, "x_t");
    let names = Names { x_t, t: "t".into(), ..network.conditions(&mut b, &mut inputs) };
    let prediction = network.evaluate(&mut b, &names)?;
    let dims: Vec<i64> = std::iter::once(-1).chain(facts.shape.iter().map(|n| *n as i64)).collect();
    let dims = b.integers(&dims);
    b.named("prediction", "Reshape", &[&prediction, &dims], vec![]);
    let doc = format!("prediction of the network ({}), in normalised units", checkpoint.config.prediction);
    let outputs = vec![value_info("prediction", FLOAT, &shape, &doc)];
    let x0 = estimate(&mut b, checkpoint, &names.x_t, &prediction)?;
    let clean = units.restore(&mut b, &x0, &facts.shape, "clean", "estimate of the clean data");
    let outputs = outputs.into_iter().chain([clean]).collect();
    Ok(network.model(b, "denoiser", "The denoising network of a diffusion model.", inputs, outputs))
}

/// Zeros \[B\] for a batch.
fn zeros(b: &mut Builder, batch: &str) -> String {
    let (zero, size) = (b.floats(&[], &[0.0]), size_of(b, batch));
    b.node("Expand", &[&zero, &size], vec![])
}

/// The shape \[B\] of a batch.
fn size_of(b: &mut Builder, batch: &str) -> String {
    b.node("Shape", &[batch], vec![int("start", 0), int("end", 1)])
}

/// x0 = c_x x_t + c_m m at the times `t`, with the coefficients interpolated between the rows of a table.
fn estimate(b: &mut Builder, checkpoint: &Checkpoint, x_t: &str, m: &str) -> Result<String> {
    let objective = checkpoint.config.objective()?;
    let rows = objective.x0_table()?;
    let table = b.floats(&[rows.len(), 2], &rows.as_flattened().iter().map(|v| *v as f32).collect::<Vec<_>>());
    let place = b.with_number("Mul", "t", objective.rows_per_step() as f32);
    let place = {
        let (first, last) = (b.floats(&[], &[0.0]), b.floats(&[], &[(rows.len() - 1) as f32]));
        b.node("Clip", &[&place, &first, &last], vec![])
    };
    let [below, above] = ["Floor", "Ceil"].map(|op| b.node(op, &[&place], vec![]));
    let part = b.node("Sub", &[&place, &below], vec![]);
    let part = b.rows(&part, &[1]);
    let [low, high] = [below, above].map(|index| {
        let index = b.cast(&index, INT64);
        b.node("Gather", &[&table, &index], vec![int("axis", 0)])
    });
    let rise = b.node("Sub", &[&high, &low], vec![]);
    let rise = b.node("Mul", &[&rise, &part], vec![]);
    let row = b.node("Add", &[&low, &rise], vec![]);
    let [c_x, c_m] = [0, 1].map(|i| {
        let column = b.integers(&[i]);
        b.node("Gather", &[&row, &column], vec![int("axis", 1)])
    });
    let (x, m) = (b.node("Mul", &[x_t, &c_x], vec![]), b.node("Mul", &[m, &c_m], vec![]));
    Ok(b.node("Add", &[&x, &m], vec![]))
}
