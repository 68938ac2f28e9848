//! Precision and recall of samples: how many of them look like data, and how many of the data could be samples.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::measure::{Measure, mean_and_deviation};
use crate::data::Dataset;
use crate::parallel;
use crate::{Error, Result};

/// The neighbour that determines a radius, as in the paper.
const NEIGHBOUR: usize = 3;
/// The largest number of samples and of data, and of differences of values.
const MOST: usize = 1000;
const WORK: usize = 4_000_000_000;
/// The number of random halves of the data.
const SPLITS: usize = 10;

/// The balls around the elements of two sets: of real data, and of samples.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// The distance of each element of the data to its k-th nearest neighbour in the data.
    pub radius_real: Vec<f64>,
    /// The distance of each sample to its k-th nearest neighbour among the samples.
    pub radius_fake: Vec<f64>,
    /// Whether each sample lies in a ball around an element of the data.
    pub fake_inside: Vec<bool>,
    /// Whether each element of the data lies in a ball around a sample.
    pub real_inside: Vec<bool>,
}

impl PrecisionRecall {
    /// The share of samples that lie in a ball around an element of the data.
    pub fn precision(&self) -> f64 {
        share(&self.fake_inside)
    }

    /// The share of data that lie in a ball around a sample.
    pub fn recall(&self) -> f64 {
        share(&self.real_inside)
    }
}

fn share(inside: &[bool]) -> f64 {
    inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64
}

/// Improved precision and recall of samples `fake` [m, dim] for data `real` [n, dim]. The ball around an element has the radius
/// of its distance to the k-th nearest other element of its set; its edge belongs to it.
///
/// *Source*: Kynkäänniemi et al. 2019, Improved precision and recall metric for assessing generative models, eq. 1 and 2.
///
/// # Errors
/// When the values are not rows of `dim`, or a set has no k-th neighbour.
pub fn precision_recall(real: &[f32], fake: &[f32], dim: usize, k: usize) -> Result<PrecisionRecall> {
    for (what, values) in [("data", real), ("samples", fake)] {
        if dim == 0 || !values.len().is_multiple_of(dim) || k == 0 || values.len() / dim <= k {
            return Err(Error::input(format!(
                "{} values of the {what} are not more than {k} rows of {dim}; precision and recall with k = {k} need {} or more",
                values.len(),
                k + 1
            )));
        }
    }
    let [real, fake] = [real, fake].map(|values| values.chunks(dim).collect::<Vec<&[f32]>>());
    Ok(between((&real, radii(&real, k)), &fake, k))
}

/// The data come with the squared radii of their balls.
fn between((real, of_real): (&[&[f32]], Vec<f64>), fake: &[&[f32]], k: usize) -> PrecisionRecall {
    let of_fake = radii(fake, k);
    let (fake_inside, real_inside) = (inside(fake, real, &of_real), inside(real, fake, &of_fake));
    let roots = |squares: Vec<f64>| squares.into_iter().map(f64::sqrt).collect();
    PrecisionRecall { radius_real: roots(of_real), radius_fake: roots(of_fake), fake_inside, real_inside }
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// The squared distance of each row to its k-th nearest other row.
fn radii(rows: &[&[f32]], k: usize) -> Vec<f64> {
    parallel::map(rows.len(), |i| {
        let others = (0..rows.len()).filter(|&j| j != i);
        let mut distances: Vec<f64> = others.map(|j| squared(rows[i], rows[j])).collect();
        *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
    })
}

/// Whether each of `points` lies in the ball of a centre.
fn inside(points: &[&[f32]], centres: &[&[f32]], squares: &[f64]) -> Vec<bool> {
    parallel::map(points.len(), |i| centres.iter().zip(squares).any(|(centre, r)| squared(points[i], centre) <= *r))
}

/// Precision and recall of `samples`, with the values of one half of the data as samples for the other half as expected ones: the
/// means and deviations over random halves. All sets have the same size, as both measures depend on it. `None` for fewer than 4
/// samples, or 8 data.
pub(super) fn precision_and_recall(samples: &Dataset, data: &Dataset, seed: u64) -> Option<[Measure; 2]> {
    let work = WORK / (4 * (2 * SPLITS) * data.sample_len());
    let most = MOST.min((work as f64).sqrt() as usize).max(NEIGHBOUR + 1);
    let n = most.min(samples.len()).min(data.len() / 2);
    if n <= NEIGHBOUR {
        return None;
    }
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(3));
    let mut pick = |set: &Dataset, n: usize| {
        let mut order: Vec<usize> = (0..set.len()).collect();
        order.partial_shuffle(&mut rng, n).0.to_vec()
    };
    let mut found: [Vec<f64>; 4] = Default::default();
    for _ in 0..SPLITS {
        let halves: Vec<&[f32]> = pick(data, 2 * n).into_iter().map(|i| data.sample(i)).collect();
        let drawn: Vec<&[f32]> = pick(samples, n).into_iter().map(|i| samples.sample(i)).collect();
        let (real, other) = halves.split_at(n);
        let of_real = radii(real, NEIGHBOUR);
        for (i, fake) in [&drawn[..], other].into_iter().enumerate() {
            let result = between((real, of_real.clone()), fake, NEIGHBOUR);
            found[i].push(result.precision());
            found[2 + i].push(result.recall());
        }
    }
    let measure = |values: &[Vec<f64>]| {
        let [(value, _), (expected, error)] = [&values[0], &values[1]].map(|values| mean_and_deviation(values));
        Measure { value, expected, error, p: None }
    };
    Some([measure(&found[..2]), measure(&found[2..])])
}

#[cfg(test)]
mod tests {
    use super::super::pooled::tests::set;
    use super::*;

    #[test]
    fn balls_on_a_line_contain_their_edges() {
        // Radii with k = 1: 1, 1, 3 for the data, and 2, 2 for the samples.
        let found = precision_recall(&[0.0, 1.0, 4.0], &[5.0, 7.0], 1, 1).unwrap();
        assert_eq!((found.radius_real.clone(), found.radius_fake.clone()), (vec![1.0, 1.0, 3.0], vec![2.0, 2.0]));
        assert_eq!(
            (found.fake_inside.clone(), found.real_inside.clone()),
            (vec![true, true], vec![false, false, true])
        );
        assert_eq!((found.precision(), found.recall()), (1.0, 1.0 / 3.0));
        let message = precision_recall(&[0.0; 3], &[0.0; 9], 1, 3).unwrap_err().to_string();
        assert!(message.contains("of the data") && message.contains("4 or more"), "{message}");
    }

    #[test]
    fn missing_modes_lower_recall_and_outliers_precision() {
        let at = |i: usize, step: usize| ((i * step) % 1009) as f32 / 1009.0;
        let square = |n: usize, step: usize| {
            set(2, &(1..=n).flat_map(|i| [at(i * i + 3 * i, step), at(i, step + 30)]).collect::<Vec<_>>())
        };
        let data = square(400, 17);
        let [precision, recall] = precision_and_recall(&square(400, 29), &data, 0).unwrap();
        for measure in [precision, recall] {
            assert!((measure.value - measure.expected).abs() < 4.0 * measure.error + 0.05, "{measure:?}");
        }
        let scaled = |factor: f32| {
            let values = square(400, 29).values.iter().map(|v| v * factor).collect::<Vec<_>>();
            precision_and_recall(&set(2, &values), &data, 0).unwrap()
        };
        let ([near, few], [far, _]) = (scaled(0.5), scaled(2.0));
        assert!(near.value > 0.8 && few.value < 0.5 && far.value < 0.5, "{near:?} {few:?} {far:?}");
        assert!(precision_and_recall(&data, &set(2, &[0.0; 14]), 0).is_none());
    }
}
