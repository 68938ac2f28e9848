//! Convolutions of signals and images: forward, gradients, transposed.

pub(super) mod forward;
pub(super) mod gradient;
mod products;
pub(super) mod transpose;
pub(super) mod window;

pub use forward::Conv;
pub use transpose::ConvTranspose;
