//! The contract of an op: shapes, kernel, the same computation on slices, and the reverse rule.
//!
//! `ops` has the engine's own; an op from outside implements [`Op`] too (`examples/custom_op.rs`).

use std::any::{Any, TypeId};
use std::fmt::Debug;

use super::cost::Cost;
use super::{DType, Reverse, Spec, Specs};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Target};
use crate::numeric::activation::Activation;
use crate::numeric::random::Clock;
use crate::numeric::scalar::Scalar;

/// The crate's word that the shader of an op stays inside its bindings for all tensors that [`Op::infer`] accepts, and for
/// whatever values these hold: release builds then compile it without runtime checks. Only the crate can give it, and it
/// counts for the op type it was given to.
#[derive(Clone, Copy, Debug)]
pub struct Trust(TypeId);

impl Trust {
    pub(crate) fn of<O: Op>() -> Self {
        Self(TypeId::of::<O>())
    }
}

/// One kind of computation. Implement it outside the crate to add your own (`examples/custom_op.rs`).
pub trait Op: Debug + Send + Sync + 'static {
    /// The name in messages.
    fn name(&self) -> &'static str;

    /// The outputs' shapes; `inputs` holds the inputs, then the updated tensors.
    ///
    /// # Errors
    /// [`Error::Shape`] when these inputs do not fit.
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>>;

    /// The dispatch for these shapes: inputs, updates, then outputs, as in [`Io::specs`].
    ///
    /// The shader's `read` bindings are the inputs in order; its `read_write` bindings are the outputs that have
    /// memory, in order, then the updated tensors.
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel;

    /// The element types that tensor `i` of `count` may have, inputs and then updated ones: floats by default.
    fn dtypes(&self, _i: usize, _count: usize) -> &'static [DType] {
        &[DType::F32]
    }

    /// How many tensors it updates in place: none by default.
    fn updates(&self) -> usize {
        0
    }

    /// The same computation on slices, on one or more cores. In f64 it is the reference.
    fn twin<S: Scalar>(&self, io: &mut Io<S>);

    /// Arithmetic and least memory traffic, for benchmarks: by default each tensor travels once.
    fn cost(&self, specs: &Specs) -> Cost {
        Cost::of(specs)
    }

    /// The activation that output 0 went through last. The value before it is output 1 (unstored where the
    /// derivative follows from the output), or input 0 of an op with one output. A product that comes next in the reverse pass then
    /// applies the derivative in its own dispatch.
    fn activation(&self) -> Option<Activation> {
        None
    }

    /// Whether the shader was reviewed: of the crate's own ops alone.
    #[doc(hidden)]
    fn trust(&self) -> Option<Trust> {
        None
    }

    /// Adds the nodes that compute the inputs' gradients.
    ///
    /// # Errors
    /// By default: that there is no reverse rule.
    fn reverse(&self, _: &mut Reverse) -> Result<()> {
        Err(Error::setting(format!("{} has no reverse rule, so nothing before it can be trained", self.name())))
    }
}

/// A read-only tensor of a twin.
#[derive(Clone, Copy, Debug)]
pub enum View<'a, S> {
    /// Floats.
    Float(&'a [S]),
    /// Integers.
    Int(&'a [u32]),
}

/// A writable tensor of a twin.
#[derive(Debug)]
pub enum ViewMut<'a, S> {
    /// Floats.
    Float(&'a mut [S]),
    /// Integers.
    Int(&'a mut [u32]),
    /// Unstored, or already taken.
    Nothing,
}

/// The tensors a twin works on.
#[derive(Debug)]
pub struct Io<'a, S> {
    /// Shapes.
    pub specs: &'a Specs,
    /// Step and seed.
    pub clock: Clock,
    /// The row of the batch that row 0 of these tensors is: an op that draws numbers for rows counts from there.
    pub first_row: usize,
    /// Which of the parts of the batch that the op runs for in this step: 0 for the first.
    pub part: usize,
    pub(crate) inputs: Vec<View<'a, S>>,
    pub(crate) outputs: Vec<ViewMut<'a, S>>,
    pub(crate) updates: Vec<ViewMut<'a, S>>,
}

impl<'a, S> Io<'a, S> {
    /// Input `i`, floats.
    pub fn input(&self, i: usize) -> &'a [S] {
        match self.inputs[i] {
            View::Float(values) => values,
            View::Int(_) => panic!("input {i} holds integers"),
        }
    }

    /// Input `i`, integers.
    pub fn input_u32(&self, i: usize) -> &'a [u32] {
        match self.inputs[i] {
            View::Int(values) => values,
            View::Float(_) => panic!("input {i} holds floats"),
        }
    }

    /// Takes output `i`, floats.
    pub fn output(&mut self, i: usize) -> &'a mut [S] {
        take(&mut self.outputs[i])
    }

    /// Takes output `i`, integers.
    pub fn output_u32(&mut self, i: usize) -> &'a mut [u32] {
        match std::mem::replace(&mut self.outputs[i], ViewMut::Nothing) {
            ViewMut::Int(values) => values,
            _ => panic!("output {i} does not hold integers, or was taken before"),
        }
    }

    /// Takes the updated tensor `i`.
    pub fn update(&mut self, i: usize) -> &'a mut [S] {
        take(&mut self.updates[i])
    }
}

fn take<'a, S>(slot: &mut ViewMut<'a, S>) -> &'a mut [S] {
    match std::mem::replace(slot, ViewMut::Nothing) {
        ViewMut::Float(values) => values,
        _ => panic!("a twin took a tensor twice, or one without floats"),
    }
}

/// [`Op`] with the scalar chosen, so that a graph can hold any op.
pub trait AnyOp: Any + Debug + Send + Sync {
    /// See [`Op::name`].
    fn name(&self) -> &'static str;
    /// See [`Op::infer`].
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>>;
    /// See [`Op::kernel`].
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel;
    /// See [`Op::dtypes`].
    fn dtypes(&self, i: usize, count: usize) -> &'static [DType];
    /// See [`Op::updates`].
    fn updates(&self) -> usize;
    /// See [`Op::cost`].
    fn cost(&self, specs: &Specs) -> Cost;
    /// [`Op::twin`] in f32.
    fn twin_f32(&self, io: &mut Io<f32>);
    /// [`Op::twin`] in f64.
    fn twin_f64(&self, io: &mut Io<f64>);
    /// See [`Op::activation`].
    fn activation(&self) -> Option<Activation>;
    /// Whether [`Op::trust`] was given to this very op.
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
        Op::kernel(self, specs, target)
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
    fn twin_f32(&self, io: &mut Io<f32>) {
        self.twin(io);
    }
    fn twin_f64(&self, io: &mut Io<f64>) {
        self.twin(io);
    }
    fn activation(&self) -> Option<Activation> {
        Op::activation(self)
    }
    fn is_trusted(&self) -> bool {
        // The word that another op was given says nothing of this one's kernel.
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
