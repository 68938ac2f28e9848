//! Quality of samples: as a set compared with data (sliced Wasserstein and Frechet distance, class distribution), or
//! pairwise against references (PSNR and SSIM) with classical filters as baselines.

mod classifier;
mod filters;
mod frechet;
mod pairs;
mod sines;
mod sliced;

pub use classifier::{Classified, Share, classify};
pub use filters::{Denoised, Filtered, compare_denoised, gaussian_filter, median_filter};
pub use frechet::frechet_distance;
#[cfg(feature = "cli")]
pub(crate) use pairs::decibels;
pub use pairs::{Pairs, check_pairs, compare_pairs, psnr, range_of, ssim};
pub use sines::{Sines, sine_fit};
pub use sliced::{PROJECTIONS, Report, SPLITS, evaluate, sliced_wasserstein};
