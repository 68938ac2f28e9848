//! Convolution y = act(w * x + b) of signals and images, as an implicit matrix product.

use super::super::activation::{activated, gradient_before, stored_outputs};
use super::super::case::{Case, Tolerance};
use super::super::gemm::Operand;
use super::super::part_sum::{PartSum, Second};
use super::super::{Activation, Io, Op, Specs, expect_count};
use super::gradient::{ConvInput, ConvWeight, give_input};
use super::plus::{Extended, Terms, plus};
use super::products::{Counts, SHAPES, biased, finish, gather, gather_kernel};
use super::window::{Window, planes};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{DynOp, Reverse, Spec, Term};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;

/// y = act(z), z\[b, o, p\] = sum over c and taps k of w\[o, c, k\] x\[b, c, p s + k - padding\] + b\[o\].
///
/// *Shapes*: x [B, C, L] or [B, C, H, W], w [O, C, k] or [O, C, kh, kw], b \[O\], y and z [B, O, ...]; z is stored only
/// when the derivative needs it. Cross-correlation with symmetric zero padding, as in PyTorch's `conv1d` and `conv2d`.
/// *Gradient*: dx by the transposed convolution of dz, dw and db by products over all places, summed in a fixed order.
/// When x is the output of an activation without other consumers, its derivative is fused into the product for dx.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Elements from one window to the next, along each axis.
    pub stride: usize,
    /// Zeros before and after each axis.
    pub padding: usize,
    /// The fused activation.
    pub activation: Activation,
}

impl Conv {
    fn geometry(&self, inputs: &[Spec]) -> Result<(Window, Counts)> {
        let (b, c, image) = planes("conv", "x", &inputs[0])?;
        let (o, wc, kernel) = planes("conv", "w", &inputs[1])?;
        if c != wc || kernel.len() != image.len() || inputs[2].shape != [o] {
            let [x, w, b] = [0, 1, 2].map(|i| &inputs[i].shape);
            let text = format!("expected x [B, C, ...], w [O, C, ...], b [O]; got x {x:?}, w {w:?}, b {b:?}");
            return Err(Error::shape("conv", text));
        }
        Ok((Window::over("conv", image, kernel, self.stride, self.padding)?, [b, c, o]))
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("conv", inputs, 3)?;
        let (window, [b, _, o]) = self.geometry(inputs)?;
        let axes = inputs[0].shape.len() - 2;
        let y = Spec::f32([&[b, o], &window.places[2 - axes..]].concat());
        Ok(activated(y, self.activation))
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        self.kernel_with(specs, target, Terms::NONE)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (window, [b, c, o]) = self.geometry(&specs.inputs).expect("inferred before");
        let epilogue = 1 + (self.activation != Activation::None) as usize;
        Cost::gemm(specs, [o, b * window.count(), c * window.taps()], epilogue)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0, 1]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        self.cpu_with(io, Terms::NONE);
    }

    fn activation(&self) -> Option<Activation> {
        Some(self.activation)
    }

    fn plus(&self, term: Term) -> Option<DynOp> {
        plus(self, Terms::NONE, term)
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dz) = gradient_before(r, self.activation)? else { return Ok(()) };
        let (x, w) = (r.input(0), r.input(1));
        let Self { stride, padding, .. } = *self;
        if r.needs_gradient(1) || r.needs_gradient(2) {
            let (shape, image) = (r.graph.shape(w).to_vec(), r.graph.shape(x).to_vec());
            let kernel = if shape.len() == 3 { [1, shape[2]] } else { [shape[2], shape[3]] };
            let sum = PartSum { shape: [[shape[0], image[1]].as_slice(), &shape[2..]].concat(), second: Second::After };
            let parts = r.graph.apply1(ConvWeight { stride, padding, kernel, bias: true }, &[x, dz])?;
            let d = r.graph.apply(sum, &[parts])?;
            r.add_gradient(1, d[0]);
            r.add_gradient(2, d[1]);
        }
        if r.needs_gradient(0) {
            let image = r.graph.shape(x)[2..].to_vec();
            let gradient = |activation| ConvInput { stride, padding, transposed: false, image, activation };
            give_input(r, [x, dz, w], gradient)?;
        }
        Ok(())
    }
}

impl Extended for Conv {
    fn activated(&self, activation: Activation) -> Option<Self> {
        (self.activation == Activation::None).then_some(Self { activation, ..*self })
    }

    fn kernel_with(&self, specs: &Specs, target: &Target, terms: Terms) -> Kernel {
        let (window, counts) = self.geometry(&specs.inputs).expect("inferred before");
        let kernel = biased(specs, self.activation, terms);
        gather_kernel(kernel, &window, counts, Operand::OUTER, target)
    }

    fn cpu_with<S: Scalar>(&self, io: &mut Io<S>, terms: Terms) {
        let (window, counts) = self.geometry(&io.specs.inputs).expect("inferred before");
        let (x, w, bias, added) = (io.input(0), io.input(1), io.input(2), terms.of(io));
        let z = io.specs.stores(1).then(|| io.output(1));
        let places = window.count();
        gather(&window, counts, x, w, io.output(0), z, |offset, y, z| {
            finish([offset, places], y, z, bias, self.activation, added);
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, w, stride, padding) in SHAPES {
        let k = w[1..].iter().product();
        for activation in [Activation::None, Activation::Relu] {
            let case = Case::new(Conv { stride, padding, activation }).input(x).input(w).input([w[0]]);
            let case = case.tolerance(Tolerance::terms(3.0, k));
            // Central differences of many elements would take long.
            cases.push(if w[0] * k > 1000 { case } else { case.gradient() });
        }
    }
    for (_, activation) in Activation::ALL {
        let case = Case::new(Conv { stride: 2, padding: 1, activation }).input([2, 2, 5, 4]).input([3, 2, 3, 3]);
        cases.push(
            case.input([3]).tolerance(Tolerance::terms(24.0, 18)).gradient().gradient_from(stored_outputs(activation)),
        );
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let conv = Conv { stride: 1, padding: 1, activation: Activation::Relu };
    vec![Case::new(conv).input([32, 32, 14, 14]).input([64, 32, 3, 3]).input([64])]
}
