//! The quantity whose error is the loss, when it is not the prediction itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::objective::{Level, Objective, Prediction};
use crate::error::{Error, Result};
use crate::text::short;

/// The quantity that a loss compares: prediction and target of the network are both converted to it, with x_t.
///
/// With (p, q) the target of the network and (p', q') this one, `p' x0 + q' eps = ((p' q - q' p) x_t + (a q' - s p') m) / d`,
/// d = a q - s p (see [`Objective`]). Where |d| is small, as for x0 at little noise, the loss would be dominated by few times; d
/// is replaced by +-floor there. As text: a prediction, or `v:0.05` with the floor.
///
/// *Source*: Salimans and Ho 2022, section 4; for flows with x0 prediction and the floor, Li and He 2025 (Back to basics: let
/// denoising generative models denoise).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub struct LossTarget {
    /// The compared quantity.
    pub of: Prediction,
    /// The smallest |d|; `None` for 0 on a schedule of T steps and 0.05 on a continuous path.
    pub floor: Option<f64>,
}

/// The floor on continuous paths, where d reaches 0.
const FLOOR: f64 = 0.05;

impl LossTarget {
    /// The quantity with the default floor.
    pub fn new(of: Prediction) -> Self {
        Self { of, floor: None }
    }

    /// Rows (l_x, l_m) of the converted quantity l_x x_t + l_m m, for each of [`Objective::levels`].
    ///
    /// # Errors
    /// When a row is not finite.
    pub fn table(&self, objective: &Objective) -> Result<Vec<[f64; 2]>> {
        let floor = self.floor.unwrap_or(if objective.path().is_continuous() { FLOOR } else { 0.0 });
        let row = |level: Level| match level.converted_above(self.of, floor) {
            row if row.iter().all(|c| c.is_finite()) => Ok(row),
            _ => Err(Error::setting(format!(
                "loss target {self}: the predicted {} does not determine it at time {}; use another prediction, or a floor, such \
                 as {}:{FLOOR}",
                objective.prediction(),
                short(level.t),
                self.of
            ))),
        };
        objective.levels().into_iter().map(row).collect()
    }
}

impl FromStr for LossTarget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, floor) = text.split_once(':').map_or((text, None), |(name, floor)| (name, Some(floor)));
        let number = |floor: &str| match floor.parse::<f64>() {
            Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
            _ => Err(Error::setting(format!(
                "loss target {text:?}: the floor is {floor:?}; use a number from 0 to below 1, such as {name}:{FLOOR}"
            ))),
        };
        Ok(Self { of: name.parse()?, floor: floor.map(number).transpose()? })
    }
}

impl fmt::Display for LossTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.floor {
            None => write!(f, "{}", self.of),
            Some(floor) => write!(f, "{}:{floor}", self.of),
        }
    }
}

stands_as_text!(LossTarget);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Flow, Schedule};

    /// The converted target is the other target, except where the floor replaces d.
    #[test]
    fn a_target_is_converted_to_another() {
        let (x0, eps) = (0.7, -1.3);
        let all = [Prediction::Epsilon, Prediction::X0, Prediction::V, Prediction::Flow, Prediction::Edm];
        for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
            let target = LossTarget { of: to, floor: Some(0.01) };
            let curved = [Objective::new(Schedule::cosine(50).unwrap(), from), Objective::edm(50, 0.6).unwrap()];
            // The target of EDM has no finite weights at pure noise, where a straight path ends.
            let is_finite = ![from, to].contains(&Prediction::Edm);
            let straight = is_finite.then(|| Objective::new(Flow::new(1_000).unwrap(), from));
            for objective in curved.into_iter().map(|path| path.with_prediction(from)).chain(straight) {
                let rows = target.table(&objective).unwrap();
                for (level, [l_x, l_m]) in objective.levels().into_iter().zip(rows) {
                    let Level { a, s, p, q, .. } = level;
                    let d = (a * q - s * p).abs();
                    let [p_to, q_to] = to.weights([a, s]);
                    let want = (p_to * x0 + q_to * eps) * (d / d.max(0.01));
                    let got = l_x * (a * x0 + s * eps) + l_m * (p * x0 + q * eps);
                    assert!((got - want).abs() < 1e-9, "{from} {to} {level:?}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn loss_targets_have_names_and_floors() {
        for name in ["v", "flow:0.1", "x0:0"] {
            assert_eq!(name.parse::<LossTarget>().unwrap().to_string(), name);
        }
        assert!("v:2".parse::<LossTarget>().unwrap_err().to_string().contains("from 0 to below 1"));
        assert!("w".parse::<LossTarget>().unwrap_err().to_string().contains("epsilon, x0, v, flow"));
        let flow = Objective::new(Flow::new(10).unwrap(), Prediction::X0);
        let refused = LossTarget { of: Prediction::Flow, floor: Some(0.0) }.table(&flow).unwrap_err().to_string();
        assert!(refused.contains("at time 0") && refused.contains("flow:0.05"), "{refused}");
    }
}
