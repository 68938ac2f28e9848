//! The one error type of the crate.

use std::path::Path;

/// What can go wrong. Shape, limit and shader errors appear while a graph is built or compiled; a running program can
/// only lose its device. Every message names the thing, what was expected, and what to do about it.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An op was given tensors whose shapes or types do not fit.
    #[error("{op}: {message}")]
    Shape {
        /// The op that refused.
        op: String,
        /// What was expected and what came.
        message: String,
    },
    /// A setting is out of range or unknown (a usage error: exit code 2).
    #[error("{0}")]
    Setting(String),
    /// Data, a file or a checkpoint is not what it should be.
    #[error("{0}")]
    Input(String),
    /// The operating system refused a file operation.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, as a verb ("cannot read").
        action: &'static str,
        /// The file or folder.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No adapter fits the request.
    #[error("{0}")]
    NoAdapter(String),
    /// The device cannot do what the program needs, however small it is.
    #[error("{0}")]
    Unsupported(String),
    /// The program needs more than the device offers.
    #[error("{message}")]
    Limit {
        /// What is needed, what there is, and what to do.
        message: String,
        /// Whether a smaller batch needs less of it.
        smaller_batch_helps: bool,
    },
    /// A shader did not compile or does not match its op.
    #[error("{0}")]
    Shader(String),
    /// The device is gone, or reported an error while running.
    #[error("{0}")]
    DeviceLost(String),
    /// A loss or tensor became NaN or infinite.
    #[error("{0}")]
    NonFinite(String),
    /// Stopped on request.
    #[error("{0}")]
    Interrupted(String),
}

/// Shorthand used throughout the crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn shape(op: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Shape { op: op.into(), message: message.into() }
    }

    pub(crate) fn setting(message: impl Into<String>) -> Self {
        Error::Setting(message.into())
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Error::Input(message.into())
    }

    pub(crate) fn limit(message: impl Into<String>, smaller_batch_helps: bool) -> Self {
        Error::Limit { message: message.into(), smaller_batch_helps }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.display().to_string(), source }
    }

    /// An unknown name, with the names there are.
    pub(crate) fn unknown(what: &str, got: &str, known: &[&str]) -> Self {
        Error::Setting(format!("unknown {what} {got:?}; there are: {}", known.join(", ")))
    }
}
