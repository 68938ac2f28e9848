//! The time steps visited by a sampler.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::objective::{Level, Objective};
use super::sampler::Times;
use super::schedule::{check_steps, linspace};
use crate::{Error, Result};

/// The noise levels visited by a sampler. The first three, and `polynomial`, select N of the T training steps (names from
/// Lin et al. 2023, table 2); the others are levels between those of the first and the last training step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Spacing {
    /// Multiples of T/N rounded down, from 0; never visits T - 1.
    #[default]
    Leading,
    /// N values from 0 to T - 1, both included.
    Linspace,
    /// From T - 1 downwards in steps of T/N; never visits 0 unless N = T.
    Trailing,
    /// The noise levels of [`karras_sigmas`].
    Karras {
        /// 7 is usual; more places more steps at low noise.
        rho: f64,
    },
    /// Noise levels evenly spaced in lambda = -ln(sigma) (Lu et al. 2022, DPM-Solver, section 3.3). Their logarithms are
    /// evenly spaced, so this is also called exponential.
    Lambda,
    /// Times proportional to the powers of 1, ..., N: more steps at low noise.
    Polynomial {
        /// The power; 2 is the quadratic spacing of Song et al. 2021 (DDIM), appendix D.2.
        rho: f64,
    },
    /// Trailing times moved towards the noise: u becomes [`shifted`] u, with u the share of the last time.
    Shift {
        /// 1 for none; 3 is usual for images (Esser et al. 2024).
        shift: f64,
    },
}

/// The names of [`Spacing`].
const NAMES: [&str; 7] =
    ["leading", "linspace", "trailing", "karras[:RHO]", "lambda", "polynomial[:RHO]", "shift[:SHIFT]"];

/// The default rho of Karras and of polynomial spacing.
const KARRAS_RHO: f64 = 7.0;
const POWER: f64 = 2.0;
const SHIFT: f64 = 3.0;

impl Spacing {
    /// Karras spacing with the usual rho, 7.
    pub const KARRAS: Self = Self::Karras { rho: KARRAS_RHO };

    /// This spacing, or trailing if it needs finite noise levels and the last training step is pure noise.
    pub(super) fn or_trailing(self, objective: &Objective) -> Self {
        let finite = objective.last_sigma().is_finite();
        if self.is_of_sigma() && !finite { Self::Trailing } else { self }
    }

    /// Whether it is by noise levels, which must be finite, instead of training steps.
    pub(super) fn is_of_sigma(self) -> bool {
        matches!(self, Self::Karras { .. } | Self::Lambda)
    }
}

impl FromStr for Spacing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rho) = text.split_once(':').map_or((text, None), |(name, rho)| (name, Some(rho)));
        let number = |default: f64| match rho.map(|rho| (rho, rho.parse::<f64>())) {
            None => Ok(default),
            Some((_, Ok(rho))) if rho > 0.0 && rho.is_finite() => Ok(rho),
            Some((given, _)) => Err(Error::setting(format!(
                "spacing {text:?}: the number is {given:?}; use a positive number, such as {name}:{default}"
            ))),
        };
        let plain = |spacing| match rho {
            None => Ok(spacing),
            Some(_) => Err(Error::setting(format!("spacing {text:?}: {name} takes no number; use {name}"))),
        };
        match name {
            "leading" => plain(Self::Leading),
            "linspace" => plain(Self::Linspace),
            "trailing" => plain(Self::Trailing),
            "karras" => Ok(Self::Karras { rho: number(KARRAS_RHO)? }),
            "lambda" | "uniform_lambda" | "exponential" => plain(Self::Lambda),
            "polynomial" => Ok(Self::Polynomial { rho: number(POWER)? }),
            "shift" => Ok(Self::Shift { shift: number(SHIFT)? }),
            "quadratic" => plain(Self::Polynomial { rho: POWER }),
            _ => Err(Error::unknown("spacing", name, &NAMES)),
        }
    }
}

impl fmt::Display for Spacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leading => f.write_str("leading"),
            Self::Linspace => f.write_str("linspace"),
            Self::Trailing => f.write_str("trailing"),
            Self::Karras { rho } if *rho == KARRAS_RHO => f.write_str("karras"),
            Self::Karras { rho } => write!(f, "karras:{rho}"),
            Self::Lambda => f.write_str("lambda"),
            Self::Polynomial { rho } => write!(f, "polynomial:{rho}"),
            Self::Shift { shift } => write!(f, "shift:{shift}"),
        }
    }
}

stands_as_text!(Spacing);

/// `shift u / (1 + (shift - 1) u)`: moves a time u in \[0, 1\] towards 1 (Esser et al. 2024, eq. 23).
pub fn shifted(u: f64, shift: f64) -> f64 {
    shift * u / (1.0 + (shift - 1.0) * u)
}

/// The `n` levels visited by a sampler, noisiest first.
///
/// # Errors
/// As [`timesteps`]; when the spacing is by noise levels and the last training step is pure noise; for leading spacing of a
/// continuous path.
pub(super) fn levels(objective: &Objective, spacing: Spacing, n: usize, times: Times) -> Result<Vec<Level>> {
    let steps = objective.steps();
    if spacing.is_of_sigma() {
        let [low, high] = [objective.sigma(0.0), objective.last_sigma()];
        if !high.is_finite() {
            return Err(Error::setting(format!(
                "{spacing} spacing needs a finite noise level at the last training step, which is pure noise here; use \
                 linspace, leading or trailing spacing"
            )));
        }
        check_steps(n)?;
        return Ok(sigmas(spacing, n, low, high)?.into_iter().map(|sigma| objective.level_of_sigma(sigma)).collect());
    }
    let last = objective.path().last();
    if objective.path().is_continuous() {
        check_steps(n)?;
        return Ok(shares(spacing, n)?.into_iter().map(|u| objective.level(u * last)).collect());
    }
    Ok(match (spacing, times) {
        (Spacing::Linspace, Times::Fractional) if (2..=steps).contains(&n) => {
            linspace(0.0, last, n).iter().rev().map(|&t| objective.level_between(t)).collect()
        }
        (Spacing::Leading | Spacing::Linspace, Times::WithoutLast) if n < steps => {
            let ts = timesteps(spacing, steps, n + 1, 0)?;
            ts[..n].iter().map(|&t| objective.level(t as f64)).collect()
        }
        _ => timesteps(spacing, steps, n, 0)?.into_iter().map(|t| objective.level(t as f64)).collect(),
    })
}

/// The `n` times of a continuous path as shares of the last one, which is the first visited. The step from the last visited
/// time to the clean data is as large as the others (trailing and linspace spacing).
fn shares(spacing: Spacing, n: usize) -> Result<Vec<f64>> {
    let of =
        |share: fn(f64, f64) -> f64, number: f64| (0..n).map(|k| share((n - k) as f64 / n as f64, number)).collect();
    match spacing {
        Spacing::Polynomial { rho } => Ok(of(f64::powf, rho)),
        Spacing::Shift { shift } => Ok(of(shifted, shift)),
        Spacing::Leading => Err(Error::setting(
            "leading spacing does not visit the last time, where samples of this model start; use trailing spacing",
        )),
        _ => Ok(of(shifted, 1.0)),
    }
}

/// `n` noise levels from `high` down to `low`.
fn sigmas(spacing: Spacing, n: usize, low: f64, high: f64) -> Result<Vec<f64>> {
    if let Spacing::Karras { rho } = spacing {
        let mut sigmas = karras_sigmas(n, low, high, rho)?;
        sigmas.pop();
        return Ok(sigmas);
    }
    let part = |i: usize| if n == 1 { 0.0 } else { i as f64 / (n - 1) as f64 };
    Ok((0..n).map(|i| (high.ln() + part(i) * (low.ln() - high.ln())).exp()).collect())
}

/// The `n` of `steps` time steps visited by DDPM and DDIM, largest first. With leading spacing `offset` is added to
/// each (Stable Diffusion uses 1); the other spacings ignore it.
///
/// # Errors
/// When n is outside 1..=T, the offset leaves the schedule, or n = 1 with leading or linspace spacing, which would
/// start from pure noise at t = 0.
///
/// *Source*: Lin et al. 2023 (arXiv 2305.08891), table 2, as in diffusers; halves round to even.
pub fn timesteps(spacing: Spacing, steps: usize, n: usize, offset: usize) -> Result<Vec<usize>> {
    check_steps(steps)?;
    if n == 0 || n > steps {
        return Err(Error::setting(format!(
            "{n} sampling steps, but the model was trained with {steps} diffusion steps; use 1 to {steps}"
        )));
    }
    if n == 1 && steps > 1 && matches!(spacing, Spacing::Leading | Spacing::Linspace) {
        return Err(Error::setting(format!(
            "{spacing} spacing with 1 of {steps} steps would visit only the cleanest one: use trailing spacing, or 2 or \
             more steps"
        )));
    }
    let stride = steps / n;
    if spacing == Spacing::Leading && (n - 1) * stride + offset >= steps {
        return Err(Error::setting(format!(
            "offset {offset} moves the first of {n} time steps to {}, beyond the last of the schedule, {}: use at most {}",
            (n - 1) * stride + offset,
            steps - 1,
            steps - 1 - (n - 1) * stride
        )));
    }
    Ok(match spacing {
        Spacing::Leading => (0..n).rev().map(|i| i * stride + offset).collect(),
        Spacing::Linspace => linspace(0.0, (steps - 1) as f64, n).iter().rev().map(|&t| round(t)).collect(),
        Spacing::Trailing => {
            let stride = steps as f64 / n as f64;
            (0..n).map(|i| round(steps as f64 - i as f64 * stride) - 1).collect()
        }
        Spacing::Polynomial { rho } => distinct(steps, n, |part| part.powf(rho) * (steps - 1) as f64),
        Spacing::Shift { shift } => distinct(steps, n, |part| shifted(part, shift) * steps as f64 - 1.0),
        Spacing::Karras { .. } | Spacing::Lambda => {
            return Err(Error::setting(format!("{spacing} spacing is by noise levels, not by training steps")));
        }
    })
}

/// The `n` of `steps` time steps at the parts 1, (n - 1) / n, ..., 1 / n of a curve, rounded and all different.
fn distinct(steps: usize, n: usize, time: impl Fn(f64) -> f64) -> Vec<usize> {
    let mut ts: Vec<usize> = Vec::with_capacity(n);
    for i in 0..n {
        // At least one step apart, with room for the times above.
        let least = ts.last().map_or(0, |t| t + 1);
        ts.push(round(time((i + 1) as f64 / n as f64)).clamp(least, steps - (n - i)));
    }
    ts.reverse();
    ts
}

/// `sigma_i = (max^(1/rho) + i / (n - 1) (min^(1/rho) - max^(1/rho)))^rho` for i = 0..n-1, then 0: n + 1 values,
/// largest first. A single step goes from `sigma_max` to 0.
///
/// # Errors
/// When n is 0, `rho` is not above 0, or not 0 < `sigma_min` < `sigma_max`.
///
/// *Source*: Karras et al. 2022 (EDM), eq. 5; usual values are 0.002, 80 and rho 7.
pub fn karras_sigmas(n: usize, sigma_min: f64, sigma_max: f64, rho: f64) -> Result<Vec<f64>> {
    check_steps(n)?;
    if !(sigma_min > 0.0 && sigma_min < sigma_max && sigma_max.is_finite()) {
        return Err(Error::setting(format!(
            "sigma_min = {sigma_min}, sigma_max = {sigma_max}: they must satisfy 0 < sigma_min < sigma_max"
        )));
    }
    if !(rho > 0.0 && rho.is_finite()) {
        return Err(Error::setting(format!("rho = {rho}: it must be above 0; 7 is usual")));
    }
    let (low, high) = (sigma_min.powf(1.0 / rho), sigma_max.powf(1.0 / rho));
    let part = |i: usize| if n == 1 { 0.0 } else { i as f64 / (n - 1) as f64 };
    Ok((0..n).map(|i| (high + part(i) * (low - high)).powf(rho)).chain([0.0]).collect())
}

fn round(t: f64) -> usize {
    t.round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_time_steps_and_sigmas_are_refused() {
        assert!(timesteps(Spacing::Leading, 10, 11, 0).unwrap_err().to_string().contains("1 to 10"));
        assert!(timesteps(Spacing::Leading, 10, 0, 0).is_err());
        assert!(timesteps(Spacing::Leading, 10, 1, 0).unwrap_err().to_string().contains("trailing"));
        assert!(timesteps(Spacing::Leading, 10, 10, 1).unwrap_err().to_string().contains("at most 0"));
        assert_eq!(timesteps(Spacing::Trailing, 10, 1, 0).unwrap(), [9]);
        assert_eq!(timesteps(Spacing::Leading, 10, 2, 1).unwrap(), [6, 1]);
        assert!(karras_sigmas(5, 1.0, 1.0, 7.0).unwrap_err().to_string().contains("sigma_min"));
        assert!(karras_sigmas(5, 0.1, 1.0, 0.0).unwrap_err().to_string().contains("rho"));
        assert_eq!(karras_sigmas(1, 0.1, 2.0, 1.0).unwrap(), [2.0, 0.0]);
        let message = "leeding".parse::<Spacing>().unwrap_err().to_string();
        assert!(message.contains("leeding") && message.contains("trailing"), "{message}");
    }

    #[test]
    fn time_steps_decrease_and_stay_in_range() {
        for (steps, n) in [(1, 1), (7, 7), (1000, 999), (999, 500), (1999, 1000), (100_000, 3), (123, 50)] {
            let powers = [0.3, 1.0, 2.0, 9.0].map(|rho| Spacing::Polynomial { rho });
            for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing].into_iter().chain(powers) {
                let ts = timesteps(spacing, steps, n, 0).unwrap();
                assert!(ts.len() == n && ts[0] < steps, "{spacing} {steps} {n}");
                assert!(ts.windows(2).all(|pair| pair[0] > pair[1]), "{spacing} {steps} {n}");
            }
        }
    }

    #[test]
    fn spacings_have_names_and_numbers() {
        for name in [
            "leading",
            "linspace",
            "trailing",
            "karras",
            "karras:5",
            "lambda",
            "polynomial:2",
            "polynomial:3.5",
            "shift:3",
        ] {
            assert_eq!(name.parse::<Spacing>().unwrap().to_string(), name);
        }
        for (name, same) in [("exponential", "lambda"), ("uniform_lambda", "lambda"), ("quadratic", "polynomial")] {
            assert_eq!(name.parse::<Spacing>().unwrap(), same.parse().unwrap());
        }
        let refused = |text: &str| text.parse::<Spacing>().unwrap_err().to_string();
        assert!(refused("karras:0").contains("the number is \"0\"") && refused("karras:x").contains("karras:7"));
        assert!(refused("lambda:2").contains("takes no number") && refused("odd").contains("karras[:RHO]"));
    }

    /// Song et al. 2021 (DDIM), appendix D.2: t proportional to i^2.
    #[test]
    fn polynomial_times_are_powers() {
        let ts = timesteps("quadratic".parse().unwrap(), 1001, 10, 0).unwrap();
        assert_eq!(ts, [1000, 810, 640, 490, 360, 250, 160, 90, 40, 10]);
    }
}
