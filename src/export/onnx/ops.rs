//! The ops of a network as nodes of ONNX. The batch size of the graph is replaced by that of the inputs: the first dimension of
//! a tensor is inferred.

use std::any::Any;
use std::collections::HashMap;

use super::builder::{Builder, float, int, ints, text};
use super::proto::{DOUBLE, FLOAT, INT64};
use crate::error::{Error, Result};
use crate::graph::{Graph, Init, Node, Storage, Var};
use crate::ops::{
    Activate, Add, Affine, Attention, ChannelBias, Channels, Concat, Conv, ConvTranspose, Dense, Embedding, Encode,
    GroupNorm, LayerNorm, Layout, Upsample, Widen,
};
use crate::train::TensorData;

/// Translates the nodes of one graph.
pub struct Translator<'a> {
    graph: &'a Graph,
    weights: &'a [TensorData],
    /// The names of tensors that were translated, by index.
    names: HashMap<usize, String>,
}

impl<'a> Translator<'a> {
    /// Begins with the names of the inputs.
    pub fn new(graph: &'a Graph, weights: &'a [TensorData], inputs: &[(Var, &str)]) -> Self {
        Self { graph, weights, names: inputs.iter().map(|(var, name)| (var.index(), name.to_string())).collect() }
    }

    /// Adds all nodes, and returns the name of `output`.
    ///
    /// # Errors
    /// [`Error::Setting`] when an op has no counterpart.
    pub fn translate(mut self, b: &mut Builder, output: Var) -> Result<String> {
        for node in &self.graph.nodes {
            // The kernel of an upsampled convolution: the convolution is written instead.
            if op_of::<Widen>(node).is_none() {
                let name = self.node(b, node)?;
                self.names.insert(node.outputs[0].index(), name);
            }
        }
        self.value(b, output)
    }

    /// The name of a tensor.
    fn value(&mut self, b: &mut Builder, var: Var) -> Result<String> {
        if let Some(name) = self.names.get(&var.index()) {
            return Ok(name.clone());
        }
        let tensor = &self.graph.tensors[var];
        let shape = &tensor.spec.shape;
        let name = match (&tensor.storage, &tensor.init) {
            (Storage::Alias { of }, _) => {
                let root = self.value(b, *of)?;
                if self.graph.shape(*of) == shape { root } else { b.rows(&root, &shape[1..]) }
            }
            (Storage::Part { .. }, _) => {
                let own = self.graph.parameters().iter().find(|p| p.var == var);
                let weight = own.and_then(|p| self.weights.iter().find(|t| t.name == p.name));
                let weight = weight.filter(|t| t.shape == *shape);
                let weight = weight.ok_or_else(|| Error::input(format!("the run has no tensor {:?}", tensor.name)))?;
                b.parameter(&weight.name, shape, &weight.values)
            }
            (_, Init::F32(values)) => b.floats(shape, values),
            _ => return Err(Error::setting(format!("{} has no value in ONNX", tensor.name))),
        };
        self.names.insert(var.index(), name.clone());
        Ok(name)
    }

    /// The values of a constant of u32.
    fn words(&self, var: Var) -> &[u32] {
        match &self.graph.tensors[var].init {
            Init::U32(words) => words,
            _ => &[],
        }
    }

    fn node(&mut self, b: &mut Builder, node: &Node) -> Result<String> {
        let shape = self.graph.shape(node.outputs[0]).to_vec();
        if let Some(op) = op_of::<ConvTranspose>(node) {
            return self.transposed(b, node, op, &shape);
        }
        if let Some(op) = op_of::<Encode>(node) {
            let t = self.value(b, node.inputs[0])?;
            return Ok(encode(b, *op, &t, self.words(node.inputs[1])));
        }
        if op_of::<Affine>(node).is_some() {
            let x = self.value(b, node.inputs[0])?;
            return self.affine(b, node, &x, &shape);
        }
        let inputs = node.inputs.iter().map(|var| self.value(b, *var)).collect::<Result<Vec<_>>>()?;
        let all: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let shapes: Vec<&[usize]> = node.inputs.iter().map(|var| self.graph.shape(*var)).collect();
        if let Some(Dense { activation }) = op_of(node) {
            let y = b.node("Gemm", &all, vec![int("transB", 1)]);
            return Ok(b.activate(y, *activation));
        }
        if let Some(Conv { stride, padding, activation }) = op_of(node) {
            let axes = shape.len() - 2;
            let y = b.node(
                "Conv",
                &all,
                vec![ints("strides", vec![*stride; axes]), ints("pads", vec![*padding; 2 * axes])],
            );
            return Ok(b.activate(y, *activation));
        }
        if let Some(op) = op_of::<LayerNorm>(node) {
            let y = b.node("LayerNormalization", &all, vec![int("axis", -1), float("epsilon", op.epsilon)]);
            return Ok(b.activate(y, op.activation));
        }
        if let Some(op) = op_of::<GroupNorm>(node) {
            return Ok(group_norm(b, op, &all, &shape));
        }
        if let Some(op) = op_of::<Attention>(node) {
            return attention(b, *op, &inputs[0], shapes[0]);
        }
        if let Some(ChannelBias { activation }) = op_of(node) {
            let bias = b.rows(all[1], &[vec![shape[1]], vec![1; shape.len() - 2]].concat());
            let y = b.node("Add", &[all[0], &bias], vec![]);
            return Ok(b.activate(y, *activation));
        }
        if let Some(Activate(activation)) = op_of(node) {
            return Ok(b.activate(inputs[0].clone(), *activation));
        }
        if let Some(Upsample { factor }) = op_of(node) {
            let axes = shape.len() - 2;
            return Ok(resize(b, all[0], &factor[2 - axes..]));
        }
        if op_of::<Add>(node).is_some() {
            return Ok(b.node("Add", &all, vec![]));
        }
        if op_of::<Concat>(node).is_some() {
            return Ok(b.node("Concat", &all, vec![int("axis", 1)]));
        }
        if op_of::<Embedding>(node).is_some() {
            return Ok(embedding(b, &inputs[0], &inputs[1], shapes[0][0]));
        }
        let name = node.op.name();
        Err(Error::setting(format!("the operation {name} of this network has no counterpart in the ONNX export")))
    }

    /// A transposed convolution, or the upsampled convolution that it computes.
    fn transposed(&mut self, b: &mut Builder, node: &Node, op: &ConvTranspose, shape: &[usize]) -> Result<String> {
        let [x, weight, bias] = node.inputs[..] else {
            return Err(Error::setting("a transposed convolution needs a bias"));
        };
        let (x, bias, axes) = (self.value(b, x)?, self.value(b, bias)?, shape.len() - 2);
        let ConvTranspose { stride, padding, output_padding, activation } = *op;
        let widened = self.graph.maker(weight).and_then(|maker| {
            let maker = &self.graph.nodes[maker];
            op_of::<Widen>(maker).map(|Widen { factor }| (*factor, maker.inputs[0]))
        });
        let y = match widened {
            Some((factor, weight)) => {
                let kernel = self.graph.shape(weight)[2];
                let (x, weight) = (resize(b, &x, &vec![factor; axes]), self.value(b, weight)?);
                b.node("Conv", &[&x, &weight, &bias], vec![ints("pads", vec![kernel - 1 - padding; 2 * axes])])
            }
            None => {
                let weight = self.value(b, weight)?;
                let sizes = [("strides", vec![stride; axes]), ("pads", vec![padding; 2 * axes])];
                let sizes = sizes.into_iter().chain([("output_padding", vec![output_padding; axes])]);
                b.node("ConvTranspose", &[&x, &weight, &bias], sizes.map(|(name, values)| ints(name, values)).collect())
            }
        };
        Ok(b.activate(y, activation))
    }

    /// scale x + shift, with a table of the scales and the shifts of C columns.
    fn affine(&self, b: &mut Builder, node: &Node, x: &str, shape: &[usize]) -> Result<String> {
        let Init::F32(table) = &self.graph.tensors[node.inputs[1]].init else {
            return Err(Error::setting(
                "an affine map whose table is no constant has no counterpart in the ONNX export",
            ));
        };
        let c = table.len() / 2;
        let columns = b.rows(x, &[c]);
        let (scale, shift) = (b.floats(&[c], &table[..c]), b.floats(&[c], &table[c..]));
        let scaled = b.node("Mul", &[&columns, &scale], vec![]);
        let shifted = b.node("Add", &[&scaled, &shift], vec![]);
        Ok(b.rows(&shifted, &shape[1..]))
    }
}

/// The op of a node, if it is of this type.
fn op_of<T: Any>(node: &Node) -> Option<&T> {
    let op: &dyn Any = &*node.op;
    op.downcast_ref()
}

/// Nearest upsampling of the axes after the channels.
fn resize(b: &mut Builder, x: &str, factors: &[usize]) -> String {
    let scales: Vec<f32> = [1, 1].iter().chain(factors).map(|n| *n as f32).collect();
    let scales = b.floats(&[scales.len()], &scales);
    let modes = [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
    b.node("Resize", &[x, "", &scales], modes.map(|(name, value)| text(name, value)).to_vec())
}

/// Normalises [B, G, ...] as instances, then scales channels.
fn group_norm(b: &mut Builder, op: &GroupNorm, inputs: &[&str], shape: &[usize]) -> String {
    let groups = op.groups;
    let grouped = b.rows(inputs[0], &[groups, shape[1..].iter().product::<usize>() / groups]);
    let (ones, zeros) = (b.floats(&[groups], &vec![1.0; groups]), b.floats(&[groups], &vec![0.0; groups]));
    let y = b.node("InstanceNormalization", &[&grouped, &ones, &zeros], vec![float("epsilon", op.epsilon)]);
    let y = b.rows(&y, &shape[1..]);
    let axes: Vec<i64> = (1..shape.len() as i64 - 1).collect();
    let axes = b.integers(&axes);
    let [gamma, beta] = [1, 2].map(|i| b.node("Unsqueeze", &[inputs[i], &axes], vec![]));
    let y = b.node("Mul", &[&y, &gamma], vec![]);
    let y = b.node("Add", &[&y, &beta], vec![]);
    b.activate(y, op.activation)
}

/// Multi-head attention of qkv [B, 3 C, N].
fn attention(b: &mut Builder, op: Attention, qkv: &str, shape: &[usize]) -> Result<String> {
    if op.channels != Channels::First {
        return Err(Error::setting("attention with channels last has no counterpart in the ONNX export"));
    }
    let (c, n) = (shape[1] / 3, shape[2]);
    let d = c / op.heads;
    let [q, k, v] = ["q", "k", "v"].map(|name| b.fresh(name));
    let sizes = b.integers(&[c as i64; 3]);
    b.nodes("Split", &[qkv, &sizes], vec![int("axis", 1)], vec![q.clone(), k.clone(), v.clone()]);
    let [q, k, v] = [q, k, v].map(|part| b.rows(&part, &[op.heads, d, n]));
    let turn = |b: &mut Builder, x: &str| b.node("Transpose", &[x], vec![ints("perm", [0, 1, 3, 2])]);
    let q = turn(b, &q);
    let scores = b.node("MatMul", &[&q, &k], vec![]);
    let scores = b.with_number("Mul", &scores, 1.0 / (d as f32).sqrt());
    let weights = b.node("Softmax", &[&scores], vec![int("axis", -1)]);
    let weights = turn(b, &weights);
    let y = b.node("MatMul", &[&v, &weights], vec![]);
    Ok(b.rows(&y, &[c, n]))
}

/// Rows of a table of `rows` rows at indices that are rounded.
fn embedding(b: &mut Builder, table: &str, index: &str, rows: usize) -> String {
    let index = b.with_number("Add", index, 0.5);
    let index = b.node("Floor", &[&index], vec![]);
    let index = b.cast(&index, INT64);
    let (first, last) = (b.integer(0), b.integer(rows as i64 - 1));
    let index = b.node("Clip", &[&index, &first, &last], vec![]);
    b.node("Gather", &[table, &index], vec![int("axis", 0)])
}

/// Sines and cosines of t \[B\], with phases in float64, because t reaches thousands.
fn encode(b: &mut Builder, op: Encode, t: &str, rates: &[u32]) -> String {
    let wide = f64::from;
    let turns: Vec<f64> =
        rates.chunks_exact(2).map(|r| (wide(r[0]) + wide(r[1]) / 2f64.powi(32)) / 2f64.powi(32)).collect();
    let n = turns.len();
    let t = b.cast(t, DOUBLE);
    let t = b.rows(&t, &[1]);
    let turns = b.doubles(&[1, n], &turns);
    let phase = b.node("Mul", &[&t, &turns], vec![]);
    let whole = b.node("Round", &[&phase], vec![]);
    let phase = b.node("Sub", &[&phase, &whole], vec![]);
    let around = b.doubles(&[], &[std::f64::consts::TAU]);
    let phase = b.node("Mul", &[&phase, &around], vec![]);
    let phase = b.cast(&phase, FLOAT);
    let (sines, cosines) = (b.node("Sin", &[&phase], vec![]), b.node("Cos", &[&phase], vec![]));
    match op.layout {
        Layout::Interleaved => {
            let [sines, cosines] = [sines, cosines].map(|part| b.rows(&part, &[n, 1]));
            let pairs = b.node("Concat", &[&sines, &cosines], vec![int("axis", 2)]);
            let pairs = b.rows(&pairs, &[2 * n]);
            if op.width == 2 * n {
                return pairs;
            }
            let (from, to, axis) = (b.integers(&[0]), b.integers(&[op.width as i64]), b.integers(&[1]));
            b.node("Slice", &[&pairs, &from, &to, &axis], vec![])
        }
        Layout::Halves { flip, .. } => {
            let halves = if flip { [&*cosines, &*sines] } else { [&*sines, &*cosines] };
            let joined = b.node("Concat", &halves, vec![int("axis", 1)]);
            if op.width == 2 * n {
                return joined;
            }
            let pads = b.integers(&[0, 0, 0, 1]);
            b.node("Pad", &[&joined, &pads], vec![])
        }
    }
}
