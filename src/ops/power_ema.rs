//! Power-function averages of the weights, and their reconstruction with another length after the training.

use super::case::{Case, MANY, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// average = b average + (1 - b) params with b = (1 - 1/t)^(gamma + 1) after step t = 1, 2, ...: the weights of step tau are
/// weighted by about tau^gamma. The first step copies the weights, so that the initial ones have no share.
///
/// *Shapes*: params and average have the same shape; the average is updated in place. *Accuracy*: 1 - b to 2e-6 relative.
/// *Source*: Karras et al. 2024 (EDM2), eq. 6 and 127.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerEma {
    /// The exponent, 0 or more; see [`power_gamma`].
    pub gamma: f64,
}

impl Op for PowerEma {
    fn name(&self) -> &'static str {
        "power_ema"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("power_ema", inputs, 2)?;
        expect_shape("power_ema", "average", &inputs[1], &inputs[0].shape)?;
        if !(self.gamma >= 0.0 && self.gamma.is_finite()) {
            return Err(Error::setting(format!("power_ema: gamma is {}; use 0 or more", self.gamma)));
        }
        Ok(vec![])
    }

    fn updates(&self) -> usize {
        1
    }

    fn piece(&self) -> Option<usize> {
        Some(1)
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        kernel!("power_ema.wgsl", "power_ema").dim("N", n).hyper("POWER", self.gamma + 1.0).over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let before = f64::from(io.clock.step);
        let take = S::of(if before == 0.0 { 1.0 } else { -(-(self.gamma + 1.0) * (1.0 / before).ln_1p()).exp_m1() });
        let (params, average) = (io.input(0), io.update(0));
        parallel::chunks(
            average,
            #[inline(always)]
            |start, average| {
                for i in 0..average.len() {
                    average[i] += take * (params[start + i] - average[i]);
                }
            },
        );
    }
}

/// The exponent of the average whose profile has the standard deviation `length`, relative to the number of steps:
/// `length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))`.
///
/// *Source*: Karras et al. 2024, eq. 126.
///
/// # Errors
/// When the length is not above 0, or above 0.288, that of gamma = 0, the mean of all steps.
pub fn power_gamma(length: f64) -> Result<f64> {
    let of = |gamma: f64| (gamma + 1.0).sqrt() / ((gamma + 2.0) * (gamma + 3.0).sqrt());
    if !(length > 1e-6 && length <= of(0.0)) {
        return Err(Error::setting(format!(
            "an average of relative length {length}; use a number above 0, and at most 0.288, such as 0.1: the average then \
             reaches over about the last 10% of the steps"
        )));
    }
    let (mut low, mut high) = (0.0, 2.0 / length);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if of(middle) > length { low = middle } else { high = middle }
    }
    Ok(0.5 * (low + high))
}

/// How the weights of the steps tau contribute to a power-function average after step t: `p(tau) = (gamma + 1) tau^gamma /
/// t^(gamma + 1)` up to t, and 0 beyond.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerProfile {
    /// The number of steps t.
    pub steps: f64,
    /// The exponent.
    pub gamma: f64,
}

impl PowerProfile {
    /// p(tau).
    pub fn at(&self, tau: f64) -> f64 {
        if tau > self.steps { 0.0 } else { (self.gamma + 1.0) * (tau / self.steps).powf(self.gamma) / self.steps }
    }

    /// The integral of the product with another profile (Karras et al. 2024, algorithm 3).
    pub fn dot(&self, other: &Self) -> f64 {
        let (short, long) = if self.steps < other.steps { (self, other) } else { (other, self) };
        let exponent = (short.steps / long.steps).powf(long.gamma);
        (self.gamma + 1.0) * (other.gamma + 1.0) * exponent / ((self.gamma + other.gamma + 1.0) * long.steps)
    }

    /// The weights of averages with the profiles `kept` whose sum fits this profile best, by least squares.
    ///
    /// *Source*: Karras et al. 2024, section 3.2 and algorithm 3.
    ///
    /// # Errors
    /// When there is none, or two of them are the same.
    pub fn fit(&self, kept: &[Self]) -> Result<Vec<f64>> {
        let n = kept.len();
        // Profiles of length 1, for which the elimination loses least.
        let norms: Vec<f64> = kept.iter().map(|p| p.dot(p).sqrt()).collect();
        let mut rows: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let row = (0..n).map(|j| kept[i].dot(&kept[j]) / (norms[i] * norms[j]));
                row.chain([kept[i].dot(self) / norms[i]]).collect()
            })
            .collect();
        for i in 0..n {
            let pivot = (i..n).max_by(|&a, &b| rows[a][i].abs().total_cmp(&rows[b][i].abs())).unwrap_or(i);
            rows.swap(i, pivot);
            if rows[i][i].abs() < 1e-13 {
                return Err(Error::input("two of the snapshots of the average are the same"));
            }
            for below in i + 1..n {
                let factor = rows[below][i] / rows[i][i];
                for j in i..=n {
                    rows[below][j] -= factor * rows[i][j];
                }
            }
        }
        let mut weights = vec![0.0; n];
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|j| rows[i][j] * weights[j]).sum();
            weights[i] = (rows[i][n] - known) / rows[i][i];
        }
        if weights.is_empty() {
            return Err(Error::input("there is no snapshot of the average"));
        }
        Ok(weights.iter().zip(norms).map(|(weight, norm)| weight / norm).collect())
    }

    /// The distance of the fitted profile from this one, relative to the length of this one.
    pub fn misfit(&self, kept: &[Self], weights: &[f64]) -> f64 {
        let cross: f64 = kept.iter().zip(weights).map(|(p, w)| w * p.dot(self)).sum();
        let pairs = kept.iter().zip(weights);
        let own: f64 = pairs.clone().map(|(p, v)| pairs.clone().map(|(q, w)| v * w * p.dot(q)).sum::<f64>()).sum();
        ((self.dot(self) - 2.0 * cross + own).max(0.0) / self.dot(self)).sqrt()
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, step, gamma) in [(1, 0, 6.94), (7, 1, 16.97), (300, 19, 6.94), (513, 70_000, 16.97)] {
        let values = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        let case = Case::new(PowerEma { gamma }).input([n]).update([n], values);
        cases.push(case.clock(1, step).tolerance(Tolerance::value(16.0)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(PowerEma { gamma: 6.94 }).input([MANY]).zeros(MANY)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_exponents_are_those_of_the_paper() {
        for (length, gamma) in [(0.05, 16.97), (0.1, 6.94)] {
            assert!((power_gamma(length).unwrap() - gamma).abs() < 0.005, "{length}");
        }
        assert!(power_gamma(0.0).is_err() && power_gamma(0.3).unwrap_err().to_string().contains("at most 0.288"));
        let (p, mut mean, mut square) = (PowerProfile { steps: 1.0, gamma: power_gamma(0.1).unwrap() }, 0.0, 0.0);
        for i in 0..100_000 {
            let tau = (i as f64 + 0.5) / 1e5;
            (mean, square) = (mean + p.at(tau) * tau / 1e5, square + p.at(tau) * tau * tau / 1e5);
        }
        assert!(((square - mean * mean).sqrt() - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_profile_between_the_kept_ones_is_fitted() {
        let gammas = [0.05, 0.1].map(|length| power_gamma(length).unwrap());
        let of = |gamma: f64| (1..=16).map(move |i| PowerProfile { steps: 1e3 * i as f64, gamma });
        let kept: Vec<PowerProfile> = gammas.into_iter().flat_map(of).collect();
        for (length, most) in [(0.05, 1e-6), (0.07, 4e-3), (0.1, 1e-6), (0.15, 0.01)] {
            let wanted = PowerProfile { steps: 16e3, gamma: power_gamma(length).unwrap() };
            let weights = wanted.fit(&kept).unwrap();
            let misfit = wanted.misfit(&kept, &weights);
            assert!(misfit <= most && (weights.iter().sum::<f64>() - 1.0).abs() < 0.01, "{length}: {misfit}");
        }
        assert!(kept[0].fit(&[kept[0], kept[0]]).unwrap_err().to_string().contains("the same"));
        assert!(kept[0].fit(&[]).is_err());
    }
}
