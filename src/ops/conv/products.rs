//! The implicit matrix products of convolutions, forward (gather) and transposed (scatter), as kernels and on slices.

use super::super::gemm::{Operand, Product, gemm};
use super::super::{Activation, Specs};
use super::plus::{Added, Terms};
use super::window::Window;
use super::{direct, winograd};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::parallel::matmul::{Matrix, matmul};

/// Batch, channels of the image, and channels of the places.
pub(super) type Counts = [usize; 3];

/// The kernel with the epilogue of bias and activation.
pub(super) fn biased(specs: &Specs, activation: Activation, terms: Terms) -> Kernel {
    let kernel = kernel!("conv.wgsl", "gemm").flag("EPILOGUE", true).flag("BIAS", true).flag("SLOPE", false);
    activation.choose(terms.flags(kernel.flag("SAVE", specs.stores(1)), &specs.outputs[0]))
}

/// Selects one of the three products of `conv.wgsl`, over windows of the image or over places.
pub(super) fn product(kernel: Kernel, product: &str) -> Kernel {
    let kernel = kernel.one_of(&["GATHER", "SCATTER", "WEIGHT"], product);
    kernel.flag("WINDOWS", product != "SCATTER")
}

/// The kernel of a convolution: image in, places out.
pub(super) fn gather_kernel(
    kernel: Kernel,
    window: &Window,
    [b, c, o]: Counts,
    image: Operand,
    target: &Target,
) -> Kernel {
    let kernel = window.constants(product(kernel, "GATHER")).dim("CHANNELS", c);
    let shape = [o, b * window.count(), c * window.taps()];
    gemm(kernel, Product { shape, slices: 1, a: Operand::INNER.rows_of(shape[2]), b: image.implicit() }, target)
}

/// The kernel of a transposed convolution: places in, image out.
pub(super) fn scatter_kernel(
    kernel: Kernel,
    window: &Window,
    [b, c, o]: Counts,
    places: Operand,
    target: &Target,
) -> Kernel {
    let kernel = window.constants(product(kernel, "SCATTER")).dim("O", o);
    let [h, w] = [0, 1].map(|a| window.image[a].div_ceil(window.stride[a]));
    let (shape, slices) = ([c, b * h * w, o * window.reach()], window.stride[0] * window.stride[1]);
    gemm(kernel, Product { shape, slices, a: Operand::INNER, b: places.implicit() }, target)
}

/// y [O, places] of each sample from x [C, pixels] and w [O, C taps], then `finish(offset, y, z)` on parts of whole
/// planes.
pub(super) fn gather<S: Scalar>(
    window: &Window,
    [b, c, o]: Counts,
    x: &[S],
    w: &[S],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    if direct::suits::<S>(o) && !window.is_identity() {
        return match winograd::suits(window, c) {
            true => winograd::gather(window, [b, c, o], [x, w], y, z, finish),
            false => direct::gather(window, [b, c, o], [x, w], y, z, finish),
        };
    }
    let (pixels, count, k) = (window.pixels(), window.count(), c * window.taps());
    // A single sample is parallelised within its product.
    let per_tap = window.prefers_scatter([b, c, o]);
    let by_tap = if per_tap { taps_outside(w, c, window.taps()) } else { Vec::new() };
    parallel::blocks(
        y,
        o * count,
        z,
        #[inline(always)]
        |sample, y, z| {
            let x = &x[sample * c * pixels..][..c * pixels];
            if window.is_identity() {
                matmul(y, Matrix::new(w, o, k), Matrix::new(x, k, count), false);
            } else if per_tap {
                let rows = o * window.taps();
                S::with_scratch(rows * pixels, |products| {
                    matmul(products, Matrix::new(&by_tap, rows, c), Matrix::new(x, c, pixels), false);
                    window.gather(products, y);
                });
            } else {
                S::with_scratch(k * count, |columns| {
                    window.unfold(x, columns);
                    matmul(y, Matrix::new(w, o, k), Matrix::new(columns, k, count), false);
                });
            }
            finish(sample * o * count, y, z);
        },
    );
}

/// y [C, pixels] of each sample from x [O, places] and w [O, C taps], then `finish(offset, y, z)` on parts of whole
/// planes.
pub(super) fn scatter<S: Scalar>(
    window: &Window,
    [b, c, o]: Counts,
    x: &[S],
    w: &[S],
    y: &mut [S],
    z: Option<&mut [S]>,
    finish: impl Fn(usize, &mut [S], Option<&mut [S]>) + Sync,
) {
    if direct::suits::<S>(c) && !window.is_identity() {
        return match winograd::suits_transposed(window, o) {
            true => winograd::scatter(window, [b, c, o], [x, w], y, z, finish),
            false => direct::scatter(window, [b, c, o], [x, w], y, z, finish),
        };
    }
    let (pixels, count, k) = (window.pixels(), window.count(), c * window.taps());
    let per_tap = window.prefers_scatter([b, c, o]);
    let by_tap = if per_tap { taps_outside(w, c, window.taps()) } else { Vec::new() };
    parallel::blocks(
        y,
        c * pixels,
        z,
        #[inline(always)]
        |sample, y, z| {
            let x = &x[sample * o * count..][..o * count];
            if window.is_identity() {
                matmul(y, Matrix::new(w, o, k).t(), Matrix::new(x, o, count), false);
            } else if per_tap {
                let rows = o * window.taps();
                S::with_scratch(rows * pixels, |scattered| {
                    window.scatter(x, scattered);
                    matmul(y, Matrix::new(&by_tap, rows, c).t(), Matrix::new(scattered, rows, pixels), false);
                });
            } else {
                S::with_scratch(k * count, |columns| {
                    matmul(columns, Matrix::new(w, o, k).t(), Matrix::new(x, o, count), false);
                    y.fill(S::ZERO);
                    window.fold(columns, y);
                });
            }
            finish(sample * c * pixels, y, z);
        },
    );
}

/// dw [O, C taps] = the sum over samples and places of dz [B, O, places] times the windows of x [B, C, pixels].
pub(super) fn weight<S: Scalar>(window: &Window, [b, c, o]: Counts, x: &[S], dz: &[S], dw: &mut [S]) {
    if direct::suits::<S>(o) {
        return match winograd::suits(window, c) {
            true => winograd::weight(window, [b, c, o], [x, dz], dw),
            false => direct::weight(window, [b, c, o], [x, dz], dw),
        };
    }
    let (pixels, count, taps) = (window.pixels(), window.count(), window.taps());
    let samples = x.chunks_exact(c * pixels).zip(dz.chunks_exact(o * count)).enumerate();
    if !window.prefers_scatter([b, c, o]) {
        return S::with_scratch(c * taps * count, |columns| {
            for (i, (x, dz)) in samples {
                window.unfold(x, columns);
                matmul(dw, Matrix::new(dz, o, count), Matrix::new(columns, c * taps, count).t(), i > 0);
            }
        });
    }
    S::with_scratch(o * taps * (pixels + c), |scratch| {
        let (scattered, sum) = scratch.split_at_mut(o * taps * pixels);
        for (i, (x, dz)) in samples {
            window.scatter(dz, scattered);
            matmul(sum, Matrix::new(scattered, o * taps, pixels), Matrix::new(x, c, pixels).t(), i > 0);
        }
        // From [O, taps, C].
        for (dw, sum) in dw.chunks_exact_mut(c * taps).zip(sum.chunks_exact(c * taps)) {
            (0..dw.len()).for_each(|i| dw[i] = sum[i % taps * c + i / taps]);
        }
    });
}

/// w [O, C, taps] as [O, taps, C].
fn taps_outside<S: Scalar>(w: &[S], c: usize, taps: usize) -> Vec<S> {
    let plane = |w: &[S]| (0..taps * c).map(|i| w[i % c * taps + i / c]).collect::<Vec<S>>();
    w.chunks_exact(c * taps).flat_map(plane).collect()
}

/// z = y + bias by channel (+ bias by plane), y = act(z) (+ addend), on planes of `places` elements from `offset` on.
pub(super) fn finish<S: Scalar>(
    [offset, places]: [usize; 2],
    y: &mut [S],
    z: Option<&mut [S]>,
    bias: &[S],
    activation: Activation,
    terms: Added<S>,
) {
    let bias = &bias[offset / places % bias.len()..];
    parallel::with_simd(
        #[inline(always)]
        || {
            for (plane, bias) in y.chunks_exact_mut(places).zip(bias) {
                plane.iter_mut().for_each(|v| *v += *bias);
            }
            if let Some(planes) = terms.planes {
                for (plane, bias) in y.chunks_exact_mut(places).zip(&planes[offset / places..]) {
                    plane.iter_mut().for_each(|v| *v += *bias);
                }
            }
            if let Some(z) = z {
                z.copy_from_slice(y);
            }
            activation.apply_all(y);
            terms.add_tensor(offset, y);
        },
    );
}

/// Test shapes: ragged, strided, padded, pointwise, long, not square and with many channels, as x, w, stride, padding.
pub(super) const SHAPES: [(&[usize], &[usize], usize, usize); 18] = [
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
    (&[2, 2, 5, 4], &[3, 2, 1, 1], 1, 1),
    (&[2, 1, 5, 4], &[3, 1, 1, 1], 1, 1),
    (&[3, 31, 6, 7], &[32, 31, 3, 3], 1, 1),
    (&[2, 32, 7, 6], &[61, 32, 3, 3], 2, 1),
    // Enough channels for tiles on the CPU.
    (&[1, 34, 9, 10], &[61, 34, 3, 3], 1, 1),
    (&[2, 66, 23], &[64, 66, 3], 1, 1),
];
