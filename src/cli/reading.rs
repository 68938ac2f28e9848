//! The options of all commands that read data.

use crate::data::{Dataset, Description, Fit, Header, Kind, Missing, ReadOptions};
use crate::{Error, Result};
use clap::Args;

use super::progress::show_reading;
use super::whole;

/// The heading of these options in `--help`.
pub const READING: &str = "Options for reading data";

/// How data are read.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = READING)]
pub struct ReadArgs {
    /// Kind of the samples: signals, points, images or table
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    #[command(flatten)]
    other: FileArgs,
}

/// How data are read by a command whose `--kind` is something else.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = READING)]
pub struct DataKindArgs {
    /// Kind of the samples: signals, points, images or table
    #[arg(long, value_name = "KIND")]
    data_kind: Option<Kind>,
    #[command(flatten)]
    other: FileArgs,
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = READING)]
struct FileArgs {
    /// Whether the first line of a table is a header: yes or no [default: decided by its content]
    #[arg(long, value_name = "YES|NO")]
    header: Option<Header>,
    /// Columns of a table to read, by name or by number from 1, in this order
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    columns: Vec<String>,
    /// Columns of a table to leave out, by name or by number from 1
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    drop_columns: Vec<String>,
    /// Columns of a table that are categories, by name or by number from 1: numeric codes such as 1, 2, 3
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    categories: Vec<String>,
    /// Missing values: drop leaves out their samples, mean replaces them by the mean of the column, keep makes them the gaps
    /// that a model fills (train --task complete)
    #[arg(long, value_name = "DROP|MEAN|KEEP")]
    missing: Option<Missing>,
    /// Clip values beyond 1.5 times the range of the middle 90% of their column or channel outside of this range
    #[arg(long)]
    clip_outliers: bool,
    /// Cut a recording with one row per time step into windows of N time steps
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    window: Option<usize>,
    /// Time steps from one window to the next [default: the length of a window]
    #[arg(long, value_name = "M", value_parser = whole::<usize>, allow_negative_numbers = true)]
    hop: Option<usize>,
    /// Scale pictures to N x N pixels
    #[arg(long, value_name = "N", value_parser = whole::<usize>, allow_negative_numbers = true)]
    size: Option<usize>,
    /// How a picture becomes square: crop, pad or stretch [default: crop]
    #[arg(long)]
    fit: Option<Fit>,
    /// Read pictures as grey images
    #[arg(long)]
    grey: bool,
}

impl ReadArgs {
    pub fn options(&self) -> ReadOptions {
        self.other.options(self.kind)
    }
}

impl DataKindArgs {
    /// Loads data and prints what was read.
    pub fn load(&self, spec: &str, seed: u64, json: bool) -> Result<Dataset> {
        self.load_by(Dataset::load_with, spec, seed, json)
    }

    /// [`load`](Self::load) with all time steps of a recording.
    pub fn load_whole(&self, spec: &str, seed: u64, json: bool) -> Result<Dataset> {
        self.load_by(Dataset::load_whole, spec, seed, json)
    }

    fn load_by(
        &self,
        load: impl Fn(&str, u64, &ReadOptions) -> Result<Dataset>,
        spec: &str,
        seed: u64,
        json: bool,
    ) -> Result<Dataset> {
        let named = |text: &str| text.replace("--kind ", "--data-kind ");
        refuse_gaps(&self.other.options(self.data_kind))?;
        show_reading(json);
        let data = load(spec, seed, &self.other.options(self.data_kind)).map_err(|e| match e {
            Error::Setting(text) => Error::Setting(named(&text)),
            other => other,
        })?;
        if !json {
            say!("{}", named(&shown(&data.describe())));
        }
        Ok(data)
    }
}

impl FileArgs {
    fn options(&self, kind: Option<Kind>) -> ReadOptions {
        let Self { header, columns, drop_columns, categories, missing, clip_outliers, window, hop, size, fit, grey } =
            self.clone();
        let label = None;
        // A blank after a comma is not a part of a name.
        let [columns, drop_columns, categories] =
            [columns, drop_columns, categories].map(|names| names.iter().map(|name| name.trim().to_string()).collect());
        ReadOptions {
            kind,
            header,
            columns,
            drop_columns,
            categories,
            label,
            missing,
            clip_outliers,
            window,
            hop,
            size,
            fit,
            grey,
            place: None,
        }
    }
}

/// Refuses to keep missing values in a command that needs all values.
pub fn refuse_gaps(options: &ReadOptions) -> Result<()> {
    match options.missing {
        Some(Missing::Keep) => Err(Error::setting(
            "--missing keep is for train --task complete, which fills gaps; use --missing drop or mean",
        )),
        _ => Ok(()),
    }
}

/// Prints what was read.
pub fn describe(data: &Dataset) {
    say!("{}", shown(&data.describe()));
}

/// The text of a description. Names from files are printed without control characters.
pub fn shown(description: &Description) -> String {
    let text = description.to_string();
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
