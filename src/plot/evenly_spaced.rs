//! Which samples of a data set are shown.

use crate::data::{Dataset, Kind};

/// The samples of a data set to show: all points, or `count` evenly spaced signals or images.
pub fn evenly_spaced(data: &Dataset, count: usize) -> Vec<f32> {
    let mut spread = EvenlySpaced::of(data, count);
    spread.take(&data.values);
    spread.values()
}

/// Collects the samples of [`evenly_spaced`] from a data set that is computed part by part.
pub(crate) struct EvenlySpaced {
    sample_len: usize,
    /// The total number of samples, and the number to show.
    all: usize,
    shown: usize,
    /// The number of samples so far, and the values of those to show.
    seen: usize,
    values: Vec<f32>,
}

impl EvenlySpaced {
    /// For a data set of the size and shape of `like`.
    pub fn of(like: &Dataset, count: usize) -> Self {
        let shown = if like.kind() == Kind::Points { like.len() } else { count.min(like.len()) };
        Self { sample_len: like.sample_len(), all: like.len(), shown, seen: 0, values: Vec::new() }
    }

    /// Adds the next samples.
    pub fn take(&mut self, part: &[f32]) {
        for sample in part.chunks_exact(self.sample_len) {
            let next = self.values.len() / self.sample_len;
            if next < self.shown && self.seen == next * self.all / self.shown {
                self.values.extend_from_slice(sample);
            }
            self.seen += 1;
        }
    }

    /// The samples to show.
    pub fn values(self) -> Vec<f32> {
        self.values
    }
}
