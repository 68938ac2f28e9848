//! Data sets from files, folders and built-in generators, and files of samples.
//!
//! Signals are `[length]` or `[channels, length]`, points `[2]`, rows of tables `[columns]`, images `[channels, height,
//! width]`. Values stay in the units of the file (8-bit images in 0..1); [`Normalisation`] maps them to the units of a
//! network and back.
//!
//! # Example
//!
//! ```
//! use langevin::data::{Dataset, Normalisation};
//!
//! let path = std::env::temp_dir().join(format!("langevin-{}.csv", std::process::id()));
//! std::fs::write(&path, "x,y\n0.5,10\n1.5,30\n2.5,20\n")?;
//! let points = Dataset::load(path.to_str().unwrap(), 0)?; // also .npy, .wav, folders, "moons", ...
//! assert_eq!((points.len(), &points.shape[..]), (3, &[2][..]));
//! assert_eq!(points.sample(1), [1.5, 30.0]);
//! let normalisation = Normalisation::standard(&points)?;
//! let values = normalisation.apply(&points.values); // mean 0 and deviation 1 for each coordinate
//! assert!((values[0] + values[2] + values[4]).abs() < 1e-5);
//! assert!((normalisation.undo(&values)[3] - 30.0).abs() < 1e-4);
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod array;
mod audio;
mod columns;
mod conditions;
mod convert;
pub mod corrupt;
mod dataset;
mod description;
mod dialect;
mod files;
mod idx;
mod images;
mod joined;
mod kind;
mod labels;
mod mask;
pub mod noise_level;
mod normalise;
pub(crate) mod npy;
mod options;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod range;
mod raw;
mod recording;
#[cfg(feature = "remote")]
mod remote;
mod repair;
mod resize;
mod sounds;
mod source;
mod stored;
mod subset;
mod summary;
mod table;
mod toys;
mod values;

pub(crate) use address::without_secrets;
#[cfg(feature = "cli")]
pub(crate) use address::{is_address, text_without_secrets, word_without_secrets};
pub(crate) use columns::Grouping;
use columns::narrow;
pub use columns::{Categories, Columns};
pub use conditions::Conditions;
pub(crate) use conditions::{VECTORS, channels_and_places};
pub use convert::{ArrayOfSamples, ElementType, Written};
pub use dataset::Dataset;
use description::Origin;
pub use description::{ColumnSummary, Description, MOST_OUTLIERS, Note, Outlier};
pub use kind::Kind;
#[cfg(feature = "cli")]
pub(crate) use labels::is_table;
pub use labels::{Labels, MOST_CLASSES};
pub use mask::{MaskMix, MaskRule, Share};
pub(crate) use mask::{Places, read_masks};
pub use normalise::Normalisation;
pub use options::{Fit, Header, Missing, Place, ReadOptions};
#[cfg(feature = "cli")]
pub(crate) use output::check_apart;
pub(crate) use output::{SampleFile, SampleLayout};
#[cfg(all(feature = "parquet", feature = "cli"))]
pub(crate) use parquet::catches_panics;
#[cfg(feature = "cli")]
pub(crate) use recording::save_sound;
pub use recording::{Join, Recording};
pub(crate) use repair::without_options;
#[cfg(feature = "cli")]
pub(crate) use source::inside;
pub(crate) use source::sources;
use source::{first_bytes, open, sources_and_part};
pub use stored::{Watch, watch_reading};
pub(crate) use subset::Subset;
pub(crate) use summary::GroupSummary;
pub use toys::{TOYS, coastline, electrocardiograms, sine_waves, swiss_roll, two_circles, two_moons};
pub use values::Values;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Result;

    /// Writes samples like `plot::save`, which is in a higher layer.
    pub(super) fn save(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
        let (kind, columns) = (Kind::of(shape), &Columns::default());
        let layout = SampleLayout { kind, shape, columns };
        let mut file = SampleFile::create(path, layout, values.len() / shape.iter().product::<usize>())?.unwrap();
        file.write(values)?;
        file.finish()
    }

    /// The message of a load that must fail.
    pub(super) fn refusal(path: &Path) -> String {
        Dataset::load(path.to_str().unwrap(), 0).unwrap_err().to_string()
    }
}
