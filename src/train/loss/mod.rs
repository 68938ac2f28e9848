//! The loss terms. The loss is their weighted sum.

mod inputs;
mod names;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::load_features;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::{Average, Factors, Measure, PointLoss, Ssim};

pub use inputs::{DiffusionSteps, LossInputs, Term};

/// A weighted sum of losses.
///
/// As text, on the command line or in a file for `--config`, it is a list separated by commas of NAME, NAME:WEIGHT or
/// NAME:WEIGHT:DETAIL, for example `mse` or `l1:1,ssim:0.1`. The `config.toml` of a run has one table per loss, so that
/// file names may contain any character.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LossMix(Vec<WeightedLoss>);

/// A loss and its weight in the sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "names::LossTable", try_from = "names::LossTable")]
pub struct WeightedLoss {
    /// The loss.
    pub kind: LossKind,
    /// Its weight; 1 by default.
    pub weight: f64,
}

/// A loss by name.
///
/// A `Point` loss compares the prediction of the network with its target, or both as another
/// [`LossTarget`](crate::diffusion::LossTarget), and weights each diffusion step by a
/// [`Weighting`](crate::diffusion::Weighting). The others compare images: the estimate of x0 that follows from the prediction (see
/// [`Objective::x0_table`](crate::diffusion::Objective::x0_table)) with x0, without step weights.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum LossKind {
    /// `mse`: the mean of e^2. `mse_document`: the sum of e^2 divided by N W H, without the channels. `l1`: the mean of
    /// |e|. `huber`: the Huber loss; its detail is delta, in normalised units (1 by default).
    Point {
        /// The function of the error.
        measure: Measure,
        /// The divisor of the sum; both choices agree for samples without channels.
        average: Average,
    },
    /// `ssim`: 1 - SSIM; its detail is the range of the data.
    Ssim {
        /// In normalised units; that of the data by default.
        range: Option<f64>,
    },
    /// `perceptual`: the squared difference of the features of a fixed network; its detail is a file, see
    /// [`load_features`].
    Perceptual {
        /// A safetensors file.
        file: String,
    },
}

impl Default for LossMix {
    fn default() -> Self {
        Self(vec![WeightedLoss { kind: LossKind::mean(Measure::Squared), weight: 1.0 }])
    }
}

impl LossMix {
    /// Creates a sum of losses.
    ///
    /// # Errors
    /// When there is no loss, or a loss is listed twice.
    pub fn of(terms: Vec<WeightedLoss>) -> Result<Self> {
        if terms.is_empty() {
            return Err(Error::setting("no loss; name one, such as mse"));
        }
        for (i, term) in terms.iter().enumerate() {
            let name = term.kind.name();
            if terms[..i].iter().any(|other| other.kind.name() == name) {
                return Err(Error::setting(format!("{name} is listed twice; give it one weight")));
            }
        }
        Ok(Self(terms))
    }

    /// The losses, in their order.
    pub fn terms(&self) -> &[WeightedLoss] {
        &self.0
    }

    /// Whether a loss uses the step weights.
    pub(crate) fn is_weighted(&self) -> bool {
        self.0.iter().any(|term| !term.kind.on_x0())
    }

    /// Whether a loss compares images of x0.
    pub(crate) fn on_x0(&self) -> bool {
        self.0.iter().any(|term| term.kind.on_x0())
    }

    /// The same losses with absolute paths, so that a run can be used from any folder.
    pub(crate) fn with_full_paths(mut self) -> Self {
        for term in &mut self.0 {
            if let LossKind::Perceptual { file } = &mut term.kind
                && let Ok(path) = std::path::absolute(&*file)
            {
                *file = path.to_string_lossy().into_owned();
            }
        }
        self
    }

    /// The same losses with the feature file of `other` if nothing else differs: the file may have moved.
    pub(crate) fn with_features_of(&self, other: &Self) -> Self {
        let without = |mix: &Self| {
            let mut terms = mix.0.clone();
            for term in &mut terms {
                if let LossKind::Perceptual { file } = &mut term.kind {
                    file.clear();
                }
            }
            terms
        };
        if without(self) == without(other) { other.clone() } else { self.clone() }
    }

    /// The feature file of a perceptual loss.
    pub(crate) fn features(&self) -> Option<&Path> {
        self.0.iter().find_map(|term| match &term.kind {
            LossKind::Perceptual { file } => Some(Path::new(file)),
            _ => None,
        })
    }

    /// Adds the losses to a graph.
    ///
    /// # Errors
    /// When a loss of images is used for other data or for images smaller than its window.
    pub fn add_to(&self, g: &mut Graph, inputs: &LossInputs) -> Result<Vec<Term>> {
        // Computed once for all losses. A graph does not run what no loss uses.
        let rows = inputs.rows(g)?;
        let factors = Factors { by_step: inputs.step_weights(g, rows)?, mask: None };
        let compared =
            if self.is_weighted() { inputs.compared_at(g, rows)? } else { [inputs.prediction, inputs.target] };
        let mut images = None;
        let mut terms = Vec::new();
        for &WeightedLoss { ref kind, weight } in &self.0 {
            if kind.on_x0() && images.is_none() {
                images = Some(inputs.images(g, kind.name(), rows)?);
            }
            let [x, y] = images.filter(|_| kind.on_x0()).unwrap_or(compared);
            let parts = match kind {
                &LossKind::Point { measure, average } => {
                    let images = average == Average::Positions && inputs.sample.len() == 3;
                    let [x, y] = if images { inputs.shaped(g, [x, y])? } else { [x, y] };
                    let shape = g.shape(x).to_vec();
                    let mask = inputs.weights.map(|weights| g.reshape(weights, shape)).transpose()?;
                    let factors = Factors { mask, ..factors };
                    let average = if images { average } else { Average::Elements };
                    let op = PointLoss { average, ..PointLoss::new(measure).weight(weight) };
                    vec![(g.point_loss(op, x, y, factors)?, 1.0)]
                }
                LossKind::Ssim { range } => {
                    let ssim = Ssim::new(range.unwrap_or(inputs.range));
                    vec![(g.ssim_loss(&ssim, x, y, weight).map_err(|e| unsuitable("ssim", e))?, 1.0)]
                }
                LossKind::Perceptual { file } => {
                    let features = load_features(Path::new(file))?;
                    features.loss(g, x, y, weight).map_err(|e| unsuitable("perceptual", e))?
                }
            };
            terms.push(Term { name: kind.name(), weight, parts });
        }
        Ok(terms)
    }
}

/// A loss that does not fit the samples is a wrong setting.
fn unsuitable(name: &str, e: Error) -> Error {
    match e {
        Error::Shape { message, .. } => Error::setting(format!("loss {name}: {message}")),
        other => other,
    }
}

impl LossKind {
    fn mean(measure: Measure) -> Self {
        Self::Point { measure, average: Average::Elements }
    }

    fn on_x0(&self) -> bool {
        !matches!(self, Self::Point { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Flow, LossTarget, Objective, Prediction, Schedule, Weighting};
    use crate::graph::Var;
    use crate::verify::check_losses;

    /// Includes the step weights, the factors of the values (0 for those that are missing), the estimate of x0 and losses of images.
    #[test]
    fn a_mix_on_predictions_matches_central_differences() {
        let curved = |prediction| Objective::new(Schedule::cosine(20).unwrap(), prediction);
        let straight = Objective::new(Flow::new(20).unwrap(), Prediction::X0);
        let predictions = [Prediction::Epsilon, Prediction::V, Prediction::X0, Prediction::Flow];
        for objective in predictions.map(curved).into_iter().chain([straight]) {
            let compared = objective.path().is_continuous().then_some(LossTarget::new(Prediction::Flow));
            let build = |g: &mut Graph, x: Var, target: Var| {
                let t = g.constant([2], vec![3.0, 11.0])?;
                let x_t = g.constant([2, 132], (0..264).map(|i| (i % 7) as f32 * 0.2 - 0.6).collect())?;
                let weighting = Weighting::MinSnr { gamma: 2.0 };
                let steps = Some(DiffusionSteps { x_t, t, objective: &objective, weighting, target: compared });
                let weights = (0..264).map(|i| if i % 5 < 2 { 0.0 } else { 1.0 + (i % 3) as f32 / 4.0 }).collect();
                let weights = Some(g.constant([2, 132], weights)?);
                let inputs = LossInputs { steps, weights, ..LossInputs::new(x, target, &[1, 11, 12], 2.0) };
                let losses: LossMix = "l1:0.5,mse:2,ssim:0.3".parse()?;
                let terms = losses.add_to(g, &inputs)?;
                Ok(terms.iter().flat_map(|term| term.parts.iter().map(|(v, w)| (*v, w * term.weight))).collect())
            };
            check_losses(&[2, 132], build).unwrap();
        }
    }

    #[test]
    fn losses_of_images_refuse_other_data_and_small_images() {
        let message = |sample: &[usize]| {
            let mut g = Graph::new();
            let shape = [3, sample.iter().product()];
            let (prediction, target) = (g.state("x", shape).unwrap(), g.state("y", shape).unwrap());
            let inputs = LossInputs::new(prediction, target, sample, 2.0);
            "mse,ssim:0.1".parse::<LossMix>().unwrap().add_to(&mut g, &inputs).unwrap_err().to_string()
        };
        assert!(message(&[2]).contains("shape [2]"), "{}", message(&[2]));
        let small = message(&[1, 8, 8]);
        assert!(small.contains("8 x 8") && small.contains("11 x 11"), "{small}");
    }
}
