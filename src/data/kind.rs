//! The kinds of samples.

/// The kind of a sample.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Kind {
    /// `[length]` or `[channels, length]`: a curve, a window of audio or of several sensors. Each channel has its own scale.
    Signals,
    /// `[2]`: a point in the plane.
    Points,
    /// `[channels, height, width]`.
    Images,
    /// `[columns]`: a row of a table. Each column has its own scale.
    Table,
}

named!(Kind, "kind", Signals = "signals", Points = "points", Images = "images", Table = "table");

impl Kind {
    /// The kind of a sample of this shape, if nothing else is known: rank 3 is an image, `[2]` a point, everything else a
    /// signal.
    pub fn of(shape: &[usize]) -> Self {
        match shape {
            [_, _, _] => Kind::Images,
            [2] => Kind::Points,
            _ => Kind::Signals,
        }
    }

    /// The name of one sample of this kind in a message.
    pub(crate) fn one(self) -> &'static str {
        match self {
            Kind::Signals => "signal",
            Kind::Points => "point",
            Kind::Images => "image",
            Kind::Table => "row",
        }
    }

    /// The name of samples of this kind in a message.
    pub(crate) fn samples(self) -> &'static str {
        match self {
            Kind::Table => "rows of a table",
            other => other.name(),
        }
    }
}
