//! Convolution y = act(w * x + b) of signals and images, as an implicit matrix product.

use super::activation::{activated, activation_before, gradient_before};
use super::case::{Case, Tolerance};
use super::conv_gradient::{ConvInput, ConvWeight, PartSum};
use super::gemm::{Operand, Product, gemm};
use super::window::{Window, planes};
use super::{Activation, Io, Op, Specs, expect_count};
use crate::cost::Cost;
use crate::error::{Error, Result};
use crate::graph::{Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::matmul::{Matrix, matmul};
use crate::par;
use crate::scalar::Scalar;

/// y = act(z), z\[b, o, p\] = sum over c and taps k of w\[o, c, k\] x\[b, c, p s + k - padding\] + b\[o\].
///
/// *Shapes*: x [B, C, L] or [B, C, H, W], w [O, C, k] or [O, C, kh, kw], b \[O\], y and z [B, O, ...]; z is stored only
/// when the derivative needs it. Cross-correlation with symmetric zero padding, as in PyTorch's `conv1d` and `conv2d`.
/// *Gradient*: dx by the transposed convolution of dz, dw and db by products over all places, summed in a fixed order.
/// When x is the output of an activation that nothing else reads, its derivative is applied in the product for dx.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Elements from one window to the next, along each axis.
    pub stride: usize,
    /// Zeros before and after each axis.
    pub padding: usize,
    /// The fused activation.
    pub activation: Activation,
}

pub(super) const SHADER: &str = include_str!("../../shaders/conv.wgsl");

/// Batch, channels of the image, and channels of the places.
pub(super) type Counts = [usize; 3];

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

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("conv", inputs, 3)?;
        let (window, [b, _, o]) = self.geometry(inputs)?;
        let axes = inputs[0].shape.len() - 2;
        let y = Spec::f32([&[b, o], &window.places[2 - axes..]].concat());
        Ok(activated(y, self.activation))
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (window, counts) = self.geometry(&specs.inputs).expect("inferred before");
        let kernel = biased(specs, self.activation);
        gather_kernel(kernel, &window, counts, Operand::OUTER, target)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (window, [b, c, o]) = self.geometry(&specs.inputs).expect("inferred before");
        let epilogue = 1 + (self.activation != Activation::None) as usize;
        Cost::gemm(specs, [o, b * window.count(), c * window.taps()], epilogue)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (window, counts) = self.geometry(&io.specs.inputs).expect("inferred before");
        let (x, w, bias) = (io.input(0), io.input(1), io.input(2));
        let z = io.specs.stores(1).then(|| io.output(1));
        gather(&window, counts, x, w, io.output(0), z, |_, y, z| finish(y, z, bias, self.activation));
    }

    fn activation(&self) -> Option<Activation> {
        Some(self.activation)
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dz) = gradient_before(r, self.activation)? else { return Ok(()) };
        let (x, w) = (r.input(0), r.input(1));
        let Self { stride, padding, .. } = *self;
        if r.wants(1) || r.wants(2) {
            let (shape, image) = (r.graph.shape(w).to_vec(), r.graph.shape(x).to_vec());
            let kernel = if shape.len() == 3 { [1, shape[2]] } else { [shape[2], shape[3]] };
            let sum = PartSum { shape: [[shape[0], image[1]].as_slice(), &shape[2..]].concat(), bias: true };
            let parts = r.graph.apply(ConvWeight { stride, padding, kernel, bias: true }, &[x, dz])?[0];
            let d = r.graph.apply(sum, &[parts])?;
            r.give(1, d[0]);
            r.give(2, d[1]);
        }
        if r.wants(0) {
            let image = r.graph.shape(x)[2..].to_vec();
            let gradient = |activation| ConvInput { stride, padding, transposed: false, image, activation };
            give_input(r, [x, dz, w], gradient)?;
        }
        Ok(())
    }
}

/// Gives x its gradient from dz and w; where x is an activation's output that nothing else reads, the product applies
/// the derivative and the gradient goes to what the activation was made from.
pub(super) fn give_input(
    r: &mut Reverse,
    [x, dz, w]: [Var; 3],
    gradient: impl FnOnce(Activation) -> ConvInput,
) -> Result<()> {
    match activation_before(r.graph, x).filter(|_| r.sole_use(x)) {
        Some((activation, saved, before)) => {
            let d = r.graph.apply(gradient(activation), &[dz, w, saved])?[0];
            r.give_to(before, d);
        }
        None => {
            let d = r.graph.apply(gradient(Activation::None), &[dz, w])?[0];
            r.give(0, d);
        }
    }
    Ok(())
}

/// The kernel whose results get a bias and an activation.
pub(super) fn biased(specs: &Specs, activation: Activation) -> Kernel {
    let kernel = Kernel::new("conv.wgsl", SHADER, "gemm").flag("EPILOGUE", true).flag("BIAS", true);
    activation.choose(kernel.flag("SAVE", specs.stores(1)))
}

/// The kernel of a convolution: image in, places out.
pub(super) fn gather_kernel(
    kernel: Kernel,
    window: &Window,
    [b, c, o]: Counts,
    image: Operand,
    target: &Target,
) -> Kernel {
    let kernel =
        window.constants(kernel.flag("GATHER", true).flag("WINDOWS", true).flag("INDEXED", true)).dim("CHANNELS", c);
    let shape = [o, b * window.count(), c * window.taps()];
    gemm(kernel, Product { shape, slices: 1, a: Operand::INNER, b: image }, target)
}

/// The kernel of a transposed convolution: places in, image out.
pub(super) fn scatter_kernel(
    kernel: Kernel,
    window: &Window,
    [b, c, o]: Counts,
    places: Operand,
    target: &Target,
) -> Kernel {
    let kernel = window.constants(kernel.flag("SCATTER", true).flag("INDEXED", true)).dim("O", o);
    let [h, w] = [0, 1].map(|a| window.image[a].div_ceil(window.stride[a]));
    let (shape, slices) = ([c, b * h * w, o * window.reach()], window.stride[0] * window.stride[1]);
    gemm(kernel, Product { shape, slices, a: Operand::INNER, b: places }, target)
}

/// y [O, places] of each sample from x [C, pixels] and w [O, C taps], then `finish(sample, y, z)`.
pub(super) fn gather<S: Scalar>(
    window: &Window,
    [b, c, o]: Counts,
    x: &[S],
    w: &[S],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    let (pixels, count, k) = (window.pixels(), window.count(), c * window.taps());
    // One sample alone is shared out within its product.
    let few = window.few([b, c, o]);
    let by_tap = if few { taps_outside(w, c, window.taps()) } else { Vec::new() };
    par::blocks(
        y,
        o * count,
        z,
        #[inline(always)]
        |sample, y, z| {
            let x = &x[sample * c * pixels..][..c * pixels];
            if window.is_identity() {
                matmul(y, Matrix::new(w, o, k), Matrix::new(x, k, count), false);
            } else if few {
                let rows = o * window.taps();
                S::with_scratch(rows * pixels, |products| {
                    matmul(products, Matrix::new(&by_tap, rows, c), Matrix::new(x, c, pixels), false);
                    window.collect(products, y);
                });
            } else {
                S::with_scratch(k * count, |columns| {
                    window.unfold(x, columns);
                    matmul(y, Matrix::new(w, o, k), Matrix::new(columns, k, count), false);
                });
            }
            finish(sample, y, z);
        },
    );
}

/// y [C, pixels] of each sample from x [O, places] and w [O, C taps], then `finish(sample, y, z)`.
pub(super) fn scatter<S: Scalar>(
    window: &Window,
    [b, c, o]: Counts,
    x: &[S],
    w: &[S],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    let (pixels, count, k) = (window.pixels(), window.count(), c * window.taps());
    let few = window.few([b, c, o]);
    let by_tap = if few { taps_outside(w, c, window.taps()) } else { Vec::new() };
    par::blocks(
        y,
        c * pixels,
        z,
        #[inline(always)]
        |sample, y, z| {
            let x = &x[sample * o * count..][..o * count];
            if window.is_identity() {
                matmul(y, Matrix::new(w, o, k).t(), Matrix::new(x, o, count), false);
            } else if few {
                let rows = o * window.taps();
                S::with_scratch(rows * pixels, |spread| {
                    window.spread(x, spread);
                    matmul(y, Matrix::new(&by_tap, rows, c).t(), Matrix::new(spread, rows, pixels), false);
                });
            } else {
                S::with_scratch(k * count, |columns| {
                    matmul(columns, Matrix::new(w, o, k).t(), Matrix::new(x, o, count), false);
                    y.fill(S::ZERO);
                    window.fold(columns, y);
                });
            }
            finish(sample, y, z);
        },
    );
}

/// w [O, C, taps] as [O, taps, C].
fn taps_outside<S: Scalar>(w: &[S], c: usize, taps: usize) -> Vec<S> {
    let plane = |w: &[S]| (0..taps * c).map(|i| w[i % c * taps + i / c]).collect::<Vec<S>>();
    w.chunks_exact(c * taps).flat_map(plane).collect()
}

/// z = y + bias by channel, y = act(z), on one sample.
pub(super) fn finish<S: Scalar>(y: &mut [S], z: Option<&mut [S]>, bias: &[S], activation: Activation) {
    let places = y.len() / bias.len();
    par::wide(
        #[inline(always)]
        || {
            for (plane, bias) in y.chunks_exact_mut(places).zip(bias) {
                plane.iter_mut().for_each(|v| *v += *bias);
            }
            if let Some(z) = z {
                z.copy_from_slice(y);
            }
            activation.apply_all(y);
        },
    );
}

/// Shapes that are ragged, strided, padded, pointwise, long and not square: x, w, stride, padding.
pub(super) const SHAPES: [(&[usize], &[usize], usize, usize); 12] = [
    (&[1, 1, 1, 1], &[1, 1, 1, 1], 1, 0),
    (&[2, 3, 9, 7], &[5, 3, 3, 3], 1, 1),
    (&[2, 3, 9, 7], &[5, 3, 3, 3], 2, 1),
    (&[3, 4, 8, 6], &[6, 4, 1, 1], 1, 0),
    (&[2, 2, 7, 10], &[3, 2, 5, 2], 2, 2),
    (&[3, 2, 6, 5], &[4, 2, 2, 3], 3, 0),
    (&[2, 3, 11], &[4, 3, 3], 1, 1),
    (&[5, 3, 11], &[4, 3, 5], 2, 2),
    (&[2, 2, 4], &[3, 2, 1], 2, 2),
    (&[2, 7, 6, 5], &[2, 7, 3, 3], 1, 1),
    (&[2, 8, 9], &[1, 8, 5], 1, 1),
    (&[9, 17, 13, 11], &[33, 17, 3, 3], 1, 1),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (x, w, stride, padding)) in SHAPES.into_iter().enumerate() {
        let k = w[1..].iter().product();
        for activation in [Activation::None, Activation::Relu] {
            let case = Case::new(Conv { stride, padding, activation }).input(x).input(w).input([w[0]]);
            let case = case.tolerance(Tolerance::terms(3.0, k));
            cases.push(if i == 11 { case } else { case.gradient() });
        }
    }
    for (_, activation) in Activation::ALL {
        let case = Case::new(Conv { stride: 2, padding: 1, activation }).input([2, 2, 5, 4]).input([3, 2, 3, 3]);
        cases.push(case.input([3]).tolerance(Tolerance::terms(24.0, 18)).gradient());
    }
    cases
}
