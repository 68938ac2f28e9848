//! How good samples are: as a set beside the data (sliced Wasserstein and Frechet distance), or one by one beside what
//! they should be (PSNR and SSIM).

mod frechet;
mod pairs;
mod sliced;

pub use frechet::frechet_distance;
pub use pairs::{Pairs, compare_pairs, psnr, ssim};
pub use sliced::{PROJECTIONS, Report, SPLITS, evaluate, sliced_wasserstein};
