//! The loss terms: what a wrong prediction costs, by name. The loss is their weighted sum.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::load_features;
use crate::device::Run;
use crate::diffusion::{Objective, Prediction, Weighting};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops::{Average, Combine, Factors, Measure, PointLoss, Ssim};

/// Losses that are minimized together. On a command line and in a file for `--config` they may be one text such as `mse` or
/// `l1:1,ssim:0.1`: NAME, NAME:WEIGHT or NAME:WEIGHT:DETAIL, with commas between them. A run's own `config.toml` lists
/// them as tables, so that the name of a file may hold any character.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LossMix(Vec<Weighted>);

/// A loss with its weight in the sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stated", try_from = "Stated")]
pub struct Weighted {
    /// Which loss.
    pub kind: LossKind,
    /// Its weight, 1 if nothing is said.
    pub weight: f64,
}

/// A loss by name.
///
/// A `Point` loss compares what the network predicts with its target, each step weighted by a [`Weighting`]. The others
/// compare images: the estimate of x0 that follows from the prediction (see [`Objective::x0_table`]) with x0, all steps
/// alike.
#[derive(Clone, Debug, PartialEq)]
pub enum LossKind {
    /// `mse`, the mean of e^2; `mse_document`, its sum divided by N W H, the textbook's normalisation; `l1`, the mean of
    /// |e|; `huber`, its detail delta (1 if nothing is said, in the units the network sees).
    Point {
        /// What an error costs.
        measure: Measure,
        /// What the sum is divided by; without channels both are the same.
        average: Average,
    },
    /// `ssim`, its detail the range of the data: 1 - SSIM.
    Ssim {
        /// In the units the network sees; if nothing is said, that of the data.
        range: Option<f64>,
    },
    /// `perceptual`, its detail a file: the squared difference of the features of a fixed network, see [`load_features`].
    Perceptual {
        /// A safetensors file.
        file: String,
    },
}

/// What is said of the names.
const NAMES: [&str; 6] =
    ["mse", "mse_document", "l1", "huber[:WEIGHT[:DELTA]]", "ssim[:WEIGHT[:RANGE]]", "perceptual:WEIGHT:FILE"];

/// What the losses compare.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The network's output [B, ...].
    pub prediction: Var,
    /// What it should be.
    pub goal: Var,
    /// The shape of one sample.
    pub sample: &'a [usize],
    /// Largest less smallest value of the data, in the units the network sees.
    pub range: f64,
    /// Where the prediction belongs to a step of a diffusion; without, it is x0 itself.
    pub steps: Option<Steps<'a>>,
}

/// The steps that a batch of predictions belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    /// The noisy data [B, ...].
    pub x_t: Var,
    /// Each sample's step \[B\].
    pub t: Var,
    /// The path, and what the network predicts.
    pub objective: &'a Objective,
    /// The weight of each step.
    pub weighting: Weighting,
}

/// A term that was added to a graph.
#[derive(Clone, Debug)]
pub struct Term {
    /// Its column in `metrics.csv`.
    pub name: &'static str,
    /// Its factor in the loss; the values leave it out, their gradients have it.
    pub weight: f64,
    /// The scalars it is the weighted sum of.
    pub parts: Vec<(Var, f64)>,
}

impl Term {
    /// Its values at the last `n` steps, without the weight.
    pub fn history(&self, run: &Run, n: usize) -> Result<Vec<f64>> {
        let mut sum = vec![0.0; n];
        for &(scalar, weight) in &self.parts {
            sum.iter_mut().zip(run.history(scalar, n)?).for_each(|(sum, value)| *sum += weight * value);
        }
        Ok(sum)
    }

    /// The scalars to be minimized.
    pub fn scalars(terms: &[Term]) -> Vec<Var> {
        terms.iter().flat_map(|term| &term.parts).map(|(scalar, _)| *scalar).collect()
    }
}

impl Default for LossMix {
    fn default() -> Self {
        Self(vec![Weighted { kind: LossKind::mean(Measure::Squared), weight: 1.0 }])
    }
}

impl LossMix {
    /// The losses in this order.
    ///
    /// # Errors
    /// When there is none, or one of a kind twice.
    pub fn of(terms: Vec<Weighted>) -> Result<Self> {
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

    /// The losses in their order.
    pub fn terms(&self) -> &[Weighted] {
        &self.0
    }

    /// Whether a term takes the weight of each step.
    pub(crate) fn is_weighted(&self) -> bool {
        self.0.iter().any(|term| !term.kind.on_x0())
    }

    /// Whether a term compares images of x0.
    pub fn on_x0(&self) -> bool {
        self.0.iter().any(|term| term.kind.on_x0())
    }

    /// The same with the full paths of files, so that a run can be used from any folder.
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

    /// The same with the feature file of `other`, where nothing else differs: the file may have moved.
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

    /// The file of the features that a term compares.
    pub fn features(&self) -> Option<&Path> {
        self.0.iter().find_map(|term| match &term.kind {
            LossKind::Perceptual { file } => Some(Path::new(file)),
            _ => None,
        })
    }

    /// Adds the losses to a graph.
    ///
    /// # Errors
    /// When a loss of images meets other data or images that are too small, with the shape.
    pub fn add_to(&self, g: &mut Graph, compared: &Compared) -> Result<Vec<Term>> {
        let factors = match compared.steps {
            Some(Steps { weighting: Weighting::None, .. }) | None => Factors::default(),
            Some(steps) => {
                let table = steps.weighting.table(steps.objective)?;
                let table = g.constant([table.len()], table.iter().map(|&w| w as f32).collect())?;
                Factors { by_step: Some((steps.t, table)), mask: None }
            }
        };
        let mut images = None;
        let mut terms = Vec::new();
        for &Weighted { ref kind, weight } in &self.0 {
            if kind.on_x0() && images.is_none() {
                images = Some(compared.images(g, kind.name())?);
            }
            let [x, y] = images.filter(|_| kind.on_x0()).unwrap_or([compared.prediction, compared.goal]);
            let parts = match kind {
                &LossKind::Point { measure, average } => {
                    let images = average == Average::Positions && compared.sample.len() == 3;
                    let [x, y] = if images { compared.shaped(g, [x, y])? } else { [x, y] };
                    let average = if images { average } else { Average::Elements };
                    let op = PointLoss::new(measure).weight(weight).average(average);
                    vec![(g.point_loss(op, x, y, factors)?, 1.0)]
                }
                LossKind::Ssim { range } => {
                    let ssim = Ssim::new(range.unwrap_or(compared.range));
                    vec![(g.ssim_loss(&ssim, x, y, weight)?, 1.0)]
                }
                LossKind::Perceptual { file } => load_features(Path::new(file))?.loss(g, x, y, weight)?,
            };
            terms.push(Term { name: kind.name(), weight, parts });
        }
        Ok(terms)
    }
}

impl Compared<'_> {
    /// Prediction and goal as images [B, C, H, W] of x0.
    fn images(&self, g: &mut Graph, loss: &str) -> Result<[Var; 2]> {
        if self.sample.len() != 3 {
            return Err(Error::setting(format!(
                "loss {loss}: it compares images, and these samples have shape {:?}; use mse, l1 or huber",
                self.sample
            )));
        }
        let pair = [self.prediction, self.goal];
        let pair = match self.steps {
            Some(Steps { x_t, t, objective, .. }) if objective.prediction() != Prediction::X0 => {
                let rows = objective.x0_table()?;
                let rows: Vec<f32> = rows.into_iter().flatten().map(|v| v as f32).collect();
                let table = g.constant([rows.len() / 2, 2], rows)?;
                let [x, y] = pair;
                [g.apply1(Combine, &[x_t, x, t, table])?, g.apply1(Combine, &[x_t, y, t, table])?]
            }
            _ => pair,
        };
        self.shaped(g, pair)
    }

    /// As [B, ...sample].
    fn shaped(&self, g: &mut Graph, [x, y]: [Var; 2]) -> Result<[Var; 2]> {
        let batch = g.spec(x).rows().0;
        let shape = [&[batch], self.sample].concat();
        Ok([g.reshape(x, shape.clone())?, g.reshape(y, shape)?])
    }
}

impl LossKind {
    fn mean(measure: Measure) -> Self {
        Self::Point { measure, average: Average::Elements }
    }

    /// The name in settings and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Point { average: Average::Positions, .. } => "mse_document",
            Self::Point { measure: Measure::Squared, .. } => "mse",
            Self::Point { measure: Measure::Absolute, .. } => "l1",
            Self::Point { measure: Measure::Huber { .. }, .. } => "huber",
            Self::Ssim { .. } => "ssim",
            Self::Perceptual { .. } => "perceptual",
        }
    }

    fn on_x0(&self) -> bool {
        !matches!(self, Self::Point { .. })
    }
}

impl FromStr for Weighted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let number = |what: &str, part: &str| {
            let value = part.trim().parse::<f64>().ok().filter(|v| *v > 0.0 && v.is_finite());
            value.ok_or_else(|| Error::setting(format!("loss {text:?}: {what} is {part:?}; use a positive number")))
        };
        let weight = parts.next().map(|part| number("the weight", part)).transpose()?.unwrap_or(1.0);
        let detail = parts.next();
        let plain = |kind| match detail {
            None => Ok(kind),
            Some(_) => Err(Error::setting(format!("loss {text:?}: {name} takes a weight only, such as {name}:0.5"))),
        };
        let kind = match name.trim() {
            "mse" => plain(LossKind::mean(Measure::Squared))?,
            "mse_document" => plain(LossKind::Point { measure: Measure::Squared, average: Average::Positions })?,
            "l1" => plain(LossKind::mean(Measure::Absolute))?,
            "huber" => LossKind::mean(Measure::Huber { delta: detail.map_or(Ok(1.0), |d| number("delta", d))? }),
            "ssim" => LossKind::Ssim { range: detail.map(|d| number("the range", d)).transpose()? },
            "perceptual" => match detail {
                Some(file) if !file.trim().is_empty() => LossKind::Perceptual { file: file.trim().into() },
                _ => {
                    let text =
                        format!("loss {text:?}: name a file of features, such as perceptual:0.1:vgg.safetensors");
                    return Err(Error::setting(text));
                }
            },
            _ => return Err(Error::unknown("loss", name.trim(), &NAMES)),
        };
        Ok(Self { kind, weight })
    }
}

impl fmt::Display for Weighted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { kind, weight } = self;
        f.write_str(kind.name())?;
        match kind {
            LossKind::Point { measure: Measure::Huber { delta }, .. } if *delta != 1.0 => {
                write!(f, ":{weight}:{delta}")
            }
            LossKind::Ssim { range: Some(range) } => write!(f, ":{weight}:{range}"),
            LossKind::Perceptual { file } => write!(f, ":{weight}:{file}"),
            _ if *weight != 1.0 => write!(f, ":{weight}"),
            _ => Ok(()),
        }
    }
}

/// A loss as a table of `config.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    name: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

fn one() -> f64 {
    1.0
}

fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

impl From<Weighted> for Stated {
    fn from(Weighted { kind, weight }: Weighted) -> Self {
        let mut stated = Self { name: kind.name().into(), weight, delta: None, range: None, file: None };
        match kind {
            LossKind::Point { measure: Measure::Huber { delta }, .. } => stated.delta = Some(delta),
            LossKind::Point { .. } => {}
            LossKind::Ssim { range } => stated.range = range,
            LossKind::Perceptual { file } => stated.file = Some(file),
        }
        stated
    }
}

impl TryFrom<Stated> for Weighted {
    type Error = Error;

    fn try_from(stated: Stated) -> Result<Self> {
        let Stated { name, weight, mut delta, mut range, mut file } = stated;
        for (what, value) in [("weight", Some(weight)), ("delta", delta), ("range", range)] {
            if let Some(value) = value.filter(|v| !(*v > 0.0 && v.is_finite())) {
                return Err(Error::setting(format!("loss {name}: {what} is {value}; use a positive number")));
            }
        }
        let kind = match name.as_str() {
            "mse" => LossKind::mean(Measure::Squared),
            "mse_document" => LossKind::Point { measure: Measure::Squared, average: Average::Positions },
            "l1" => LossKind::mean(Measure::Absolute),
            "huber" => LossKind::mean(Measure::Huber { delta: delta.take().unwrap_or(1.0) }),
            "ssim" => LossKind::Ssim { range: range.take() },
            "perceptual" => {
                let missing = || Error::setting("loss perceptual: its `file` of features is missing; name one");
                LossKind::Perceptual { file: file.take().filter(|file| !file.is_empty()).ok_or_else(missing)? }
            }
            _ => return Err(Error::unknown("loss", &name, &NAMES)),
        };
        let left = [("delta", delta.is_some()), ("range", range.is_some()), ("file", file.is_some())];
        match left.into_iter().find(|(_, left)| *left) {
            Some((what, _)) => Err(Error::setting(format!("loss {name} has no {what}; leave it out"))),
            None => Ok(Self { kind, weight }),
        }
    }
}

/// Text, or a list of tables.
impl<'de> Deserialize<'de> for LossMix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = LossMix;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("losses as a text such as \"l1:1,ssim:0.1\", or as a list of tables with a `name` each")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<LossMix, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<LossMix, A::Error> {
                let mut terms = Vec::new();
                while let Some(term) = list.next_element()? {
                    terms.push(term);
                }
                LossMix::of(terms).map_err(serde::de::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl FromStr for LossMix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let terms = text.split(',').map(str::parse).collect::<Result<_>>()?;
        Self::of(terms).map_err(|e| Error::setting(format!("loss {text:?}: {e}")))
    }
}

impl fmt::Display for LossMix {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let terms: Vec<String> = self.0.iter().map(Weighted::to_string).collect();
        f.write_str(&terms.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Schedule;
    use crate::verify::check_losses;

    #[test]
    fn names_go_both_ways_and_mistakes_are_named() {
        for text in
            ["mse", "l1,ssim:0.1", "huber:1:0.5,mse:0.25", "ssim:2:2,mse_document", "perceptual:0.1:a/b:c.safetensors"]
        {
            assert_eq!(text.parse::<LossMix>().unwrap().to_string(), text);
        }
        assert_eq!("l1:1, ssim:0.1".parse::<LossMix>().unwrap().to_string(), "l1,ssim:0.1");
        assert_eq!(LossMix::default().to_string(), "mse");
        for (text, cause) in [
            ("lpips", "there are: mse"),
            ("", "unknown loss"),
            ("l1:-2", "\"-2\""),
            ("l1:1:3", "takes a weight only"),
            ("perceptual:0.1", "name a file"),
            ("huber:1:nan", "delta is \"nan\""),
            ("mse,l1,mse:2", "mse is listed twice"),
        ] {
            let message = text.parse::<LossMix>().unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn a_mix_is_stored_as_structure() {
        let files = ["/a,b/f.safetensors", "/a'b\"c/d:e f.safetensors", "C:\\f\\g.safetensors", "/\u{e4}/\u{65e5}"];
        for file in files {
            let perceptual = Weighted { kind: LossKind::Perceptual { file: file.into() }, weight: 0.1 };
            let mix = LossMix::of(vec!["huber:1:0.5".parse().unwrap(), "ssim:2".parse().unwrap(), perceptual]).unwrap();
            let config = crate::train::Config { loss: mix.clone(), ..Default::default() };
            assert_eq!(crate::train::Config::parse(&config.to_toml(), None).unwrap().loss, mix, "{file}");
        }
        let message = |toml: &str| crate::train::Config::parse(toml, None).unwrap_err().to_string();
        assert!(message("[[loss]]\nname = \"mse\"\ndelta = 2.0").contains("loss mse has no delta"));
        assert!(message("[[loss]]\nname = \"l1\"\nweight = -1.0").contains("weight is -1"));
        assert!(message("[[loss]]\nname = \"perceptual\"").contains("`file`"));
        assert!(message("loss = []").contains("name one, such as mse"));
    }

    /// The whole way of a mix: weights of the steps, the estimate of x0, and images.
    #[test]
    fn a_mix_on_predictions_matches_central_differences() {
        let schedule = Schedule::cosine(20).unwrap();
        for prediction in [Prediction::Epsilon, Prediction::V, Prediction::X0, Prediction::Flow] {
            let objective = Objective::new(schedule.clone(), prediction);
            let build = |g: &mut Graph, x: Var, goal: Var| {
                let t = g.constant([2], vec![3.0, 11.0])?;
                let x_t = g.constant([2, 132], (0..264).map(|i| (i % 7) as f32 * 0.2 - 0.6).collect())?;
                let weighting = Weighting::MinSnr { gamma: 2.0 };
                let steps = Some(Steps { x_t, t, objective: &objective, weighting });
                let compared = Compared { prediction: x, goal, sample: &[1, 11, 12], range: 2.0, steps };
                let losses: LossMix = "l1:0.5,mse:2,ssim:0.3".parse()?;
                let terms = losses.add_to(g, &compared)?;
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
            let (prediction, goal) = (g.state("x", shape).unwrap(), g.state("y", shape).unwrap());
            let compared = Compared { prediction, goal, sample, range: 2.0, steps: None };
            "mse,ssim:0.1".parse::<LossMix>().unwrap().add_to(&mut g, &compared).unwrap_err().to_string()
        };
        assert!(message(&[2]).contains("shape [2]"), "{}", message(&[2]));
        let small = message(&[1, 8, 8]);
        assert!(small.contains("8 x 8") && small.contains("11 x 11"), "{small}");
    }
}
