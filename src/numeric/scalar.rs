//! The scalar type of the CPU implementations: f32 for the fallback executor, f64 for the reference.

use std::cell::RefCell;
use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// f32 or f64, and no other type. CPU implementations are generic over it, so that the executor and the reference share
/// code.
pub trait Scalar:
    sealed::Sealed
    + bytemuck::Pod
    + Default
    + Debug
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
{
    /// Whether this is f32.
    const IS_F32: bool = size_of::<Self>() == size_of::<f32>();
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Rounds an f64 (exact for f64).
    fn of(value: f64) -> Self;
    /// Widens to f64.
    fn f64(self) -> f64;
    /// e^self. In f32 it is 0 from -88 down and infinite from 88.4 up (where the exact value is still below 3.4e38).
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + self), accurate near zero.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Distribution function and density of the standard normal distribution: Phi(x) and exp(-x^2 / 2) / sqrt(2 pi),
    /// both with a small relative error, also in the lower tail.
    fn normal(self) -> (Self, Self);
    /// The maximum of two.
    fn max(self, other: Self) -> Self;
    /// The minimum of two.
    fn min(self, other: Self) -> Self;
    /// The nearest number from `low` to `high`; NaN stays NaN.
    fn clamp(self, low: Self, high: Self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// (sin, cos) of `phase` / 2^32 turns.
    fn sin_cos_turns(phase: u32) -> (Self, Self);
    /// ln((word + 1/2) / 2^32): the logarithm of a uniform number drawn as an integer.
    fn ln_uniform(word: u32) -> Self;
    /// Provides scratch memory of `len` numbers with arbitrary contents; each thread reuses its own. It is inlined, so that
    /// `f` is compiled for the vector instructions of its caller.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
}

macro_rules! common {
    ($t:ty) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        #[inline(always)]
        fn of(value: f64) -> Self {
            value as $t
        }
        #[inline(always)]
        fn f64(self) -> f64 {
            self as f64
        }
        #[inline(always)]
        fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
            thread_local!(static SCRATCH: RefCell<Vec<Vec<$t>>> = const { RefCell::new(Vec::new()) });
            const LINE: usize = 64;
            // Taken out meanwhile, so that nested calls get their own memory.
            let mut memory = SCRATCH.with_borrow_mut(|kept| kept.pop()).unwrap_or_default();
            if memory.len() < len + LINE {
                memory.resize(len + LINE, 0.0);
            }
            let start = memory.as_ptr().align_offset(LINE);
            let result = f(&mut memory[start..][..len]);
            SCRATCH.with_borrow_mut(|kept| kept.push(memory));
            result
        }
        fn ln(self) -> Self {
            <$t>::ln(self)
        }
        fn ln_1p(self) -> Self {
            <$t>::ln_1p(self)
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            <$t>::sqrt(self)
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            <$t>::max(self, other)
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            <$t>::min(self, other)
        }
        #[inline(always)]
        fn clamp(self, low: Self, high: Self) -> Self {
            <$t>::clamp(self, low, high)
        }
        #[inline(always)]
        fn abs(self) -> Self {
            <$t>::abs(self)
        }
    };
}

impl Scalar for f32 {
    common!(f32);

    /// e^x = 2^n e^r with |r| <= ln 2 / 2 and a polynomial fitted to 4e-9: to 1.2e-7, and it vectorizes, which libm
    /// does not.
    #[inline(always)]
    fn exp(self) -> Self {
        // The limits round to n = -127 and 128, where the bits below are those of 0 and infinity.
        let x = self.clamp(-88.0, 89.0);
        // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
        let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
        let n = shifted - 12_582_912.0;
        let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let p = 1.0
            + r * (1.0
                + r * (0.499_999_94
                    + r * (0.166_665_2 + r * (0.041_668_408 + r * (0.008_368_915 + r * 0.001_381_420_6)))));
        let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        p * scale // NaN propagates
    }

    /// (1 - e) / (1 + e) with e = exp(-2|x|), and the odd Taylor series near zero, where that cancels.
    #[inline(always)]
    fn tanh(self) -> Self {
        let a = self.abs();
        let e = Scalar::exp(-2.0 * a);
        let far = (1.0 - e) / (1.0 + e);
        let y = a * a;
        let near = a * (1.0 + y * (-1.0 / 3.0 + y * (2.0 / 15.0 + y * (-17.0 / 315.0 + y * (62.0 / 2_835.0)))));
        (if a < 0.25 { near } else { far }).copysign(self)
    }

    /// As `shaders/shared/math.wgsl`: (1 - Phi(z)) exp(z^2 / 2) / t with t = 3 / (3 + z) is a polynomial to 5e-8 for z
    /// in [0, 14.5], beyond which exp(-z^2 / 2) is 0.
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let e = Scalar::exp(-0.5 * self * self);
        let t = 3.0 / (3.0 + self.abs());
        let u = t - 0.5;
        let p = 0.243_027_9
            + u * (0.339_554_88
                + u * (0.306_692_54
                    + u * (0.126_014_1
                        + u * (-0.055_893_83
                            + u * (-0.073_813_39 + u * (0.022_927_586 + u * (0.038_304_14 + u * -0.022_441_637)))))));
        let tail = e * (t * p);
        (if self < 0.0 { tail } else { 1.0 - tail }, 0.398_942_3 * e)
    }

    /// As `shaders/shared/math.wgsl`: the quadrant is split off as an integer, then polynomials on +-pi/4.
    #[inline(always)]
    fn sin_cos_turns(phase: u32) -> (f32, f32) {
        let quadrant = phase.wrapping_add(0x2000_0000) >> 30;
        let rest = phase.wrapping_sub(quadrant << 30) as i32;
        let x = rest as f32 * (TAU / 4_294_967_296.0) as f32;
        let y = x * x;
        let s = x * (1.0 + y * (-1.0 / 6.0 + y * (1.0 / 120.0 + y * (-1.0 / 5_040.0 + y * (1.0 / 362_880.0)))));
        let c = 1.0 + y * (-0.5 + y * (1.0 / 24.0 + y * (-1.0 / 720.0 + y * (1.0 / 40_320.0))));
        let (a, b) = if quadrant & 1 == 0 { (s, c) } else { (c, s) };
        let sin = if quadrant & 2 == 0 { a } else { -a };
        let cos = if (quadrant + 1) & 2 == 0 { b } else { -b };
        (sin, cos)
    }

    /// As `shaders/shared/math.wgsl`: ln m = 2 atanh((m - 1)/(m + 1)) with m near 1, taken from the near end of (0, 1).
    #[inline(always)]
    fn ln_uniform(word: u32) -> f32 {
        let high = word >= 0x8000_0000;
        let w = if high { !word } else { word };
        let x = w as f32 + 0.5;
        // u > 1/2: u = 1 - v with v = x / 2^32 exact, so that ln u = 2 atanh(-v / (2 - v)) keeps all its digits.
        let v = x * (1.0 / 4_294_967_296.0);
        // u < 1/2: u = m 2^e, m in [sqrt(1/2), sqrt(2)).
        let shifted = x.to_bits().wrapping_sub(0x3f35_04f3);
        let e = (shifted as i32 >> 23) as f32;
        let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
        let s = if high { -v / (2.0 - v) } else { (m - 1.0) / (m + 1.0) };
        let e = if high { 0.0 } else { e - 32.0 };
        let y = s * s;
        let series = 1.0
            + y * (1.0 / 3.0
                + y * (1.0 / 5.0 + y * (1.0 / 7.0 + y * (1.0 / 9.0 + y * (1.0 / 11.0 + y * (1.0 / 13.0 + y / 15.0))))));
        e * std::f32::consts::LN_2 + 2.0 * s * series
    }
}

impl Scalar for f64 {
    common!(f64);

    fn exp(self) -> Self {
        f64::exp(self)
    }

    fn tanh(self) -> Self {
        f64::tanh(self)
    }

    fn normal(self) -> (Self, Self) {
        (0.5 * libm::erfc(-self * FRAC_1_SQRT_2), (-0.5 * self * self).exp() / TAU.sqrt())
    }

    fn sin_cos_turns(phase: u32) -> (f64, f64) {
        (phase as f64 * (TAU / 4_294_967_296.0)).sin_cos()
    }

    fn ln_uniform(word: u32) -> f64 {
        ((word as f64 + 0.5) / 4_294_967_296.0).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_turns_match_f64() {
        for i in 0..200_000u32 {
            let phase = i.wrapping_mul(2_654_435_761);
            let (s, c) = f32::sin_cos_turns(phase);
            let (s64, c64) = f64::sin_cos_turns(phase);
            assert!((s as f64 - s64).abs() < 2e-7 && (c as f64 - c64).abs() < 2e-7, "{phase}");
        }
    }

    /// Every 2^-9 and around zero, without subnormal numbers.
    fn sweep(end: f32) -> impl Iterator<Item = f32> {
        let n = (end * 512.0) as i32;
        let small = (1..126).flat_map(|k| [-1.0, 1.0, -1.3, 1.3].map(|m| m * (-k as f32).exp2()));
        (-n..=n).map(|i| i as f32 / 512.0).chain(small)
    }

    /// The relative error in units of 2^-24; a number below the smallest normal one may be 0.
    fn error(got: f32, want: f64) -> f64 {
        let smallest = f32::MIN_POSITIVE as f64;
        ((got as f64 - want).abs() - smallest).max(0.0) / want.abs().max(smallest) * 2f64.powi(24)
    }

    #[test]
    fn f32_exponential_and_tanh_match_f64() {
        for x in sweep(88.3) {
            let (e, t) = (error(Scalar::exp(x), (x as f64).exp()), error(Scalar::tanh(x), (x as f64).tanh()));
            assert!(e <= 2.0 && t <= 3.0, "{x}: exp is off by {e} of 2^-24, tanh by {t}");
        }
        assert!(Scalar::exp(f32::NAN).is_nan() && Scalar::tanh(f32::NAN).is_nan());
    }

    #[test]
    fn f32_exponential_is_zero_or_infinite_where_its_range_ends() {
        for x in [-88.0, -100.0, -1e30, f32::NEG_INFINITY] {
            assert_eq!(Scalar::exp(x), 0.0);
        }
        for x in [88.4, 100.0, 1e30, f32::INFINITY] {
            assert_eq!(Scalar::exp(x), f32::INFINITY);
        }
    }

    /// An error of x is one of x^2 in the logarithm of both.
    #[test]
    fn f32_normal_distribution_matches_f64_in_both_tails() {
        for x in sweep(30.0) {
            let (f32s, f64s) = (x.normal(), (x as f64).normal());
            let (cdf, pdf) = (error(f32s.0, f64s.0), error(f32s.1, f64s.1));
            let allowed = 8.0 + (x * x) as f64;
            assert!(cdf <= allowed && pdf <= allowed, "{x}: off by {cdf} and {pdf} of 2^-24");
        }
        assert!(f32::NAN.normal().0.is_nan());
    }

    #[test]
    fn f32_logarithm_matches_f64_at_both_ends() {
        let ends = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
        for word in (0..200_000u32).map(|i| i.wrapping_mul(2_654_435_761)).chain(ends) {
            let (a, b) = (f32::ln_uniform(word) as f64, f64::ln_uniform(word));
            assert!((a - b).abs() <= 4e-7 * b.abs(), "{word}: {a} {b}");
        }
    }

    /// Abramowitz and Stegun, tables 26.1 and 26.2: Q(1), Q(5), Q(10), and the density at 2.
    #[test]
    fn f64_normal_distribution_matches_tables() {
        for (x, want) in [(1.0, 0.158_655_253_931_457_05), (5.0, 2.866_515_718_8e-7), (10.0, 7.619_853_024_2e-24)] {
            let got = (-x).normal().0;
            assert!((got - want).abs() < 1e-10 * want, "{x}: {got}");
            assert!((x.normal().0 - (1.0 - want)).abs() < 1e-15);
        }
        assert!((2f64.normal().1 - 0.053_990_966_513_188_06).abs() < 1e-16);
    }
}
