//! Quality of samples: as a set compared with data (sliced Wasserstein and Frechet distance, class distribution), or
//! pairwise against references (PSNR and SSIM) with classical filters as baselines.

mod classifier;
mod filters;
mod frechet;
mod pairs;
#[cfg(feature = "cli")]
mod sines;
mod sliced;

pub use classifier::{Classified, Share, classify};
pub use filters::{Denoised, Filtered, compare_denoised};
pub use frechet::frechet_distance;
#[cfg(feature = "cli")]
pub(crate) use pairs::decibels;
pub use pairs::{Pairs, compare_pairs, psnr, ssim};
#[cfg(feature = "cli")]
pub(crate) use pairs::{check_pairs, range_of};
#[cfg(feature = "cli")]
pub(crate) use sines::Sines;
pub use sliced::{DistanceReport, PROJECTIONS, evaluate, sliced_wasserstein};
