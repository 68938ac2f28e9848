//! Networks at work: the reverse process that draws samples, and the forward process.

pub(crate) mod batches;
mod forward;
mod reverse;

pub use forward::{Frame, forward_process};
pub use reverse::reverse_process;
pub(crate) use reverse::{chunk_seed, draw};
