//! The classifier two-sample test.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::classifier::Classifier;
use super::measure::Measure;
use super::tails::coin_tail;
use crate::data::Dataset;
use crate::device::Device;
use crate::error::Result;

/// The test needs more than this many samples, and as many data.
const FEWEST: usize = 200;
/// The largest number of samples, and of data, that are used.
const MOST: usize = 2000;
/// The largest number of values of a sample that the classifier sees, evenly spaced.
const WIDEST: usize = 4096;

/// The classifier two-sample test.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ClassifierTest {
    /// The accuracy on the held-out half.
    #[serde(flatten)]
    pub measure: Measure,
    /// The number of samples and data that the classifier was trained on.
    pub trained: usize,
    /// The number of samples and data in the held-out half.
    pub held_out: usize,
}

/// Trains a classifier to tell samples from data on one half of both, and measures its accuracy on the other half. The
/// sets are reduced to equal size, so the expected accuracy is 1/2. The p-value is that of the binomial distribution.
/// `None` for 200 samples or data or fewer.
///
/// The classifier has one hidden layer of 128 ReLU units and runs on the CPU executor.
///
/// *Source*: Lopez-Paz and Oquab 2017, Revisiting classifier two-sample tests.
pub(super) fn classifier_test(samples: &Dataset, data: &Dataset, seed: u64) -> Result<Option<ClassifierTest>> {
    let each = samples.len().min(data.len()).min(MOST);
    let first = data.values[0];
    let constant = [samples, data].iter().all(|set| set.values.iter().all(|&x| x == first));
    if each <= FEWEST || constant {
        return Ok(None);
    }
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(3));
    let mut halves = [Vec::new(), Vec::new()];
    for (label, set) in [samples, data].into_iter().enumerate() {
        let mut rows: Vec<usize> = (0..set.len()).collect();
        rows.shuffle(&mut rng);
        for (i, &row) in rows[..each].iter().enumerate() {
            halves[usize::from(i >= each / 2)].push((label, set.sample(row)));
        }
    }
    let device = Device::cpu();
    let [train, test] = halves;
    let labels: Vec<f32> = train.iter().map(|(label, _)| *label as f32).collect();
    let classifier = Classifier::train(&device, &narrow(&train)?, &labels, 2, seed)?;
    let found = classifier.apply(&device, &narrow(&test)?)?;
    let right = found.iter().zip(&test).filter(|(found, (label, _))| found.class == *label).count();
    let n = test.len();
    let (value, error) = (right as f64 / n as f64, (0.25 / n as f64).sqrt());
    let measure = Measure { value, expected: 0.5, error, p: Some(coin_tail(right, n)) };
    Ok(Some(ClassifierTest { measure, trained: train.len(), held_out: n }))
}

/// The samples as signals of at most `WIDEST` values.
fn narrow(rows: &[(usize, &[f32])]) -> Result<Dataset> {
    let dim = rows[0].1.len();
    let width = dim.min(WIDEST);
    let values = rows.iter().flat_map(|(_, row)| (0..width).map(|i| row[i * dim / width])).collect();
    Dataset::new("samples and data", [width], values)
}

#[cfg(test)]
mod tests {
    use super::super::pooled::tests::set;
    use super::*;

    #[test]
    fn equal_distributions_are_confused_and_others_are_not() {
        let at = |i: usize| ((i * 7919) % 10_007) as f32 / 10_007.0;
        let points = |from: usize, by: f32| set(2, &(from..from + 500).map(|i| at(i) + by).collect::<Vec<_>>());
        let data = points(0, 0.0);
        let same = classifier_test(&points(3000, 0.0), &data, 0).unwrap().unwrap();
        assert!(same.measure.p.unwrap() > 0.01 && (same.trained, same.held_out) == (250, 250), "{same:?}");
        let shifted = classifier_test(&points(3000, 0.4), &data, 0).unwrap().unwrap();
        assert!(shifted.measure.value > 0.6 && shifted.measure.p.unwrap() < 1e-3, "{shifted:?}");
        assert_eq!(classifier_test(&set(2, &[1.0; 400]), &data, 0).unwrap(), None);
        assert_eq!(classifier_test(&set(2, &[1.0; 500]), &set(2, &[1.0; 500]), 0).unwrap(), None);
    }
}
