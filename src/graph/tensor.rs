//! Tensors: shape, element type, memory, and the slabs of all parameters.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kernel::Half;
use crate::numeric::random::Draw;

/// A handle to a tensor of a [`Graph`](super::Graph). After a graph is cloned, earlier handles are valid for both
/// graphs, and later ones only for the graph that created them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var {
    index: u32,
    origin: u32,
}

impl Var {
    /// The index in the list of tensors.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// A number that distinguishes the tensors of one graph from those of all others.
#[derive(Debug)]
pub(super) struct Origin(u32);

impl Default for Origin {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Clone for Origin {
    /// A new number: tensors added to the clone differ from those added to the original.
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

    /// The handle of the tensor at an index.
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
        self.get(var).expect(OTHER_GRAPH)
    }
}

impl IndexMut<Var> for Tensors {
    fn index_mut(&mut self, var: Var) -> &mut Tensor {
        assert!(self.get(var).is_some(), "{OTHER_GRAPH}");
        &mut self.list[var.index()]
    }
}

/// The error message for a handle of another graph.
pub(crate) const OTHER_GRAPH: &str = "the tensor belongs to another graph; use the handles that this graph returned";

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float (f64 in the reference).
    F32,
    /// 32-bit unsigned integer.
    U32,
    /// Floats that are stored as 16-bit floats and converted when they are read or written; set when a graph is compiled,
    /// see [`Device::with_storage`](crate::Device::with_storage).
    F16,
}

impl DType {
    /// The size of an element in bytes; the reference takes twice as many.
    pub fn bytes(self) -> usize {
        if self == DType::F16 { 2 } else { 4 }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
            DType::F16 => "f16",
        })
    }
}

/// The memory form of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Dense and row-major.
    Dense,
    /// A scalar per step, the sum over micro-batches: a ring buffer of the last [`HISTORY`] values, with step `t` at
    /// index `t % HISTORY`.
    History,
    /// Without memory, and never bound to a kernel. It can still have a gradient.
    Unstored,
}

/// The number of steps in a [`Form::History`].
pub const HISTORY: usize = 1024;

/// Shape, element type and memory form of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The dimensions, at most four.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Memory form.
    pub form: Form,
    /// Of [`DType::F16`]: the values in memory are multiplied by this power of two, which brings them into the range of f16.
    pub(crate) exponent: i32,
}

impl Spec {
    /// A dense f32 tensor.
    pub fn f32(shape: impl Into<Vec<usize>>) -> Self {
        Self { shape: shape.into(), dtype: DType::F32, form: Form::Dense, exponent: 0 }
    }

    /// A dense u32 tensor.
    pub fn u32(shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype: DType::U32, ..Self::f32(shape) }
    }

    /// A scalar with a history, see [`Form::History`].
    pub fn history() -> Self {
        Self { form: Form::History, ..Self::f32([]) }
    }

    /// The same shape without memory.
    pub fn unstored(self) -> Self {
        Self { form: Form::Unstored, ..self }
    }

    /// The number of elements (1 for a scalar).
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |len, &dim| len.saturating_mul(dim))
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of elements in memory.
    pub fn stored(&self) -> usize {
        match self.form {
            Form::Dense => self.len(),
            Form::History => HISTORY,
            Form::Unstored => 0,
        }
    }

    /// The exponent of a tensor that is stored in f16.
    fn half(&self) -> Option<i32> {
        (self.dtype == DType::F16).then_some(self.exponent)
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
    /// Pairs of an input and the output that has its memory, of [`Op::overwrites`](super::Op::overwrites): the kernel
    /// finds the input in the binding of the output, and an implementation on the CPU in the slice of the output.
    pub overwritten: Vec<[usize; 2]>,
}

impl Specs {
    /// Whether an output has the memory of input `i`, which then has no binding and no slice of its own.
    pub fn is_overwritten(&self, i: usize) -> bool {
        self.overwritten.iter().any(|[input, _]| *input == i)
    }

    /// How the tensors of the `read` and of the `read_write` bindings of the kernel are stored.
    pub(crate) fn halves(&self) -> [Vec<Option<Half>>; 2] {
        let read = self.inputs.iter().enumerate().filter(|(i, _)| !self.is_overwritten(*i));
        let read = read.map(|(_, spec)| spec.half().map(|of| Half { read: of, written: of }));
        let written = self.outputs.iter().enumerate().filter(|(_, spec)| spec.stored() > 0).map(|(o, spec)| {
            let over =
                self.overwritten.iter().find(|[_, output]| *output == o).map(|[input, _]| self.inputs[*input].exponent);
            spec.half().map(|of| Half { read: over.unwrap_or(of), written: of })
        });
        [read.collect(), written.chain(self.updates.iter().map(|_| None)).collect()]
    }

    /// Whether the node has an output `i` that is stored.
    pub fn stores(&self, i: usize) -> bool {
        self.outputs.get(i).is_some_and(|output| output.stored() > 0)
    }
}

/// The location of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Storage {
    /// In memory that is reused after the last use within a step.
    Step,
    /// In its own buffer, persistent across steps.
    State,
    /// A part of another tensor, at an element offset.
    Part { of: Var, offset: usize },
    /// A reshaped tensor: with the memory and the gradient of another one.
    Alias { of: Var },
}

/// The initial values of a persistent tensor.
#[derive(Clone, Debug)]
pub(crate) enum Init {
    Zero,
    F32(Arc<[f32]>),
    U32(Arc<[u32]>),
    /// Random values, generated when a program is compiled, so that large graphs take little memory.
    Drawn(Draw),
    /// The initial values of the parameters, each at its offset.
    Parameters,
}

#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub name: String,
    pub spec: Spec,
    pub storage: Storage,
    pub init: Init,
    /// Readable after a step: its memory is not reused.
    pub kept: bool,
    /// Whether its size is independent of the batch size.
    pub fixed: bool,
    /// Whether it was added by a reverse pass: a gradient.
    pub gradient: bool,
    /// The node that computes it.
    pub maker: Option<usize>,
    /// The origin of its handle ([`Var`]).
    pub origin: u32,
}

/// A contiguous tensor that contains one value per element of all parameters. All slabs have the same layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    /// The shorter power-function average of the weights.
    ShortAverage,
    /// The longer power-function average of the weights.
    LongAverage,
}

impl Slab {
    /// All slabs in the order of a checkpoint.
    pub const ALL: [Slab; 8] = [
        Slab::Params,
        Slab::Grads,
        Slab::Sum,
        Slab::First,
        Slab::Second,
        Slab::Ema,
        Slab::ShortAverage,
        Slab::LongAverage,
    ];

    /// The name of the tensor.
    pub fn name(self) -> &'static str {
        match self {
            Slab::Params => "slab.params",
            Slab::Grads => "slab.grads",
            Slab::Sum => "slab.gradient_sum",
            Slab::First => "slab.first_moment",
            Slab::Second => "slab.second_moment",
            Slab::Ema => "slab.ema",
            Slab::ShortAverage => "slab.short_average",
            Slab::LongAverage => "slab.long_average",
        }
    }
}

/// A trainable tensor: a part of [`Slab::Params`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parameter {
    /// PyTorch's name, such as `fc1.weight`, after the scope of its network.
    pub name: String,
    /// The scope of its network, see [`Graph::scoped`](super::Graph::scoped); usually empty.
    pub scope: String,
    /// PyTorch's shape: a weight is [out, in].
    pub shape: Vec<usize>,
    /// The tensor.
    pub var: Var,
    /// The offset in every slab, in elements.
    pub offset: usize,
}
