//! The colours of JPEG: RGB to and from luminance and chrominance, with fewer samples of chrominance.

use super::case::{Case, Tolerance};
use super::jpeg::pixel;
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// How many pixels share a chrominance.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chroma {
    /// 4:2:0: blocks of 2x2 pixels, the default of most programs.
    #[default]
    Quarter,
    /// 4:4:4: each pixel has its own.
    Full,
}

impl Chroma {
    /// The side of the block of pixels.
    fn side(self) -> usize {
        match self {
            Chroma::Quarter => 2,
            Chroma::Full => 1,
        }
    }

    /// "4:2:0" or "4:4:4".
    pub fn ratio(self) -> &'static str {
        match self {
            Chroma::Quarter => "4:2:0",
            Chroma::Full => "4:4:4",
        }
    }
}

/// Y = 0.299 R + 0.587 G + 0.114 B, Cb = 128 - 0.16874 R - 0.33126 G + 0.5 B, Cr = 128 + 0.5 R - 0.41869 G - 0.08131 B of
/// RGB as integers from 0 to 255, rounded; Cb and Cr are the means of blocks of pixels. Y, Cb and Cr are divided by 255.
///
/// *Shapes*: x [B, 3, H, W], y [B, 1, H, W], c [B, 2, h, w] with h and w half of H and W, rounded up, or equal to them.
/// *Gradient*: none. *Accuracy*: exact integers. *Source*: JFIF 1.02, in the fixed-point arithmetic of libjpeg (jccolor.c,
/// jcsample.c).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct JpegPlanes {
    /// The value of black.
    pub low: f64,
    /// The value of white.
    pub high: f64,
    pub chroma: Chroma,
}

/// R = Y + 1.402 (Cr - 128), G = Y - 0.34414 (Cb - 128) - 0.71414 (Cr - 128), B = Y + 1.772 (Cb - 128), the inverse of
/// [`JpegPlanes`]. A Cb or Cr of half the resolution is interpolated from the four nearest with the weights 9, 3, 3, 1.
///
/// *Shapes*: y [B, 1, H, W], c [B, 2, h, w], x [B, 3, H, W]. *Gradient*: none. *Accuracy*: exact integers. *Source*: JFIF
/// 1.02, in the fixed-point arithmetic of libjpeg (jdcolor.c, jdsample.c with "fancy upsampling").
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct JpegColours {
    /// The value of black.
    pub low: f64,
    /// The value of white.
    pub high: f64,
    pub chroma: Chroma,
}

/// The value of a level from 0 to 255 in 0..1.
fn unit<S: Scalar>(level: i32) -> S {
    S::of(f64::from(level)) / S::of(255.0)
}

/// A value as a level from 0 to 255; NaN, which has no level, as 0. The arithmetic is that of float32 on every device.
fn level<S: Scalar>(value: S, low: f32, contrast: f32) -> i32 {
    let value = ((value.f64() as f32 - low) * contrast).clamp(0.0, 1.0);
    if value.is_nan() { 0 } else { pixel(value) }
}

/// Y, Cb and Cr.
fn luminance_and_chrominance([r, g, b]: [i32; 3]) -> [i32; 3] {
    // 128.5 - 1 / 65536.
    const MIDDLE: i32 = 8_421_375;
    [
        (19_595 * r + 38_470 * g + 7_471 * b + 32_768) >> 16,
        (-11_059 * r - 21_709 * g + 32_768 * b + MIDDLE) >> 16,
        (32_768 * r - 27_439 * g - 5_329 * b + MIDDLE) >> 16,
    ]
}

/// R, G and B from Y, Cb - 128 and Cr - 128.
fn colour(y: i32, cb: i32, cr: i32) -> [i32; 3] {
    [
        y + ((91_881 * cr + 32_768) >> 16),
        y + ((-22_554 * cb - 46_802 * cr + 32_768) >> 16),
        y + ((116_130 * cb + 32_768) >> 16),
    ]
    .map(|level| level.clamp(0, 255))
}

/// Chrominance at a pixel, interpolated from a plane [h, w] of half the resolution.
fn interpolated(plane: impl Fn(usize, usize) -> i32, i: usize, j: usize) -> i32 {
    // The clamped neighbour on the side of the pixel.
    let beside = |at: usize| if at.is_multiple_of(2) { (at / 2).saturating_sub(1) } else { at / 2 + 1 };
    let column = |j: usize| 3 * plane(i / 2, j) + plane(beside(i), j);
    (3 * column(j / 2) + column(beside(j)) + 8 - (j % 2) as i32) >> 4
}

impl JpegPlanes {
    fn chroma_shape(&self, shape: &[usize]) -> [usize; 4] {
        let side = self.chroma.side();
        [shape[0], 2, shape[2].div_ceil(side), shape[3].div_ceil(side)]
    }
}

impl Op for JpegPlanes {
    fn name(&self) -> &'static str {
        "jpeg_planes"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("jpeg_planes", inputs, 1)?;
        match inputs[0].shape[..] {
            [n, 3, h, w] => Ok(vec![Spec::f32([n, 1, h, w]), Spec::f32(self.chroma_shape(&inputs[0].shape))]),
            _ => Err(Error::shape("jpeg_planes", format!("takes RGB images [B, 3, H, W], got {}", inputs[0]))),
        }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let [n, _, h, w] = four(&specs.inputs[0]);
        kernel!("jpeg_colour.wgsl", "jpeg_planes")
            .dim("N", n)
            .dim("H", h)
            .dim("W", w)
            .dim("S", self.chroma.side())
            .hyper("LOW", self.low)
            .hyper("CONTRAST", 1.0 / (self.high - self.low))
            .over(specs.outputs[1].len() / 2)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let [_, _, h, w] = four(&io.specs.inputs[0]);
        let [_, _, rows, columns] = four(&io.specs.outputs[1]);
        let (x, y, c) = (io.input(0), io.output(0), io.output(1));
        let (low, contrast, side) = (self.low as f32, (1.0 / (self.high - self.low)) as f32, self.chroma.side());
        parallel::rows2(
            y,
            h * w,
            c,
            2 * rows * columns,
            #[inline(always)]
            |image, y, c| {
                let x = &x[3 * image * h * w..];
                for (row, column) in pixels(rows, columns) {
                    let mut sums = [0; 2];
                    for (di, dj) in pixels(side, side) {
                        let (i, j) = (row * side + di, column * side + dj);
                        let inside = i.min(h - 1) * w + j.min(w - 1);
                        let rgb = [0, 1, 2].map(|k| level(x[k * h * w + inside], low, contrast));
                        let [luma, cb, cr] = luminance_and_chrominance(rgb);
                        if i < h && j < w {
                            y[inside] = unit(luma);
                        }
                        sums = [sums[0] + cb, sums[1] + cr];
                    }
                    // Halves and quarters are rounded up in every second column.
                    let mean = |sum: i32| if side == 1 { sum } else { (sum + 1 + (column % 2) as i32) >> 2 };
                    for (k, sum) in sums.into_iter().enumerate() {
                        c[(k * rows + row) * columns + column] = unit(mean(sum));
                    }
                }
            },
        );
    }
}

impl Op for JpegColours {
    fn name(&self) -> &'static str {
        "jpeg_colours"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("jpeg_colours", inputs, 2)?;
        let [n, 1, h, w] = inputs[0].shape[..] else {
            return Err(Error::shape("jpeg_colours", format!("takes luminance [B, 1, H, W], got {}", inputs[0])));
        };
        let side = self.chroma.side();
        expect_shape("jpeg_colours", "chrominance", &inputs[1], &[n, 2, h.div_ceil(side), w.div_ceil(side)])?;
        Ok(vec![Spec::f32([n, 3, h, w])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let [n, _, h, w] = four(&specs.inputs[0]);
        kernel!("jpeg_colour.wgsl", "jpeg_colours")
            .dim("N", n)
            .dim("H", h)
            .dim("W", w)
            .dim("S", self.chroma.side())
            .hyper("LOW", self.low)
            .hyper("RANGE", self.high - self.low)
            .over(n * h * w)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let [_, _, h, w] = four(&io.specs.inputs[0]);
        let [_, _, rows, columns] = four(&io.specs.inputs[1]);
        let (luma, chroma, x) = (io.input(0), io.input(1), io.output(0));
        let (low, range) = (S::of(self.low), S::of(self.high - self.low));
        parallel::rows(
            x,
            3 * h * w,
            #[inline(always)]
            |image, x| {
                let plane = |k: usize, i: usize, j: usize| {
                    let at = ((2 * image + k) * rows + i.min(rows - 1)) * columns + j.min(columns - 1);
                    level(chroma[at], 0.0, 1.0)
                };
                for (i, j) in pixels(h, w) {
                    let [cb, cr] = [0, 1].map(|k| match self.chroma {
                        Chroma::Full => plane(k, i, j) - 128,
                        Chroma::Quarter => interpolated(|i, j| plane(k, i, j), i, j) - 128,
                    });
                    let levels = colour(level(luma[(image * h + i) * w + j], 0.0, 1.0), cb, cr);
                    for (k, level) in levels.into_iter().enumerate() {
                        x[(k * h + i) * w + j] = low + range * unit(level);
                    }
                }
            },
        );
    }
}

/// Rows and columns of all pixels.
fn pixels(h: usize, w: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..h).flat_map(move |i| (0..w).map(move |j| (i, j)))
}

/// The sizes of four axes.
fn four(spec: &Spec) -> [usize; 4] {
    [spec.shape[0], spec.shape[1], spec.shape[2], spec.shape[3]]
}

pub(super) fn cases() -> Vec<Case> {
    // A level, multiplied by the range and added to the black value.
    let tolerance = |high: f64| Tolerance::absolute(4.0 * high);
    let mut cases = Vec::new();
    for (chroma, [h, w], [rows, columns]) in [
        (Chroma::Quarter, [8, 8], [4, 4]),
        (Chroma::Quarter, [13, 17], [7, 9]),
        (Chroma::Full, [7, 9], [7, 9]),
        (Chroma::Quarter, [1, 5], [1, 3]),
    ] {
        let planes = JpegPlanes { low: -0.5, high: 1.5, chroma };
        cases.push(Case::new(planes).input([2, 3, h, w]).tolerance(tolerance(1.0)));
        let colours = JpegColours { low: -1.0, high: 1.5, chroma };
        let case = Case::new(colours).input([2, 1, h, w]).input([2, 2, rows, columns]);
        cases.push(case.tolerance(tolerance(2.5)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let chroma = Chroma::Quarter;
    vec![
        Case::new(JpegPlanes { low: 0.0, high: 1.0, chroma }).input([64, 3, 32, 32]),
        Case::new(JpegColours { low: 0.0, high: 1.0, chroma }).input([64, 1, 32, 32]).input([64, 2, 16, 16]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph};

    /// An image of 40 x 24 pixels with smooth parts, edges and colours, as in tests/readers/jpeg.py.
    fn picture() -> Vec<f32> {
        let value = |at: usize| {
            let (k, i, j) = (at / 960, at / 40 % 24, at % 40);
            match (j / 10 + i / 8) % 3 {
                0 => (i * 8 + j * 3 * (k + 1)) % 256,
                1 => [200, 60, 90][(k + i / 4) % 3],
                _ => (128 + (i * i + j * j * (k + 1)) / 8) % 256,
            }
        };
        (0..3 * 960).map(|at| value(at) as f32 / 255.0).collect()
    }

    fn psnr(quality: u32, chroma: Chroma) -> f64 {
        let mut g = Graph::new();
        let x = g.constant([1, 3, 24, 40], picture()).unwrap();
        let y = g.jpeg_colour(x, quality, chroma, 0.0, 1.0).unwrap();
        g.keep(y);
        let mut run = Device::cpu().compile(&g).unwrap();
        run.steps(1).unwrap();
        let (x, y) = (picture(), run.read(y).unwrap());
        let squares = x.iter().zip(&y).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
        -10.0 * (squares / y.len() as f64).log10()
    }

    /// The PSNR of what Pillow 13.0 with libjpeg-turbo 3.2 makes of the same image: tests/readers/jpeg.py.
    #[test]
    fn colours_are_coded_as_by_libjpeg() {
        for (quality, quarter, full) in
            [(10, 15.253, 18.514), (50, 18.032, 22.466), (75, 19.402, 25.688), (95, 20.486, 38.297)]
        {
            for (chroma, want) in [(Chroma::Quarter, quarter), (Chroma::Full, full)] {
                let got = psnr(quality, chroma);
                assert!((got - want).abs() < 0.1, "quality {quality}, {}: {got} dB for {want}", chroma.ratio());
            }
        }
    }

    #[test]
    fn grey_colours_stay_grey() {
        for level in [0, 1, 77, 128, 254, 255] {
            let [y, cb, cr] = luminance_and_chrominance([level; 3]);
            assert_eq!((y, cb, cr, colour(y, cb - 128, cr - 128)), (level, 128, 128, [level; 3]));
        }
        let shape = [2, 1, 4, 4];
        let mut g = Graph::new();
        let x = g.constant(shape, vec![0.0; 32]).unwrap();
        let message = g.jpeg_colour(x, 50, Chroma::Full, 0.0, 1.0).unwrap_err().to_string();
        assert!(message.contains("[B, 3, H, W]"), "{message}");
    }
}
