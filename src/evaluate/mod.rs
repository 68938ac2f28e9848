//! How good samples are: as a set beside the data (sliced Wasserstein and Frechet distance), or one by one beside what
//! they should be (PSNR and SSIM), and beside what classical filters reach.

mod filters;
mod frechet;
mod pairs;
mod sliced;

pub use filters::{Denoised, Filtered, compare_denoised, gaussian_filter, median_filter};
pub use frechet::frechet_distance;
pub use pairs::{Pairs, compare_pairs, psnr, ssim};
pub use sliced::{PROJECTIONS, Report, SPLITS, evaluate, sliced_wasserstein};
