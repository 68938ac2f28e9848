//! Networks at work: the reverse process that draws samples, and the forward process.

#[cfg(feature = "files")]
pub(crate) mod batches;
mod forward;
mod reverse;

pub use forward::{Frame, forward_process};
pub use reverse::{reverse_process, starting_noise};
