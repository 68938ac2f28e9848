//! The error type of the crate.

/// An error of the library. Shape, limit and shader errors occur while a graph is built or compiled. Running steps of a
/// compiled program can only fail with [`Error::DeviceLost`]; training, sampling and denoising also report values that
/// are not finite, and an interruption by the user. A message contains the name, the expected and the actual value, and what to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An op does not accept the shapes or element types of its tensors.
    #[error("{op}: {message}")]
    Shape {
        /// The name of the op or tensor.
        op: String,
        /// The expected and the actual shapes.
        message: String,
    },
    /// A setting is unknown or out of range. The program reports it as a usage error, with exit code 2.
    #[error("{0}")]
    Setting(String),
    /// The content of data, a file or a checkpoint is invalid.
    #[error("{0}")]
    Input(String),
    /// A file operation failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// The failed action, such as "cannot read".
        action: &'static str,
        /// The file or folder.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No adapter matches the request, or it cannot be opened.
    #[error("{0}")]
    NoAdapter(String),
    /// The device lacks a feature that the program needs, whatever its size.
    #[error("{0}")]
    Unsupported(String),
    /// The program exceeds a limit of the device.
    #[error("{message}")]
    Limit {
        /// The requirement, the limit, and what to do.
        message: String,
        /// Whether a smaller batch reduces the requirement.
        smaller_batch_helps: bool,
    },
    /// A shader does not compile, does not match its op, or computes incorrect values.
    #[error("{0}")]
    Shader(String),
    /// The device was lost, or reported an error while running.
    #[error("{0}")]
    DeviceLost(String),
    /// A loss or another value became NaN or infinite.
    #[error("{0}")]
    NonFinite(String),
    /// The operation was interrupted by the user.
    #[error("{0}")]
    Interrupted(String),
}

/// A result with the error type of the crate.
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

    /// An unknown name, with all known names and the one that may be meant.
    pub(crate) fn unknown(what: &str, got: &str, known: &[&str]) -> Self {
        let meant = nearest(got, known.iter().copied()).map(|name| format!("; did you mean {name}?"));
        let known = known.join(", ");
        Error::Setting(format!("unknown {what} {got:?}; there are: {known}{}", meant.unwrap_or_default()))
    }
}

/// The known name that is nearest to a misspelt one, if one is near: about a third of its letters may differ.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.chars().count().div_ceil(3)).then_some(known)
}

/// The least number of letters to insert, remove or replace to turn one text into another (Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_have_a_nearest_one() {
        let known = ["linear", "cosine", "sigmoid"];
        let nearest = |name| nearest(name, known);
        assert_eq!(
            (nearest("cosin"), nearest("Sigmiod"), nearest("quadratic")),
            (Some("cosine"), Some("sigmoid"), None)
        );
        assert_eq!([distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")], [3, 3, 0]);
    }
}
