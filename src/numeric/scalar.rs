//! The number a CPU twin computes with: f32 for the fallback executor, f64 for the reference.

use std::cell::RefCell;
use std::f64::consts::TAU;
use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// f32 or f64, and no other type. A twin is written once over this trait, so that the fallback and the oracle are the same text.
pub trait Scalar:
    sealed::Sealed
    + Copy
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
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Rounds an f64 (exact for f64).
    fn of(value: f64) -> Self;
    /// Widens to f64.
    fn f64(self) -> f64;
    /// e^self.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// The larger of two.
    fn max(self, other: Self) -> Self;
    /// The smaller of two.
    fn min(self, other: Self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// (sin, cos) of `phase` / 2^32 turns.
    fn sin_cos_turns(phase: u32) -> (Self, Self);
    /// ln((word + 1/2) / 2^32): the logarithm of a uniform number drawn as an integer.
    fn ln_uniform(word: u32) -> Self;
    /// Lends memory of `len` numbers of any value; it stays with the thread for the next time.
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
        fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
            thread_local!(static SCRATCH: RefCell<Vec<Vec<$t>>> = const { RefCell::new(Vec::new()) });
            const LINE: usize = 64;
            // Taken out meanwhile, so that work within work gets memory of its own.
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
        fn abs(self) -> Self {
            <$t>::abs(self)
        }
    };
}

impl Scalar for f32 {
    common!(f32);

    /// e^x = 2^n e^r with |r| <= ln 2 / 2 and a Taylor polynomial: to 1.2e-7, and it vectorizes, which libm does not.
    #[inline(always)]
    fn exp(self) -> Self {
        let x = self.clamp(-87.0, 88.0);
        // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
        let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
        let n = shifted - 12_582_912.0;
        let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let p = 1.0
            + r * (1.0
                + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r / 5_040.0))))));
        let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        // NaN stays NaN; beyond the clamp the result is 0 or infinite anyway.
        p * scale
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

    fn erf(self) -> Self {
        libm::erf(self.into()) as f32
    }

    /// As `shaders/shared/math.wgsl`: the quadrant comes off as an integer, then polynomials on +-pi/4.
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

    fn erf(self) -> Self {
        libm::erf(self)
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

    #[test]
    fn f32_exponential_and_tanh_match_f64() {
        for i in -40_000..40_000 {
            let x = i as f32 * 0.002;
            let (e, want) = (Scalar::exp(x) as f64, (x as f64).exp());
            assert!((e - want).abs() <= 4e-7 * want, "exp {x}: {e} {want}");
            let (t, want) = (Scalar::tanh(x) as f64, (x as f64).tanh());
            assert!((t - want).abs() <= 4e-7 * want.abs(), "tanh {x}: {t} {want}");
        }
        assert!(Scalar::exp(f32::NAN).is_nan() && Scalar::tanh(f32::NAN).is_nan());
    }

    #[test]
    fn f32_logarithm_matches_f64_at_both_ends() {
        let ends = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
        for word in (0..200_000u32).map(|i| i.wrapping_mul(2_654_435_761)).chain(ends) {
            let (a, b) = (f32::ln_uniform(word) as f64, f64::ln_uniform(word));
            assert!((a - b).abs() <= 4e-7 * b.abs(), "{word}: {a} {b}");
        }
    }

    #[test]
    fn erf_matches_tables() {
        for (x, want) in [
            (1e-10, 1.128_379_167_095_512_6e-10),
            (0.1, 0.112_462_916_018_284_89),
            (1.0, 0.842_700_792_949_714_9),
            (2.4, 0.999_311_486_103_354_9),
            (-2.4, -0.999_311_486_103_354_9),
            (7.0, 1.0),
        ] {
            assert!((Scalar::erf(x) - want).abs() <= 2e-16 * want.abs(), "{x}");
            assert_eq!(Scalar::erf(x as f32), Scalar::erf(f64::from(x as f32)) as f32, "{x}");
        }
        assert!((1.0 - Scalar::erf(3.0) - 2.209_049_699_858_544e-5f64).abs() < 2e-16);
        assert!(Scalar::erf(f64::NAN).is_nan() && Scalar::erf(f32::NAN).is_nan());
    }
}
