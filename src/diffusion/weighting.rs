//! How much the error at each time step counts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Prediction, Schedule};
use crate::error::{Error, Result};

/// A weight of the squared error for each time step.
///
/// All but [`Weighting::None`] are stated as a weight w0(SNR) of the error of x0. The errors of one estimate belong
/// together: |eps error|^2 = SNR |x0 error|^2 and |v error|^2 = (SNR + 1) |x0 error|^2, so a network that predicts epsilon
/// is trained with w0 / SNR, one that predicts v with w0 / (SNR + 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Weighting {
    /// 1 for whatever the network predicts.
    #[default]
    None,
    /// w0 = SNR: the error of epsilon counts alike at all steps (Ho et al. 2020, eq. 14).
    Snr,
    /// w0 = SNR + 1: the error of v counts alike (Salimans and Ho 2022, section 4).
    SnrPlusOne,
    /// w0 = max(SNR, 1), the larger of the errors of x0 and epsilon (Salimans and Ho 2022, section 4).
    TruncatedSnr,
    /// w0 = min(SNR, gamma) (Hang et al. 2023, arXiv 2303.09556, section 3.4).
    MinSnr {
        /// Commonly 5.
        gamma: f64,
    },
    /// w0 = SNR / (1 + SNR)^gamma (Choi et al. 2022, Perception prioritized training of diffusion models, eq. 8).
    P2 {
        /// 0.5 or 1.
        gamma: f64,
    },
}

/// The names of [`Weighting`].
const NAMES: [&str; 6] = ["none", "snr", "snr_plus_one", "truncated_snr", "min_snr[:GAMMA]", "p2[:GAMMA]"];

impl Weighting {
    /// The weights of all time steps for what the network predicts.
    ///
    /// # Errors
    /// When a weight is not finite, with the step, or when all are 0.
    pub fn table(self, schedule: &Schedule, prediction: Prediction) -> Result<Vec<f64>> {
        let weight = |t: usize| match self.weight(schedule, prediction, t) {
            w if w.is_finite() => Ok(w),
            w => Err(Error::setting(format!(
                "weighting {self}: the weight of {prediction} at step {t} is {w}, because the SNR there is {}; predict \
                 v or x0, or use another weighting",
                schedule.snr(t)
            ))),
        };
        let weights = (0..schedule.steps()).map(weight).collect::<Result<Vec<_>>>()?;
        if weights.iter().all(|w| *w as f32 == 0.0) {
            let text = format!("weighting {self}: every step has a weight of 0; use a smaller gamma, such as 1");
            return Err(Error::setting(text));
        }
        Ok(weights)
    }

    fn weight(self, schedule: &Schedule, prediction: Prediction, t: usize) -> f64 {
        let snr = schedule.snr(t);
        // The factor SNR of w0, where there is one, and that of the error are taken together: the SNR may be 0.
        let per_snr = |rest: f64| match prediction {
            Prediction::Epsilon => rest,
            Prediction::V => rest * snr / (snr + 1.0),
            Prediction::X0 => rest * snr,
        };
        let per_x0 = |w0: f64| match prediction {
            Prediction::Epsilon => w0 / snr,
            Prediction::V => w0 / (snr + 1.0),
            Prediction::X0 => w0,
        };
        match self {
            Self::None => 1.0,
            Self::Snr => per_snr(1.0),
            Self::SnrPlusOne => per_x0(snr + 1.0),
            Self::TruncatedSnr => per_x0(snr.max(1.0)),
            Self::MinSnr { gamma } => schedule.min_snr_weight(prediction, gamma, t),
            Self::P2 { gamma } => per_snr((1.0 + snr).powf(-gamma)),
        }
    }
}

impl FromStr for Weighting {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, gamma) = text.split_once(':').map_or((text, None), |(name, gamma)| (name, Some(gamma)));
        let number = |default: f64| match gamma.map(|g| (g, g.parse::<f64>())) {
            None => Ok(default),
            Some((_, Ok(gamma))) if gamma > 0.0 && gamma.is_finite() => Ok(gamma),
            Some((g, _)) => Err(Error::setting(format!(
                "weighting {text:?}: gamma is {g:?}; use a positive number, such as {name}:{default}"
            ))),
        };
        let plain = |weighting| match gamma {
            None => Ok(weighting),
            Some(_) => Err(Error::setting(format!("weighting {text:?}: {name} takes no number; use {name}"))),
        };
        match name {
            "none" => plain(Self::None),
            "snr" => plain(Self::Snr),
            "snr_plus_one" => plain(Self::SnrPlusOne),
            "truncated_snr" => plain(Self::TruncatedSnr),
            "min_snr" => Ok(Self::MinSnr { gamma: number(5.0)? }),
            "p2" => Ok(Self::P2 { gamma: number(1.0)? }),
            _ => Err(Error::unknown("weighting", name, &NAMES)),
        }
    }
}

impl fmt::Display for Weighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Snr => f.write_str("snr"),
            Self::SnrPlusOne => f.write_str("snr_plus_one"),
            Self::TruncatedSnr => f.write_str("truncated_snr"),
            Self::MinSnr { gamma } => write!(f, "min_snr:{gamma}"),
            Self::P2 { gamma } => write!(f, "p2:{gamma}"),
        }
    }
}

stands_as_text!(Weighting);

#[cfg(test)]
mod tests {
    use super::*;

    /// One estimate, seen as x0, epsilon or v, has one weighted error.
    #[test]
    fn a_weighting_means_the_same_for_every_prediction() {
        let schedule = Schedule::cosine(50).unwrap();
        for name in ["snr", "snr_plus_one", "truncated_snr", "min_snr:5", "min_snr:0.3", "p2", "p2:0.5"] {
            let weighting: Weighting = name.parse().unwrap();
            let table = |prediction| weighting.table(&schedule, prediction).unwrap();
            let (x0, epsilon, v) = (table(Prediction::X0), table(Prediction::Epsilon), table(Prediction::V));
            for t in 0..50 {
                let snr = schedule.snr(t);
                for (name, got) in [("epsilon", epsilon[t] * snr), ("v", v[t] * (snr + 1.0))] {
                    assert!((got / x0[t] - 1.0).abs() < 1e-9, "{weighting} {name} {t}: {got} {}", x0[t]);
                }
            }
        }
    }

    #[test]
    fn special_cases_are_the_known_ones() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        let table = |w: Weighting, p| w.table(&schedule, p).unwrap();
        assert!(table(Weighting::Snr, Prediction::Epsilon).iter().all(|w| *w == 1.0));
        assert!(table(Weighting::SnrPlusOne, Prediction::V).iter().all(|w| (w - 1.0).abs() < 1e-12));
        assert!(table(Weighting::None, Prediction::X0).iter().all(|w| *w == 1.0));
        let golden = schedule.min_snr_weight(Prediction::V, 5.0, 17);
        assert_eq!(table(Weighting::MinSnr { gamma: 5.0 }, Prediction::V)[17], golden);
    }

    #[test]
    fn pure_noise_has_weights_or_is_refused() {
        let schedule = Schedule::linear(100, 1e-4, 0.02).unwrap().zero_terminal_snr().unwrap();
        for name in ["none", "snr", "min_snr", "p2"] {
            assert!(name.parse::<Weighting>().unwrap().table(&schedule, Prediction::Epsilon).is_ok(), "{name}");
        }
        let refused = Weighting::TruncatedSnr.table(&schedule, Prediction::Epsilon).unwrap_err().to_string();
        assert!(refused.contains("step 99") && refused.contains("v or x0"), "{refused}");
    }

    #[test]
    fn names_go_both_ways_and_mistakes_are_named() {
        for name in ["none", "snr", "snr_plus_one", "truncated_snr", "min_snr:5", "p2:0.5"] {
            assert_eq!(name.parse::<Weighting>().unwrap().to_string(), name);
        }
        assert_eq!("min_snr".parse::<Weighting>().unwrap(), Weighting::MinSnr { gamma: 5.0 });
        for (text, cause) in [
            ("nope", "there are: none, snr"),
            ("min_snr:-1", "\"-1\""),
            ("snr:2", "takes no number"),
            ("p2:x", "\"x\""),
        ] {
            let message = text.parse::<Weighting>().unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }
}
