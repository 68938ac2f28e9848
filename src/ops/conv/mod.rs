//! Convolutions of signals and images: forward, gradients, transposed.

mod direct;
mod forward;
mod gradient;
mod plus;
mod products;
mod transpose;
pub(super) mod window;
mod winograd;

pub use forward::Conv;
pub use transpose::ConvTranspose;

use super::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [forward::cases(), gradient::cases(), transpose::cases(), plus::cases()].concat()
}

pub(super) fn timed() -> Vec<Case> {
    [forward::timed(), gradient::timed(), transpose::timed()].concat()
}
