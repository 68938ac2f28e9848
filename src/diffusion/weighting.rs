//! Loss weights per time step.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::objective::{Level, Objective};
use crate::error::{Error, Result};

/// A weight of the squared error per time step.
///
/// All but [`Weighting::None`] are defined as a weight w0 of the error of x0. An error of the network's output causes
/// an error of x0 that is s / d times as large, with d = a q - s p (see [`Objective`]), so the loss weight is
/// w0 (s / d)^2: w0 / SNR for epsilon, w0 / (SNR + 1) for v on a variance-preserving path, w0 for x0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Weighting {
    /// 1 for every prediction.
    #[default]
    None,
    /// w0 = SNR: the error of epsilon has equal weight at all steps (Ho et al. 2020, eq. 14).
    Snr,
    /// w0 = SNR + 1: the error of v has equal weight at all steps (Salimans and Ho 2022, section 4).
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
    /// The weights of all training steps for an objective.
    ///
    /// # Errors
    /// When a weight is not finite (the message names the step), or when all are 0.
    pub fn table(self, objective: &Objective) -> Result<Vec<f64>> {
        let weight = |level: Level| match self.weight(&level) {
            w if w.is_finite() => Ok(w),
            w => Err(Error::setting(format!(
                "weighting {self}: the weight of {} at step {} is {w}, because the SNR there is {}; predict v or x0, or use \
                 another weighting",
                objective.prediction(),
                level.t,
                level.snr()
            ))),
        };
        let weights = objective.levels().into_iter().map(weight).collect::<Result<Vec<_>>>()?;
        if weights.iter().all(|w| *w as f32 == 0.0) {
            let text = format!("weighting {self}: every step has a weight of 0; use a smaller gamma, such as 1");
            return Err(Error::setting(text));
        }
        Ok(weights)
    }

    fn weight(self, level: &Level) -> f64 {
        // SNR (s / d)^2 = (a / d)^2, which stays finite where the SNR is 0.
        let (signal, noise) = (level.a_over_d().powi(2), level.s_over_d().powi(2));
        match self {
            Self::None => 1.0,
            Self::Snr => signal,
            Self::SnrPlusOne => signal + noise,
            Self::TruncatedSnr => signal.max(noise),
            Self::MinSnr { gamma } => signal.min(gamma * noise),
            Self::P2 { gamma } => signal * (1.0 + level.snr()).powf(-gamma),
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
    use crate::diffusion::{Prediction, Schedule};

    /// The same estimate, expressed as x0, epsilon or v, has the same weighted error.
    #[test]
    fn a_weighting_means_the_same_for_every_prediction() {
        let schedule = Schedule::cosine(50).unwrap();
        for name in ["snr", "snr_plus_one", "truncated_snr", "min_snr:5", "min_snr:0.3", "p2", "p2:0.5"] {
            let weighting: Weighting = name.parse().unwrap();
            let table = |prediction| weighting.table(&Objective::new(schedule.clone(), prediction)).unwrap();
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
    fn special_cases_match_the_papers() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02).unwrap();
        let table = |w: Weighting, p| w.table(&Objective::new(schedule.clone(), p)).unwrap();
        assert!(table(Weighting::Snr, Prediction::Epsilon).iter().all(|w| *w == 1.0));
        assert!(table(Weighting::SnrPlusOne, Prediction::V).iter().all(|w| (w - 1.0).abs() < 1e-12));
        assert!(table(Weighting::None, Prediction::X0).iter().all(|w| *w == 1.0));
        let (snr, weights) = (schedule.snr(17), table(Weighting::MinSnr { gamma: 5.0 }, Prediction::V));
        assert!((weights[17] - snr.min(5.0) / (snr + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn pure_noise_has_finite_weights_or_is_refused() {
        let schedule = Schedule::linear(100, 1e-4, 0.02).unwrap().zero_terminal_snr().unwrap();
        let objective = Objective::new(schedule, Prediction::Epsilon);
        for name in ["none", "snr", "min_snr", "p2"] {
            let weights = name.parse::<Weighting>().unwrap().table(&objective).unwrap();
            assert!(weights.iter().all(|w| *w >= 0.0), "{name}");
        }
        assert_eq!(Weighting::MinSnr { gamma: 5.0 }.table(&objective).unwrap()[99], 1.0);
        let refused = Weighting::TruncatedSnr.table(&objective).unwrap_err().to_string();
        assert!(refused.contains("step 99") && refused.contains("v or x0"), "{refused}");
    }

    #[test]
    fn names_round_trip_and_errors_name_the_mistake() {
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
