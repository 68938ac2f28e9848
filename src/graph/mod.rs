//! The program as plain data: tensors, and nodes that compute tensors from tensors.
//!
//! A graph is static: all shapes, including the batch size, are known when a node is added, and are checked there. This
//! module does not depend on a device.

/// In an `impl Op`: declares that the shader of the op was reviewed, see [`Trust`](op::Trust).
macro_rules! trusted {
    () => {
        fn trust(&self) -> Option<$crate::graph::Trust> {
            Some($crate::graph::Trust::of::<Self>())
        }
    };
}

mod add;
mod apply;
mod cost;
mod grad;
mod half;
mod op;
mod parameters;
pub(crate) mod plan;
mod recompute;
#[cfg(feature = "files")]
pub(crate) mod share;
mod tensor;

pub use add::Add;
pub use cost::Cost;
pub use grad::{Gradients, Reverse};
pub use op::{AnyOp, DynOp, Io, Op, Term, Trust};
pub(crate) use op::{View, ViewMut, expect_count, expect_shape};
pub use tensor::{DType, Form, HISTORY, Parameter, Slab, Spec, Specs, Var};
pub(crate) use tensor::{Init, OTHER_GRAPH, Storage, Tensor, Tensors};

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};

/// One op with its tensors.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Arc<dyn AnyOp>,
    pub(crate) inputs: Vec<Var>,
    pub(crate) outputs: Vec<Var>,
    /// Persistent tensors that the op reads and writes.
    pub(crate) updates: Vec<Var>,
    /// The micro-batches that it runs for; `None`: once, for the whole batch.
    pub(crate) parts: Option<Parts>,
    /// Whether its shader runs without runtime checks.
    pub(crate) trusted: bool,
    /// The block that it belongs to, see [`Graph::block`].
    pub(crate) block: Option<usize>,
}

/// The prefix of the names of constants.
const CONSTANT: &str = "constant.";

/// A binding size that every adapter supports; a larger data set is split into several tensors.
const CHUNK_BYTES: usize = 128 << 20;

/// A static graph of operations on tensors. See the crate's front page for an example.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) tensors: Tensors,
    pub(crate) nodes: Vec<Node>,
    parameters: Vec<Parameter>,
    slabs: HashMap<Slab, Var>,
    /// Tensors by name; a data set may have several.
    names: HashMap<String, Vec<Var>>,
    /// loss -> (prediction, d loss / d prediction), with which the reverse pass starts.
    losses: HashMap<Var, (Var, Var)>,
    /// The number of allocated random streams.
    pub(crate) streams: u32,
    /// The power of two by which gradients are multiplied in f16: about the number of elements of the loss.
    gradient_exponent: i32,
    optimized: bool,
    training: bool,
    /// Whether an op that is only active in training was left out.
    left_out: bool,
    parts: Option<Parts>,
    /// The block that added nodes belong to, the number of blocks, and whether reverse passes recompute them.
    block: Option<usize>,
    blocks: usize,
    recomputes: bool,
    seed: u64,
    /// What is put in front of names, see [`Graph::scoped`].
    scope: String,
}

/// The micro-batches that nodes run for: `count` parts of `rows` rows each, from row `first` of the batch on. In each
/// step, the nodes run once for each part, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub first: usize,
    pub rows: usize,
    pub count: usize,
}

/// A data set that stays on the device: n samples of the same shape. Created by [`Graph::dataset`].
#[derive(Clone, Debug)]
pub struct Data {
    pub(crate) chunks: Vec<Var>,
    pub(crate) shape: Vec<usize>,
    pub(crate) rows_per_chunk: usize,
}

/// No computer holds more elements than this; sums of sizes in bytes do not overflow below it.
const MAX_ELEMENTS: usize = 1 << if usize::BITS < 64 { 28 } else { 40 };

fn check_size(name: &str, spec: &Spec) -> Result<()> {
    if spec.shape.len() <= 4 && (1..=MAX_ELEMENTS).contains(&spec.len()) {
        return Ok(());
    }
    let text =
        format!("{spec} is empty, has more than four dimensions, or more than 2^{} elements", MAX_ELEMENTS.ilog2());
    Err(Error::shape(name, text))
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph with the seed of the initial parameter values.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The seed of the initial parameter values.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Calls `add` in a scope: names of tensors and parameters, those it adds and those it finds, begin with `scope`, and
    /// the seed of initial values is `seed`. It adds a second network to a graph.
    ///
    /// # Errors
    /// Those of `add`.
    pub fn scoped<T>(&mut self, scope: &str, seed: u64, add: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outer = (std::mem::replace(&mut self.scope, scope.into()), std::mem::replace(&mut self.seed, seed));
        let added = add(self);
        (self.scope, self.seed) = outer;
        added
    }

    pub(crate) fn tensor(&mut self, name: String, spec: Spec, storage: Storage, init: Init) -> Var {
        // Constants and parameters do not depend on the batch size.
        let fixed = storage != Storage::Step && !matches!(init, Init::Zero);
        self.tensors.push(Tensor {
            name,
            spec,
            storage,
            init,
            kept: false,
            fixed,
            gradient: false,
            maker: None,
            origin: 0,
        })
    }

    fn named(&mut self, name: &str, spec: Spec, storage: Storage, init: Init) -> Result<Var> {
        let name = self.free_name(name)?;
        check_size(&name, &spec)?;
        let var = self.tensor(name.clone(), spec, storage, init);
        self.names.insert(name, vec![var]);
        Ok(var)
    }

    /// A name in the scope.
    ///
    /// # Errors
    /// When a tensor has it.
    fn free_name(&self, name: &str) -> Result<String> {
        let name = format!("{}{name}", self.scope);
        if self.names.contains_key(&name) {
            return Err(Error::setting(format!("the graph already has a tensor named {name:?}; choose another name")));
        }
        Ok(name)
    }

    /// Adds a persistent f32 tensor, initially zero: an input, or a state that is updated in each step.
    ///
    /// # Errors
    /// If the name is taken or the shape is invalid.
    pub fn state(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.named(name, Spec::f32(shape), Storage::State, Init::Zero)
    }

    /// [`Graph::state`] of type u32.
    ///
    /// # Errors
    /// Those of [`Graph::state`].
    pub fn state_u32(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.named(name, Spec::u32(shape), Storage::State, Init::Zero)
    }

    /// Adds a constant f32 tensor. Equal constants share one tensor.
    ///
    /// # Errors
    /// If the number of values differs from the number of elements.
    pub fn constant(&mut self, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Var> {
        let spec = Spec::f32(shape);
        self.check_len("constant", &spec, values.len())?;
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let same = |init: &Init| matches!(init, Init::F32(old) if bits(old) == bits(&values));
        if let Some(found) = self.constant_like(&spec, same) {
            return Ok(found);
        }
        Ok(self.tensor(format!("{CONSTANT}{}", self.tensors.len()), spec, Storage::State, Init::F32(values.into())))
    }

    /// [`Graph::constant`] of type u32.
    ///
    /// # Errors
    /// Those of [`Graph::constant`].
    pub fn constant_u32(&mut self, shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Result<Var> {
        let spec = Spec::u32(shape);
        self.check_len("constant_u32", &spec, values.len())?;
        let same = |init: &Init| matches!(init, Init::U32(old) if old[..] == values[..]);
        if let Some(found) = self.constant_like(&spec, same) {
            return Ok(found);
        }
        Ok(self.tensor(format!("{CONSTANT}{}", self.tensors.len()), spec, Storage::State, Init::U32(values.into())))
    }

    /// An equal constant that was added before: micro-batches share their constants.
    fn constant_like(&self, spec: &Spec, same: impl Fn(&Init) -> bool) -> Option<Var> {
        let named = |t: &Tensor| self.names.contains_key(&t.name);
        let fits = |t: &Tensor| t.name.starts_with(CONSTANT) && !named(t) && t.spec == *spec && same(&t.init);
        self.tensors.iter().position(fits).map(|index| self.tensors.var(index))
    }

    fn check_len(&self, what: &str, spec: &Spec, got: usize) -> Result<()> {
        if spec.len() == got && got > 0 {
            return Ok(());
        }
        Err(Error::shape(what, format!("{spec} holds {} elements, got {got}", spec.len())))
    }

    /// Adds a data set of shape [n, ...] that stays on the device; fill it with [`Run::write`](crate::Run::write).
    ///
    /// # Errors
    /// If the name is taken or the shape is invalid.
    pub fn dataset(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Data> {
        let shape = shape.into();
        let (n, sample) = Spec::f32(shape.clone()).rows();
        if n == 0 || sample == 0 || shape.len() < 2 {
            return Err(Error::shape(name, format!("a data set has the shape [n, ...], got {shape:?}")));
        }
        let rows_per_chunk = (CHUNK_BYTES / (4 * sample)).max(1).min(n);
        let mut chunks = Vec::new();
        for (i, start) in (0..n).step_by(rows_per_chunk).enumerate() {
            let rows = rows_per_chunk.min(n - start);
            let spec = Spec::f32([&[rows], &shape[1..]].concat());
            chunks.push(match i {
                0 => self.named(name, spec, Storage::State, Init::Zero)?,
                _ => self.tensor(format!("{name}.{i}"), spec, Storage::State, Init::Zero),
            });
        }
        chunks.iter().for_each(|chunk| self.tensors[*chunk].fixed = true);
        self.names.insert(format!("{}{name}", self.scope), chunks.clone());
        Ok(Data { chunks, shape, rows_per_chunk })
    }

    /// Names a tensor for [`Graph::find`], and keeps it ([`Graph::keep`]).
    ///
    /// # Errors
    /// If the name is taken, or the tensor belongs to another graph.
    pub fn name(&mut self, name: &str, var: Var) -> Result<Var> {
        self.check(&[var])?;
        let name = self.free_name(name)?;
        self.names.insert(name, vec![var]);
        Ok(self.keep(var))
    }

    /// The handle of a named tensor; the first tensor of a data set that is split.
    ///
    /// # Errors
    /// [`Error::Setting`] with all names, if there is no such tensor.
    pub fn find(&self, name: &str) -> Result<Var> {
        Ok(self.vars_named(name)?[0])
    }

    /// The shape and element type of a tensor.
    ///
    /// # Panics
    /// If it belongs to another graph.
    pub fn spec(&self, var: Var) -> &Spec {
        &self.tensors[var].spec
    }

    /// The shape of a tensor.
    ///
    /// # Panics
    /// If it belongs to another graph.
    pub fn shape(&self, var: Var) -> &[usize] {
        &self.spec(var).shape
    }

    /// A view of a tensor with another shape and the same elements in row-major order, without a copy.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of elements differs; [`Error::Setting`] if the tensor belongs to another graph.
    pub fn reshape(&mut self, var: Var, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.check(&[var])?;
        let (old, shape) = (self.spec(var).clone(), shape.into());
        let new = Spec { shape, ..old.clone() };
        if old.form != Form::Dense || new.shape.len() > 4 || new.len() != old.len() {
            let shape = new.shape;
            return Err(Error::shape("reshape", format!("{old} cannot be reshaped to {shape:?}")));
        }
        let name = self.tensors[var].name.clone();
        let of = self.root(var);
        Ok(self.tensor(name, new, Storage::Alias { of }, Init::Zero))
    }

    /// The tensor that owns the memory of `var`: itself, or the original of a reshaped tensor.
    pub(crate) fn root(&self, var: Var) -> Var {
        if let Storage::Alias { of } = self.tensors[var].storage { of } else { var }
    }

    /// The index of the node that computes a tensor.
    pub(crate) fn maker(&self, var: Var) -> Option<usize> {
        self.tensors[self.root(var)].maker
    }

    /// Keeps the values of a tensor after the step, so that they can be read. The memory of the tensor is then not
    /// reused within the step.
    ///
    /// # Panics
    /// If it belongs to another graph.
    pub fn keep(&mut self, var: Var) -> Var {
        let root = self.root(var);
        self.tensors[root].kept = true;
        var
    }

    /// Whether the memory of a tensor is reused, so that its values are not available after the step.
    pub(crate) fn is_transient(&self, var: Var) -> bool {
        let root = &self.tensors[self.root(var)];
        root.storage == Storage::Step && !root.kept
    }

    /// Switches to training mode: ops that are only active in training (dropout, noise on activations) are then added.
    /// Call it before the network is added; an optimizer refuses a graph from which such ops were left out.
    pub fn train(&mut self) -> &mut Self {
        self.training = true;
        self
    }

    /// Whether [`Graph::train`] was called.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Whether to add an op that is only active in training.
    pub(crate) fn trains_with(&mut self) -> bool {
        self.left_out |= !self.training;
        self.training
    }

    /// Checks that nothing that is only active in training was left out.
    pub(crate) fn check_training(&self) -> Result<()> {
        match self.left_out {
            false => Ok(()),
            true => Err(Error::setting(
                "dropout, augmentation or noise on activations was left out, because the graph was not in training mode; call \
                 `Graph::train` before the network is added",
            )),
        }
    }

    /// Sets the micro-batches that subsequently added nodes run for, or `None` for the whole batch at once.
    pub(crate) fn set_parts(&mut self, parts: Option<Parts>) {
        self.parts = parts;
    }

    /// The micro-batches that added nodes run for.
    #[cfg(feature = "files")]
    pub(crate) fn parts(&self) -> Option<Parts> {
        self.parts
    }

    /// The rows that a node processes at a time: those of a micro-batch, otherwise `batch`.
    pub(crate) fn rows_of(&self, batch: usize) -> usize {
        self.parts.map_or(batch, |parts| parts.rows)
    }

    /// Allocates a random stream for an op that draws random numbers.
    pub fn stream(&mut self) -> u32 {
        self.streams += 1;
        self.streams - 1
    }

    /// Declares that `loss` is a loss, and `d` its gradient with respect to `prediction`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `loss` is not a scalar with a history, or `d` does not have the shape of `prediction`;
    /// [`Error::Setting`] if a tensor belongs to another graph.
    pub fn define_loss(&mut self, loss: Var, prediction: Var, d: Var) -> Result<()> {
        self.check(&[loss, prediction, d])?;
        let (a, b) = (self.spec(prediction), self.spec(d));
        if a.shape != b.shape || self.spec(loss).form != Form::History {
            return Err(Error::shape("loss", format!("a loss is a scalar, with a gradient of shape {a}; got {b}")));
        }
        self.losses.insert(loss, (prediction, d));
        Ok(())
    }

    pub(crate) fn vars_named(&self, name: &str) -> Result<&[Var]> {
        let name = format!("{}{name}", self.scope);
        self.names.get(&name).map(Vec::as_slice).ok_or_else(|| {
            let mut known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            known.sort_unstable();
            Error::unknown("tensor", &name, &known)
        })
    }
}

#[cfg(test)]
mod tests;
