//! The program as plain data: tensors, and nodes that compute some from others.
//!
//! A graph is static: shapes, the batch size included, are known when a node is added, and a misfit is refused there.
//! Nothing here knows of a device.

mod add;
mod cost;
mod grad;
mod op;
pub(crate) mod plan;
mod tensor;

pub use add::Add;
pub use cost::Cost;
pub use grad::{Gradients, Reverse};
pub use op::{AnyOp, Io, Op, View, ViewMut};
pub(crate) use op::{expect_count, expect_shape};
pub use tensor::{DType, Form, HISTORY, Parameter, Slab, Spec, Specs, Var};
pub(crate) use tensor::{Home, Init, Tensor};

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
    /// The row of the batch that row 0 of the op's tensors is: random numbers are drawn for rows of the batch.
    pub(crate) first_row: u32,
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
    pub(crate) tensors: Vec<Tensor>,
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
    window: Option<Window>,
    seed: u64,
}

/// The rows of a batch that nodes are added for: a micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub first: usize,
    pub rows: usize,
}

/// Data resident on the device: n samples of one shape.
#[derive(Clone, Debug)]
pub struct Data {
    pub(crate) chunks: Vec<Var>,
    pub(crate) shape: Vec<usize>,
    pub(crate) rows_per_chunk: usize,
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
    /// [`Error::Shape`] when the op does not take tensors of these shapes.
    pub fn apply(&mut self, op: impl Op, inputs: &[Var]) -> Result<Vec<Var>> {
        self.apply_to(op, inputs, &[])
    }

    /// Adds `op` over `inputs`, which also reads and writes the persistent tensors `updates`.
    pub fn apply_to(&mut self, op: impl Op, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        self.apply_any(Arc::new(op), inputs, updates)
    }

    pub(crate) fn apply_any(&mut self, op: Arc<dyn AnyOp>, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        let name = op.name();
        let specs: Vec<Spec> = inputs.iter().chain(updates).map(|&v| self.spec(v).clone()).collect();
        if let Some(&bad) = updates.iter().find(|&&v| self.tensors[self.root(v).0].home == Home::Step) {
            let label = &self.tensors[bad.0].name;
            return Err(Error::shape(name, format!("{label} is not persistent, so it cannot be updated in place")));
        }
        let outputs = op.infer(&specs)?;
        if let Some(bad) = outputs.iter().find(|s| s.shape.len() > 4 || s.is_empty()) {
            return Err(Error::shape(name, format!("output {bad} is empty or has more than four dimensions")));
        }
        let outputs: Vec<Var> = outputs
            .into_iter()
            .enumerate()
            .map(|(i, spec)| {
                let home = if spec.form == Form::History { Home::State } else { Home::Step };
                self.tensor(format!("{name}.{}.{i}", self.nodes.len()), spec, home, Init::Zero)
            })
            .collect();
        let first_row = self.window.map_or(0, |w| w.first) as u32;
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            updates: updates.to_vec(),
            first_row,
        });
        Ok(outputs)
    }

    fn tensor(&mut self, name: String, spec: Spec, home: Home, init: Init) -> Var {
        // A table has its values, and a parameter too.
        let fixed = home != Home::Step && !matches!(init, Init::Zero);
        self.tensors.push(Tensor { name, spec, home, init, kept: false, fixed });
        Var(self.tensors.len() - 1)
    }

    fn named(&mut self, name: &str, spec: Spec, home: Home, init: Init) -> Result<Var> {
        if self.names.contains_key(name) {
            return Err(Error::setting(format!("the graph already has a tensor named {name:?}; choose another name")));
        }
        if spec.is_empty() || spec.shape.len() > 4 {
            return Err(Error::shape(name, format!("{spec} is empty or has more than four dimensions")));
        }
        let var = self.tensor(name.to_string(), spec, home, init);
        self.names.insert(name.to_string(), vec![var]);
        Ok(var)
    }

    /// A persistent f32 tensor, zero until written: an input, or the state of a loop.
    pub fn state(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.named(name, Spec::f32(shape), Home::State, Init::Zero)
    }

    /// A persistent u32 tensor, zero until written.
    pub fn state_u32(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Result<Var> {
        self.named(name, Spec::u32(shape), Home::State, Init::Zero)
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
        Ok(self.tensor(format!("{CONSTANT}{}", self.tensors.len()), spec, Home::State, Init::F32(values.into())))
    }

    /// A table of integers that never changes.
    pub fn constant_u32(&mut self, shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Result<Var> {
        let spec = Spec::u32(shape);
        self.check_len("constant_u32", &spec, values.len())?;
        let same = |init: &Init| matches!(init, Init::U32(old) if old[..] == values[..]);
        if let Some(found) = self.constant_like(&spec, same) {
            return Ok(found);
        }
        Ok(self.tensor(format!("{CONSTANT}{}", self.tensors.len()), spec, Home::State, Init::U32(values.into())))
    }

    /// A table that is there already: the parts of a batch share theirs.
    fn constant_like(&self, spec: &Spec, same: impl Fn(&Init) -> bool) -> Option<Var> {
        let named = |t: &Tensor| self.names.contains_key(&t.name);
        let fits = |t: &Tensor| t.name.starts_with(CONSTANT) && !named(t) && t.spec == *spec && same(&t.init);
        self.tensors.iter().position(fits).map(Var)
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
                0 => self.named(name, spec, Home::State, Init::Zero)?,
                _ => self.tensor(format!("{name}.{i}"), spec, Home::State, Init::Zero),
            });
        }
        chunks.iter().for_each(|chunk| self.tensors[chunk.0].fixed = true);
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
        let offset = self.tensors[slab.0].spec.shape[0].next_multiple_of(ALIGN);
        let shape = spec.shape.clone();
        let len = shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)).unwrap_or(usize::MAX);
        if len > MOST_PARAMETERS - offset.min(MOST_PARAMETERS) {
            return Err(Error::setting(format!(
                "with {name} {shape:?} the network has more than {MOST_PARAMETERS:.0e} parameters, which take {:.0} GB to \
                 train; make the network smaller",
                MOST_PARAMETERS as f64 * 16e-9
            )));
        }
        let var = self.named(name, spec, Home::Part { of: slab, offset }, init)?;
        self.parameters.push(Parameter { name: name.to_string(), shape, var, offset });
        for &slab in self.slabs.values() {
            self.tensors[slab.0].spec.shape[0] = (offset + len).next_multiple_of(ALIGN);
        }
        Ok(var)
    }

    /// The tensor over all parameters' values, gradients or moments.
    pub fn slab(&mut self, slab: Slab) -> Var {
        if let Some(&var) = self.slabs.get(&slab) {
            return var;
        }
        let len = self.slabs.get(&Slab::Params).map_or(0, |v| self.tensors[v.0].spec.shape[0]);
        let var = self.tensor(slab.name().to_string(), Spec::f32([len]), Home::State, Init::Zero);
        self.tensors[var.0].fixed = true;
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
    /// When the name is taken.
    pub fn name(&mut self, name: &str, var: Var) -> Result<Var> {
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
    pub fn spec(&self, var: Var) -> &Spec {
        &self.tensors[var.0].spec
    }

    /// The shape of a tensor.
    pub fn shape(&self, var: Var) -> &[usize] {
        &self.spec(var).shape
    }

    /// The same elements in row-major order under another shape: no copy, no dispatch.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ in their number of elements.
    pub fn reshape(&mut self, var: Var, shape: impl Into<Vec<usize>>) -> Result<Var> {
        let (old, shape) = (self.spec(var).clone(), shape.into());
        if old.form != Form::Dense || shape.len() > 4 || shape.iter().product::<usize>() != old.len() {
            return Err(Error::shape("reshape", format!("{old} does not fill {shape:?}")));
        }
        let name = self.tensors[var.0].name.clone();
        let of = self.root(var);
        Ok(self.tensor(name, Spec { shape, ..old }, Home::Alias { of }, Init::Zero))
    }

    /// The tensor whose memory `var` is: itself, unless it is a reshaped one.
    pub(crate) fn root(&self, var: Var) -> Var {
        if let Home::Alias { of } = self.tensors[var.0].home { of } else { var }
    }

    /// The node that makes a tensor, reshaped or not.
    pub(crate) fn maker(&self, var: Var) -> Option<&Node> {
        let root = self.root(var);
        self.nodes.iter().find(|n| n.outputs.contains(&root))
    }

    /// Makes a tensor of the step readable after it, at the price of memory of its own.
    pub fn keep(&mut self, var: Var) -> Var {
        let root = self.root(var);
        self.tensors[root.0].kept = true;
        var
    }

    /// Whether tensor and memory are gone after the step.
    pub(crate) fn is_transient(&self, var: Var) -> bool {
        let root = &self.tensors[self.root(var).0];
        root.home == Home::Step && !root.kept
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

    /// Adds what follows for some rows of the batch, or again for all of them.
    pub(crate) fn set_window(&mut self, window: Option<Window>) {
        self.window = window;
    }

    /// The rows of a batch of `batch` that nodes are added for.
    pub(crate) fn window_rows(&self, batch: usize) -> usize {
        self.window.map_or(batch, |w| w.rows)
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
    pub fn define_loss(&mut self, loss: Var, prediction: Var, d: Var) -> Result<()> {
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
        self.tensors[slab.0].init = Init::Parameters;
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
mod tests {
    use super::*;

    #[test]
    fn parameters_are_aligned_and_named_once() {
        let mut g = Graph::new();
        g.parameter("a", [3], vec![1.0; 3]).unwrap();
        g.parameter("b", [2, 2], vec![1.0; 4]).unwrap();
        assert_eq!(g.parameters()[1].offset, 64);
        assert_eq!(g.parameter_count(), 7);
        assert!(g.parameter("a", [3], vec![1.0; 3]).unwrap_err().to_string().contains("\"a\""));
        assert!(g.parameter("c", [3], vec![1.0; 2]).unwrap_err().to_string().contains("got 2"));
    }

    #[test]
    fn equal_tables_are_one() {
        let mut g = Graph::new();
        let a = g.constant([2], vec![1.0, 2.0]).unwrap();
        assert_eq!(g.constant([2], vec![1.0, 2.0]).unwrap(), a);
        assert!(g.constant([1, 2], vec![1.0, 2.0]).unwrap() != a && g.constant([2], vec![1.0, 3.0]).unwrap() != a);
        let b = g.constant_u32([2], vec![1, 2]).unwrap();
        assert_eq!(g.constant_u32([2], vec![1, 2]).unwrap(), b);
    }

    #[test]
    fn a_reshaped_tensor_is_the_same_memory_with_the_same_gradient() {
        use crate::ops::{Activation, Dense};
        let mut g = Graph::new();
        let x = g.state("x", [2, 6]).unwrap();
        let (w, b) = (g.parameter("w", [3, 3], vec![0.5; 9]).unwrap(), g.parameter("b", [3], vec![0.1; 3]).unwrap());
        let rows = g.reshape(x, [4, 3]).unwrap();
        let y = g.apply(Dense { activation: Activation::Silu }, &[rows, w, b]).unwrap()[0];
        let wide = g.reshape(y, [2, 6]).unwrap();
        let goal = g.state("goal", [2, 6]).unwrap();
        // The reshaped tensor meets another use of the tensor itself.
        let again = g.apply(Dense { activation: Activation::None }, &[y, w, b]).unwrap()[0];
        let again = g.reshape(again, [2, 6]).unwrap();
        let sum = g.apply(crate::ops::Add, &[wide, again]).unwrap()[0];
        let loss = g.mse(sum, goal).unwrap();
        let d = g.backward(&[loss], &[x]).unwrap().of(x).unwrap();
        assert_eq!(g.shape(d), [2, 6]);
        g.keep(d);
        g.keep(wide);
        let mut run = crate::Device::reference().compile(&g).unwrap();
        let values: Vec<f32> = (0..12).map(|i| i as f32 * 0.3 - 1.5).collect();
        let mut loss_at = |values: &[f32]| {
            run.write("x", values).unwrap();
            run.steps(1).unwrap();
            (run.scalar(loss).unwrap(), run.read_f64(d).unwrap())
        };
        let (_, analytic) = loss_at(&values);
        for i in 0..12 {
            let moved = |by: f32| values.iter().enumerate().map(|(j, v)| v + if i == j { by } else { 0.0 }).collect();
            let (up, down): (Vec<f32>, Vec<f32>) = (moved(1e-3), moved(-1e-3));
            let numeric = (loss_at(&up).0 - loss_at(&down).0) / (up[i] - down[i]) as f64;
            assert!((analytic[i] - numeric).abs() < 1e-6, "{i}: {} {numeric}", analytic[i]);
        }
        assert!(g.reshape(x, [5]).unwrap_err().to_string().contains("[2, 6]"));
    }

    #[test]
    fn large_data_is_split_below_the_binding_limit() {
        let mut g = Graph::new();
        let data = g.dataset("mnist", [60_000, 28, 28]).unwrap();
        assert_eq!(data.chunks.len(), 2);
        assert!(data.chunks.iter().all(|&c| g.spec(c).len() * 4 <= CHUNK_BYTES));
        assert_eq!(data.chunks.iter().map(|&c| g.shape(c)[0]).sum::<usize>(), 60_000);
    }
}
