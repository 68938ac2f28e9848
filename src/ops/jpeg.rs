//! Compression artefacts: the cosine transform of 8x8 blocks, quantised as in JPEG.

use std::f64::consts::PI;

use super::case::{Case, Tolerance};
use super::jpeg_colour::{Chroma, JpegColours, JpegPlanes};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::philox;
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// Per 8x8 block: P = round(255 (x - low) / (high - low)) - 128, K = round(C P C^T / Q), y = C^T (K Q) C, back to [low,
/// high].
///
/// *Shapes*: x and y [..., H, W], planes independent; sides that are not a multiple of 8 are padded by repeating the
/// edge. Tables [2, 8, 8]: the orthonormal DCT-II C, and Q of [`quantisation`]. *Gradient*: none. *Accuracy*: pixels
/// are integers that are identical on every device; a coefficient is accurate to 1e-4, so one that is closer than that
/// to the midpoint of two multiples of Q may be rounded either way. *Source*: ITU-T T.81, annex A.3.3 and table K.1,
/// without its entropy coding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jpeg {
    /// The value of black.
    pub low: f64,
    /// The value of white.
    pub high: f64,
}

/// ITU-T T.81, table K.1.
const LUMINANCE: [u32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// ITU-T T.81, table K.2.
const CHROMINANCE: [u32; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99,
];

/// The quantisation table of grey images of a quality from 1 to 100, scaled as in libjpeg.
///
/// # Errors
/// When the quality is out of range.
pub fn quantisation(quality: u32) -> Result<[u32; 64]> {
    scaled(LUMINANCE, quality)
}

fn scaled(table: [u32; 64], quality: u32) -> Result<[u32; 64]> {
    let scale = match quality {
        1..50 => 5_000 / quality,
        50..=100 => 200 - 2 * quality,
        _ => return Err(Error::setting(format!("a JPEG quality of {quality}; use 1 to 100"))),
    };
    Ok(table.map(|entry| ((entry * scale + 50) / 100).clamp(1, 255)))
}

/// Row u, column i of the orthonormal DCT-II of 8 values.
fn cosine(u: usize, i: usize) -> f64 {
    let norm = if u == 0 { 1f64 / 8.0 } else { 1.0 / 4.0 };
    norm.sqrt() * (PI * (2 * i + 1) as f64 * u as f64 / 16.0).cos()
}

/// C and Q, the op's second input.
fn tables(quality: u32, table: [u32; 64]) -> Result<Vec<f32>> {
    let transform = (0..64).map(|at| cosine(at / 8, at % 8) as f32);
    Ok(transform.chain(scaled(table, quality)?.map(|q| q as f32)).collect())
}

impl Graph {
    /// Applies JPEG compression of a quality from 1 to 100 to grey images [..., H, W]; `low` is black, `high` white.
    ///
    /// # Errors
    /// When the quality is out of range, `high` is not above `low`, or x has fewer than two dimensions.
    pub fn jpeg(&mut self, x: Var, quality: u32, low: f64, high: f64) -> Result<Var> {
        check_contrast(low, high)?;
        let tables = self.constant([2, 8, 8], tables(quality, LUMINANCE)?)?;
        self.apply1(Jpeg { low, high }, &[x, tables])
    }

    /// Applies JPEG compression of a quality from 1 to 100 to RGB images [B, 3, H, W]; `low` is black, `high` white.
    ///
    /// The images are converted to luminance and chrominance, which are compressed by [`Graph::jpeg`] with the tables K.1
    /// and K.2 of ITU-T T.81, and converted back, as by libjpeg.
    ///
    /// # Errors
    /// When the quality is out of range, `high` is not above `low`, or x has another shape.
    pub fn jpeg_colour(&mut self, x: Var, quality: u32, chroma: Chroma, low: f64, high: f64) -> Result<Var> {
        check_contrast(low, high)?;
        let [luminance, chrominance] = [LUMINANCE, CHROMINANCE].map(|table| tables(quality, table));
        let luminance = self.constant([2, 8, 8], luminance?)?;
        let chrominance = self.constant([2, 8, 8], chrominance?)?;
        let shape = self.shape(x).to_vec();
        let planes = self.apply(JpegPlanes { low, high, chroma }, &[x])?;
        let unit = Jpeg { low: 0.0, high: 1.0 };
        let y = self.apply1(unit, &[planes[0], luminance])?;
        let c = self.apply1(unit, &[planes[1], chrominance])?;
        let colours = self.apply1(JpegColours { low, high, chroma }, &[y, c])?;
        self.reshape(colours, shape)
    }
}

fn check_contrast(low: f64, high: f64) -> Result<()> {
    let contrast = ((high - low) as f32).recip();
    match high > low && contrast.is_finite() && contrast > 0.0 {
        true => Ok(()),
        false => Err(Error::setting(format!("JPEG between black at {low} and white at {high}; white must be larger"))),
    }
}

/// round(255 u) with u in [0, 1], in integer arithmetic, so that 255 u is not rounded first.
pub(super) fn pixel(u: f32) -> i32 {
    let bits = u.to_bits();
    let shift = 149u32.saturating_sub(bits >> 23);
    let product = 255 * (bits & 0x7f_ffff | 0x80_0000);
    if shift > 31 { 0 } else { (((product >> shift) + 1) >> 1) as i32 }
}

/// M X, and then M applied along the other axis: M X M^T, or with `transposed` M^T X M.
#[inline(always)]
fn transform<S: Scalar>(m: &[S], transposed: bool, x: &[S; 64]) -> [S; 64] {
    let at = |u: usize, i: usize| if transposed { m[8 * i + u] } else { m[8 * u + i] };
    let along = |x: &[S; 64]| -> [S; 64] {
        // The result is transposed, so that the second pass equals the first.
        std::array::from_fn(|e| (0..8).map(|i| at(e % 8, i) * x[8 * i + e / 8]).sum())
    };
    along(&along(x))
}

impl Jpeg {
    fn contrast(&self) -> f64 {
        1.0 / (self.high - self.low)
    }

    /// The block at (top, left) of a plane of `w` columns, as pixels from -128 to 127.
    fn block<S: Scalar>(&self, plane: &[S], w: usize, top: usize, left: usize) -> [S; 64] {
        let h = plane.len() / w;
        let (low, contrast) = (self.low as f32, self.contrast() as f32);
        std::array::from_fn(|e| {
            let (i, j) = ((top + e / 8).min(h - 1), (left + e % 8).min(w - 1));
            let u = ((plane[i * w + j].f64() as f32 - low) * contrast).clamp(0.0, 1.0);
            S::of((pixel(u) - 128) as f64)
        })
    }

    fn plane<S: Scalar>(&self, x: &[S], w: usize, tables: &[S], y: &mut [S]) {
        let (c, q) = tables.split_at(64);
        let (h, low, range) = (x.len() / w, S::of(self.low), S::of(self.high - self.low));
        for (top, left) in (0..h).step_by(8).flat_map(|top| (0..w).step_by(8).map(move |left| (top, left))) {
            let k = transform(c, false, &self.block(x, w, top, left));
            let kept = std::array::from_fn(|e| S::of((k[e] / q[e]).f64().round_ties_even()) * q[e]);
            let p = transform(c, true, &kept);
            for e in (0..64).filter(|e| top + e / 8 < h && left + e % 8 < w) {
                let u = ((p[e] + S::of(128.0)) * S::of(1.0 / 255.0)).max(S::ZERO).min(S::ONE);
                y[(top + e / 8) * w + left + e % 8] = low + range * u;
            }
        }
    }
}

impl Op for Jpeg {
    fn name(&self) -> &'static str {
        "jpeg"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("jpeg", inputs, 2)?;
        expect_shape("jpeg", "tables", &inputs[1], &[2, 8, 8])?;
        if inputs[0].shape.len() < 2 {
            return Err(Error::shape("jpeg", format!("takes images [..., H, W], got {}", inputs[0])));
        }
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let [planes, h, w] = planes(&specs.inputs[0]);
        kernel!("jpeg.wgsl", "jpeg")
            .dim("N", planes)
            .dim("H", h)
            .dim("W", w)
            .hyper("LOW", self.low)
            .hyper("CONTRAST", self.contrast())
            .hyper("RANGE", self.high - self.low)
            .over(planes * h.div_ceil(8) * w.div_ceil(8))
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let [_, h, w] = planes(&io.specs.inputs[0]);
        let (x, tables, y) = (io.input(0), io.input(1), io.output(0));
        parallel::rows(
            y,
            h * w,
            #[inline(always)]
            |n, y| self.plane(&x[n * h * w..][..h * w], w, tables, y),
        );
    }
}

/// Planes, height and width.
fn planes(spec: &Spec) -> [usize; 3] {
    let [.., h, w] = spec.shape[..] else { return [1, 1, spec.len()] };
    [spec.len() / (h * w), h, w]
}

/// Planes between low and high whose coefficients are all far from rounding boundaries.
fn image(op: Jpeg, shape: &[usize], tables: &[f32]) -> Vec<f32> {
    let [n, h, w] = planes(&Spec::f32(shape));
    let value = |seed: u32, e: usize| {
        let word = philox([e as u32, seed, 0, 0], [3, 1])[0] as f64 / u32::MAX as f64;
        let wave = ((e / w) as f64 * 0.4 + seed as f64).sin() * ((e % w) as f64 * 0.3).cos();
        (op.low + (op.high - op.low) * (0.5 + 0.4 * wave + 0.2 * (word - 0.5))) as f32
    };
    let tables: Vec<f64> = tables.iter().map(|&v| v as f64).collect();
    let clear = |plane: &Vec<f32>| {
        let plane: Vec<f64> = plane.iter().map(|&v| v as f64).collect();
        let corners = (0..h).step_by(8).flat_map(|top| (0..w).step_by(8).map(move |left| (top, left)));
        corners.into_iter().all(|(top, left)| {
            let k = transform(&tables[..64], false, &op.block(&plane, w, top, left));
            k.iter().zip(&tables[64..]).all(|(k, q)| (k.rem_euclid(*q) - q / 2.0).abs() > 1e-3)
        })
    };
    let seeds = (0..).map(|seed| (0..h * w).map(|e| value(seed, e)).collect::<Vec<f32>>());
    seeds.filter(clear).take(n).flatten().collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, quality, low, high) in [
        (vec![8, 8], 50, 0.0, 1.0),
        (vec![3, 1, 8, 8], 20, -1.0, 1.5),
        (vec![2, 16, 24], 10, 0.0, 16.0),
        (vec![2, 3, 13, 17], 75, 0.0, 1.0),
        (vec![1, 7, 1], 90, 0.0, 1.0),
    ] {
        let (op, tables) = (Jpeg { low, high }, tables(quality, LUMINANCE).expect("a quality in range"));
        let x = image(op, &shape, &tables);
        // 64 terms of a block of at most 128 each, by two transforms: about 16 roundings of 2500 / 255 of the range.
        let tolerance = Tolerance::absolute(150.0 * (high - low));
        cases.push(Case::new(op).values(shape, x).values([2, 8, 8], tables).tolerance(tolerance));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let tables = tables(50, LUMINANCE).expect("the quality is in range");
    vec![Case::new(Jpeg { low: 0.0, high: 1.0 }).input([64, 1, 32, 32]).values([2, 8, 8], tables)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_rounded_as_in_exact_arithmetic() {
        let around = |v: f32| [v.to_bits().saturating_sub(1), v.to_bits(), v.to_bits() + 1].map(f32::from_bits);
        let halves = (0..255).flat_map(|n| around((n as f32 + 0.5) / 255.0));
        let others = [0.0, 1e-30, 1.0 / 511.0, 1.0 / 509.0, 1.0, f32::from_bits(1.0f32.to_bits() - 1)];
        for u in halves.chain(others).chain((0..10_000).map(|i| i as f32 / 9_999.0)) {
            assert_eq!(pixel(u), (u as f64 * 255.0).round_ties_even() as i32, "{u:e}");
        }
    }

    #[test]
    fn the_transform_is_orthonormal_and_high_quality_keeps_the_image() {
        let c: Vec<f64> = (0..64).map(|at| cosine(at / 8, at % 8)).collect();
        let x = std::array::from_fn(|e| ((e * 37 % 64) as f64 * 0.9).sin());
        let back = transform(&c, true, &transform(&c, false, &x));
        assert!(x.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-14));
        assert_eq!(quantisation(100).unwrap(), [1; 64]);
        assert_eq!((quantisation(50).unwrap(), scaled(CHROMINANCE, 10).unwrap()[3]), (LUMINANCE, 235));
        assert!(quantisation(0).is_err() && quantisation(101).is_err());
    }
}
