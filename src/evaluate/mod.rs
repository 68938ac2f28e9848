//! Quality of samples: as a set compared with data ([`evaluate`], Frechet distance, class distribution), or pairwise
//! against references (PSNR and SSIM) with classical filters as baselines.
//!
//! # Example
//!
//! ```
//! use langevin::data::{Dataset, two_moons};
//! use langevin::evaluate::{EvaluateOptions, Outcome, evaluate, psnr};
//!
//! let moons = |n, seed| Dataset::new("moons", [2], two_moons(n, seed));
//! let options = EvaluateOptions::default().permutations(99).projections(16);
//! let same = evaluate(&moons(150, 1)?, &moons(150, 2)?, &options)?;
//! println!("{same}"); // the table of `langevin evaluate`
//! let mut far = moons(150, 1)?;
//! far.values.iter_mut().for_each(|value| *value += 2.0);
//! let differs = evaluate(&far, &moons(150, 2)?, &options)?;
//! assert_eq!(differs.verdict.outcome, Outcome::ToldApart);
//! assert_eq!(psnr(&[0.0, 0.5], &[0.0, 0.4], 1.0)?.round(), 23.0);
//! # Ok::<(), langevin::Error>(())
//! ```

mod classifier;
mod classifier_test;
mod columns;
mod copies;
mod coverage;
mod energy;
mod ensemble;
mod evaluation;
mod filters;
mod frechet;
mod measure;
mod neighbours;
mod pairs;
mod pooled;
mod precision_recall;
mod scaling;
#[cfg(feature = "cli")]
mod sines;
mod sliced;
mod tails;

pub use classifier::{Classified, Share, classify};
pub use classifier_test::ClassifierTest;
pub use columns::{Column, Columns, Correlation};
pub use copies::Copies;
pub use ensemble::{
    IntervalCoverage, QuantileScores, calibrated_quantile, crps, interval_coverage, quantile_scores, quantiles,
};
pub use evaluation::{EvaluateOptions, Evaluation, Outcome, PERMUTATIONS, Verdict, evaluate};
pub use filters::{Denoised, Filtered, compare_denoised};
pub use frechet::frechet_distance;
pub use measure::Measure;
#[cfg(feature = "cli")]
pub(crate) use pairs::decibels;
pub use pairs::{Pairs, compare_pairs, psnr, ssim};
#[cfg(feature = "cli")]
pub(crate) use pairs::{check_pairs, range_of};
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use scaling::Scaling;
#[cfg(feature = "cli")]
pub(crate) use sines::Sines;
pub use sliced::{DistanceReport, PROJECTIONS, sliced_wasserstein};
