//! Plots: the loss curve, comparisons of real and generated samples, sheets of samples, values as colours.
//!
//! SVG files contain text, which the viewer renders in its own font; PNG files have short labels in a bitmap font.
//!
//! # Example
//!
//! ```
//! use langevin::plot::{Axis, Panel, panels};
//!
//! let wave = |rate: f64| (0..100).map(|i| (f64::from(i) / 50.0, (rate * f64::from(i)).sin())).collect();
//! let panel = Panel {
//!     title: "two waves".into(),
//!     x: Axis::linear("time in s"),
//!     y: Axis::linear("value"),
//!     curves: vec![("slow".into(), wave(0.1)), ("fast".into(), wave(0.3))],
//! };
//! let path = std::env::temp_dir().join(format!("langevin-{}.svg", std::process::id())); // or .png
//! panels(&path, &[panel])?;
//! assert!(std::fs::read_to_string(&path)?.contains("time in s"));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod axes;
#[cfg(feature = "cli")]
mod bands;
mod beside;
mod canvas;
mod contact_sheet;
mod curves;
mod evenly_spaced;
#[cfg(feature = "cli")]
mod film;
mod heat_map;
mod histograms;
mod output;
mod panels;
mod samples;
mod scale;
mod set;
mod sheet;
mod strip;

#[cfg(feature = "cli")]
pub(crate) use bands::{Completed, MOST_COMPLETED, completed_signals};
pub use beside::{compare, side_by_side};
#[cfg(feature = "cli")]
pub(crate) use beside::{compare_with, is_side_by_side, side_by_side_png};
pub use curves::{Curve, curves, loss_curve};
#[cfg(feature = "cli")]
pub(crate) use evenly_spaced::EvenlySpaced;
pub use evenly_spaced::evenly_spaced;
#[cfg(feature = "cli")]
pub(crate) use film::film;
pub use heat_map::{HeatMap, heat_map};
pub use output::save;
#[cfg(feature = "cli")]
pub(crate) use output::{
    Output, check_output, check_picture, check_recording_output, check_samples_output, numbered, save_as,
};
pub use panels::{Axis, LogCurve, Panel, log_log, panels};
pub use scale::Scale;
#[cfg(feature = "cli")]
pub(crate) use sheet::sheet_bytes;
#[cfg(feature = "cli")]
pub(crate) use strip::film_blocks;
pub use strip::film_strip;

#[cfg(test)]
mod tests;
