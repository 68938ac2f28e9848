//! The sinusoidal step encoding, accurate for large arguments on every driver.

use std::f64::consts::TAU;

use super::case::{Case, ROWS, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{DType, Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The arrangement and the rates of sines and cosines.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Layout {
    /// enc\[2i\] = sin(t r_i), enc[2i+1] = cos(t r_i), r_i = 10000^(-2i/d): Vaswani et al. 2017, section 3.5.
    Interleaved,
    /// [sin | cos], or [cos | sin] when flipped, r_i = 10000^(-i/(d/2 - shift)); for odd d the last value is 0: DDPM's
    /// code.
    Halves {
        /// Cosines first.
        flip: bool,
        /// The frequency shift, 0 or 1.
        shift: f64,
    },
}

/// enc(t) of width d, from t \[B\] and a table of rates.
///
/// A rate is a 64-bit fixed-point number of turns per step (r / 2 pi, computed in f64), so that the phase is an integer
/// product whose wrap-around is the range reduction. t may be fractional.
///
/// *Shapes*: t \[B\], rates [F, 2] u32 (high, low), enc [B, d]. *Units*: t in steps, 0 <= t < 2^24.
/// *Accuracy*: within 4e-7 of the f64 value at t = 999. *Gradient*: none for t.
#[derive(Clone, Copy, Debug)]
pub struct Encode {
    /// Width of the encoding.
    pub width: usize,
    /// Arrangement.
    pub layout: Layout,
}

impl Encode {
    /// Creates an encoding.
    ///
    /// # Errors
    /// When the width is out of range, or the shift leaves no frequency range (d = 2 with shift 1 is 0/0).
    pub fn new(width: usize, layout: Layout) -> Result<Self> {
        if width == 0 || width > 1 << 16 {
            return Err(Error::setting(format!("a step encoding of width {width}; use 1 to 65536")));
        }
        if let Layout::Halves { shift, .. } = layout
            && !(shift.is_finite() && (width / 2) as f64 - shift > 0.0)
        {
            return Err(Error::setting(format!(
                "a step encoding of width {width} with frequency shift {shift} has no frequencies; use a width of 4 or more \
                 (model.encoding), and a shift (model.frequency_shift) of 0, or 1 as in DDPM's code"
            )));
        }
        Ok(Self { width, layout })
    }

    /// Adds the encoding of `t` \[B\] to a graph.
    ///
    /// # Errors
    /// When t is not a float tensor of shape \[B\].
    pub fn add_to(self, g: &mut Graph, t: Var) -> Result<Var> {
        let rates = self.rates_in(g)?;
        g.apply1(self, &[t, rates])
    }

    /// The table of rates as a constant of the graph.
    pub(crate) fn rates_in(self, g: &mut Graph) -> Result<Var> {
        let (shape, words) = self.rate_words();
        g.constant_u32(shape, words)
    }

    /// The table of rates: high and low words, [F, 2].
    pub(crate) fn rate_words(self) -> ([usize; 2], Vec<u32>) {
        let words: Vec<u32> = self.rates().into_iter().flat_map(|r| [(r >> 32) as u32, r as u32]).collect();
        ([words.len() / 2, 2], words)
    }

    /// The rates in 2^-64 turns per step.
    pub fn rates(self) -> Vec<u64> {
        let log = 10_000f64.ln();
        let rate = |i: usize| match self.layout {
            Layout::Interleaved => (-log * (2 * i) as f64 / self.width as f64).exp(),
            Layout::Halves { shift, .. } => (-log * i as f64 / ((self.width / 2) as f64 - shift)).exp(),
        };
        (0..self.frequencies()).map(|i| (rate(i) / TAU * 2f64.powi(64)) as u64).collect()
    }

    pub(crate) fn frequencies(self) -> usize {
        match self.layout {
            Layout::Interleaved => self.width.div_ceil(2),
            Layout::Halves { .. } => self.width / 2,
        }
    }

    /// The index of the layout in the shaders.
    pub(crate) fn layout_number(self) -> f64 {
        match self.layout {
            Layout::Interleaved => 0.0,
            Layout::Halves { flip: false, .. } => 1.0,
            Layout::Halves { flip: true, .. } => 2.0,
        }
    }

    /// Writes enc(t) to one row.
    #[inline(always)]
    pub(crate) fn row<S: Scalar>(self, t: f64, rates: &[u32], enc: &mut [S]) {
        // Frequencies computed together, so that the work vectorizes.
        const TOGETHER: usize = 64;
        let (whole, fraction) = (t.floor() as u32, ((t - t.floor()) * 4_294_967_296.0) as u32);
        if let (Layout::Halves { .. }, 1) = (self.layout, self.width % 2) {
            enc[self.width - 1] = S::ZERO;
        }
        for (block, rates) in rates.chunks(2 * TOGETHER).enumerate() {
            let mut phases = [0u32; TOGETHER];
            for (phase, rate) in phases.iter_mut().zip(rates.chunks_exact(2)) {
                // The upper words of whole * rate (mod 1 turn) and of fraction * rate; a lost carry is 2^-32 of a turn.
                let upper = |a: u32, b: u32| ((a as u64 * b as u64) >> 32) as u32;
                let turns = whole.wrapping_mul(rate[0]).wrapping_add(upper(whole, rate[1]));
                *phase = turns.wrapping_add(upper(fraction, rate[0]));
            }
            let (mut sines, mut cosines) = ([S::ZERO; TOGETHER], [S::ZERO; TOGETHER]);
            for i in 0..TOGETHER {
                (sines[i], cosines[i]) = S::sin_cos_turns(phases[i]);
            }
            let n = rates.len() / 2;
            self.arrange(block * TOGETHER, &sines[..n], &cosines[..n], enc);
        }
    }

    /// Writes the waves of frequencies first, first + 1, ... to their columns.
    #[inline(always)]
    fn arrange<S: Scalar>(self, first: usize, sines: &[S], cosines: &[S], enc: &mut [S]) {
        let (n, half) = (sines.len(), self.width / 2);
        match self.layout {
            Layout::Interleaved => {
                let mut pairs = enc[2 * first..].chunks_exact_mut(2);
                for (i, pair) in pairs.by_ref().take(n).enumerate() {
                    pair[0] = sines[i];
                    pair[1] = cosines[i];
                }
                // An odd width ends with a sine.
                if let [last] = pairs.into_remainder() {
                    *last = sines[n - 1];
                }
            }
            Layout::Halves { flip, .. } => {
                let (at_sin, at_cos) = if flip { (half + first, first) } else { (first, half + first) };
                enc[at_sin..][..n].copy_from_slice(sines);
                enc[at_cos..][..n].copy_from_slice(cosines);
            }
        }
    }
}

impl Op for Encode {
    fn name(&self) -> &'static str {
        "encode"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("encode", inputs, 2)?;
        expect_shape("encode", "t", &inputs[0], &[inputs[0].rows().0])?;
        expect_shape("encode", "rates", &inputs[1], &[self.frequencies(), 2])?;
        Ok(vec![Spec::f32([inputs[0].rows().0, self.width])])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if i == 1 { &[DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (b, f) = (specs.inputs[0].rows().0, self.frequencies());
        kernel!("encode.wgsl", "encode")
            .dim("B", b)
            .dim("F", f)
            .dim("D", self.width)
            .hyper("LAYOUT", self.layout_number())
            .over(b * f)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (t, rates, enc) = (io.input(0), io.input_u32(1), io.output(0));
        parallel::rows(
            enc,
            self.width,
            #[inline(always)]
            |row, enc| self.row(t[row].f64(), rates, enc),
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let t = vec![0.0, 1.0, 2.5, 10.0, 499.75, 999.0, 65_535.0];
    let halves = |flip, shift| Layout::Halves { flip, shift };
    [
        (2, Layout::Interleaved),
        (7, Layout::Interleaved),
        (128, Layout::Interleaved),
        (9, halves(false, 1.0)),
        (128, halves(true, 0.0)),
    ]
    .into_iter()
    .map(|(width, layout)| {
        let op = Encode { width, layout };
        let (shape, words) = op.rate_words();
        // 4e-7, the documented accuracy.
        Case::new(op).values([7], t.clone()).integers(shape, words).tolerance(Tolerance::absolute(3.3))
    })
    .collect()
}

pub(super) fn timed() -> Vec<Case> {
    let encode = Encode { width: 128, layout: Layout::Interleaved };
    let (shape, rates) = encode.rate_words();
    vec![Case::new(encode).steps(ROWS).integers(shape, rates)]
}
