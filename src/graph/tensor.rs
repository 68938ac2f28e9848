//! Tensors: shape, type, memory, and the slabs in which parameters lie together.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::numeric::random::Draw;

/// A handle to a tensor of a [`Graph`](super::Graph). A copy of the graph knows the handles that were made before it was
/// copied; what either of the two adds afterwards is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var {
    index: u32,
    origin: u32,
}

impl Var {
    /// Its place in the list of tensors of any graph that knows it.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// A number that tells the tensors which one graph adds from those of all others.
#[derive(Debug)]
pub(super) struct Origin(u32);

impl Default for Origin {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Clone for Origin {
    /// Another number: a copied graph adds other tensors than the one it was copied from.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// All tensors of a graph.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tensors {
    list: Vec<Tensor>,
    origin: Origin,
}

impl Tensors {
    pub fn push(&mut self, tensor: Tensor) -> Var {
        self.list.push(Tensor { origin: self.origin.0, ..tensor });
        self.var(self.list.len() - 1)
    }

    /// The handle of the tensor at a place in the list.
    pub fn var(&self, index: usize) -> Var {
        Var { index: index as u32, origin: self.list[index].origin }
    }

    pub fn get(&self, var: Var) -> Option<&Tensor> {
        self.list.get(var.index()).filter(|t| t.origin == var.origin)
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Tensor> {
        self.list.iter()
    }
}

impl Index<Var> for Tensors {
    type Output = Tensor;

    fn index(&self, var: Var) -> &Tensor {
        self.get(var).expect(FOREIGN)
    }
}

impl IndexMut<Var> for Tensors {
    fn index_mut(&mut self, var: Var) -> &mut Tensor {
        assert!(self.get(var).is_some(), "{FOREIGN}");
        &mut self.list[var.index()]
    }
}

/// What is wrong with a handle that a graph does not know.
pub(crate) const FOREIGN: &str = "a tensor of another graph; take the handles that this graph gave";

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float (f64 on the reference).
    F32,
    /// 32-bit unsigned integer.
    U32,
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if *self == DType::F32 { "f32" } else { "u32" })
    }
}

/// How a tensor lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Dense and row-major.
    Dense,
    /// One number per step, which the parts of a batch add up to: a ring of the last [`HISTORY`] values, entry
    /// `step % HISTORY`.
    History,
    /// A handle only: it takes no memory and is never bound. Gradients can still be sent to it.
    Unstored,
}

/// The number of steps a [`Form::History`] remembers.
pub const HISTORY: usize = 1024;

/// Shape and type of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Dimensions, at most four.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Memory form.
    pub form: Form,
}

impl Spec {
    /// A dense f32 tensor.
    pub fn f32(shape: impl Into<Vec<usize>>) -> Self {
        Self { shape: shape.into(), dtype: DType::F32, form: Form::Dense }
    }

    /// A dense u32 tensor.
    pub fn u32(shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype: DType::U32, ..Self::f32(shape) }
    }

    /// A scalar that is remembered per step.
    pub fn history() -> Self {
        Self { form: Form::History, ..Self::f32([]) }
    }

    /// The same shape without memory.
    pub fn unstored(self) -> Self {
        Self { form: Form::Unstored, ..self }
    }

    /// Elements of the value (1 for a scalar).
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |len, &dim| len.saturating_mul(dim))
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements in memory.
    pub fn stored(&self) -> usize {
        match self.form {
            Form::Dense => self.len(),
            Form::History => HISTORY,
            Form::Unstored => 0,
        }
    }

    /// The first dimension, and the product of the others.
    pub fn rows(&self) -> (usize, usize) {
        let rows = self.shape.first().copied().unwrap_or(1);
        (rows, self.len() / rows.max(1))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

/// The shapes of a node's tensors.
#[derive(Clone, Debug)]
pub struct Specs {
    /// Inputs.
    pub inputs: Vec<Spec>,
    /// Outputs.
    pub outputs: Vec<Spec>,
    /// Updated tensors.
    pub updates: Vec<Spec>,
}

impl Specs {
    /// Whether the node has an output `i` that takes memory.
    pub fn stores(&self, i: usize) -> bool {
        self.outputs.get(i).is_some_and(|output| output.stored() > 0)
    }
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Storage {
    /// In memory shared by lifetime: valid within one step.
    Step,
    /// In a buffer of its own, kept between steps.
    State,
    /// Inside another tensor, at an element offset.
    Part { of: Var, offset: usize },
    /// Another tensor under a second shape: the same memory, the same gradient.
    Alias { of: Var },
}

/// What a persistent tensor holds before the first write.
#[derive(Clone, Debug)]
pub(crate) enum Init {
    Zero,
    F32(Arc<[f32]>),
    U32(Arc<[u32]>),
    /// Drawn when a program is compiled, so that a graph of any size takes little memory.
    Drawn(Draw),
    /// What the parameters hold, each at its offset.
    Parameters,
}

#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub name: String,
    pub spec: Spec,
    pub storage: Storage,
    pub init: Init,
    /// Readable after a step: its memory is not given to others.
    pub kept: bool,
    /// Its size does not follow from the batch.
    pub fixed: bool,
    /// The node that makes it.
    pub maker: Option<usize>,
    /// The graph that added it, as [`Var`] has it.
    pub origin: u32,
}

/// One of the equally laid out, contiguous tensors over all parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slab {
    /// The weights.
    Params,
    /// Their gradients.
    Grads,
    /// The sum of the gradients of micro-batches.
    Sum,
    /// The first moment (Adam's m; the momentum buffer of SGD).
    First,
    /// The second moment (Adam's v).
    Second,
    /// The exponential moving average of the weights.
    Ema,
}

impl Slab {
    /// All slabs in the order of a checkpoint.
    pub const ALL: [Slab; 6] = [Slab::Params, Slab::Grads, Slab::Sum, Slab::First, Slab::Second, Slab::Ema];

    /// The name of the slab's tensor.
    pub fn name(self) -> &'static str {
        match self {
            Slab::Params => "slab.params",
            Slab::Grads => "slab.grads",
            Slab::Sum => "slab.gradient_sum",
            Slab::First => "slab.first_moment",
            Slab::Second => "slab.second_moment",
            Slab::Ema => "slab.ema",
        }
    }
}

/// A trainable tensor: a part of [`Slab::Params`].
#[derive(Clone, Debug)]
pub struct Parameter {
    /// PyTorch's name, such as `fc1.weight`.
    pub name: String,
    /// PyTorch's shape: a weight is [out, in].
    pub shape: Vec<usize>,
    /// Its tensor.
    pub var: Var,
    /// Element offset in every slab.
    pub offset: usize,
}
