//! Masks of known values: by random rules, or from a file.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::{is_address, without_secrets};
use super::{Columns, Dataset, Kind, ReadOptions};
use crate::error::{Error, Result};
use crate::io::extension;
use crate::numeric::random::Clock;
use crate::ops::{self, Mask};
use crate::text::{count, exact};

/// Which values are hidden, as a list of rules separated by commas: each sample takes one of them at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MaskMix(Vec<MaskRule>);

stands_as_text!(MaskMix);

/// A rule for hiding values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MaskRule {
    /// `point:0.2`: single places.
    Point(Share),
    /// `block:0.3`: neighbouring places, of images a rectangle with the proportions of the image.
    Block(Share),
    /// `future:0.5`: the last places of a signal, the last columns of a table or an image.
    Future(Share),
    /// A file of masks, 1 for known values and 0 for hidden ones.
    File(String),
}

/// The share of the places that is hidden: between two limits, uniformly distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The smallest share.
    pub low: f64,
    /// The largest share.
    pub high: f64,
}

/// How rules are written, for messages.
const FORMS: &str = "point:0.2, block:0.3, future:0.5, a range such as block:0.1-0.5, or a file of masks (.npy, .csv)";

/// The file formats of masks.
const FILES: [&str; 5] = ["npy", "npz", "csv", "tsv", "gz"];

impl FromStr for Share {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse::<f64>().map_err(drop);
        let (low, high) = (number(low)?, number(high)?);
        (low > 0.0 && low <= high && high <= 1.0).then_some(Self { low, high }).ok_or(())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, high } = self;
        if low == high { f.write_str(&exact(*low)) } else { write!(f, "{}-{}", exact(*low), exact(*high)) }
    }
}

impl FromStr for MaskRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_file = |path: &str| FILES.contains(&extension(Path::new(path)).as_str());
        let path = text.split('[').next().unwrap_or(text);
        // At an address, in an array of an archive, or in a group of a table.
        if is_address(text) || is_file(path) || path.rsplit_once(':').is_some_and(|(file, _)| is_file(file)) {
            return Ok(Self::File(text.into()));
        }
        let (name, share) = text.split_once(':').unwrap_or((text, ""));
        let rule = match name {
            "point" => Self::Point,
            "block" => Self::Block,
            "future" => Self::Future,
            _ => return Err(Error::setting(format!("unknown mask {text:?}; use {FORMS}"))),
        };
        share.parse().map(rule).map_err(|()| {
            Error::setting(format!(
                "mask {text:?}: the share of hidden values is {share:?}; use a number above 0 and up to 1, such as {name}:0.3, \
                 or a range such as {name}:0.1-0.5"
            ))
        })
    }
}

impl fmt::Display for MaskRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Point(share) => write!(f, "point:{share}"),
            Self::Block(share) => write!(f, "block:{share}"),
            Self::Future(share) => write!(f, "future:{share}"),
            Self::File(file) => f.write_str(file),
        }
    }
}

impl FromStr for MaskMix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rules: Vec<MaskRule> = text.split(',').map(|rule| rule.trim().parse()).collect::<Result<_>>()?;
        match rules.iter().filter(|rule| matches!(rule, MaskRule::File(_))).count() {
            0 | 1 => Ok(Self(rules)),
            n => Err(Error::setting(format!("{n} files of masks; join them into one"))),
        }
    }
}

impl fmt::Display for MaskMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<String> = self.0.iter().map(MaskRule::to_string).collect();
        f.write_str(&rules.join(","))
    }
}

impl Default for MaskMix {
    /// All kinds of gaps, from small ones to most of a sample.
    fn default() -> Self {
        let share = |low, high| Share { low, high };
        Self(vec![
            MaskRule::Block(share(0.1, 0.6)),
            MaskRule::Point(share(0.1, 0.9)),
            MaskRule::Future(share(0.1, 0.9)),
        ])
    }
}

impl MaskMix {
    /// The file of masks.
    pub(crate) fn file(&self) -> Option<&str> {
        self.0.iter().find_map(|rule| match rule {
            MaskRule::File(file) => Some(file.as_str()),
            _ => None,
        })
    }

    /// The rules as they are shown: without the password and the signature of an address.
    pub(crate) fn without_secrets(&self) -> Self {
        let rules = self.0.iter().map(|rule| match rule {
            MaskRule::File(file) => MaskRule::File(without_secrets(file)),
            rule => rule.clone(),
        });
        Self(rules.collect())
    }

    /// The same rules with the file of `other`, which may have been moved.
    pub(crate) fn with_file_of(&self, other: Option<&Self>) -> Self {
        let rules = self.0.iter().map(|rule| match (rule, other.and_then(Self::file)) {
            (MaskRule::File(_), Some(file)) => MaskRule::File(file.into()),
            _ => rule.clone(),
        });
        Self(rules.collect())
    }

    /// The rules as the op [`Mask`] reads them. A block of an image has the square root of the share in both directions.
    pub(crate) fn table(&self, places: &Places) -> Vec<u32> {
        let word = |share: f64| (share * 2f64.powi(32)).min(f64::from(u32::MAX)) as u32;
        let side = |share: f64| if places.size[0] > 1 { share.sqrt() } else { share };
        let row = |rule: &MaskRule| match rule {
            MaskRule::Point(Share { low, high }) => [ops::POINT, word(*low), word(*high)],
            MaskRule::Block(Share { low, high }) => [ops::BLOCK, word(side(*low)), word(side(*high))],
            MaskRule::Future(Share { low, high }) => [ops::FUTURE, word(*low), word(*high)],
            MaskRule::File(_) => [ops::POOL, 0, 0],
        };
        self.0.iter().flat_map(row).collect()
    }

    /// Hides values of `data`: they become NaN. The masks of a file are those of the samples, in their order, or one for
    /// all. The random numbers of a sample depend only on `seed` and its index.
    ///
    /// # Errors
    /// When the file cannot be read or does not fit the data, or it is one of several rules.
    pub fn hide(&self, data: &Dataset, seed: u64) -> Result<Dataset> {
        if let Some(file) = self.file() {
            let mut values = data.values.to_vec();
            if self.0.len() > 1 {
                return Err(Error::setting(format!(
                    "{}: a file of masks cannot be mixed with rules here",
                    self.without_secrets()
                )));
            }
            let masks = read_masks(file, data)?;
            let n = masks.len();
            if n != 1 && n != data.len() {
                return Err(Error::input(format!(
                    "{}: {} for {} of {}; use one for each sample, or one for all",
                    without_secrets(file),
                    count(n, "mask"),
                    count(data.len(), "sample"),
                    data.name
                )));
            }
            for (value, known) in values.iter_mut().zip(masks.values.iter().cycle()) {
                *value = if *known > 0.0 { *value } else { f32::NAN };
            }
            return data.with_gaps(data.name.clone(), values);
        }
        self.hide_at_random(data, seed)
    }

    /// Hides values of `data` as in training: a sample gets any of the masks of a file, which are those of the conditions of
    /// the data.
    ///
    /// # Errors
    /// When a value is infinite.
    pub(crate) fn hide_at_random(&self, data: &Dataset, seed: u64) -> Result<Dataset> {
        let (len, mut values) = (data.sample_len(), data.values.to_vec());
        let places = Places::of(data.kind(), &data.shape, &data.columns);
        let pool = data.conditions().masks.as_ref().map_or(&[][..], |masks| &masks.values);
        let op = Mask { stream: 0, size: places.size, known: false, pool: !pool.is_empty() };
        let (rules, mut m) = (self.table(&places), vec![0.0f32; len]);
        for (i, sample) in values.chunks_exact_mut(len).enumerate() {
            op.row(Clock { seed, step: 0 }, i, &rules, &places.of, pool, &mut m);
            sample.iter_mut().zip(&m).filter(|(_, m)| **m == 0.0).for_each(|(value, _)| *value = f32::NAN);
        }
        data.with_gaps(data.name.clone(), values)
    }
}

/// Reads masks for samples like those of `data`: an array of the shape of the samples, or of their places without channels.
///
/// # Errors
/// [`Error::Input`] when the shape does not fit, or there are values other than 0 and 1.
pub(crate) fn read_masks(file: &str, data: &Dataset) -> Result<Dataset> {
    let read = Dataset::load_with(file, 0, &ReadOptions::default())?;
    let file = without_secrets(file);
    let places = Places::of(data.kind(), &data.shape, &data.columns);
    let (len, [h, w]) = (read.sample_len(), places.size);
    let largest = read.values.iter().fold(0f32, |most, v| most.max(*v));
    if let Some(other) = read.values.iter().find(|v| **v != 0.0 && **v != largest) {
        return Err(Error::input(format!(
            "{file}: a mask has the value {other}; use 1 for known values and 0 for hidden ones"
        )));
    }
    let each = |mask: &[f32]| -> Vec<f32> {
        let at = |i: usize| if len == data.sample_len() { i } else { places.of[i] as usize };
        (0..data.sample_len()).map(|i| f32::from(u8::from(mask[at(i)] > 0.0))).collect()
    };
    if len != data.sample_len() && len != h * w {
        return Err(Error::input(format!(
            "{file}: masks of shape {:?} for samples of shape {:?}; use the same shape, or {} for each mask",
            read.shape,
            data.shape,
            count(h * w, "value")
        )));
    }
    Dataset::new(file, data.shape.clone(), read.values.chunks_exact(len).flat_map(each).collect())
}

/// The places of a sample, on which rules act: times, columns of a table, or pixels. The channels of a place are hidden
/// together, and so are the categories of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Places {
    /// Height, 1 but for images, and width.
    pub size: [usize; 2],
    /// The place of each value, row by row.
    pub of: Vec<u32>,
}

impl Places {
    pub fn of(kind: Kind, shape: &[usize], columns: &Columns) -> Self {
        let len: usize = shape.iter().product();
        let size = match (kind, shape) {
            (Kind::Table | Kind::Points, _) => {
                let mut of = Vec::with_capacity(len);
                let mut next = 0;
                for i in 0..len {
                    next += u32::from(i > 0 && columns.categories_at(i).is_none_or(|c| c.first == i));
                    of.push(next);
                }
                return Self { size: [1, next as usize + 1], of };
            }
            (_, &[_, h, w]) => [h, w],
            (_, shape) => [1, shape.last().copied().unwrap_or(1)],
        };
        Self { size, of: (0..len).map(|i| (i % (size[0] * size[1])) as u32).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Categories;
    use super::*;

    #[test]
    fn rules_go_both_ways_and_mistakes_are_named() {
        for text in ["point:0.2", "block:0.1-0.5,future:0.5", "a/masks.npy[0:5],point:1"] {
            assert_eq!(text.parse::<MaskMix>().unwrap().to_string(), text);
        }
        assert_eq!(MaskMix::default().to_string().parse::<MaskMix>().unwrap(), MaskMix::default());
        for (text, cause) in [
            ("blok:0.3", "unknown mask \"blok:0.3\"; use point:0.2"),
            ("block", "the share of hidden values is \"\""),
            ("block:1.5", "up to 1, such as block:0.3"),
            ("point:0", "above 0"),
            ("future:0.5-0.2", "a range such as future:0.1-0.5"),
            ("a.npy,b.npy", "2 files of masks"),
        ] {
            let message = text.parse::<MaskMix>().unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn an_address_is_a_file_and_shown_without_secrets() {
        let mix: MaskMix = "block:0.3,https://me:secret@h/m.npy?sig=secret".parse().unwrap();
        assert_eq!(mix.file(), Some("https://me:secret@h/m.npy?sig=secret"));
        assert_eq!(mix.without_secrets().to_string(), "block:0.3,https://h/m.npy");
        let message = mix.hide(&Dataset::new("d", [1], vec![0.0; 2]).unwrap(), 0).unwrap_err().to_string();
        assert!(
            message.contains("https://h/m.npy: a file of masks cannot") && !message.contains("secret"),
            "{message}"
        );
    }

    #[test]
    fn categories_and_channels_share_a_place() {
        let categories = vec![Categories { name: "c".into(), first: 1, values: vec!["a".into(), "b".into()] }];
        let columns = Columns { categories, ..Columns::default() };
        let places = Places::of(Kind::Table, &[4], &columns);
        assert_eq!((places.size, places.of), ([1, 3], vec![0, 1, 1, 2]));
        let places = Places::of(Kind::Images, &[2, 1, 3], &Columns::default());
        assert_eq!((places.size, places.of), ([1, 3], vec![0, 1, 2, 0, 1, 2]));
        assert_eq!(Places::of(Kind::Signals, &[2, 5], &Columns::default()).size, [1, 5]);
    }

    #[test]
    fn hidden_values_are_nan_and_the_others_are_kept() {
        let data = Dataset::new("d", [10], (0..40).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        let hidden = "future:0.3".parse::<MaskMix>().unwrap().hide(&data, 7).unwrap();
        for (i, (got, value)) in hidden.values.iter().zip(&data.values).enumerate() {
            assert!(if i % 10 >= 7 { got.is_nan() } else { got == value });
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.npy");
        let spec = path.to_str().unwrap();
        super::super::tests::save(&path, &[10], &[1.0, 0.0].repeat(5)).unwrap();
        let hidden = spec.parse::<MaskMix>().unwrap().hide(&data, 7).unwrap();
        assert!(hidden.values.iter().enumerate().all(|(i, v)| v.is_nan() == (i % 2 == 1)));
        super::super::tests::save(&path, &[10], &[1.0, 0.5].repeat(5)).unwrap();
        let message = spec.parse::<MaskMix>().unwrap().hide(&data, 7).unwrap_err().to_string();
        assert!(message.contains("the value 0.5"), "{message}");
        super::super::tests::save(&path, &[5], &[1.0, 0.0].repeat(5)).unwrap();
        let message = spec.parse::<MaskMix>().unwrap().hide(&data, 7).unwrap_err().to_string();
        assert!(message.contains("masks of shape [5] for samples of shape [10]"), "{message}");
    }
}
