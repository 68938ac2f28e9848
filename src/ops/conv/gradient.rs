//! The two backward products of convolutions: for the input, and for weight and bias.

use super::super::activation::activation_before;
use super::super::case::{Case, Tolerance};
use super::super::gemm::{Operand, Product, gemm};
use super::super::{Activation, Io, Op, Specs, expect_count, expect_shape};
use super::plus::{Extended, Terms, plus};
use super::products::{Counts, SHAPES, gather, gather_kernel, product, scatter, scatter_kernel, weight};
use super::window::{Window, planes};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{DynOp, Reverse, Spec, Term, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// dx = (transpose of the convolution by w)(dz) act'(saved).
///
/// *Shapes*: of a convolution dz [B, O, places], w [O, C, taps], dx [B, C, image]; of a transposed one dz
/// [B, C, image], w [O, C, taps], dx [B, O, places]. saved as dx (absent without activation).
#[derive(Clone, Debug)]
pub(crate) struct ConvInput {
    pub stride: usize,
    pub padding: usize,
    /// Whether the layer was a transposed convolution, whose input gradient is a convolution.
    pub transposed: bool,
    /// [L] or [H, W] of the image.
    pub image: Vec<usize>,
    pub activation: Activation,
}

impl ConvInput {
    fn geometry(&self, inputs: &[Spec]) -> Result<(Window, Counts)> {
        let (b, channels, _) = planes("conv_input", "dz", &inputs[0])?;
        let (o, c, kernel) = planes("conv_input", "w", &inputs[1])?;
        let window = Window::over("conv_input", &self.image, kernel, self.stride, self.padding)?;
        let places = &window.places[2 - self.image.len()..];
        let want = if self.transposed { [&[b, c], &self.image[..]].concat() } else { [&[b, o], places].concat() };
        expect_shape("conv_input", "dz", &inputs[0], &want)?;
        debug_assert_eq!(channels, want[1]);
        Ok((window, [b, c, o]))
    }
}

impl Op for ConvInput {
    fn name(&self) -> &'static str {
        "conv_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let count = if self.activation == Activation::None { 2 } else { 3 };
        expect_count("conv_input", inputs, count)?;
        let (window, [b, c, o]) = self.geometry(inputs)?;
        let places = &window.places[2 - self.image.len()..];
        let shape = if self.transposed { [&[b, o], places].concat() } else { [&[b, c], &self.image[..]].concat() };
        if count == 3 {
            expect_shape("conv_input", "saved", &inputs[2], &shape)?;
        }
        Ok(vec![Spec::f32(shape)])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        self.kernel_with(specs, target, Terms::NONE)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (window, [b, c, o]) = self.geometry(&specs.inputs).expect("inferred before");
        let product = Cost::gemm(specs, [c * window.taps(), b * window.count(), o], 0);
        let epilogue = 2 * (self.activation != Activation::None) as u64 * specs.outputs[0].len() as u64;
        Cost { flops: product.flops + epilogue, ..product }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 2], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        self.cpu_with(io, Terms::NONE);
    }

    fn plus(&self, term: Term) -> Option<DynOp> {
        plus(self, Terms::NONE, term)
    }
}

impl Extended for ConvInput {
    fn activated(&self, _: Activation) -> Option<Self> {
        None
    }

    fn kernel_with(&self, specs: &Specs, target: &Target, terms: Terms) -> Kernel {
        let (window, counts) = self.geometry(&specs.inputs).expect("inferred before");
        let slope = self.activation != Activation::None;
        let kernel = kernel!("conv.wgsl", "gemm").flag("EPILOGUE", true).flag("BIAS", false).flag("SAVE", false);
        let kernel = terms.flags(kernel.flag("SLOPE", slope), &specs.outputs[0]);
        let kernel = if slope { self.activation.choose(kernel) } else { kernel };
        let dz = Operand::OUTER.gradient(counts[0]);
        match self.transposed {
            true => gather_kernel(kernel, &window, counts, dz, target),
            false => scatter_kernel(kernel, &window, counts, dz, target),
        }
    }

    fn cpu_with<S: Scalar>(&self, io: &mut Io<S>, terms: Terms) {
        let (window, counts) = self.geometry(&io.specs.inputs).expect("inferred before");
        let (dz, w, dx, added) = (io.input(0), io.input(1), io.output(0), terms.of(io));
        let saved = if self.activation == Activation::None { &[] } else { io.input(2) };
        let finish = |offset: usize, dx: &mut [S], _: Option<&mut [S]>| {
            parallel::with_simd(
                #[inline(always)]
                || {
                    if self.activation != Activation::None {
                        self.activation.slope_all(dx, &saved[offset..][..dx.len()]);
                    }
                    added.add_tensor(offset, dx);
                },
            );
        };
        match self.transposed {
            true => gather(&window, counts, dz, w, dx, None, finish),
            false => scatter(&window, counts, dz, w, dx, None, finish),
        }
    }
}

/// parts\[s\] = [dw | db] of some samples: dw\[o, c, k\] = sum of dz\[b, o, p\] x\[b, c, p s + k - padding\] over
/// places and samples, db\[o\] = sum of dz (absent without bias).
///
/// *Shapes*: x [B, C, image], dz [B, O, places], parts [S, O C taps (+ O)]. The product is small and its sums are long,
/// so it is split into independent parts (split-K); their number depends on the shapes only, so the order of summation
/// does not depend on the machine. [`PartSum`](super::super::part_sum::PartSum) follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvWeight {
    pub stride: usize,
    pub padding: usize,
    pub kernel: [usize; 2],
    pub bias: bool,
}

/// Sizes that [`ConvWeight`] derives from its shapes.
struct Parts {
    window: Window,
    counts: Counts,
    /// The number of parts, and samples in each but the last, which may have fewer.
    parts: usize,
    per: usize,
    /// Columns of the product: taps of all channels, and the bias.
    cols: usize,
}

impl ConvWeight {
    fn geometry(&self, inputs: &[Spec]) -> Result<Parts> {
        let (b, o, places) = planes("conv_weight", "dz", &inputs[1])?;
        let (_, c, image) = planes("conv_weight", "x", &inputs[0])?;
        let kernel = &self.kernel[2 - image.len()..];
        let window = Window::over("conv_weight", image, kernel, self.stride, self.padding)?;
        if *places != window.places[2 - image.len()..] || inputs[0].shape[0] != b {
            let text = format!("{:?} are not the places of windows over {:?}", inputs[1].shape, inputs[0].shape);
            return Err(Error::shape("conv_weight", text));
        }
        let cols = c * window.taps() + self.bias as usize;
        // Enough workgroups for a large adapter, and several parts per core, but not sums so short that writing them takes
        // longer.
        let most = (b * window.count()).div_ceil(128).min(b);
        let parts = (256 / (o.div_ceil(64) * cols.div_ceil(64))).clamp(4, 64).min(most);
        let per = b.div_ceil(parts);
        Ok(Parts { window, counts: [b, c, o], parts: b.div_ceil(per), per, cols })
    }
}

impl Op for ConvWeight {
    fn name(&self) -> &'static str {
        "conv_weight"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("conv_weight", inputs, 2)?;
        let Parts { counts: [_, _, o], parts, cols, .. } = self.geometry(inputs)?;
        Ok(vec![Spec::f32([parts, o * cols])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let Parts { window, counts: [b, c, o], parts, per, cols } =
            self.geometry(&specs.inputs).expect("inferred before");
        let kernel = product(kernel!("conv.wgsl", "gemm").flag("EPILOGUE", false), "WEIGHT");
        let kernel = window.constants(kernel).dim("BATCH", b).dim("CHANNELS", c).dim("PER", per);
        let shape = [o, cols, per * window.count()];
        // In a transposed convolution, whose bias is separate, the image is the gradient.
        let gradient = Operand::INNER.gradient(b);
        let (a, b) = if self.bias { (gradient, Operand::INNER) } else { (Operand::INNER, gradient) };
        let a = a.rows_of(window.count());
        gemm(kernel, Product { shape, slices: parts, a, b: b.implicit() }, target)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let Parts { window, counts: [b, _, o], cols, .. } = self.geometry(&specs.inputs).expect("inferred before");
        Cost { flops: (2 * o * cols * b * window.count()) as u64, ..Cost::of(specs) }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1], vec![]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let Parts { window, counts: [b, c, o], parts, per, cols } =
            self.geometry(&io.specs.inputs).expect("inferred before");
        let (x, dz, out) = (io.input(0), io.input(1), io.output(0));
        let (pixels, count, k) = (window.pixels(), window.count(), c * window.taps());
        let one = |part: usize, out: &mut [S]| {
            let (dw, db) = out.split_at_mut(o * k);
            let samples = part * per..((part + 1) * per).min(b);
            let x = &x[samples.start * c * pixels..samples.end * c * pixels];
            let dz = &dz[samples.start * o * count..samples.end * o * count];
            weight(&window, [samples.len(), c, o], x, dz, dw);
            db.fill(S::ZERO);
            parallel::with_simd(
                #[inline(always)]
                || {
                    for (i, dz) in dz.chunks_exact(count).enumerate().take(samples.len() * db.len()) {
                        db[i % o] += parallel::sum_pairs(dz, dz, |dz, _| dz);
                    }
                },
            );
        };
        // A few parts are computed one after the other, each on all cores.
        match parts.is_multiple_of(parallel::threads()) || parts > 2 * parallel::threads() {
            true => parallel::blocks(out, o * cols, None, |part, out, _| one(part, out)),
            false => out.chunks_mut(o * cols).enumerate().for_each(|(part, out)| one(part, out)),
        }
    }
}

/// Sets the gradient of x from dz and w. If x is the output of an activation without other consumers, the derivative is
/// fused into the product and the gradient is that of the activation's input.
pub(super) fn give_input(
    r: &mut Reverse,
    [x, dz, w]: [Var; 3],
    gradient: impl FnOnce(Activation) -> ConvInput,
) -> Result<()> {
    match activation_before(r.graph, x).filter(|_| r.sole_use(x)) {
        Some((activation, saved, before)) => {
            let d = r.graph.apply1(gradient(activation), &[dz, w, saved])?;
            r.add_gradient_to(before, d);
        }
        None => {
            let d = r.graph.apply1(gradient(Activation::None), &[dz, w])?;
            r.add_gradient(0, d);
        }
    }
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, w, stride, padding) in SHAPES {
        let axes = x.len() - 2;
        let image = x[2..].to_vec();
        let window = Window::over("case", &image, &w[2..], stride, padding).expect("the shapes above fit");
        let dz = [&[x[0], w[0]], &window.places[2 - axes..]].concat();
        let base = ConvInput { stride, padding, transposed: false, image, activation: Activation::None };
        let terms = Tolerance::terms(2.0, w[0] * window.reach());
        cases.push(Case::new(base.clone()).input(dz.clone()).input(w).tolerance(terms));
        let case = Case::new(ConvInput { transposed: true, ..base.clone() }).input(x).input(w);
        cases.push(case.tolerance(Tolerance::terms(2.0, w[1] * window.taps())));
        let case = Case::new(ConvInput { activation: Activation::Silu, ..base }).input(dz.clone()).input(w).input(x);
        cases.push(case.tolerance(Tolerance::terms(24.0, w[0] * window.reach())));
        for bias in [true, false] {
            let op = ConvWeight { stride, padding, kernel: window.kernel, bias };
            let case = Case::new(op).input(x).input(dz.clone());
            cases.push(case.tolerance(Tolerance::terms(2.0, x[0] * window.count())));
        }
    }
    for (_, activation) in Activation::ALL.into_iter().filter(|(_, a)| *a != Activation::None) {
        let base = ConvInput { stride: 2, padding: 1, transposed: false, image: vec![5, 4], activation };
        let case = Case::new(base).input([2, 3, 3, 2]).input([3, 2, 3, 3]);
        let case = match activation {
            // A sigmoid saves its output.
            Activation::Sigmoid => case.values([2, 2, 5, 4], (1..=80).map(|i| i as f32 / 81.0).collect()),
            _ => case.input([2, 2, 5, 4]),
        };
        cases.push(case.tolerance(Tolerance::terms(24.0, 12)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let (x, y) = ([32, 32, 14, 14], [32, 64, 14, 14]);
    let (stride, padding, activation) = (1, 1, Activation::None);
    let input = ConvInput { stride, padding, transposed: false, image: x[2..].to_vec(), activation };
    let weight = ConvWeight { stride, padding, kernel: [3, 3], bias: true };
    vec![Case::new(input).input(y).input([64, 32, 3, 3]), Case::new(weight).input(x).input(y)]
}
