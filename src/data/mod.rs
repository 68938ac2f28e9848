//! Data sets from files, folders and built-in generators, and files of samples.
//!
//! Signals are `[length]` or `[channels, length]`, points `[2]`, rows of tables `[columns]`, images `[channels, height,
//! width]`. Values stay in the units of the file (8-bit images in 0..1); [`Normalisation`] maps them to the units of a
//! network and back.

mod array;
mod audio;
mod columns;
mod conditions;
pub mod corrupt;
mod dataset;
mod description;
mod dialect;
mod idx;
mod images;
mod kind;
mod labels;
mod mask;
pub mod noise_level;
mod normalise;
pub(crate) mod npy;
mod options;
mod output;
mod range;
mod raw;
mod recording;
mod repair;
mod resize;
mod sounds;
mod source;
mod subset;
mod table;
mod toys;

pub(crate) use columns::Grouping;
use columns::narrow;
pub use columns::{Categories, Columns};
pub use conditions::Conditions;
pub(crate) use conditions::channels_and_places;
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
pub use options::{Fit, Header, Missing, ReadOptions};
#[cfg(feature = "cli")]
pub(crate) use output::check_apart;
pub(crate) use output::{SampleFile, SampleLayout};
#[cfg(feature = "cli")]
pub(crate) use recording::save_sound;
pub use recording::{Join, Recording};
pub(crate) use repair::without_options;
pub(crate) use source::source;
use source::{file_and_part, first_bytes, open};
pub(crate) use subset::Subset;
pub use toys::{TOYS, coastline, electrocardiograms, sine_waves, swiss_roll, two_circles, two_moons};

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
