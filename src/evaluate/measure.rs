//! What every measure reports.

/// A measure of the samples, and what it is for samples from the distribution of the data.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Measure {
    /// The value.
    pub value: f64,
    /// The expected value if the samples come from the distribution of the data.
    pub expected: f64,
    /// The standard deviation of `value - expected` in this case.
    pub error: f64,
    /// The probability of a value at least as unfavourable in this case; `None` where it is not known.
    pub p: Option<f64>,
}

/// Mean and sample standard deviation; the latter is 0 for a single value.
pub(super) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}
