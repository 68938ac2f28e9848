//! The distribution of the times that a network is trained at.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::path::Path;
use crate::error::{Error, Result};
use crate::ops::TimeDraw;

/// The distribution of the time of each sample in a training step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum TrainingTimes {
    /// The T steps of a noise schedule, each with the same probability (Ho et al. 2020, algorithm 1).
    Steps,
    /// Uniform between 0 and the last time of a continuous path (Liu et al. 2022).
    Uniform,
    /// The noise level sigma = s / a is log-normal. On the straight path, where sigma = u / (1 - u), this is the
    /// logit-normal distribution of u (Esser et al. 2024, eq. 19); it is also the one of EDM (Karras et al. 2022, table 1).
    LogNormal {
        /// Mean of ln(sigma): 0 is usual for flows.
        mean: f64,
        /// Standard deviation of ln(sigma): 1 is usual for flows.
        deviation: f64,
    },
}

/// The names of [`TrainingTimes`].
const NAMES: [&str; 3] = ["steps", "uniform", "log_normal[:MEAN[:DEVIATION]] (logit_normal is the same)"];

impl TrainingTimes {
    /// The usual times of a flow: ln(sigma) is standard normal (Esser et al. 2024, section 5.1).
    pub const LOGIT_NORMAL: Self = Self::LogNormal { mean: 0.0, deviation: 1.0 };

    /// The times of EDM, for data of standard deviation `sigma_data`: P_mean -1.2 and P_std 1.2, which are those of the paper
    /// for its sigma_data of 0.5.
    pub fn edm(sigma_data: f64) -> Self {
        Self::LogNormal { mean: -1.2 + (sigma_data / 0.5).ln(), deviation: 1.2 }
    }

    /// Checks that a path has such times.
    ///
    /// # Errors
    /// With the times that it has.
    pub(super) fn check(self, path: &dyn Path) -> Result<()> {
        let known = match self {
            Self::Steps => !path.is_continuous(),
            Self::Uniform => path.is_continuous(),
            Self::LogNormal { mean, deviation } => path.is_continuous() && path.log_normal(mean, deviation).is_some(),
        };
        if known {
            return Ok(());
        }
        let use_instead =
            if path.is_continuous() { "uniform or log_normal" } else { "steps, or the objective flow or edm" };
        Err(Error::setting(format!("times {self}: the path ({path}) has no such times; use {use_instead}")))
    }

    /// How a kernel draws the times on a path.
    pub(super) fn draw(self, path: &dyn Path) -> TimeDraw {
        match self {
            Self::Steps => TimeDraw::Steps,
            Self::Uniform => TimeDraw::Uniform,
            Self::LogNormal { mean, deviation } => {
                path.log_normal(mean, deviation).expect("the times of an objective are those of its path")
            }
        }
    }
}

impl FromStr for TrainingTimes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().replace('-', "_");
        let numbers = parts
            .map(|part| {
                part.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| {
                    Error::setting(format!("times {text:?}: {part:?} is not a number; write {name}:0:1, for example"))
                })
            })
            .collect::<Result<Vec<f64>>>()?;
        match (name.as_str(), &numbers[..]) {
            ("steps", []) => Ok(Self::Steps),
            ("uniform", []) => Ok(Self::Uniform),
            ("log_normal" | "logit_normal", [] | [_] | [_, _]) => {
                let (mean, deviation) =
                    (numbers.first().copied().unwrap_or(0.0), numbers.get(1).copied().unwrap_or(1.0));
                if deviation > 0.0 {
                    return Ok(Self::LogNormal { mean, deviation });
                }
                Err(Error::setting(format!(
                    "times {text:?}: the deviation is {deviation}; use a positive number, such as 1"
                )))
            }
            ("steps" | "uniform" | "log_normal" | "logit_normal", _) => {
                Err(Error::setting(format!("times {text:?}: too many numbers; use one of: {}", NAMES.join(", "))))
            }
            _ => Err(Error::unknown("times", &name, &NAMES)),
        }
    }
}

impl fmt::Display for TrainingTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps => f.write_str("steps"),
            Self::Uniform => f.write_str("uniform"),
            Self::LogNormal { mean, deviation } => write!(f, "log_normal:{mean}:{deviation}"),
        }
    }
}

stands_as_text!(TrainingTimes);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Flow, NoiseLevels, Objective, Prediction, Schedule};

    #[test]
    fn times_have_names_and_numbers() {
        for name in ["steps", "uniform", "log_normal:0:1", "log_normal:-1.2:1.2"] {
            assert_eq!(name.parse::<TrainingTimes>().unwrap().to_string(), name);
        }
        for name in ["logit_normal", "logit-normal", "log_normal:0", "logit_normal:0:1"] {
            assert_eq!(name.parse::<TrainingTimes>().unwrap(), TrainingTimes::LOGIT_NORMAL);
        }
        let refused = |text: &str| text.parse::<TrainingTimes>().unwrap_err().to_string();
        assert!(refused("logit_normal:x").contains("\"x\" is not a number"), "{}", refused("logit_normal:x"));
        assert!(refused("log_normal:0:0").contains("deviation is 0") && refused("uniform:1").contains("too many"));
        assert!(refused("gaussian").contains("logit_normal"));
    }

    #[test]
    fn a_path_has_its_own_times() {
        let schedule = Objective::new(Schedule::cosine(100).unwrap(), Prediction::V);
        let message = schedule.clone().with_times(TrainingTimes::Uniform).unwrap_err().to_string();
        assert!(message.contains("cosine") && message.contains("objective flow"), "{message}");
        schedule.with_times(TrainingTimes::Steps).unwrap();
        for path in [Objective::new(Flow::new(10).unwrap(), Prediction::Flow), Objective::edm(10, 1.0).unwrap()] {
            assert!(path.clone().with_times(TrainingTimes::Steps).unwrap_err().to_string().contains("uniform or"));
            path.clone().with_times(TrainingTimes::Uniform).unwrap();
            path.with_times(TrainingTimes::LOGIT_NORMAL).unwrap();
        }
        let path = NoiseLevels::new(100, 0.5).unwrap();
        let TimeDraw::Normal { mean, .. } = TrainingTimes::edm(0.5).draw(&path) else { panic!("not normal") };
        assert!((path.time_of_sigma((-1.2f64).exp()) / 100.0 - mean).abs() < 1e-12);
    }
}
