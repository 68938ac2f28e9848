//! Convolutions that add further terms in their epilogue, which saves a pass over the result.

use std::sync::Arc;

use super::super::case::{Case, Tolerance};
use super::super::{Activation, Io, Op, Specs, expect_shape};
use super::gradient::ConvInput;
use super::window::planes;
use super::{Conv, ConvTranspose};
use crate::error::{Error, Result};
use crate::graph::{Cost, DynOp, Spec, Term};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;

/// The terms, which are inputs after those of the convolution, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Terms {
    /// [B, C], before the activation.
    planes: bool,
    /// Like the result, after the activation.
    tensor: bool,
}

impl Terms {
    pub const NONE: Self = Self { planes: false, tensor: false };

    fn count(self) -> usize {
        self.planes as usize + self.tensor as usize
    }

    /// These and another one, which must come after them.
    fn and(self, term: Term) -> Option<Self> {
        match term {
            Term::Planes(_) => (self == Self::NONE).then_some(Self { planes: true, ..self }),
            Term::Tensor => (!self.tensor).then_some(Self { tensor: true, ..self }),
        }
    }

    /// The flags of `conv.wgsl` for the result y.
    pub fn flags(self, kernel: Kernel, y: &Spec) -> Kernel {
        let kernel =
            kernel.flag("PLANES", self.planes).flag("ADDEND", self.tensor).with_long_epilogue(self.count() > 0);
        if self.planes { kernel.dim("AREA", y.shape[2..].iter().product()) } else { kernel }
    }

    /// Their values.
    pub fn of<'a, S: Scalar>(self, io: &Io<'a, S>) -> Added<'a, S> {
        let own = io.specs.inputs.len() - self.count();
        let planes = self.planes.then(|| io.input(own));
        Added { planes, tensor: self.tensor.then(|| io.input(own + self.planes as usize)) }
    }
}

/// The values of [`Terms`].
#[derive(Clone, Copy)]
pub(super) struct Added<'a, S> {
    pub planes: Option<&'a [S]>,
    tensor: Option<&'a [S]>,
}

impl<S: Scalar> Added<'_, S> {
    /// Adds the tensor to the elements of y from `offset` on.
    #[inline(always)]
    pub fn add_tensor(&self, offset: usize, y: &mut [S]) {
        if let Some(tensor) = self.tensor {
            y.iter_mut().zip(&tensor[offset..]).for_each(|(y, t)| *y += *t);
        }
    }
}

/// A convolution that can add terms to its result.
pub(crate) trait Extended: Op + Clone {
    /// The same with an activation in place of none.
    fn activated(&self, activation: Activation) -> Option<Self>;

    /// [`Op::kernel`] with terms.
    fn kernel_with(&self, specs: &Specs, target: &Target, terms: Terms) -> Kernel;

    /// [`Op::cpu`] with terms.
    fn cpu_with<S: Scalar>(&self, io: &mut Io<S>, terms: Terms);
}

/// y = act(z + planes) + tensor, with z of the convolution.
///
/// *Shapes*: the inputs of the convolution, then those of `terms`. It is added when a graph is compiled, after its
/// reverse pass.
#[derive(Clone, Debug)]
pub(crate) struct Plus<C> {
    pub conv: C,
    pub terms: Terms,
}

/// [`Op::plus`] of a convolution that adds `terms` already.
pub(super) fn plus<C: Extended>(conv: &C, terms: Terms, term: Term) -> Option<DynOp> {
    let terms = terms.and(term)?;
    let conv = if let Term::Planes(activation) = term { conv.activated(activation)? } else { conv.clone() };
    Some(Arc::new(Plus { conv, terms }))
}

impl<C: Extended> Op for Plus<C> {
    fn name(&self) -> &'static str {
        self.conv.name()
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let Some(own) = inputs.len().checked_sub(self.terms.count()) else {
            return Err(Error::shape(self.name(), format!("takes more than {} tensors", inputs.len())));
        };
        let (inputs, added) = inputs.split_at(own);
        let outputs = self.conv.infer(inputs)?;
        let y = &outputs[0];
        if self.terms.planes {
            let (b, c, _) = planes(self.name(), "y", y)?;
            expect_shape(self.name(), "planes", &added[0], &[b, c])?;
        }
        if let Some(tensor) = added.last().filter(|t| self.terms.tensor && t.len() != y.len()) {
            return Err(Error::shape(self.name(), format!("the term {tensor} should have the elements of {y}")));
        }
        Ok(outputs)
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        self.conv.kernel_with(specs, target, self.terms)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let Cost { flops, bytes } = self.conv.cost(specs);
        Cost { flops: flops + (self.terms.count() * specs.outputs[0].len()) as u64, bytes }
    }

    fn halves(&self, count: usize) -> [Vec<usize>; 2] {
        let [mut inputs, outputs] = self.conv.halves(count - self.terms.count());
        inputs.extend(self.terms.tensor.then(|| count - 1));
        [inputs, outputs]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        self.conv.cpu_with(io, self.terms);
    }

    fn plus(&self, term: Term) -> Option<DynOp> {
        plus(&self.conv, self.terms, term)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let both = [(true, false), (false, true), (true, true)];
    let (x, w, y) = ([2, 3, 9, 7], [5, 3, 3, 3], [2, 5, 9, 7]);
    for (planes, tensor) in both {
        for activation in [Activation::None, Activation::Silu] {
            let conv = Conv { stride: 1, padding: 1, activation };
            let transposed = ConvTranspose { stride: 1, padding: 1, output_padding: 0, activation };
            let terms = Terms { planes, tensor };
            for case in [
                Case::new(Plus { conv, terms }).input(x).input(w).input([5]),
                Case::new(Plus { conv: transposed, terms }).input(x).input([3, 5, 3, 3]).input([5]),
            ] {
                let case = if planes { case.input([2, 5]) } else { case };
                let case = if tensor { case.input(y) } else { case };
                cases.push(case.tolerance(Tolerance::terms(24.0, 29)));
            }
        }
    }
    for activation in [Activation::None, Activation::Silu] {
        let image = x[2..].to_vec();
        let conv = ConvInput { stride: 1, padding: 1, transposed: false, image, activation };
        let terms = Terms { tensor: true, ..Terms::NONE };
        let case = Case::new(Plus { conv, terms }).input(y).input(w);
        let case = if activation == Activation::None { case } else { case.input(x) };
        cases.push(case.input(x).tolerance(Tolerance::terms(24.0, 46)));
    }
    cases
}
