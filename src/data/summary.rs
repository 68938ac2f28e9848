//! What is measured over all values of a data set, by parts.

use super::Grouping;

/// What the values of a column or channel have in common. Missing ones are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GroupSummary {
    /// The number of known values.
    pub known: f64,
    pub sum: f64,
    /// The first value, and the sums of the distances from it and of their squares: one pass gives the deviation, without the
    /// cancellation of squares of large values.
    first: f64,
    away: f64,
    squares: f64,
    pub low: f64,
    pub high: f64,
    /// Whether all of them are whole numbers.
    pub whole: bool,
    /// Whether float32 does not hold some of them.
    pub lossy: bool,
}

impl Default for GroupSummary {
    fn default() -> Self {
        let [known, sum, first, away, squares] = [0.0; 5];
        Self { known, sum, first, away, squares, low: f64::MAX, high: f64::MIN, whole: true, lossy: false }
    }
}

impl GroupSummary {
    /// Adds the next values.
    fn add(&mut self, values: impl Iterator<Item = f64>) {
        let mut values = values.filter(|value| !value.is_nan()).peekable();
        if let (true, Some(first)) = (self.is_empty(), values.peek()) {
            self.first = *first;
        }
        let (mut known, first) = (0_u64, self.first);
        let Self { mut sum, mut away, mut squares, mut low, mut high, mut whole, mut lossy, .. } = *self;
        values.for_each(|value| {
            known += 1;
            sum += value;
            away += value - first;
            squares += (value - first) * (value - first);
            low = if value < low { value } else { low };
            high = if value > high { value } else { high };
            // `fract` is slow, and most data are not whole.
            whole = whole && value.fract() == 0.0;
            lossy |= f64::from(value as f32) != value;
        });
        *self = Self { known: self.known + known as f64, sum, first, away, squares, low, high, whole, lossy };
    }

    /// Whether no value is known.
    pub fn is_empty(&self) -> bool {
        self.known == 0.0
    }

    pub fn mean(&self) -> f64 {
        self.sum / self.known
    }

    /// The standard deviation, of the population.
    pub fn deviation(&self) -> f64 {
        ((self.squares - self.away * (self.away / self.known)).max(0.0) / self.known).sqrt()
    }

    /// The smallest and largest value.
    pub fn ends(&self) -> [f32; 2] {
        [self.low as f32, self.high as f32]
    }
}

/// Adds a part of whole samples to the summary of each column or channel.
pub(super) fn summarise<T: Copy + Into<f64>>(groups: &mut [GroupSummary], grouping: Grouping, part: &[T]) {
    if let [summary] = groups {
        return summary.add(part.iter().map(|&value| value.into()));
    }
    for (group, summary) in groups.iter_mut().enumerate() {
        summary.add(grouping.values(group, part).map(Into::into));
    }
}

/// What is known about all values of stored data.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// The CRC-32 of the values as float32.
    pub checksum: u32,
    /// Whether values are missing.
    pub gaps: bool,
    /// The columns or channels.
    pub groups: Vec<GroupSummary>,
    /// The samples with the smallest and with the largest value of each column or channel.
    pub ends: Vec<[usize; 2]>,
}

impl Survey {
    /// Adds whole samples of `len` values, of which the first is sample `first`.
    pub fn add(&mut self, grouping: Grouping, part: &[f32], (first, len): (usize, usize)) {
        let before: Vec<[f64; 2]> = self.groups.iter().map(|group| [group.low, group.high]).collect();
        summarise(&mut self.groups, grouping, part);
        let found = |group: usize, end: f64| {
            let has = |sample: &[f32]| grouping.values(group, sample).any(|value| f64::from(value) == end);
            first + part.chunks_exact(len).position(has).expect("the new end is one of these values")
        };
        for (group, (now, before)) in self.groups.iter().zip(before).enumerate() {
            for (end, (now, before)) in [now.low, now.high].into_iter().zip(before).enumerate() {
                if now != before {
                    self.ends[group][end] = found(group, now);
                }
            }
        }
    }
}
