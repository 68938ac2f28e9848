//! Transposed convolution as a layer with bias and activation.

use super::super::activation::{activated, gradient_before, stored_outputs};
use super::super::case::{Case, Tolerance};
use super::super::channels::ChannelSum;
use super::super::gemm::Operand;
use super::super::part_sum::{PartSum, Second};
use super::super::{Activation, Io, Op, Specs, expect_count};
use super::gradient::{ConvInput, ConvWeight, give_input};
use super::plus::{Extended, Terms, plus};
use super::products::{Counts, biased, finish, scatter, scatter_kernel};
use super::window::{Window, planes};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{DynOp, Reverse, Spec, Term};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;

/// y = act(z), z\[b, o, i\] = sum over c and places p, taps k with p s + k - padding = i of w\[c, o, k\] x\[b, c, p\] +
/// b\[o\].
///
/// *Shapes*: x [B, C, L] or [B, C, H, W], w [C, O, k] or [C, O, kh, kw], b \[O\], y and z [B, O, ...] with
/// (L - 1) s - 2 padding + k + output padding elements along each axis, as in PyTorch's `conv_transpose1d` and `2d`.
/// *Gradient*: dx by the convolution of dz, dw by products over all places, db by sums of dz, in a fixed order.
#[derive(Clone, Copy, Debug)]
pub struct ConvTranspose {
    /// Stride: elements of the result between neighbouring places of x.
    pub stride: usize,
    /// Elements removed before and after each axis.
    pub padding: usize,
    /// Elements added at the end of each axis, fewer than the stride.
    pub output_padding: usize,
    /// The fused activation.
    pub activation: Activation,
}

impl ConvTranspose {
    fn geometry(&self, inputs: &[Spec]) -> Result<(Window, Counts)> {
        let (b, c, places) = planes("conv_transpose", "x", &inputs[0])?;
        let (wc, o, kernel) = planes("conv_transpose", "w", &inputs[1])?;
        if c != wc || kernel.len() != places.len() || inputs[2].shape != [o] {
            let [x, w, b] = [0, 1, 2].map(|i| &inputs[i].shape);
            let text = format!("expected x [B, C, ...], w [C, O, ...], b [O]; got x {x:?}, w {w:?}, b {b:?}");
            return Err(Error::shape("conv_transpose", text));
        }
        let Self { stride, padding, output_padding, .. } = *self;
        // x holds the places of the convolution of which this is the transpose.
        let window = Window::onto("conv_transpose", places, kernel, stride, padding, output_padding)?;
        Ok((window, [b, o, c]))
    }
}

impl Op for ConvTranspose {
    fn name(&self) -> &'static str {
        "conv_transpose"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("conv_transpose", inputs, 3)?;
        let (window, [b, o, _]) = self.geometry(inputs)?;
        let axes = inputs[0].shape.len() - 2;
        Ok(activated(Spec::f32([&[b, o], &window.image[2 - axes..]].concat()), self.activation))
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        self.kernel_with(specs, target, Terms::NONE)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (window, [b, o, c]) = self.geometry(&specs.inputs).expect("inferred before");
        let product = Cost::gemm(specs, [o * window.taps(), b * window.count(), c], 0);
        let epilogue = 1 + (self.activation != Activation::None) as u64;
        Cost { flops: product.flops + epilogue * specs.outputs[0].len() as u64, ..product }
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
        if r.needs_gradient(1) {
            let shape = r.graph.shape(w).to_vec();
            let kernel = if shape.len() == 3 { [1, shape[2]] } else { [shape[2], shape[3]] };
            let parts = r.graph.apply1(ConvWeight { stride, padding, kernel, bias: false }, &[dz, x])?;
            let dw = r.graph.apply1(PartSum { shape, second: Second::None }, &[parts])?;
            r.add_gradient(1, dw);
        }
        if r.needs_gradient(2) {
            let db = r.graph.apply1(ChannelSum, &[dz])?;
            r.add_gradient(2, db);
        }
        if r.needs_gradient(0) {
            let image = r.graph.shape(dz)[2..].to_vec();
            let gradient = |activation| ConvInput { stride, padding, transposed: true, image, activation };
            give_input(r, [x, dz, w], gradient)?;
        }
        Ok(())
    }
}

impl Extended for ConvTranspose {
    fn activated(&self, activation: Activation) -> Option<Self> {
        (self.activation == Activation::None).then_some(Self { activation, ..*self })
    }

    fn kernel_with(&self, specs: &Specs, target: &Target, terms: Terms) -> Kernel {
        let (window, counts) = self.geometry(&specs.inputs).expect("inferred before");
        scatter_kernel(biased(specs, self.activation, terms), &window, counts, Operand::OUTER, target)
    }

    fn cpu_with<S: Scalar>(&self, io: &mut Io<S>, terms: Terms) {
        let (window, counts) = self.geometry(&io.specs.inputs).expect("inferred before");
        let (x, w, bias, added) = (io.input(0), io.input(1), io.input(2), terms.of(io));
        let z = io.specs.stores(1).then(|| io.output(1));
        let pixels = window.pixels();
        scatter(&window, counts, x, w, io.output(0), z, |offset, y, z| {
            finish([offset, pixels], y, z, bias, self.activation, added);
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes = [
        (vec![1, 1, 1, 1], vec![1, 1, 1, 1], 1, 0, 0),
        (vec![2, 4, 5, 3], vec![4, 3, 4, 4], 2, 1, 0),
        (vec![2, 3, 4, 3], vec![3, 2, 3, 3], 2, 1, 1),
        (vec![2, 3, 4, 5], vec![3, 5, 3, 3], 1, 1, 0),
        (vec![2, 2, 3, 4], vec![2, 3, 2, 5], 3, 0, 2),
        (vec![3, 4, 6], vec![4, 2, 5], 2, 2, 0),
        (vec![3, 2, 5], vec![2, 3, 1], 2, 0, 1),
        (vec![2, 3, 5, 4], vec![3, 2, 1, 1], 1, 1, 0),
        (vec![5, 33, 6, 7], vec![33, 19, 4, 4], 2, 1, 0),
    ];
    let mut cases = Vec::new();
    for (i, (x, w, stride, padding, output_padding)) in shapes.into_iter().enumerate() {
        let k = w[0] * w[2..].iter().map(|k: &usize| k.div_ceil(stride)).product::<usize>();
        for activation in [Activation::None, Activation::Relu] {
            let op = ConvTranspose { stride, padding, output_padding, activation };
            let case =
                Case::new(op).input(x.clone()).input(w.clone()).input([w[1]]).tolerance(Tolerance::terms(3.0, k));
            cases.push(if i == 8 { case } else { case.gradient() });
        }
    }
    for (_, activation) in Activation::ALL {
        let op = ConvTranspose { stride: 2, padding: 1, output_padding: 0, activation };
        let case = Case::new(op).input([2, 3, 3, 2]).input([3, 2, 4, 4]).input([2]);
        cases.push(case.tolerance(Tolerance::terms(24.0, 12)).gradient().gradient_from(stored_outputs(activation)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let op = ConvTranspose { stride: 2, padding: 1, output_padding: 0, activation: Activation::None };
    vec![Case::new(op).input([32, 64, 7, 7]).input([64, 32, 4, 4]).input([32])]
}
