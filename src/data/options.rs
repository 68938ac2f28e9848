//! How data are read where a file allows several readings.

use serde::{Deserialize, Serialize};

use super::Kind;
use super::array::ArrayLayout;
use crate::memory::HostMemory;
use crate::{Error, Result};

/// How data are read. The defaults decide from the data, and the [`Description`](super::Description) says what they decided.
///
/// Fields may be added: construct it with `..ReadOptions::default()`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// The kind of the samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Whether the first line of a table is a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// The columns of a table to read, by name or by number from 1, in this order; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The columns of a table to leave out, by name or by number from 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop_columns: Vec<String>,
    /// The columns of a table that are read as categories, by name or by number from 1: numeric codes. Text is read as
    /// categories without this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// The column of a table with the class of each sample, which is not one of its values unless `columns` names it.
    #[serde(skip)]
    pub label: Option<String>,
    /// What to do with missing values; `None` refuses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// Clips values that are far from the others, see [`Description`](super::Description).
    #[serde(skip_serializing_if = "is_false")]
    pub clip_outliers: bool,
    /// Cuts a recording, which has one row per time step, into windows of this many time steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// The number of time steps from one window to the next; `None` for windows that do not overlap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<usize>,
    /// Scales pictures to this many pixels in width and height.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// How a picture becomes square.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
    /// Reads pictures as grey images.
    #[serde(skip_serializing_if = "is_false")]
    pub grey: bool,
    /// Where the values of arrays and pictures are while a model is trained; `None` for memory. The results do not depend on it.
    #[serde(rename = "data_from", skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Whether the first line of a table is a header.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Header {
    /// It contains the names of the columns.
    Yes,
    /// It is a row like the others.
    No,
}

named!(Header, "header", Yes = "yes" | "true", No = "no" | "false");

/// Where the values of arrays and pictures are while a model is trained.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Place {
    /// In memory, unless they would fill more than a quarter of it.
    Auto,
    /// In memory.
    Memory,
    /// In their files, from which each batch is read.
    Disk,
}

named!(Place, "place of the data", Auto = "auto", Memory = "memory", Disk = "disk");

/// What to do with missing values.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Missing {
    /// Leaves out samples with a missing value.
    Drop,
    /// Replaces a missing value by the mean of its column.
    Mean,
    /// Keeps a missing value as NaN, an unknown value of a model that completes samples.
    Keep,
}

named!(Missing, "treatment of missing values", Drop = "drop", Mean = "mean", Keep = "keep");

/// How a picture becomes square.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Fit {
    /// Cuts off the longer side at both ends.
    #[default]
    Crop,
    /// Adds black at both ends of the shorter side.
    Pad,
    /// Changes the proportions.
    Stretch,
}

named!(Fit, "fit", Crop = "crop", Pad = "pad", Stretch = "stretch");

/// The kind of a source of data, which decides which options apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Toy,
    Array,
    Table,
    Audio,
    Sounds,
    Pictures,
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Source::Toy => "built-in data sets",
            Source::Array => "arrays",
            Source::Table => "tables",
            Source::Audio => "audio files",
            Source::Sounds => "folders of audio files",
            Source::Pictures => "pictures",
            #[cfg(feature = "parquet")]
            Source::Parquet => "Parquet files",
        }
    }

    /// The options that apply.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Source::Toy => &["kind"],
            Source::Array => &["kind", "missing", "clip-outliers", "window", "hop", "data-from"],
            Source::Table => &[
                "kind",
                "header",
                "columns",
                "drop-columns",
                "categories",
                "missing",
                "clip-outliers",
                "window",
                "hop",
            ],
            Source::Audio => &["clip-outliers", "window", "hop"],
            Source::Sounds => &["window"],
            Source::Pictures => &["size", "fit", "grey", "data-from"],
            #[cfg(feature = "parquet")]
            Source::Parquet => &["kind", "columns", "drop-columns", "missing", "clip-outliers", "window", "hop"],
        }
    }
}

impl ReadOptions {
    /// Whether all options have their defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// These options, with those of `other` where it states them.
    #[must_use]
    pub fn overridden_by(&self, other: &Self) -> Self {
        let list = |mine: &Vec<String>, others: &Vec<String>| if others.is_empty() { mine } else { others }.clone();
        Self {
            kind: other.kind.or(self.kind),
            header: other.header.or(self.header),
            columns: list(&self.columns, &other.columns),
            drop_columns: list(&self.drop_columns, &other.drop_columns),
            categories: list(&self.categories, &other.categories),
            label: other.label.clone().or(self.label.clone()),
            missing: other.missing.or(self.missing),
            clip_outliers: other.clip_outliers || self.clip_outliers,
            window: other.window.or(self.window),
            hop: other.hop.or(self.hop),
            size: other.size.or(self.size),
            fit: other.fit.or(self.fit),
            grey: other.grey || self.grey,
            place: other.place.or(self.place),
        }
    }

    /// Whether the values of an array stay in their file.
    ///
    /// # Errors
    /// [`Error::Setting`] when they are to stay there and cannot.
    pub(super) fn stays_on_disk(&self, name: &str, layout: &ArrayLayout) -> Result<bool> {
        let obstacle = match self.missing {
            _ if layout.fortran => Some("an array in Fortran order"),
            _ if self.window.is_some() => Some("a recording that --window cuts"),
            _ if self.clip_outliers => Some("an array with --clip-outliers"),
            Some(Missing::Drop | Missing::Mean) => Some("an array with --missing drop or mean"),
            _ => None,
        };
        // Wider values are read into memory twice.
        let bytes = if layout.element.fits_f32() { 4 } else { 12 };
        let values = layout.shape.iter().fold(bytes, |product: u64, dim| product.saturating_mul(*dim));
        match (self.place, obstacle) {
            (Some(Place::Disk), Some(what)) => Err(Error::setting(format!(
                "{name}: {what} cannot be read from disk during the training; write the samples first with langevin convert, or \
                 omit --data-from disk"
            ))),
            (_, None) => Ok(self.streams(values)),
            _ => Ok(false),
        }
    }

    /// Whether values that could be read into this many bytes of memory, or from their files during the training, stay there.
    pub(super) fn streams(&self, bytes: u64) -> bool {
        match self.place {
            Some(Place::Disk) => true,
            Some(Place::Auto) => HostMemory::now().is_filled_by(bytes),
            Some(Place::Memory) | None => false,
        }
    }

    /// The names of the stated options.
    fn stated(&self) -> Vec<&'static str> {
        let all = [
            ("kind", self.kind.is_some()),
            ("header", self.header.is_some()),
            ("columns", !self.columns.is_empty()),
            ("drop-columns", !self.drop_columns.is_empty()),
            ("categories", !self.categories.is_empty()),
            // Nothing is missing in pictures and generated data, so that there is nothing to keep.
            ("missing", self.missing.is_some_and(|missing| missing != Missing::Keep)),
            ("clip-outliers", self.clip_outliers),
            ("window", self.window.is_some()),
            ("hop", self.hop.is_some()),
            ("size", self.size.is_some()),
            ("fit", self.fit.is_some()),
            ("grey", self.grey),
            ("data-from", self.place == Some(Place::Disk)),
        ];
        all.into_iter().filter(|(_, stated)| *stated).map(|(name, _)| name).collect()
    }

    /// Refuses options that have no effect on this source, and values that are out of range.
    pub(super) fn check(&self, name: &str, source: Source) -> Result<()> {
        if let Some(option) = self.stated().into_iter().find(|option| !source.takes().contains(option)) {
            let remedy = match option {
                "data-from" if source != Source::Toy => {
                    "omit it, or write a .npy file with langevin convert, which can stay on disk"
                }
                _ => "omit it",
            };
            return Err(Error::setting(format!("{name}: --{option} has no effect on {}; {remedy}", source.name())));
        }
        for (option, value) in [("window", self.window), ("hop", self.hop), ("size", self.size)] {
            if value == Some(0) {
                return Err(Error::setting(format!("--{option} 0; use 1 or more")));
            }
        }
        if self.hop.is_some() && self.window.is_none() && source != Source::Audio {
            return Err(Error::setting("--hop needs --window, the number of time steps in a window".to_string()));
        }
        if self.fit.is_some() && self.size.is_none() {
            return Err(Error::setting("--fit needs --size, the width and height of the images".to_string()));
        }
        Ok(())
    }

    /// The options that apply to this source; the others are reset.
    pub(super) fn applicable_to(&self, source: Source) -> Self {
        let takes = |option: &str| source.takes().contains(&option);
        let none = Self::default();
        Self {
            kind: self.kind.filter(|_| takes("kind")),
            header: self.header.filter(|_| takes("header")),
            columns: if takes("columns") { self.columns.clone() } else { none.columns },
            drop_columns: if takes("drop-columns") { self.drop_columns.clone() } else { none.drop_columns },
            categories: if takes("categories") { self.categories.clone() } else { none.categories },
            label: self.label.clone(),
            missing: self.missing.filter(|_| takes("missing")),
            clip_outliers: self.clip_outliers && takes("clip-outliers"),
            window: self.window.filter(|_| takes("window")),
            hop: self.hop.filter(|_| takes("hop")),
            size: self.size.filter(|_| takes("size")),
            fit: self.fit.filter(|_| takes("fit")),
            grey: self.grey && takes("grey"),
            place: self.place.filter(|_| takes("data-from")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_effect_are_refused() {
        let options = ReadOptions { size: Some(8), header: Some(Header::No), ..ReadOptions::default() };
        let message = options.check("a.csv", Source::Table).unwrap_err().to_string();
        assert_eq!(message, "a.csv: --size has no effect on tables; omit it");
        options.applicable_to(Source::Table).check("a.csv", Source::Table).unwrap();
        let missing = |how| ReadOptions { missing: Some(how), ..ReadOptions::default() };
        missing(Missing::Keep).check("photos", Source::Pictures).unwrap();
        assert!(missing(Missing::Mean).check("photos", Source::Pictures).is_err());
        let hop = ReadOptions { hop: Some(8), ..ReadOptions::default() };
        assert!(hop.check("a.csv", Source::Table).unwrap_err().to_string().contains("--window"));
    }

    #[test]
    fn options_are_stored_as_toml() {
        let options = ReadOptions {
            kind: Some(Kind::Table),
            columns: vec!["a".into(), "b c".into()],
            missing: Some(Missing::Mean),
            grey: true,
            ..ReadOptions::default()
        };
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<ReadOptions>(&text).unwrap(), options);
        assert_eq!(toml::to_string(&ReadOptions::default()).unwrap(), "");
    }
}
