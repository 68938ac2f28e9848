//! Losses as text and in `config.toml`.

use std::fmt;
use std::str::FromStr;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{LossKind, LossMix, WeightedLoss};
use crate::error::{Error, Result};
use crate::ops::{Average, Measure};

/// The forms of the losses, for error messages.
const NAMES: [&str; 6] =
    ["mse", "mse_document", "l1", "huber[:WEIGHT[:DELTA]]", "ssim[:WEIGHT[:RANGE]]", "perceptual:WEIGHT:FILE"];

impl LossKind {
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
}

impl FromStr for WeightedLoss {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or_default().trim();
        let number = |what: &str, part: &str| {
            let value = part.trim().parse::<f64>().ok().filter(|v| *v > 0.0 && v.is_finite());
            value.ok_or_else(|| Error::setting(format!("loss {text:?}: {what} is {part:?}; use a positive number")))
        };
        let weight = parts.next().map(|part| number("the weight", part)).transpose()?.unwrap_or(1.0);
        let mut table = LossTable { name: name.into(), weight, delta: None, range: None, file: None };
        match (name, parts.next().map(str::trim)) {
            ("huber", Some(delta)) => table.delta = Some(number("delta", delta)?),
            ("ssim", Some(range)) => table.range = Some(number("the range", range)?),
            ("perceptual", Some(file)) if !file.is_empty() => table.file = Some(file.into()),
            ("perceptual", _) => {
                let example = "name a file of features, such as perceptual:0.1:vgg.safetensors";
                return Err(Error::setting(format!("loss {text:?}: {example}")));
            }
            ("mse" | "mse_document" | "l1", Some(_)) => {
                return Err(Error::setting(format!("loss {text:?}: {name} takes only a weight, such as {name}:0.5")));
            }
            _ => {}
        }
        table.try_into()
    }
}

impl fmt::Display for WeightedLoss {
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

/// A loss as a table in `config.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LossTable {
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

impl From<WeightedLoss> for LossTable {
    fn from(WeightedLoss { kind, weight }: WeightedLoss) -> Self {
        let mut table = Self { name: kind.name().into(), weight, delta: None, range: None, file: None };
        match kind {
            LossKind::Point { measure: Measure::Huber { delta }, .. } => table.delta = Some(delta),
            LossKind::Point { .. } => {}
            LossKind::Ssim { range } => table.range = range,
            LossKind::Perceptual { file } => table.file = Some(file),
        }
        table
    }
}

impl TryFrom<LossTable> for WeightedLoss {
    type Error = Error;

    fn try_from(table: LossTable) -> Result<Self> {
        let LossTable { name, weight, mut delta, mut range, mut file } = table;
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
                let missing = || Error::setting("loss perceptual: `file` is missing; name a file of features");
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

/// Accepts a text or a list of tables.
impl<'de> Deserialize<'de> for LossMix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct TextOrTables;

        impl<'de> Visitor<'de> for TextOrTables {
            type Value = LossMix;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("losses as a text such as \"l1:1,ssim:0.1\", or a list of tables, each with a `name`")
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

        deserializer.deserialize_any(TextOrTables)
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
        let terms: Vec<String> = self.0.iter().map(WeightedLoss::to_string).collect();
        f.write_str(&terms.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Config;

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
            ("l1:1:3", "takes only a weight"),
            ("perceptual:0.1", "name a file"),
            ("huber:1:nan", "delta is \"nan\""),
            ("mse,l1,mse:2", "mse is listed twice"),
        ] {
            let message = text.parse::<LossMix>().unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn a_mix_is_stored_as_tables() {
        let files = ["/a,b/f.safetensors", "/a'b\"c/d:e f.safetensors", "C:\\f\\g.safetensors", "/\u{e4}/\u{65e5}"];
        for file in files {
            let perceptual = WeightedLoss { kind: LossKind::Perceptual { file: file.into() }, weight: 0.1 };
            let mix = LossMix::of(vec!["huber:1:0.5".parse().unwrap(), "ssim:2".parse().unwrap(), perceptual]).unwrap();
            let config = Config { loss: mix.clone(), ..Default::default() };
            assert_eq!(Config::parse_run(&config.to_toml()).unwrap().0.loss, mix, "{file}");
        }
        let message = |toml: &str| Config::parse_run(toml).unwrap_err().to_string();
        assert!(message("[[loss]]\nname = \"mse\"\ndelta = 2.0").contains("loss mse has no delta"));
        assert!(message("[[loss]]\nname = \"l1\"\nweight = -1.0").contains("weight is -1"));
        assert!(message("[[loss]]\nname = \"perceptual\"").contains("`file`"));
        assert!(message("loss = []").contains("name one, such as mse"));
    }
}
