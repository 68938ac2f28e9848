//! Columns of a table: their distributions one by one, and their correlations.

use std::fmt;

use super::measure::Measure;
use super::tails::kolmogorov_tail;
use crate::data::Dataset;
use crate::parallel;
use crate::text::short;

/// Columns in the printed table.
const SHOWN: usize = 8;
/// The largest number of products for the correlations of one set.
const WORK: usize = 5_000_000_000;

/// One column: the distribution of the samples compared with that of the data.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Column {
    /// The index of the column, from 0.
    pub column: usize,
    /// The name of the column in the data, if it has one.
    pub name: Option<String>,
    /// Mean of the samples minus mean of the data, in standard deviations of the data.
    pub mean_error: f64,
    /// Standard error of `mean_error` for equal distributions.
    pub mean_se: f64,
    /// Standard deviation of the samples divided by that of the data.
    pub std_ratio: f64,
    /// Wasserstein distance W1, in standard deviations of the data.
    pub wasserstein: f64,
    /// Kolmogorov-Smirnov statistic: the largest difference of the distribution functions.
    pub ks: f64,
    /// Its p-value.
    pub p: f64,
}

/// The correlation of two columns that differs most.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Correlation {
    /// The two columns.
    pub columns: [usize; 2],
    /// Correlation in the data.
    pub data: f64,
    /// Correlation in the samples.
    pub samples: f64,
    /// Standard error of the difference for normal data.
    pub error: f64,
}

/// The comparison of all columns.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Columns {
    /// The largest Kolmogorov-Smirnov statistic. Its p-value is multiplied by the number of columns (Bonferroni);
    /// `expected` and `error` are those of independent columns.
    #[serde(flatten)]
    pub worst: Measure,
    /// All columns.
    pub columns: Vec<Column>,
    /// The largest error of a correlation; `None` for a single column and for fewer than 4 samples or data.
    pub correlation: Option<Correlation>,
}

/// Compares the columns of both sets.
pub(super) fn columns(samples: &Dataset, data: &Dataset) -> Columns {
    let names = &data.columns.names;
    let name = |i: usize| names.get(i).filter(|_| names.len() == data.sample_len()).cloned();
    let compared = |i| Column { name: name(i), ..compare(i, &column(samples, i), &column(data, i)) };
    let columns = parallel::map(data.sample_len(), compared);
    let (n, m, k) = (samples.len(), data.len(), columns.len() as f64);
    let value = columns.iter().fold(0.0, |worst, column| column.ks.max(worst));
    let p = (kolmogorov_tail(value, n, m) * k).min(1.0);
    // The largest of k independent statistics: its median, and half the distance between the quantiles of +-1 sigma.
    let quantile = |q: f64| kolmogorov_point(1.0 - q.powf(1.0 / k), n, m);
    let error = (quantile(0.8413) - quantile(0.1587)) / 2.0;
    let worst = Measure { value, expected: quantile(0.5), error, p: Some(p) };
    Columns { worst, columns, correlation: correlation(samples, data) }
}

/// The Kolmogorov-Smirnov statistic with this p-value.
fn kolmogorov_point(p: f64, n: usize, m: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        *(if kolmogorov_tail(middle, n, m) > p { &mut low } else { &mut high }) = middle;
    }
    low
}

/// The values of a column in ascending order.
fn column(set: &Dataset, i: usize) -> Vec<f64> {
    let mut values: Vec<f64> = set.values[i..].iter().step_by(set.sample_len()).map(|&x| x.into()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn compare(column: usize, samples: &[f64], data: &[f64]) -> Column {
    let ((mean, deviation), (data_mean, data_deviation)) = (moments(samples), moments(data));
    let unit = if data_deviation > 1e-7 * data_mean.abs() { data_deviation } else { 1.0 };
    let (ks, wasserstein) = distribution_distances(samples, data);
    let (n, m) = (samples.len(), data.len());
    Column {
        column,
        name: None,
        mean_error: (mean - data_mean) / unit,
        mean_se: (1.0 / n as f64 + 1.0 / m as f64).sqrt(),
        std_ratio: deviation / data_deviation,
        wasserstein: wasserstein / unit,
        ks,
        p: kolmogorov_tail(ks, n, m),
    }
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// The largest difference of the distribution functions of two sorted sets, and the integral of its absolute value.
fn distribution_distances(a: &[f64], b: &[f64]) -> (f64, f64) {
    let (mut i, mut j, mut largest, mut area) = (0, 0, 0.0, 0.0);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        while i < a.len() && a[i] == at {
            i += 1;
        }
        while j < b.len() && b[j] == at {
            j += 1;
        }
        let difference = (i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs();
        let next = [a.get(i), b.get(j)].into_iter().flatten().copied().reduce(f64::min).unwrap_or(at);
        largest = f64::max(largest, difference);
        area += difference * (next - at);
    }
    let rest = |sorted: &[f64], from: usize| {
        (from + 1..sorted.len())
            .map(|k| (sorted[k] - sorted[k - 1]) * (1.0 - k as f64 / sorted.len() as f64))
            .sum::<f64>()
    };
    (largest, area + if i < a.len() { rest(a, i) } else { rest(b, j) })
}

/// The largest error of a correlation. Columns without spread in either set have none.
fn correlation(samples: &Dataset, data: &Dataset) -> Option<Correlation> {
    if samples.len().min(data.len()) < 4 {
        return None;
    }
    let (dim, sets) = (data.sample_len(), [standardised(samples), standardised(data)]);
    let [n, m] = [&sets[0], &sets[1]].map(|columns| columns[0].len() as f64);
    let worst = parallel::map(dim, |i| {
        let of = |columns: &[Vec<f64>], j: usize| columns[i].iter().zip(&columns[j]).map(|(a, b)| a * b).sum::<f64>();
        let error = |j: usize| {
            let [samples, data] = [&sets[0], &sets[1]].map(|columns| of(columns, j));
            let error = (1.0 - data * data) * (1.0 / n + 1.0 / m).sqrt();
            Correlation { columns: [i, j], data, samples, error }
        };
        let all = (i + 1..dim).map(error).filter(|found| found.difference().is_finite());
        all.max_by(|a, b| a.difference().total_cmp(&b.difference()))
    });
    worst.into_iter().flatten().max_by(|a, b| a.difference().total_cmp(&b.difference()))
}

impl Correlation {
    fn difference(&self) -> f64 {
        (self.samples - self.data).abs()
    }
}

/// The columns with mean 0 and norm 1, NaN for a column without spread, of at most as many samples as `WORK` allows.
fn standardised(set: &Dataset) -> Vec<Vec<f64>> {
    let (dim, n) = (set.sample_len(), set.len());
    let rows = (WORK / (dim * dim)).clamp(1, n);
    let column = |i: usize| {
        let values: Vec<f64> = (0..rows).map(|r| f64::from(set.sample(r * n / rows)[i])).collect();
        let (mean, deviation) = moments(&values);
        let norm = if deviation > 1e-7 * mean.abs() { deviation * (rows as f64).sqrt() } else { f64::NAN };
        values.into_iter().map(|x| (x - mean) / norm).collect()
    };
    parallel::map(dim, column)
}

impl Columns {
    /// The name of a column, or its number from 1.
    fn title(&self, column: usize) -> String {
        self.columns[column].name.clone().unwrap_or_else(|| (column + 1).to_string())
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut order = self.columns.clone();
        order.sort_by(|a, b| b.ks.total_cmp(&a.ks));
        let part = if order.len() > SHOWN { format!(" (the worst {SHOWN} of {})", order.len()) } else { String::new() };
        writeln!(f, "columns, in standard deviations of the data{part}:")?;
        let shown = &order[..order.len().min(SHOWN)];
        let wide = shown.iter().map(|column| self.title(column.column).chars().count()).max().unwrap_or(0).max(6);
        write!(f, "{:>wide$} {:>10} {:>10} {:>10} {:>10} {:>8}", "column", "mean error", "std ratio", "W1", "KS", "p")?;
        for Column { column, mean_error, std_ratio, wasserstein, ks, p, .. } in shown {
            let title = self.title(*column);
            write!(f, "\n{title:>wide$} {mean_error:>10.3} {std_ratio:>10.3} {wasserstein:>10.3} {ks:>10.3} {p:>8.2}")?;
        }
        if let Some(Correlation { columns: [a, b], data, samples, error }) = self.correlation {
            let error = short((error * 1e3).round() / 1e3);
            let [a, b] = [a, b].map(|column| self.title(column));
            write!(
                f,
                "\nlargest error of a correlation: columns {a} and {b} have {samples:.3} in the samples, {data:.3} in the data \
                 (+- {error})"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pooled::tests::set;
    use super::*;

    #[test]
    fn distances_of_distributions_have_known_values() {
        let near = |(ks, w1): (f64, f64), want: (f64, f64)| {
            assert!((ks - want.0).abs() < 1e-12 && (w1 - want.1).abs() < 1e-12, "{ks} {w1}");
        };
        near(distribution_distances(&[0.0, 1.0], &[0.0, 1.0]), (0.0, 0.0));
        near(distribution_distances(&[0.0, 1.0], &[2.0, 3.0]), (1.0, 2.0));
        near(distribution_distances(&[5.0], &[1.0, 2.0, 3.0]), (1.0, 3.0));
        // scipy.stats: ks_2samp and wasserstein_distance of [0.3, 1.7, 2.2, 5.0] and [1.0, 2.5, 9.0].
        near(distribution_distances(&[0.3, 1.7, 2.2, 5.0], &[1.0, 2.5, 9.0]), (5.0 / 12.0, 1.983_333_333_333_333_6));
    }

    #[test]
    fn columns_are_in_units_of_their_own_deviation() {
        let data = set(2, &[0.0, 0.0, 2.0, 200.0, 4.0, 100.0, 2.0, 100.0]);
        let samples = set(2, &[1.0, 0.0, 3.0, 100.0, 5.0, 200.0, 3.0, 100.0]);
        let found = columns(&samples, &data);
        let [first, second] = &found.columns[..] else { panic!() };
        assert!((first.mean_error - 0.5f64.sqrt()).abs() < 1e-9 && (first.wasserstein - 0.5f64.sqrt()).abs() < 1e-9);
        assert!((first.std_ratio - 1.0).abs() < 1e-9 && (first.ks, second.ks) == (0.5, 0.0), "{found}");
        let correlation = found.correlation.unwrap();
        assert_eq!(correlation.columns, [0, 1]);
        assert!((correlation.data - 0.5).abs() < 1e-9 && (correlation.samples - 1.0).abs() < 1e-9, "{found}");
    }

    #[test]
    fn constant_columns_are_compared() {
        let data = set(2, &[1.0, 7.0, 2.0, 7.0, 3.0, 7.0]);
        let found = columns(&set(2, &[1.0, 7.5, 2.0, 7.5, 3.0, 7.5]), &data);
        assert!(found.columns[1].ks == 1.0 && found.columns[1].mean_error == 0.5);
        let four = set(2, &[1.0, 7.0, 2.0, 7.0, 3.0, 7.0, 9.0, 7.0]);
        assert!(columns(&four, &four).correlation.is_none());
        assert_eq!(columns(&data, &data).worst.value, 0.0);
    }

    /// The median of Kolmogorov's distribution is 0.8276.
    #[test]
    fn the_expected_statistic_is_the_median() {
        let median = kolmogorov_point(0.5, 10_000, 10_000) * 5000f64.sqrt();
        assert!((median - 0.8276).abs() < 2e-3, "{median}");
    }
}
