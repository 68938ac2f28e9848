//! The reverse process, which generates samples with a network, and the forward process.

#[cfg(feature = "files")]
pub(crate) mod batches;
mod forward;
mod reverse;

pub use forward::{Frame, forward_process};
#[cfg(feature = "files")]
pub(crate) use reverse::{HISTORY, reverse_with_output};
pub use reverse::{reverse_process, reverse_process_within, starting_noise};
