//! Missing values and outliers.

use std::collections::HashSet;

use super::options::Missing;
use super::raw::Raw;
use super::{Columns, Grouping, Kind};
use crate::text::{count, short};
use crate::{Error, Result};

/// The number of values from which quantiles are computed.
const QUANTILE_VALUES: usize = 20_000;

/// The smallest number of values that have quantiles.
const FEWEST: usize = 20;

/// Values are clipped where their distance from the middle 90% is more than this many times its range. For a normal
/// distribution, the limits are at 6.6 standard deviations.
const CLIP: f64 = 1.5;

/// The middle 90% of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Middle {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Middle {
    /// The quantiles of at least 20 finite values, of which 90% are not equal.
    pub fn of(values: impl Iterator<Item = f64>, n: usize) -> Option<Self> {
        let step = n.div_ceil(QUANTILE_VALUES).max(1);
        let mut some: Vec<f64> = values.step_by(step).filter(|v| v.is_finite()).collect();
        some.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| some[((some.len() - 1) as f64 * part).round() as usize];
        let middle = (some.len() >= FEWEST).then(|| Self { low: at(0.05), median: at(0.5), high: at(0.95) });
        middle.filter(|middle| middle.range() > 0.0)
    }

    /// The range of the middle 90%.
    pub fn range(&self) -> f64 {
        self.high - self.low
    }
}

/// What to do about missing values, at the end of a message.
pub(super) const REMEDIES: [&str; 2] = [
    "; --missing drop leaves out such samples, --missing mean uses the mean of the column",
    "; --missing drop leaves out such rows, --missing mean uses the mean of the column, or its most frequent category",
];

/// The error of data that are read without options: it recommends none.
pub(crate) fn without_options(e: Error) -> Error {
    match e {
        Error::Input(text) => Error::Input(match REMEDIES.iter().find(|remedy| text.ends_with(**remedy)) {
            Some(remedy) => {
                text.replace(remedy, "; fill in such values, or leave out these samples and their conditions")
            }
            None => text,
        }),
        other => other,
    }
}

/// Where values are missing.
struct MissingValues {
    /// Their indices.
    places: Vec<usize>,
    /// The indices of the samples.
    samples: Vec<usize>,
    /// The number of values of a sample.
    len: usize,
}

impl MissingValues {
    fn of(raw: &Raw, shape: &[usize]) -> Option<Self> {
        let len = shape.iter().product();
        let places: Vec<usize> = (0..raw.values.len()).filter(|&i| raw.values.get(i).is_nan()).collect();
        let mut samples: Vec<usize> = places.iter().map(|i| i / len).collect();
        samples.dedup();
        (!places.is_empty()).then_some(Self { places, samples, len })
    }

    fn values(&self) -> String {
        count(self.places.len(), "missing value")
    }

    fn affected(&self) -> String {
        count(self.samples.len(), "sample")
    }

    /// The error if nothing is to be done about them.
    fn refusal(&self, raw: &Raw, kind: Kind, shape: &[usize]) -> Error {
        let (first, groups) = (self.places[0], Grouping::of(kind, shape));
        let column = if groups.count == 1 { String::new() } else { format!(", {}", raw.title(kind, groups, first)) };
        Error::input(format!(
            "{}: {} in {} of {}; the first: sample {} has NaN at element {} (both counted from 0){column}{}",
            raw.name,
            self.values(),
            self.affected(),
            raw.dims[0],
            first / self.len,
            first % self.len,
            REMEDIES[0]
        ))
    }
}

impl Raw {
    /// Leaves out samples with missing values (NaN), or fills them.
    pub fn fill_missing(&mut self, kind: Kind, shape: &[usize], how: Option<Missing>) -> Result<()> {
        let Some(missing) = MissingValues::of(self, shape) else {
            // A table has replaced its missing categories. Keeping them is the default where they are filled.
            if how.is_some_and(|how| how != Missing::Keep) && !self.origin.replaced {
                self.origin.note("there are no missing values, so --missing changes nothing");
            }
            return Ok(());
        };
        match how {
            None => Err(missing.refusal(self, kind, shape)),
            Some(Missing::Keep) => {
                let text = format!("{} in {} of {} are unknown", missing.values(), missing.affected(), self.dims[0]);
                self.origin.choice(text, "--missing drop, or --missing mean");
                Ok(())
            }
            Some(Missing::Drop) => self.leave_out(&missing),
            Some(Missing::Mean) => self.fill_with_means(&missing, kind, shape),
        }
    }

    /// Leaves out samples with missing values.
    fn leave_out(&mut self, missing: &MissingValues) -> Result<()> {
        // Without some of its windows, it cannot be put together again.
        if self.origin.recording.take().is_some_and(|recording| recording.whole) {
            return Err(Error::setting(format!(
                "{}: {}; --missing drop leaves out parts of the recording, which is written as a whole; use --missing mean",
                self.name,
                missing.values()
            )));
        }
        let (n, len) = (self.dims[0], missing.len);
        let drop: HashSet<usize> = missing.samples.iter().copied().collect();
        let kept: Vec<usize> = (0..n).filter(|sample| !drop.contains(sample)).collect();
        if kept.is_empty() {
            return Err(Error::input(format!(
                "{}: every sample has a missing value; use --missing mean, or leave out columns",
                self.name
            )));
        }
        self.values = self.values.at(kept.iter().flat_map(|sample| sample * len..(sample + 1) * len));
        self.dims[0] = kept.len();
        self.origin
            .choice(format!("{} of {n} with {} are left out", missing.affected(), missing.values()), "--missing mean");
        self.origin.keep(n, kept);
        Ok(())
    }

    /// Replaces missing values by the mean of their column or channel.
    fn fill_with_means(&mut self, missing: &MissingValues, kind: Kind, shape: &[usize]) -> Result<()> {
        let groups = Grouping::of(kind, shape);
        let mut sums = vec![(0.0, 0u64); groups.count];
        for i in 0..self.values.len() {
            let value = self.values.get(i);
            if value.is_finite() {
                let (sum, n) = &mut sums[groups.at(i)];
                (*sum, *n) = (*sum + value, *n + 1);
            }
        }
        for &i in &missing.places {
            let (sum, n) = sums[groups.at(i)];
            if n == 0 {
                return Err(Error::input(format!(
                    "{}: {} has no value at all; leave it out",
                    self.name,
                    self.title(kind, groups, i)
                )));
            }
            self.values.set(i, sum / n as f64);
        }
        let of = match (groups.count, kind) {
            (1, _) => "all values",
            (_, Kind::Signals) => "their channel",
            _ => "their column",
        };
        let text = format!(
            "{} in {} of {} are replaced by the mean of {of}",
            missing.values(),
            missing.affected(),
            self.dims[0]
        );
        self.origin.choice(text, "--missing drop");
        Ok(())
    }

    /// The column or channel of value `i`.
    fn title(&self, kind: Kind, groups: Grouping, i: usize) -> String {
        Columns { names: self.names.clone(), ..Columns::default() }.title(kind, groups.at(i))
    }

    /// Clips the values of each column or channel that are far from the others.
    pub fn clip_outliers(&mut self, kind: Kind, shape: &[usize]) {
        let groups = Grouping::of(kind, shape);
        let (n, len) = (self.values.len(), groups.count * groups.repeat);
        let columns = Columns { names: self.names.clone(), ..Columns::default() };
        let (mut clipped, mut samples, mut limits) = (0, HashSet::new(), Vec::new());
        for group in 0..groups.count {
            let each = || {
                (0..n / len)
                    .flat_map(|i| (0..groups.repeat).map(move |j| (i * groups.count + group) * groups.repeat + j))
            };
            let Some(middle) = Middle::of(each().map(|i| self.values.get(i)), n / groups.count) else { continue };
            let [mut low, mut high] = [middle.low - CLIP * middle.range(), middle.high + CLIP * middle.range()];
            // Whole numbers stay whole.
            if each().all(|i| self.values.get(i).fract() == 0.0) {
                (low, high) = (low.ceil(), high.floor());
            }
            let before = clipped;
            for i in each() {
                let value = self.values.get(i);
                if value < low || value > high {
                    self.values.set(i, value.clamp(low, high));
                    clipped += 1;
                    samples.insert(i / len);
                }
            }
            if clipped > before {
                let of = if groups.count > 1 { format!("{}: ", columns.title(kind, group)) } else { String::new() };
                limits.push(format!("{of}{} to {}", short(low), short(high)));
            }
        }
        const MOST: usize = 8;
        let more = if limits.len() > MOST { ", ..." } else { "" };
        limits.truncate(MOST);
        let within = if limits.is_empty() { String::new() } else { format!(" ({}{more})", limits.join(", ")) };
        if clipped == 0 {
            return self.origin.note("there are no outliers to clip");
        }
        self.origin.note(format!(
            "{} in {} clipped to within {CLIP} times the range of the middle 90% outside of this range{within}",
            count(clipped, "value"),
            count(samples.len(), "sample"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::tests::raw;
    use super::super::{Dataset, ReadOptions};
    use super::*;

    #[test]
    fn missing_values_are_refused_left_out_or_filled() {
        let values = vec![1.0, 10.0, 2.0, f64::NAN, 3.0, 30.0];
        let read = |missing| {
            let options = ReadOptions { missing, kind: Some(Kind::Table), ..ReadOptions::default() };
            raw(&[3, 2], values.clone()).finish_for(&options, false)
        };
        let message = read(None).unwrap_err().to_string();
        assert!(
            message.contains("1 missing value in 1 sample of 3") && message.contains("--missing drop"),
            "{message}"
        );
        assert!(message.contains("sample 1 has NaN at element 1 (both counted from 0), column 2"), "{message}");
        assert_eq!(read(Some(Missing::Drop)).unwrap().values, [1.0, 10.0, 3.0, 30.0]);
        assert_eq!(read(Some(Missing::Mean)).unwrap().values, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    }

    fn clipped(shape: &[usize], kind: Kind, values: Vec<f64>) -> Dataset {
        let n = values.len() / shape.iter().product::<usize>();
        let options = ReadOptions { kind: Some(kind), clip_outliers: true, ..ReadOptions::default() };
        raw(&[&[n], shape].concat(), values).finish_for(&options, false).unwrap()
    }

    #[test]
    fn outliers_are_clipped_and_counted() {
        // Values in -1..1; the middle 90% are within 0.99.
        let mut values: Vec<f64> = (0..4000).map(|i| (f64::from(i) * 0.7).sin()).collect();
        assert!(clipped(&[8], Kind::Signals, values.clone()).origin.notes[0].text.starts_with("there are no outliers"));
        values[8 * 7..8 * 8].iter_mut().for_each(|v| *v *= 1e4);
        values[3] = -1e6;
        let data = clipped(&[8], Kind::Signals, values.clone());
        let largest = data.values.iter().fold(0f32, |most, v| v.abs().max(most));
        assert!((3.8..4.0).contains(&largest), "{largest}");
        assert!((3.8..4.0).contains(&-data.values[3]) && data.values[4] == values[4] as f32, "{:?}", &data.values[..5]);
        assert!(data.origin.notes[0].text.starts_with("9 values in 2 samples clipped"), "{:?}", data.origin.notes);
        assert!(data.describe().outliers.is_empty());
    }

    #[test]
    fn columns_have_their_own_limits() {
        // A whole number, a column of zeros with some ones, and a spike.
        let row = |i: usize| {
            [(i % 10) as f64, f64::from(u8::from(i.is_multiple_of(100))), if i == 5 { 1e9 } else { i as f64 / 1e3 }]
        };
        let data = clipped(&[3], Kind::Table, (0..1000).flat_map(row).collect());
        assert!(data.values.chunks(3).all(|row| row[0] <= 9.0 && [0.0, 1.0].contains(&row[1]) && row[2] < 2.4));
        assert!(data.origin.notes[0].text.starts_with("1 value in 1 sample clipped"), "{:?}", data.origin.notes);
        assert!(
            data.origin.notes[0].text.contains("column 3 (counted from 1): -1.297 to 2.298"),
            "{:?}",
            data.origin.notes
        );
        let mut whole: Vec<f64> = (0..300).map(|i| f64::from(i % 11)).collect();
        whole[4] = 1e6;
        let data = clipped(&[3], Kind::Table, whole);
        assert!(data.columns.whole == [true; 3] && data.values[4].fract() == 0.0 && data.values[4] < 30.0);
    }
}
