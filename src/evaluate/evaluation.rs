//! All measures of a set of samples, and the verdict.

use std::fmt;

use super::classifier_test::{ClassifierTest, classifier_test};
use super::columns::{Columns, columns};
use super::copies::{Copies, copies};
use super::coverage::coverage;
use super::energy::energy_distance;
use super::measure::Measure;
use super::neighbours::same_set_neighbours;
use super::pooled::Pooled;
use super::precision_recall::precision_and_recall;
use super::scaling::Scaling;
use super::sliced::{DistanceReport, PROJECTIONS, sliced_ratio};
use crate::data::Dataset;
use crate::text::{count, short};
use crate::{Error, Result};

/// Default number of random permutations in permutation tests.
pub const PERMUTATIONS: usize = 999;
/// The probability that at least one test rejects samples from the distribution of the data.
const LEVEL: f64 = 0.05;
/// Sets that are not told apart need at least this effective number of samples each. It detects a difference of the means
/// of 0.4 standard deviations with a probability of 80%.
const ENOUGH: f64 = 100.0;

/// The settings of [`evaluate`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateOptions {
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of random directions of the sliced Wasserstein distance.
    pub projections: usize,
    /// Number of random permutations B; the smallest possible p-value is 1 / (B + 1).
    pub permutations: usize,
    /// Which values share a scale; `None` for [`Scaling::of`] the data.
    pub scaling: Option<Scaling>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self { seed: 0, projections: PROJECTIONS, permutations: PERMUTATIONS, scaling: None }
    }
}

setters!(EvaluateOptions { seed: u64, projections: usize, permutations: usize, scaling: Option<Scaling> });

/// The result of [`evaluate`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Number of samples, and of data.
    pub samples: usize,
    /// Number of data.
    pub data: usize,
    /// Which values share a scale.
    pub scaling: Scaling,
    /// Sliced Wasserstein distance; `None` for fewer than 2 samples or 4 data, and for constant data.
    pub sliced: Option<DistanceReport>,
    /// Energy distance.
    pub energy: Measure,
    /// Share of the nearest neighbours that belong to the same set.
    pub neighbours: Measure,
    /// Share of the data that have a sample near them.
    pub coverage: Measure,
    /// Share of the samples among the data; `None` for fewer than 4 samples or 8 data.
    pub precision: Option<Measure>,
    /// Share of the data among the samples.
    pub recall: Option<Measure>,
    /// Number of samples and data of which `energy`, `neighbours` and `coverage` are computed.
    pub pooled: [usize; 2],
    /// Classifier two-sample test; `None` for 200 samples or data or fewer.
    pub classifier: Option<ClassifierTest>,
    /// Share of samples that are copies of data; `None` for fewer than 4 data.
    pub copies: Option<Copies>,
    /// Distributions of the columns; `None` unless columns are scaled one by one.
    pub columns: Option<Columns>,
    /// What follows from the tests.
    pub verdict: Verdict,
}

/// Whether samples and data are told apart.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Outcome {
    /// At least one test detects a difference.
    ToldApart,
    /// No test detects a difference.
    NotToldApart,
    /// No test detects a difference, but there are too few samples to expect it.
    TooFew,
}

named!(Outcome, "outcome", ToldApart = "told_apart", NotToldApart = "not_told_apart", TooFew = "too_few");

/// What follows from the tests together. Each p-value is multiplied by the number of tests (Bonferroni) and compared with
/// 0.05, so that at most one in twenty sets of perfect samples is rejected.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// Whether samples and data are told apart.
    pub outcome: Outcome,
    /// The smallest p-value of all tests but that of the copies, times `tests`.
    pub p: f64,
    /// Number of tests.
    pub tests: usize,
    /// Whether samples are copies of data.
    pub copies: bool,
    /// Whether parts of the data have no samples.
    pub missing: bool,
    /// Effective number of samples, 2 n m / (n + m). Below 100, a difference may go undetected.
    pub size: f64,
}

/// Compares `samples` with `data`: whether they are from the same distribution, whether samples are copies of data, and
/// whether samples are missing in some parts of the data.
///
/// # Errors
/// [`Error::Input`] when the shapes differ, [`Error::Setting`] for 0 projections or permutations.
pub fn evaluate(samples: &Dataset, data: &Dataset, options: &EvaluateOptions) -> Result<Evaluation> {
    if samples.shape != data.shape {
        return Err(Error::input(format!(
            "samples and data differ in shape: {} has samples of shape {:?}, {} of {:?}; compare sets of one shape",
            samples.name, samples.shape, data.name, data.shape
        )));
    }
    if options.permutations == 0 {
        return Err(Error::setting("the permutation tests need at least one permutation"));
    }
    let EvaluateOptions { seed, projections, permutations, .. } = *options;
    let scaling = options.scaling.unwrap_or_else(|| Scaling::of(data));
    let [scaled_samples, scaled_data] = &scaling.apply(samples, data)?;
    // A single scale does not matter, and without it the distance has the units of the data.
    let sliced = match scaling.has_several(data) {
        true => sliced_ratio(scaled_samples, scaled_data, seed, projections)?,
        false => sliced_ratio(samples, data, seed, projections)?,
    };
    let [precision, recall] =
        precision_and_recall(scaled_samples, scaled_data, seed).map_or([None; 2], |pair| pair.map(Some));
    let pooled = Pooled::new(scaled_samples, scaled_data, permutations, seed);
    let mut evaluation = Evaluation {
        samples: samples.len(),
        data: data.len(),
        scaling,
        sliced,
        energy: energy_distance(&pooled),
        neighbours: same_set_neighbours(&pooled),
        coverage: coverage(&pooled),
        precision,
        recall,
        pooled: pooled.sizes(),
        classifier: classifier_test(scaled_samples, scaled_data, seed)?,
        copies: copies(scaled_samples, scaled_data, seed),
        columns: (scaling == Scaling::Columns).then(|| columns(samples, data)),
        verdict: Verdict { outcome: Outcome::TooFew, p: 1.0, tests: 0, copies: false, missing: false, size: 0.0 },
    };
    evaluation.verdict = evaluation.verdict();
    Ok(evaluation)
}

impl Evaluation {
    /// The names and values of all measures.
    fn measures(&self) -> Vec<(&'static str, Measure)> {
        let sliced = self.sliced.as_ref().map(|sliced| {
            (
                "sliced Wasserstein ratio",
                Measure { value: sliced.ratio, expected: 1.0, error: sliced.ratio_se, p: None },
            )
        });
        let energy = [("energy distance", self.energy), ("neighbours in the same set", self.neighbours)];
        let classifier = self.classifier.as_ref().map(|test| ("accuracy of a classifier", test.measure));
        let columns = self.columns.as_ref().map(|columns| ("largest KS of a column", columns.worst));
        let copies = self.copies.as_ref().map(|copies| (COPIES, copies.measure));
        let all = sliced.into_iter().chain(energy).chain(classifier).chain(columns);
        let quality = [("precision", self.precision), ("recall", self.recall)];
        let quality = quality.into_iter().filter_map(|(name, measure)| Some((name, measure?)));
        let all = all.chain(quality);
        all.chain([("coverage of the data", self.coverage)]).chain(copies).collect()
    }

    fn verdict(&self) -> Verdict {
        let tests: Vec<(&str, f64)> =
            self.measures().iter().filter_map(|(name, measure)| measure.p.map(|p| (*name, p))).collect();
        let adjusted = |p: f64| (p * tests.len() as f64).min(1.0);
        let smallest = tests.iter().filter(|(name, _)| *name != COPIES).fold(1.0, |least, (_, p)| p.min(least));
        let (n, m) = (self.samples as f64, self.data as f64);
        let (p, size) = (adjusted(smallest), 2.0 * n * m / (n + m));
        let outcome = match () {
            () if p <= LEVEL => Outcome::ToldApart,
            () if size >= ENOUGH => Outcome::NotToldApart,
            () => Outcome::TooFew,
        };
        let rejected = |p: Option<f64>| p.is_some_and(|p| adjusted(p) <= LEVEL);
        let copies = self.copies.as_ref().is_some_and(|copies| rejected(copies.measure.p));
        Verdict { outcome, p, tests: tests.len(), copies, missing: rejected(self.coverage.p), size }
    }
}

const COPIES: &str = "copies of the data";

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let scales = match self.scaling {
            Scaling::Columns => "each column",
            Scaling::Channels => "each channel",
        };
        writeln!(f, "{} against {} of the data; one scale for {scales}", count(self.samples, "sample"), self.data)?;
        if self.pooled != [self.samples, self.data] {
            let [samples, data] = self.pooled;
            writeln!(
                f,
                "energy distance, neighbours and coverage: {samples} of the samples, {data} of the data, at random"
            )?;
        }
        writeln!(f, "{:<26} {:>9} {:>9} {:>9} {:>8}", "measure", "value", "expected", "+-", "p")?;
        for (name, Measure { value, expected, error, p }) in self.measures() {
            let p = p.map_or("-".to_string(), |p| rounded(p, ""));
            writeln!(f, "{name:<26} {value:>9.4} {expected:>9.4} {error:>9.4} {p:>8}")?;
        }
        if let Some(columns) = &self.columns {
            writeln!(f, "{columns}")?;
        }
        write!(f, "{}", self.verdict)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.copies {
            writeln!(f, "samples are copies of the data")?;
        }
        if self.missing {
            writeln!(f, "parts of the data have too few samples near them")?;
        }
        let p = format!("p {} with {} tests", rounded(self.p, "= "), self.tests);
        match self.outcome {
            Outcome::ToldApart => write!(f, "samples and data are told apart ({p})"),
            Outcome::NotToldApart => write!(f, "samples and data are not told apart ({p})"),
            Outcome::TooFew => {
                let size = short(self.size.round());
                write!(f, "too few samples to tell ({p}; the effective number is {size}, at least {ENOUGH} are needed)")
            }
        }
    }
}

/// A p-value with two significant digits after `sign`, or "< 0.0001".
fn rounded(p: f64, sign: &str) -> String {
    match p {
        _ if p < 1e-4 => "< 0.0001".to_string(),
        _ => format!("{sign}{p:.*}", (1 - p.log10().floor() as i32).max(2) as usize),
    }
}
