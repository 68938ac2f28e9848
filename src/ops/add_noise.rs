//! Noise on data or activations, in their units: Gaussian, uniform, speckle, salt-and-pepper, shot noise.

use super::case::{Case, Tolerance};
use super::dropout::first_element;
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{DType, Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, each_word, fill_normals_from};
use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::text::{exact, short};

/// A kind of noise; numbers are in the units of the data unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Disturbance {
    /// y = x + scale z, z standard normal.
    Gaussian {
        /// Standard deviation.
        scale: f64,
    },
    /// y = x + width v, v uniform in (-1, 1).
    Uniform {
        /// The largest absolute change.
        width: f64,
    },
    /// y = x + scale x z, z standard normal.
    Speckle {
        /// Standard deviation relative to the value.
        scale: f64,
    },
    /// y = high with probability amount ratio, low with probability amount (1 - ratio), else x.
    SaltPepper {
        /// The share of the values that is replaced, 0 to 1.
        amount: f64,
        /// The share of these that becomes `high`, 0 to 1.
        ratio: f64,
        /// Pepper.
        low: f64,
        /// Salt.
        high: f64,
    },
    /// y = black + (white - black) / peak Poisson(peak (x - black) / (white - black)): counts of quanta; values below
    /// black give 0 counts.
    Poisson {
        /// Mean count at `white`; at most 65,535.
        peak: f64,
        /// The value with a mean count of 0, such as 0 for intensities.
        black: f64,
        /// The value with a mean count of `peak`.
        white: f64,
    },
}

/// Higher rates are clamped to this.
pub(crate) const MAX_RATE: f64 = 65_535.0;

/// y = [`Disturbance`] of x, with draws from the run's random stream, or given ones.
///
/// *Shapes*: x and y have the same shape, and so have given draws: z, v in (-1, 1), or for salt-and-pepper u in [0,
/// 1). Shot noise has a constant table as its second input instead; use [`Graph::add_noise`]. *Gradient*: Gaussian
/// and uniform noise pass it through unchanged, the others have none. *Accuracy*: the draws are integers that are
/// identical on every device. Salt-and-pepper and shot noise compare integers; the rate of shot noise is one
/// difference and one product, rounded to 16 binary places, and counts are looked up in tables of integers, so its
/// counts are bit-identical. Normals are accurate to 1e-6 of their radius.
/// *Source*: the textbook's `add_noise`; Poisson by additivity over the digits of the rate and inversion of tables
/// (Devroye 1986, sections III.2 and X.3).
#[derive(Clone, Copy, Debug)]
pub struct AddNoise {
    /// The kind of noise.
    pub disturbance: Disturbance,
    /// The random stream.
    pub stream: u32,
    /// Whether the draws are given as the second input.
    pub given: bool,
}

impl Graph {
    /// Adds noise to x, drawn independently in each step.
    ///
    /// # Errors
    /// When a parameter of the noise is out of range.
    pub fn add_noise(&mut self, x: Var, disturbance: Disturbance) -> Result<Var> {
        disturbance.check()?;
        let mut inputs = vec![x];
        if let Disturbance::Poisson { .. } = disturbance {
            let table = poisson_table();
            inputs.push(self.constant_u32([table.len()], table)?);
        }
        let op = AddNoise { disturbance, stream: self.stream(), given: false };
        self.apply1(op, &inputs)
    }
}

impl Disturbance {
    /// Checks that the parameters are in range.
    ///
    /// # Errors
    /// When a parameter is out of range; the message names it and its range.
    pub fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::setting(text));
        let finite = |value: f64| value.is_finite() && value.abs() <= f32::MAX as f64;
        match *self {
            Disturbance::Gaussian { scale }
            | Disturbance::Speckle { scale }
            | Disturbance::Uniform { width: scale } => match finite(scale) && scale >= 0.0 {
                true => Ok(()),
                false => refuse(format!(
                    "a noise strength of {}; use 0 to {}, the largest float32",
                    exact(scale),
                    short(f32::MAX.into())
                )),
            },
            Disturbance::SaltPepper { amount, ratio, low, high } => {
                for (what, value) in [("an amount", amount), ("a ratio of salt", ratio)] {
                    if !(0.0..=1.0).contains(&value) {
                        let value = exact(value);
                        return refuse(format!("salt-and-pepper with {what} of {value}; use 0 to 1, such as 0.05"));
                    }
                }
                match finite(low) && finite(high) {
                    true => Ok(()),
                    false => refuse(format!("salt {high} and pepper {low}; use finite values")),
                }
            }
            Disturbance::Poisson { peak, black, white } => {
                if !(peak > 0.0 && peak <= MAX_RATE) {
                    let peak = exact(peak);
                    return refuse(format!("shot noise with a peak of {peak}; use a count above 0, up to {MAX_RATE}"));
                }
                let gain = peak / (white - black);
                match white > black && finite(black) && finite(gain * 65_536.0) && finite(1.0 / gain) {
                    true => Ok(()),
                    false => refuse(format!(
                        "shot noise between black at {black} and white at {white}; white must be larger"
                    )),
                }
            }
        }
    }

    fn flag(&self) -> &'static str {
        match self {
            Disturbance::Gaussian { .. } => "GAUSSIAN",
            Disturbance::Uniform { .. } => "UNIFORM",
            Disturbance::Speckle { .. } => "SPECKLE",
            Disturbance::SaltPepper { .. } => "SALT_PEPPER",
            Disturbance::Poisson { .. } => "POISSON",
        }
    }

    /// The formula's numbers under the names used by the shader.
    fn constants(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Disturbance::Gaussian { scale }
            | Disturbance::Speckle { scale }
            | Disturbance::Uniform { width: scale } => {
                vec![("SCALE", scale)]
            }
            Disturbance::SaltPepper { amount, ratio, low, high } => {
                vec![("SALT", amount * ratio), ("AMOUNT", amount), ("LOW", low), ("HIGH", high)]
            }
            Disturbance::Poisson { peak, black, white } => {
                vec![("GAIN", peak / (white - black)), ("BLACK", black), ("UNIT", (white - black) / peak)]
            }
        }
    }
}

/// A share p of all words is below this; p = 1 gives the largest f32 below 2^32.
fn threshold(p: f64) -> u32 {
    ((p as f32).min(1.0 - f32::EPSILON / 2.0) as f64 * 4_294_967_296.0) as u32
}

/// A number in (-1, 1) from the upper 24 bits of a word, exact in f32 and symmetric about 0.
#[inline(always)]
fn symmetric<S: Scalar>(word: u32) -> S {
    S::of((2 * ((word >> 8) as i32 - 0x80_0000) + 1) as f64 / 16_777_216.0)
}

impl AddNoise {
    /// Whether a real number is drawn for each value.
    fn is_smooth(&self) -> bool {
        !matches!(self.disturbance, Disturbance::SaltPepper { .. } | Disturbance::Poisson { .. })
    }

    /// The draws of the elements from `start` into `out`; `first` is the element of the batch that element 0 is.
    #[inline(always)]
    fn draws<S: Scalar>(&self, clock: Clock, first: usize, start: usize, given: Option<&[S]>, out: &mut [S]) {
        if let Some(given) = given {
            return out.copy_from_slice(&given[start..][..out.len()]);
        }
        if !matches!(self.disturbance, Disturbance::Uniform { .. }) {
            return fill_normals_from(clock, self.stream, first + start, out);
        }
        each_word(
            clock,
            self.stream,
            first + start,
            out.len(),
            #[inline(always)]
            |i, word| out[i] = symmetric(word),
        );
    }

    fn impulses<S: Scalar>(&self, io: &Io<S>, start: usize, given: Option<&[S]>, x: &[S], y: &mut [S]) {
        let first = first_element(io);
        let Disturbance::SaltPepper { amount, ratio, low, high } = self.disturbance else { return };
        let (salt, any, low, high) = (threshold(amount * ratio), threshold(amount), S::of(low), S::of(high));
        let (x, n) = (&x[start..], y.len());
        let mut replace = |i: usize, word: u32| {
            y[i] = match word {
                word if word < salt => high,
                word if word < any => low,
                _ => x[i],
            };
        };
        match given {
            Some(u) => (0..n).for_each(|i| replace(i, threshold(u[start + i].f64()))),
            None => each_word(io.clock, self.stream, first + start, n, replace),
        }
    }

    fn counts<S: Scalar>(&self, io: &Io<S>, start: usize, x: &[S], y: &mut [S]) {
        let (clock, table, first) = (io.clock, io.input_u32(1), first_element(io));
        let Disturbance::Poisson { peak, black, white } = self.disturbance else { return };
        // Computed in f32 for every S, so that every device gets the same rate.
        let (gain, zero) = ((peak / (white - black)) as f32 * 65_536.0, black as f32);
        let (unit, black) = (S::of((white - black) / peak), S::of(black));
        for (i, y) in y.iter_mut().enumerate() {
            let rate = ((x[start + i].f64() as f32 - zero) * gain).round_ties_even() as u32;
            let element = (first + start + i) as u32;
            let words: [[u32; 4]; 2] = std::array::from_fn(|b| clock.words(self.stream, 2 * element + b as u32));
            *y = black + S::of(poisson(rate.min(LARGEST_FIXED), words, table) as f64) * unit;
        }
    }
}

impl Op for AddNoise {
    fn name(&self) -> &'static str {
        "add_noise"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let poisson = matches!(self.disturbance, Disturbance::Poisson { .. });
        expect_count("add_noise", inputs, 1 + (self.given || poisson) as usize)?;
        match (self.given, poisson) {
            (true, true) => return Err(Error::shape("add_noise", "shot noise takes no given draws")),
            (true, false) => expect_shape("add_noise", "draws", &inputs[1], &inputs[0].shape)?,
            (false, true) => expect_shape("add_noise", "table", &inputs[1], &[poisson_table().len()])?,
            (false, false) => {}
        }
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        let poisson = matches!(self.disturbance, Disturbance::Poisson { .. });
        if i == 1 && poisson { &[DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        let mut kernel = kernel!("add_noise.wgsl", "add_noise")
            .one_of(&["GAUSSIAN", "UNIFORM", "SPECKLE", "SALT_PEPPER", "POISSON"], self.disturbance.flag())
            .flag("SMOOTH", self.is_smooth())
            .flag("GIVEN", self.given)
            .dim("N", n)
            // One invocation more where a part begins within a block.
            .over((n + 3).div_ceil(4));
        if !self.given {
            kernel = kernel.hyper("STREAM", self.stream as f64).dim("W", specs.inputs[0].rows().1);
        }
        self.disturbance.constants().into_iter().fold(kernel, |kernel, (name, value)| kernel.hyper(name, value))
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, y, clock) = (io.input(0), io.output(0), io.clock);
        let given = self.given.then(|| io.input(1));
        let (io, first) = (&*io, first_element(io));
        parallel::chunks(
            y,
            #[inline(always)]
            |start, y| match self.disturbance {
                Disturbance::SaltPepper { .. } => self.impulses(io, start, given, x, y),
                Disturbance::Poisson { .. } => self.counts(io, start, x, y),
                Disturbance::Gaussian { scale } | Disturbance::Uniform { width: scale } => {
                    self.draws(clock, first, start, given, y);
                    let s = S::of(scale);
                    y.iter_mut().zip(&x[start..]).for_each(|(y, &x)| *y = x + s * *y);
                }
                Disturbance::Speckle { scale } => {
                    self.draws(clock, first, start, given, y);
                    let s = S::of(scale);
                    y.iter_mut().zip(&x[start..]).for_each(|(y, &x)| *y = x + s * x * *y);
                }
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        match (self.disturbance, r.d(0)) {
            (Disturbance::Gaussian { .. } | Disturbance::Uniform { .. }, Some(d)) => r.add_gradient(0, d),
            (_, None) => {}
            (other, _) => {
                return Err(Error::setting(format!(
                    "{other:?} has no gradient, so layers before it cannot be trained"
                )));
            }
        }
        Ok(())
    }
}

/// Binary places of a rate.
const PLACES: i32 = 16;
/// Hexadecimal digits of a rate, four of which are fractional.
const DIGITS: usize = 8;
/// [`MAX_RATE`] in units of 2^-16.
const LARGEST_FIXED: u32 = 0xffff_0000;

/// A Poisson count with the rate `rate` / 2^16: the sum of one count per hexadecimal digit of the rate, each drawn by
/// inversion of its table with one word.
fn poisson(rate: u32, words: [[u32; 4]; 2], table: &[u32]) -> u32 {
    let digit_count = |j: usize| {
        let digit = (rate >> (4 * j)) & 15;
        if digit == 0 {
            return 0;
        }
        let entry = 3 * (15 * j + digit as usize - 1);
        let [at, least, len] = [table[entry], table[entry + 1], table[entry + 2]];
        // Clamped, so that the index is within the table whatever its contents.
        let from = &table[(at as usize).min(table.len())..];
        let bounds = &from[..(len as usize).min(from.len())];
        least.wrapping_add(bounds.partition_point(|&bound| bound <= words[j / 4][j % 4]) as u32)
    };
    (0..DIGITS).map(digit_count).fold(0, u32::wrapping_add)
}

/// For each digit d = 1..15 of each place j, the distribution of Poisson(d 16^j / 2^16): (offset, least count, length)
/// and, at the offset, 2^32 P(count <= least + i) as integers. Tails below 2^-33 are cut.
pub(crate) fn poisson_table() -> Vec<u32> {
    let mut table = vec![0; 3 * 15 * DIGITS];
    for j in 0..DIGITS {
        for d in 1..16 {
            let rate = d as f64 * 2f64.powi(4 * j as i32 - PLACES);
            let (least, bounds) = cumulative(rate);
            let entry = 3 * (15 * j + d - 1);
            let head = [table.len() as u32, least, bounds.len() as u32];
            table[entry..entry + 3].copy_from_slice(&head);
            table.extend(bounds);
        }
    }
    table
}

/// The least count, and 2^32 P(count <= least + i) where that is between 0 and 2^32.
fn cumulative(rate: f64) -> (u32, Vec<u32>) {
    // Relative to the mode, by p_{k+1} = p_k rate / (k + 1); terms below 1e-17 of it do not change the sums.
    let mode = rate.floor();
    let down =
        std::iter::successors(Some((mode, 1.0)), |&(k, p): &(f64, f64)| (k > 0.0).then(|| (k - 1.0, p * k / rate)));
    let up = std::iter::successors(Some((mode, 1.0)), |&(k, p): &(f64, f64)| Some((k + 1.0, p * rate / (k + 1.0))));
    let mut terms: Vec<(f64, f64)> = down.skip(1).take_while(|(_, p)| *p > 1e-17).collect();
    terms.reverse();
    terms.extend(up.take_while(|(_, p)| *p > 1e-17));
    let total: f64 = terms.iter().map(|(_, p)| p).sum();
    let (mut below, mut least, mut bounds) = (0.0, None, Vec::new());
    for (k, p) in terms {
        below += p;
        let bound = (below / total * 4_294_967_296.0).round();
        if bound >= 4_294_967_296.0 {
            break;
        }
        if bound > 0.0 {
            least.get_or_insert(k as u32);
            bounds.push(bound as u32);
        }
    }
    (least.unwrap_or(0), bounds)
}

pub(super) fn cases() -> Vec<Case> {
    let op = |disturbance| AddNoise { disturbance, stream: 3, given: false };
    let given = |disturbance| AddNoise { given: true, ..op(disturbance) };
    let salt = Disturbance::SaltPepper { amount: 0.3, ratio: 0.4, low: -0.75, high: 2.0 };
    let mut cases = vec![
        Case::new(given(Disturbance::Gaussian { scale: 0.5 })).input([3, 7]).input([3, 7]),
        Case::new(given(Disturbance::Uniform { width: 0.5 })).input([5]).input([5]),
        Case::new(given(Disturbance::Speckle { scale: 0.5 })).input([2, 3, 3]).input([2, 3, 3]),
        Case::new(given(salt)).input([64]).values([64], (0..64).map(|i| i as f32 / 64.0).collect()),
    ];
    let smooth = [Disturbance::Gaussian { scale: 0.7 }, Disturbance::Uniform { width: 1.5 }];
    for shape in [vec![1], vec![9, 7], vec![2, 1, 20, 33]] {
        for disturbance in smooth.into_iter().chain([Disturbance::Speckle { scale: 0.6 }, salt]) {
            let case = Case::new(op(disturbance)).input(shape.clone());
            let case = if smooth.contains(&disturbance) && shape.len() < 3 { case.gradient() } else { case };
            cases.push(case.clock(77, 3).first_row(if shape.len() > 1 { 5 } else { 0 }));
        }
    }
    // The radius is at most 6.7, as in `noise`; given draws and comparisons are exact up to two roundings.
    let mut cases: Vec<Case> = cases.into_iter().map(|c| c.tolerance(Tolerance::absolute(40.0))).collect();
    let table = poisson_table();
    for (peak, black, white, n) in
        [(30.0, 0.0, 1.0, 1000), (0.4, 0.0, 1.0, 501), (255.0, -2.0, 16.0, 300), (40_000.0, 0.0, 0.5, 120)]
    {
        // From below black to 1.2 white.
        let x = (0..n).map(|i| (black + (white - black) * (1.3 * i as f64 / n as f64 - 0.1)) as f32).collect();
        let case = Case::new(op(Disturbance::Poisson { peak, black, white })).values([n], x).clock(5, 2).first_row(7);
        // A count more or less is 1 / peak of white; the same count differs by the roundings of its constants.
        let tolerance = Tolerance::value(4.0 + (white - black));
        cases.push(case.integers([table.len()], table.clone()).tolerance(tolerance));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let disturbance = Disturbance::Gaussian { scale: 0.5 };
    vec![Case::new(AddNoise { disturbance, stream: 3, given: false }).input([1024, 784])]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Kolmogorov-Smirnov statistic: the largest distance of the cumulative frequencies, times sqrt n.
    fn kolmogorov(rate: u32, n: u32) -> f64 {
        let (table, clock) = (poisson_table(), Clock { seed: 11, step: rate });
        let lambda = rate as f64 / 65_536.0;
        let mut counts = vec![0u32; (lambda + 12.0 * lambda.sqrt() + 20.0) as usize];
        for i in 0..n {
            let words = std::array::from_fn(|b| clock.words(1, 2 * i + b as u32));
            counts[poisson(rate, words, &table) as usize] += 1;
        }
        let (mut drawn, mut truth, mut worst) = (0.0, 0.0, 0f64);
        for (k, count) in counts.iter().enumerate() {
            drawn += *count as f64 / n as f64;
            truth += (k as f64 * lambda.ln() - lambda - (1..=k).map(|i| (i as f64).ln()).sum::<f64>()).exp();
            worst = worst.max((drawn - truth).abs());
        }
        worst * (n as f64).sqrt()
    }

    #[test]
    fn counts_have_the_poisson_distribution() {
        for rate in [1, 700, 65_535, 65_536, 3 * 65_536 + 12_345, 47 * 65_536 + 999, 900 * 65_536 + 4_321] {
            // Below 1.95 with probability 0.999 for continuous distributions, and with a higher one for discrete ones.
            let distance = kolmogorov(rate, 100_000);
            assert!(distance < 1.95, "rate {rate}: {distance}");
        }
    }

    #[test]
    fn tables_are_increasing_and_small() {
        let table = poisson_table();
        assert!(table.len() < 60_000, "{}", table.len());
        for entry in table[..360].chunks(3) {
            let bounds = &table[entry[0] as usize..][..entry[2] as usize];
            assert!(bounds.is_sorted() && !bounds.is_empty(), "{entry:?}");
        }
        assert_eq!(poisson(0, [[u32::MAX; 4]; 2], &table), 0);
        assert!(poisson(LARGEST_FIXED, [[u32::MAX; 4]; 2], &table) < 80_000);
    }

    #[test]
    fn strengths_out_of_range_are_refused() {
        for bad in [
            Disturbance::Gaussian { scale: -0.1 },
            Disturbance::Speckle { scale: f64::NAN },
            Disturbance::SaltPepper { amount: 1.2, ratio: 0.5, low: 0.0, high: 1.0 },
            Disturbance::Poisson { peak: 0.0, black: 0.0, white: 1.0 },
            Disturbance::Poisson { peak: 70_000.0, black: 0.0, white: 1.0 },
            Disturbance::Poisson { peak: 7.0, black: 1.0, white: 1.0 },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
