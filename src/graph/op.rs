//! The trait of an op: shapes, kernel, CPU implementation, and reverse rule.
//!
//! `ops` contains the ops of the crate. Other crates can implement [`Op`] too (`examples/custom_op.rs`).

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::sync::Arc;

use super::cost::Cost;
use super::{DType, Reverse, Spec, Specs};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Target};
use crate::numeric::activation::Activation;
use crate::numeric::random::Clock;
use crate::numeric::scalar::Scalar;

/// Declares that the shader of an op was reviewed: its accesses are within its bindings for all tensors that
/// [`Op::infer`] accepts, with any values. Release builds then compile it without runtime checks. Only the crate can
/// create it, and it is valid for one type of op only.
#[derive(Clone, Copy, Debug)]
pub struct Trust(TypeId);

impl Trust {
    pub(crate) fn of<O: Op>() -> Self {
        Self(TypeId::of::<O>())
    }
}

/// An op as graphs store it.
pub type DynOp = Arc<dyn AnyOp>;

/// What [`Op::plus`] adds to an output.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Term {
    /// A tensor with as many elements, after the activation.
    Tensor,
    /// A value for each sample and channel [B, C], before an activation, in place of none.
    Planes(Activation),
}

/// An operation on tensors: shapes, GPU kernel, CPU implementation and gradient. Other crates can implement it
/// (`examples/custom_op.rs`).
pub trait Op: Debug + Send + Sync + 'static {
    /// The name, for messages.
    fn name(&self) -> &'static str;

    /// The shapes of the outputs. `inputs` contains the inputs, and then the updated tensors. Their element types are
    /// those of [`Op::dtypes`]; their number and shapes are checked here.
    ///
    /// # Errors
    /// [`Error::Shape`] if the op does not accept the inputs.
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>>;

    /// The GPU kernel for these shapes.
    ///
    /// The `read` bindings of the shader are the inputs, in order. Its `read_write` bindings are the outputs that are
    /// stored, in order, and then the updated tensors.
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel;

    /// The element types that the op accepts for tensor `i` of `count`, counting inputs and then updated tensors: by
    /// default only f32.
    fn dtypes(&self, _i: usize, _count: usize) -> &'static [DType] {
        &[DType::F32]
    }

    /// The number of tensors that are updated in place, see [`Graph::apply_to`](super::Graph::apply_to): by default
    /// none.
    fn updates(&self) -> usize {
        0
    }

    /// The CPU implementation: the same computation on slices. In f32 it runs on the CPU executor, and in f64 it is the
    /// reference that the kernel is tested against.
    fn cpu<S: Scalar>(&self, io: &mut Io<S>);

    /// The arithmetic and the minimum memory traffic, for benchmarks: by default those of [`Cost::of`].
    fn cost(&self, specs: &Specs) -> Cost {
        Cost::of(specs)
    }

    /// The activation that is applied last to compute output 0. The value before it is output 1 (unstored if the
    /// derivative follows from the output), or input 0 of an op with one output. The product that follows in the
    /// reverse pass can then apply the derivative in the same dispatch.
    fn activation(&self) -> Option<Activation> {
        None
    }

    /// The inputs that may be overwritten, each with the output that may have its memory: see [`Specs::overwritten`]. Both
    /// have as many elements. By default none.
    fn overwrites(&self) -> Vec<[usize; 2]> {
        Vec::new()
    }

    /// Which of `count` inputs, and which outputs, may be stored in f16 ([`DType::F16`](super::DType::F16)): activations and
    /// their gradients. By default none. The shader is written for f32; it accesses these tensors only by `x[i]` and
    /// `y[i] = ...;`.
    fn halves(&self, _count: usize) -> [Vec<usize>; 2] {
        Default::default()
    }

    /// The op that adds a term to output 0 in the same dispatch, with the term as one more input after its own; `None`
    /// if there is no such kernel, which is the default.
    #[doc(hidden)]
    fn plus(&self, _: Term) -> Option<DynOp> {
        None
    }

    /// The number of elements of input 0 that are processed together, each time for one element of an output, if the op can run on a
    /// part of its tensors; `None`, the default, if it needs all of them. Tensors of other lengths are read as a whole.
    #[doc(hidden)]
    fn piece(&self) -> Option<usize> {
        None
    }

    /// The factor of input 0, if the op adds it to the tensor that it updates, for each micro-batch of a step; `None` by default.
    #[doc(hidden)]
    fn accumulates(&self) -> Option<f64> {
        None
    }

    /// Whether the shader was reviewed; only for ops of the crate.
    #[doc(hidden)]
    fn trust(&self) -> Option<Trust> {
        None
    }

    /// Adds the nodes that compute the gradients of the inputs.
    ///
    /// # Errors
    /// By default [`Error::Setting`], because there is no reverse rule.
    fn reverse(&self, _: &mut Reverse) -> Result<()> {
        Err(Error::setting(format!("{} has no reverse rule, so nothing before it can be trained", self.name())))
    }
}

/// A read-only tensor of a CPU implementation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a, S> {
    /// Floats.
    Float(&'a [S]),
    /// Integers.
    Int(&'a [u32]),
}

/// A writable tensor of a CPU implementation.
#[derive(Debug)]
pub(crate) enum ViewMut<'a, S> {
    /// Floats.
    Float(&'a mut [S]),
    /// Integers.
    Int(&'a mut [u32]),
    /// The tensor is unstored, or was taken before.
    Nothing,
}

/// The tensors of a CPU implementation ([`Op::cpu`]), and the position of the run.
#[derive(Debug)]
pub struct Io<'a, S> {
    /// The shapes and element types.
    pub specs: &'a Specs,
    /// The step and the seed, for random numbers.
    pub clock: Clock,
    /// The index in the batch of row 0 of the tensors, for random numbers per row.
    pub first_row: usize,
    /// The index of the micro-batch, 0 for the first.
    pub part: usize,
    pub(crate) inputs: Vec<View<'a, S>>,
    pub(crate) outputs: Vec<ViewMut<'a, S>>,
    pub(crate) updates: Vec<ViewMut<'a, S>>,
}

impl<'a, S> Io<'a, S> {
    /// Input `i`; empty if it is overwritten, see [`Specs::overwritten`].
    ///
    /// # Panics
    /// If it holds integers.
    pub fn input(&self, i: usize) -> &'a [S] {
        match self.inputs[i] {
            View::Float(values) => values,
            View::Int(_) => panic!("input {i} holds integers"),
        }
    }

    /// Input `i` of type u32.
    ///
    /// # Panics
    /// If it holds floats.
    pub fn input_u32(&self, i: usize) -> &'a [u32] {
        match self.inputs[i] {
            View::Int(values) => values,
            View::Float(_) => panic!("input {i} holds floats"),
        }
    }

    /// Takes output `i`.
    ///
    /// # Panics
    /// If it holds integers, is unstored, or was taken before.
    pub fn output(&mut self, i: usize) -> &'a mut [S] {
        take(&mut self.outputs[i])
    }

    /// Takes output `i` of type u32.
    ///
    /// # Panics
    /// If it holds floats, is unstored, or was taken before.
    pub fn output_u32(&mut self, i: usize) -> &'a mut [u32] {
        match std::mem::replace(&mut self.outputs[i], ViewMut::Nothing) {
            ViewMut::Int(values) => values,
            _ => panic!("output {i} does not hold integers, is unstored, or was taken before"),
        }
    }

    /// Takes the updated tensor `i`.
    ///
    /// # Panics
    /// If it holds integers, or was taken before.
    pub fn update(&mut self, i: usize) -> &'a mut [S] {
        take(&mut self.updates[i])
    }
}

fn take<'a, S>(slot: &mut ViewMut<'a, S>) -> &'a mut [S] {
    match std::mem::replace(slot, ViewMut::Nothing) {
        ViewMut::Float(values) => values,
        _ => panic!("the tensor does not hold floats, is unstored, or was taken before"),
    }
}

/// The object-safe form of [`Op`], which graphs store.
pub trait AnyOp: Any + Debug + Send + Sync {
    /// See [`Op::name`].
    fn name(&self) -> &'static str;
    /// See [`Op::infer`].
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>>;
    /// See [`Op::kernel`]; with the bindings of tensors in f16.
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel;
    /// See [`Op::dtypes`].
    fn dtypes(&self, i: usize, count: usize) -> &'static [DType];
    /// See [`Op::updates`].
    fn updates(&self) -> usize;
    /// See [`Op::cost`].
    fn cost(&self, specs: &Specs) -> Cost;
    /// [`Op::cpu`] in f32.
    fn cpu_f32(&self, io: &mut Io<f32>);
    /// [`Op::cpu`] in f64.
    fn cpu_f64(&self, io: &mut Io<f64>);
    /// See [`Op::activation`].
    fn activation(&self) -> Option<Activation>;
    /// See [`Op::overwrites`].
    fn overwrites(&self) -> Vec<[usize; 2]>;
    /// See [`Op::halves`].
    fn halves(&self, count: usize) -> [Vec<usize>; 2];
    /// See [`Op::plus`].
    fn plus(&self, term: Term) -> Option<DynOp>;
    /// See [`Op::piece`].
    fn piece(&self) -> Option<usize>;
    /// See [`Op::accumulates`].
    fn accumulates(&self) -> Option<f64>;
    /// Whether [`Op::trust`] declares this type of op.
    fn is_trusted(&self) -> bool;
    /// See [`Op::reverse`].
    fn reverse(&self, reverse: &mut Reverse) -> Result<()>;
}

impl<O: Op> AnyOp for O {
    fn name(&self) -> &'static str {
        Op::name(self)
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Op::infer(self, inputs)
    }
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        Op::kernel(self, specs, target).stored(specs.halves())
    }
    fn dtypes(&self, i: usize, count: usize) -> &'static [DType] {
        Op::dtypes(self, i, count)
    }
    fn updates(&self) -> usize {
        Op::updates(self)
    }
    fn cost(&self, specs: &Specs) -> Cost {
        Op::cost(self, specs)
    }
    fn cpu_f32(&self, io: &mut Io<f32>) {
        self.cpu(io);
    }
    fn cpu_f64(&self, io: &mut Io<f64>) {
        self.cpu(io);
    }
    fn activation(&self) -> Option<Activation> {
        Op::activation(self)
    }
    fn overwrites(&self) -> Vec<[usize; 2]> {
        Op::overwrites(self)
    }
    fn halves(&self, count: usize) -> [Vec<usize>; 2] {
        Op::halves(self, count)
    }
    fn plus(&self, term: Term) -> Option<DynOp> {
        Op::plus(self, term)
    }
    fn piece(&self) -> Option<usize> {
        Op::piece(self)
    }
    fn accumulates(&self) -> Option<f64> {
        Op::accumulates(self)
    }
    fn is_trusted(&self) -> bool {
        // An op that forwards the trust of another op may have another kernel.
        self.trust().is_some_and(|trust| trust.0 == TypeId::of::<O>())
    }
    fn reverse(&self, reverse: &mut Reverse) -> Result<()> {
        Op::reverse(self, reverse)
    }
}

/// Checks that `inputs` has `count` entries; the message names the op.
pub(crate) fn expect_count(op: &str, inputs: &[Spec], count: usize) -> Result<()> {
    if inputs.len() == count {
        return Ok(());
    }
    Err(Error::shape(op, format!("takes {count} tensors, got {}", inputs.len())))
}

/// Checks that a tensor has the expected shape; the message names op and argument.
pub(crate) fn expect_shape(op: &str, argument: &str, spec: &Spec, want: &[usize]) -> Result<()> {
    if spec.shape == want {
        return Ok(());
    }
    Err(Error::shape(op, format!("{argument} should have shape {want:?}, got {:?}", spec.shape)))
}
