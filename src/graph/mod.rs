//! The program as plain data: tensors, and nodes that compute some from others.
//!
//! A graph is static: shapes, the batch size included, are known when a node is added, and a misfit is refused there.
//! Nothing here knows of a device.

/// In an `impl Op`: says that the op's shader was reviewed, see [`Trust`](op::Trust).
macro_rules! trusted {
    () => {
        fn trust(&self) -> Option<$crate::graph::Trust> {
            Some($crate::graph::Trust::of::<Self>())
        }
    };
}

mod add;
mod cost;
mod grad;
mod op;
pub(crate) mod plan;
mod tensor;

pub use add::Add;
pub use cost::Cost;
pub use grad::{Gradients, Reverse};
pub use op::{AnyOp, Io, Op, Trust, View, ViewMut};
pub(crate) use op::{expect_count, expect_shape};
pub use tensor::{DType, Form, HISTORY, Parameter, Slab, Spec, Specs, Var};
pub(crate) use tensor::{FOREIGN, Init, Storage, Tensor, Tensors};

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::numeric::random::Draw;

/// One op with its tensors.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) op: Arc<dyn AnyOp>,
    pub(crate) inputs: Vec<Var>,
    pub(crate) outputs: Vec<Var>,
    /// Persistent tensors that the op reads and writes.
    pub(crate) updates: Vec<Var>,
    /// The rows of the batch that it works on; all of them when nothing is said.
    pub(crate) parts: Option<Parts>,
    /// Whether its shader may run without checks of its indices.
    pub(crate) trusted: bool,
}

/// Parameters start at multiples of 256 bytes, the offset any adapter accepts for a binding.
const ALIGN: usize = 64;

/// The most parameters of a network: with gradient and moments they take 16 GB.
const MOST_PARAMETERS: usize = 1_000_000_000;

/// How the names of tables begin.
const CONSTANT: &str = "constant.";

/// Bindings are kept below the limit that every adapter offers; a larger data set is held in several tensors.
const CHUNK_BYTES: usize = 128 << 20;

/// A program over tensors. See the crate's front page for an example.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) tensors: Tensors,
    pub(crate) nodes: Vec<Node>,
    parameters: Vec<Parameter>,
    slabs: HashMap<Slab, Var>,
    /// Names of persistent tensors; a data set has several.
    names: HashMap<String, Vec<Var>>,
    /// loss -> (prediction, d loss / d prediction): where the reverse pass starts.
    losses: HashMap<Var, (Var, Var)>,
    streams: u32,
    optimized: bool,
    training: bool,
    parts: Option<Parts>,
    seed: u64,
}

/// Micro-batches that nodes are added for: `count` parts of `rows` rows each, from row `first` of the batch on. In each step
/// the nodes run once for every part, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub first: usize,
    pub rows: usize,
    pub count: usize,
}

/// Data resident on the device: n samples of one shape.
#[derive(Clone, Debug)]
pub struct Data {
    pub(crate) chunks: Vec<Var>,
    pub(crate) shape: Vec<usize>,
    pub(crate) rows_per_chunk: usize,
}

/// No computer holds more elements than this; sums of sizes in bytes do not overflow below it.
const MOST_ELEMENTS: usize = 1 << if usize::BITS < 64 { 28 } else { 40 };

fn check_size(name: &str, spec: &Spec) -> Result<()> {
    if spec.shape.len() <= 4 && (1..=MOST_ELEMENTS).contains(&spec.len()) {
        return Ok(());
    }
    let text =
        format!("{spec} is empty, has more than four dimensions, or more than 2^{} elements", MOST_ELEMENTS.ilog2());
    Err(Error::shape(name, text))
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph whose parameters get initial values from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The seed of the initial values.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Adds `op` over `inputs`; returns its outputs.
    ///
    /// # Errors
    /// [`Error::Shape`] when the op does not take tensors of these shapes and element types; [`Error::Setting`] for one of
    /// another graph.
    pub fn apply(&mut self, op: impl Op, inputs: &[Var]) -> Result<Vec<Var>> {
        self.apply_to(op, inputs, &[])
    }

    /// [`Graph::apply`] for an op with one result: its first output. Outputs after the first are what its reverse rule
    /// reads, such as the values before an activation.
    ///
    /// # Errors
    /// As [`Graph::apply`], and when the op has no output.
    pub fn apply1(&mut self, op: impl Op, inputs: &[Var]) -> Result<Var> {
        let name = op.name();
        let first = self.apply(op, inputs)?.first().copied();
        first.ok_or_else(|| Error::shape(name, "has no output; add it with Graph::apply_to"))
    }

    /// Adds `op` over `inputs`, which also reads and writes the persistent tensors `updates`.
    pub fn apply_to(&mut self, op: impl Op, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        self.apply_any(Arc::new(op), inputs, updates)
    }

    /// [`Graph::apply_to`] for an op whose shader runs without runtime checks in release builds, as those of the crate do:
    /// indices are not bounded, loops are not cut off, and workgroup memory does not begin at zero.
    ///
    /// # Errors
    /// As [`Graph::apply`].
    ///
    /// # Safety
    /// For the shapes of these tensors and whatever values they hold, the kernel reads and writes only inside its bindings
    /// and arrays, its loops end, and it reads no workgroup memory that it did not write.
    #[allow(unsafe_code)]
    pub unsafe fn apply_unchecked(&mut self, op: impl Op, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        let outputs = self.apply_to(op, inputs, updates)?;
        self.nodes.last_mut().expect("it was added just now").trusted = true;
        Ok(outputs)
    }

    pub(crate) fn apply_any(&mut self, op: Arc<dyn AnyOp>, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        let name = op.name();
        self.check(inputs)?;
        self.check(updates)?;
        self.check_updates(&*op, updates)?;
        let specs = self.inputs_of(&*op, inputs, updates)?;
        let outputs = op.infer(&specs)?;
        outputs.iter().try_for_each(|spec| check_size(name, spec))?;
        let node = self.nodes.len();
        let outputs: Vec<Var> = outputs
            .into_iter()
            .enumerate()
            .map(|(i, spec)| {
                let storage = if spec.form == Form::History { Storage::State } else { Storage::Step };
                let var = self.tensor(format!("{name}.{node}.{i}"), spec, storage, Init::Zero);
                self.tensors[var].maker = Some(node);
                var
            })
            .collect();
        self.nodes.push(Node {
            trusted: op.is_trusted(),
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            updates: updates.to_vec(),
            parts: self.parts,
        });
        Ok(outputs)
    }

    fn check_updates(&self, op: &dyn AnyOp, updates: &[Var]) -> Result<()> {
        let refuse = |text| Err(Error::shape(op.name(), text));
        if updates.len() != op.updates() {
            return refuse(format!("updates {} tensors in place, got {}", op.updates(), updates.len()));
        }
        match updates.iter().find(|&&v| self.tensors[self.root(v)].storage == Storage::Step) {
            Some(&v) => refuse(format!("{} is not persistent, so it cannot be updated in place", self.tensors[v].name)),
            None => Ok(()),
        }
    }

    /// The inputs and then the updated tensors, of the element types that the op takes.
    fn inputs_of(&self, op: &dyn AnyOp, inputs: &[Var], updates: &[Var]) -> Result<Vec<Spec>> {
        let spec = |(i, &var): (usize, &Var)| {
            let Tensor { name, spec, .. } = &self.tensors[var];
            let refuse = |text| Err(Error::shape(op.name(), format!("tensor {i}, {name}, {text}")));
            if spec.form == Form::History {
                return refuse("has one value per step, which only `Run::history` reads".into());
            }
            let takes = op.dtypes(i, inputs.len() + updates.len());
            if takes.contains(&spec.dtype) {
                return Ok(spec.clone());
            }
            let takes: Vec<String> = takes.iter().map(DType::to_string).collect();
            refuse(format!("holds {spec}, and should hold {}", takes.join(" or ")))
        };
        inputs.iter().chain(updates).enumerate().map(spec).collect()
    }

    /// That all of these are tensors of this graph.
    fn check(&self, vars: &[Var]) -> Result<()> {
        match vars.iter().all(|&var| self.tensors.get(var).is_some()) {
            true => Ok(()),
            false => Err(Error::setting(FOREIGN)),
        }
    }

    fn tensor(&mut self, name: String, spec: Spec, storage: Storage, init: Init) -> Var {
        // A table has its values, and a parameter too.
        let fixed = storage != Storage::Step && !matches!(init, Init::Zero);
        self.tensors.push(Tensor { name, spec, storage, init, kept: false, fixed, maker: None, origin: 0 })
    }

    fn named(&mut self, name: &str, spec: Spec, storage: Storage, init: Init) -> Result<Var> {
        if self.names.contains_key(name) {
            return Err(Error::setting(format!("the graph already has a tensor named {name:?}; choose another name")));
        }
        check_size(name, &spec)?;
        let var = self.tensor(name.to_string(), spec, storage, init);
        self.names.insert(name.to_string(), vec![var]);
        Ok(var)
    }

    /// A persistent f32 tensor, zero until written: an input, or the state of a loop.
    pub fn state(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.named(name, Spec::f32(shape), Storage::State, Init::Zero)
    }

    /// A persistent u32 tensor, zero until written.
    pub fn state_u32(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.named(name, Spec::u32(shape), Storage::State, Init::Zero)
    }

    /// A table that never changes.
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

    /// A table of integers that never changes.
    pub fn constant_u32(&mut self, shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Result<Var> {
        let spec = Spec::u32(shape);
        self.check_len("constant_u32", &spec, values.len())?;
        let same = |init: &Init| matches!(init, Init::U32(old) if old[..] == values[..]);
        if let Some(found) = self.constant_like(&spec, same) {
            return Ok(found);
        }
        Ok(self.tensor(format!("{CONSTANT}{}", self.tensors.len()), spec, Storage::State, Init::U32(values.into())))
    }

    /// A table that is there already: the parts of a batch share theirs.
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

    /// Declares data of shape [n, ...] that stays on the device; fill it with `Run::write`.
    pub fn dataset(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Data> {
        let shape = shape.into();
        let (n, sample) = Spec::f32(shape.clone()).rows();
        if n == 0 || sample == 0 || shape.len() < 2 {
            return Err(Error::shape(name, format!("data has the shape [n, ...], got {shape:?}")));
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
        self.names.insert(name.to_string(), chunks.clone());
        Ok(Data { chunks, shape, rows_per_chunk })
    }

    /// Adds a trainable tensor with its initial values.
    ///
    /// # Errors
    /// When the name is taken, the values do not fill the shape, or the optimizer was already added.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Var> {
        let spec = Spec::f32(shape);
        self.check_len(name, &spec, values.len())?;
        self.add_parameter(name, spec, Init::F32(values.into()))
    }

    /// [`Graph::parameter`] with initial values that are drawn when the graph is compiled.
    ///
    /// # Errors
    /// As [`Graph::parameter`], and when the model becomes larger than any memory.
    pub(crate) fn drawn_parameter(&mut self, name: &str, shape: impl Into<Vec<usize>>, draw: Draw) -> Result<Var> {
        self.add_parameter(name, Spec::f32(shape), Init::Drawn(draw))
    }

    fn add_parameter(&mut self, name: &str, spec: Spec, init: Init) -> Result<Var> {
        if self.optimized {
            return Err(Error::setting(format!("parameter {name:?} must be added before `minimize`")));
        }
        let slab = self.slab(Slab::Params);
        let offset = self.tensors[slab].spec.shape[0].next_multiple_of(ALIGN);
        let shape = spec.shape.clone();
        let len = shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)).unwrap_or(usize::MAX);
        if len > MOST_PARAMETERS - offset.min(MOST_PARAMETERS) {
            return Err(Error::setting(format!(
                "with {name} {shape:?} the network has more than {MOST_PARAMETERS:.0e} parameters, which take {:.0} GB to \
                 train; make the network smaller",
                MOST_PARAMETERS as f64 * 16e-9
            )));
        }
        let var = self.named(name, spec, Storage::Part { of: slab, offset }, init)?;
        self.parameters.push(Parameter { name: name.to_string(), shape, var, offset });
        for &slab in self.slabs.values() {
            self.tensors[slab].spec.shape[0] = (offset + len).next_multiple_of(ALIGN);
        }
        Ok(var)
    }

    /// The tensor over all parameters' values, gradients or moments.
    pub fn slab(&mut self, slab: Slab) -> Var {
        if let Some(&var) = self.slabs.get(&slab) {
            return var;
        }
        let len = self.slabs.get(&Slab::Params).map_or(0, |v| self.tensors[*v].spec.shape[0]);
        let var = self.tensor(slab.name().to_string(), Spec::f32([len]), Storage::State, Init::Zero);
        self.tensors[var].fixed = true;
        self.slabs.insert(slab, var);
        var
    }

    /// The slab's tensor, if the program has one.
    pub fn slab_if_used(&self, slab: Slab) -> Option<Var> {
        self.slabs.get(&slab).copied()
    }

    /// All parameters in the order they were added.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The number of trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// The parameter's handle by its name.
    pub fn find_parameter(&self, name: &str) -> Option<Var> {
        self.parameters.iter().find(|p| p.name == name).map(|p| p.var)
    }

    /// Makes a tensor of the step readable after it by a name, as [`Graph::find`] does.
    ///
    /// # Errors
    /// When the name is taken, or the tensor is another graph's.
    pub fn name(&mut self, name: &str, var: Var) -> Result<Var> {
        self.check(&[var])?;
        if self.names.contains_key(name) {
            return Err(Error::setting(format!("the graph already has a tensor named {name:?}; choose another name")));
        }
        self.names.insert(name.to_string(), vec![var]);
        Ok(self.keep(var))
    }

    /// The handle of a named tensor; of a data set in several pieces, the first.
    ///
    /// # Errors
    /// With the names there are.
    pub fn find(&self, name: &str) -> Result<Var> {
        Ok(self.vars_named(name)?[0])
    }

    /// Shape and type of a tensor.
    ///
    /// # Panics
    /// When it is another graph's.
    pub fn spec(&self, var: Var) -> &Spec {
        &self.tensors[var].spec
    }

    /// The shape of a tensor.
    ///
    /// # Panics
    /// When it is another graph's.
    pub fn shape(&self, var: Var) -> &[usize] {
        &self.spec(var).shape
    }

    /// The same elements in row-major order under another shape: no copy, no dispatch.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ in their number of elements; [`Error::Setting`] for another graph's tensor.
    pub fn reshape(&mut self, var: Var, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.check(&[var])?;
        let (old, shape) = (self.spec(var).clone(), shape.into());
        let new = Spec { shape, ..old.clone() };
        if old.form != Form::Dense || new.shape.len() > 4 || new.len() != old.len() {
            let shape = new.shape;
            return Err(Error::shape("reshape", format!("{old} does not fill {shape:?}")));
        }
        let name = self.tensors[var].name.clone();
        let of = self.root(var);
        Ok(self.tensor(name, new, Storage::Alias { of }, Init::Zero))
    }

    /// The tensor whose memory `var` is: itself, unless it is a reshaped one.
    pub(crate) fn root(&self, var: Var) -> Var {
        if let Storage::Alias { of } = self.tensors[var].storage { of } else { var }
    }

    /// The place among the nodes of the one that makes a tensor, reshaped or not.
    pub(crate) fn maker(&self, var: Var) -> Option<usize> {
        self.tensors[self.root(var)].maker
    }

    /// Makes a tensor of the step readable after it, at the price of memory of its own.
    ///
    /// # Panics
    /// When it is another graph's.
    pub fn keep(&mut self, var: Var) -> Var {
        let root = self.root(var);
        self.tensors[root].kept = true;
        var
    }

    /// Whether tensor and memory are gone after the step.
    pub(crate) fn is_transient(&self, var: Var) -> bool {
        let root = &self.tensors[self.root(var)];
        root.storage == Storage::Step && !root.kept
    }

    /// Says that this program trains: what differs between training and use (dropout, noise on activations) is then on.
    pub fn train(&mut self) -> &mut Self {
        self.training = true;
        self
    }

    /// Whether [`Graph::train`] was called.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// The nodes that are added from here on run for each of these parts of the batch, or once for all of it.
    pub(crate) fn set_parts(&mut self, parts: Option<Parts>) {
        self.parts = parts;
    }

    /// The rows of a batch of `batch` that a node works on at a time.
    pub(crate) fn rows_of(&self, batch: usize) -> usize {
        self.parts.map_or(batch, |parts| parts.rows)
    }

    /// How many random streams were given out.
    pub(crate) fn streams(&self) -> u32 {
        self.streams
    }

    /// Gives out the streams from `mark` on again, so that another micro-batch draws what the whole batch would.
    pub(crate) fn rewind_streams(&mut self, mark: u32) {
        self.streams = mark;
    }

    /// A random stream of its own for an op that draws numbers.
    pub fn stream(&mut self) -> u32 {
        self.streams += 1;
        self.streams - 1
    }

    /// States that `d` is the gradient of the scalar `loss` by `prediction`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes are not those of a loss; [`Error::Setting`] for another graph's tensor.
    pub fn define_loss(&mut self, loss: Var, prediction: Var, d: Var) -> Result<()> {
        self.check(&[loss, prediction, d])?;
        let (a, b) = (self.spec(prediction), self.spec(d));
        if a.shape != b.shape || self.spec(loss).form != Form::History {
            return Err(Error::shape("loss", format!("a loss is a scalar, with a gradient of shape {a}; got {b}")));
        }
        self.losses.insert(loss, (prediction, d));
        Ok(())
    }

    /// The slab of the moving average, which starts at the parameters' initial values.
    pub(crate) fn start_ema(&mut self) -> Var {
        let slab = self.slab(Slab::Ema);
        self.tensors[slab].init = Init::Parameters;
        slab
    }

    pub(crate) fn mark_optimized(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.optimized, true) {
            return Err(Error::setting("the graph already has an optimizer; call `minimize` once"));
        }
        Ok(())
    }

    pub(crate) fn vars_named(&self, name: &str) -> Result<&[Var]> {
        self.names.get(name).map(Vec::as_slice).ok_or_else(|| {
            let mut known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            known.sort_unstable();
            Error::unknown("tensor", name, &known)
        })
    }
}

#[cfg(test)]
mod tests;
