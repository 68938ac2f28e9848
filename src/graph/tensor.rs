//! Tensors: shape, type, memory, and the slabs in which parameters lie together.

use std::fmt;
use std::sync::Arc;

use crate::numeric::random::Draw;

/// A handle to a tensor of a [`Graph`](super::Graph).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) usize);

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float (f64 on the reference).
    F32,
    /// 32-bit unsigned integer.
    U32,
}

/// How a tensor lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Dense and row-major.
    Dense,
    /// One number per step: a ring of the last [`HISTORY`] values, entry `step % HISTORY`.
    History,
    /// A name only: it takes no memory and is never bound. Gradients can still be sent to it.
    Phantom,
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
    pub fn phantom(self) -> Self {
        Self { form: Form::Phantom, ..self }
    }

    /// Elements of the value (1 for a scalar).
    pub fn len(&self) -> usize {
        self.shape.iter().product()
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
            Form::Phantom => 0,
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
        let kind = if self.dtype == DType::F32 { "f32" } else { "u32" };
        write!(f, "{kind} {:?}", self.shape)
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

/// Where a tensor lives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Home {
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
    pub home: Home,
    pub init: Init,
    /// Readable after a step: its memory is not given to others.
    pub kept: bool,
    /// Its size does not follow from the batch.
    pub fixed: bool,
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
