//! Sliding windows over an image: the geometry shared by convolutions and pooling, and the matrix of all windows.

use crate::error::{Error, Result};
use crate::graph::Spec;
use crate::kernel::Kernel;
use crate::numeric::scalar::Scalar;

/// Windows of [kh, kw] taps over an image [H, W]: place (y, x) of [OH, OW] starts at (y s - p, x s - p).
/// A signal is an image of height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub image: [usize; 2],
    pub places: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
}

/// [L] as [1, L], [H, W] unchanged, with `along` for each axis of the input and `without` for a missing one.
fn axes(dims: &[usize], along: usize, without: usize) -> ([usize; 2], [usize; 2]) {
    match dims {
        [w] => ([1, *w], [without, along]),
        [h, w] => ([*h, *w], [along; 2]),
        _ => unreachable!("callers check that there are one or two axes"),
    }
}

impl Window {
    /// Windows over an image of the given size, [L] or [H, W].
    ///
    /// # Errors
    /// When no window fits, or stride or padding is out of range.
    pub fn over(op: &str, image: &[usize], kernel: &[usize], stride: usize, padding: usize) -> Result<Self> {
        let ((image, strides), (kernel, paddings)) = (axes(image, stride, 1), axes(kernel, padding, 0));
        let fits = |a: usize| image[a] + 2 * paddings[a] >= kernel[a] && kernel[a] > 0;
        if stride == 0 || !fits(0) || !fits(1) {
            let text = format!("a kernel {kernel:?} with stride {stride} and padding {padding} does not fit {image:?}");
            return Err(Error::shape(op, text));
        }
        let place = |a: usize| (image[a] + 2 * paddings[a] - kernel[a]) / strides[a] + 1;
        Ok(Self { image, places: [place(0), place(1)], kernel, stride: strides, padding: paddings })
    }

    /// The window of a transposed convolution, given its places: the image is the result, with PyTorch's size.
    ///
    /// # Errors
    /// When the padding leaves no output, or the output padding is not below the stride.
    pub fn onto(
        op: &str,
        places: &[usize],
        kernel: &[usize],
        stride: usize,
        padding: usize,
        extra: usize,
    ) -> Result<Self> {
        if extra >= stride.max(1) {
            let text = format!("output padding {extra} should be less than the stride {stride}");
            return Err(Error::shape(op, text));
        }
        let size = |(n, k): (&usize, &usize)| ((n - 1) * stride + k + extra).checked_sub(2 * padding);
        let image: Option<Vec<usize>> = places.iter().zip(kernel).map(size).collect();
        let nothing = || {
            let text = format!("padding {padding} leaves nothing of {places:?} under a kernel {kernel:?}");
            Error::shape(op, text)
        };
        let image = image.filter(|image| image.iter().all(|&n| n > 0)).ok_or_else(nothing)?;
        let window = Self::over(op, &image, kernel, stride, padding)?;
        debug_assert_eq!(window.places, axes(places, 0, 0).0);
        Ok(window)
    }

    /// Elements of a plane of the image.
    pub fn pixels(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Places of the window.
    pub fn count(&self) -> usize {
        self.places[0] * self.places[1]
    }

    /// Elements of a window in one plane.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether every window is one element and every element one window.
    pub fn is_identity(&self) -> bool {
        self.taps() == 1 && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Taps that can reach one element: those of one residue modulo the stride.
    pub fn reach(&self) -> usize {
        self.kernel[0].div_ceil(self.stride[0]) * self.kernel[1].div_ceil(self.stride[1])
    }

    /// The overrides of `shaders/shared/window.wgsl`.
    pub fn constants(&self, kernel: Kernel) -> Kernel {
        let Self { image, places, kernel: k, stride, padding } = self;
        kernel
            .dim("H", image[0])
            .dim("W", image[1])
            .dim("OH", places[0])
            .dim("OW", places[1])
            .dim("KH", k[0])
            .dim("KW", k[1])
            .dim("SH", stride[0])
            .dim("SW", stride[1])
            .dim("PH", padding[0])
            .dim("PW", padding[1])
    }

    /// The places along `axis` whose tap `k` lies inside the image.
    #[inline(always)]
    pub fn span(&self, axis: usize, k: usize) -> std::ops::Range<usize> {
        let (size, s, p) = (self.image[axis], self.stride[axis], self.padding[axis]);
        let start = p.saturating_sub(k).div_ceil(s);
        let end = (size + p).saturating_sub(k).div_ceil(s).min(self.places[axis]);
        start.min(end)..end
    }

    /// columns [C kh kw, OH OW] of image [C, H, W]: each window is a column, with zeros outside the image.
    pub fn unfold<S: Scalar>(&self, image: &[S], columns: &mut [S]) {
        let ([_, w], [oh, ow]) = (self.image, self.places);
        let [sh, sw] = self.stride;
        let mut rows = columns.chunks_exact_mut(oh * ow);
        for plane in image.chunks_exact(self.pixels()) {
            for tap in 0..self.taps() {
                let (ky, kx) = (tap / self.kernel[1], tap % self.kernel[1]);
                let (ys, xs) = (self.span(0, ky), self.span(1, kx));
                let row = rows.next().expect("the columns hold every tap of every plane");
                row[..ys.start * ow].fill(S::ZERO);
                row[ys.end * ow..].fill(S::ZERO);
                for y in ys {
                    let line = &mut row[y * ow..][..ow];
                    line[..xs.start].fill(S::ZERO);
                    line[xs.end..].fill(S::ZERO);
                    if xs.is_empty() {
                        continue;
                    }
                    let first = (y * sh + ky - self.padding[0]) * w + xs.start * sw + kx - self.padding[1];
                    let (line, source) = (&mut line[xs.clone()], &plane[first..]);
                    if sw == 1 {
                        line.iter_mut().zip(source).for_each(|(v, s)| *v = *s);
                    } else {
                        line.iter_mut().zip(source.iter().step_by(sw)).for_each(|(v, s)| *v = *s);
                    }
                }
            }
        }
    }

    /// Calls `f(row, place, pixel, n)` for each run of `n` neighbouring places and the elements read by tap `row`: the
    /// first `place` and the first `pixel` of their planes; the pixels are one stride apart.
    #[inline(always)]
    fn runs(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        for tap in 0..self.taps() {
            let (ky, kx) = (tap / self.kernel[1], tap % self.kernel[1]);
            let (ys, xs) = (self.span(0, ky), self.span(1, kx));
            if xs.is_empty() {
                continue;
            }
            for y in ys {
                let row = y * self.stride[0] + ky - self.padding[0];
                let pixel = row * self.image[1] + xs.start * self.stride[1] + kx - self.padding[1];
                f(tap, y * self.places[1] + xs.start, pixel, xs.len());
            }
        }
    }

    /// image [C, H, W] += the columns [C taps, places], each element where [`Window::unfold`] reads it.
    pub fn fold<S: Scalar>(&self, columns: &[S], image: &mut [S]) {
        let (count, step) = (self.count(), self.stride[1]);
        for (plane, rows) in image.chunks_exact_mut(self.pixels()).zip(columns.chunks_exact(self.taps() * count)) {
            self.runs(|tap, place, pixel, n| {
                let (line, target) = (&rows[tap * count + place..][..n], &mut plane[pixel..]);
                if step == 1 {
                    target[..n].iter_mut().zip(line).for_each(|(t, v)| *t += *v);
                } else {
                    target.iter_mut().step_by(step).zip(line).for_each(|(t, v)| *t += *v);
                }
            });
        }
    }

    /// scattered [O taps, pixels] of values [O, places]: each value at the pixel that the tap reads for its place, zero
    /// elsewhere. With stride 1 this is [`Window::unfold`] of the mirrored window.
    pub fn scatter<S: Scalar>(&self, values: &[S], scattered: &mut [S]) {
        let (pixels, step) = (self.pixels(), self.stride[1]);
        scattered.fill(S::ZERO);
        for (plane, rows) in values.chunks_exact(self.count()).zip(scattered.chunks_exact_mut(self.taps() * pixels)) {
            self.runs(|tap, place, pixel, n| {
                let target = rows[tap * pixels + pixel..].iter_mut().step_by(step);
                target.zip(&plane[place..][..n]).for_each(|(t, v)| *t = *v);
            });
        }
    }

    /// out [O, places] = sum over taps of products [O taps, pixels] at the pixel that the tap reads for the place.
    pub fn gather<S: Scalar>(&self, products: &[S], out: &mut [S]) {
        let (pixels, step) = (self.pixels(), self.stride[1]);
        out.fill(S::ZERO);
        for (plane, rows) in out.chunks_exact_mut(self.count()).zip(products.chunks_exact(self.taps() * pixels)) {
            self.runs(|tap, place, pixel, n| {
                let line = rows[tap * pixels + pixel..].iter().step_by(step);
                plane[place..][..n].iter_mut().zip(line).for_each(|(t, v)| *t += *v);
            });
        }
    }

    /// Whether it is less work to scatter the O channels of the places by tap than to unfold the C channels of the
    /// image.
    pub fn prefers_scatter(&self, [_, c, o]: [usize; 3]) -> bool {
        self.stride == [1, 1] && self.taps() > 1 && 2 * o * self.pixels() <= c * self.count()
    }
}

/// Batch size, channels, and the one or two spatial axes of a tensor [B, C, L] or [B, C, H, W].
///
/// # Errors
/// When the number of dimensions differs.
pub(crate) fn planes<'a>(op: &str, argument: &str, spec: &'a Spec) -> Result<(usize, usize, &'a [usize])> {
    match spec.shape.as_slice() {
        [b, c, places @ ..] if matches!(places.len(), 1 | 2) => Ok((*b, *c, places)),
        shape => {
            Err(Error::shape(op, format!("{argument} should have shape [B, C, L] or [B, C, H, W], got {shape:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted_as_in_pytorch() {
        let window = Window::over("conv", &[9, 7], &[3, 3], 2, 1).unwrap();
        assert_eq!(window.places, [5, 4]);
        let window = Window::over("conv", &[11], &[5], 3, 2).unwrap();
        assert_eq!((window.image, window.places, window.stride), ([1, 11], [1, 4], [1, 3]));
        let window = Window::onto("conv_transpose", &[5, 3], &[4, 4], 2, 1, 1).unwrap();
        assert_eq!(window.image, [11, 7]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_numbers() {
        let refused = |r: Result<Window>| r.unwrap_err().to_string();
        assert!(refused(Window::over("conv", &[2, 9], &[5, 5], 1, 1)).contains("[2, 9]"));
        assert!(refused(Window::over("conv", &[9, 9], &[3, 3], 0, 1)).contains("stride 0"));
        assert!(refused(Window::onto("conv_transpose", &[4], &[3], 2, 1, 2)).contains("stride 2"));
        assert!(refused(Window::onto("conv_transpose", &[1], &[2], 1, 1, 0)).contains("padding 1"));
    }

    #[test]
    fn fold_is_the_transpose_of_unfold() {
        for (stride, padding) in [(1, 0), (1, 2), (2, 1), (3, 2)] {
            let window = Window::over("conv", &[6, 5], &[3, 4], stride, padding).unwrap();
            let n = window.taps() * 2 * window.count();
            let x: Vec<f64> = (0..2 * 30).map(|i| (i as f64).sin()).collect();
            let c: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).cos()).collect();
            let mut columns = vec![f64::NAN; n];
            window.unfold(&x, &mut columns);
            let mut image = vec![0.0; x.len()];
            window.fold(&c, &mut image);
            let mut scattered = vec![f64::NAN; window.taps() * 2 * window.pixels()];
            let d: Vec<f64> = (0..scattered.len()).map(|i| (i as f64 * 0.3).sin()).collect();
            let z: Vec<f64> = (0..2 * window.count()).map(|i| (i as f64 * 1.1).cos()).collect();
            window.scatter(&z, &mut scattered);
            let mut collected = vec![f64::NAN; z.len()];
            window.gather(&d, &mut collected);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            assert!((dot(&scattered, &d) - dot(&z, &collected)).abs() < 1e-12, "stride {stride}, padding {padding}");
            assert!((dot(&columns, &c) - dot(&x, &image)).abs() < 1e-12, "stride {stride}, padding {padding}");
        }
    }
}
