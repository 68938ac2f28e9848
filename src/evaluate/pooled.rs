//! Samples and data in one set, and permutation tests on it.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::measure::{Measure, mean_and_deviation};
use crate::data::Dataset;
use crate::parallel;

/// The largest number of samples, and of data, in the pooled set.
const MOST: usize = 1500;
/// The largest number of differences of values in all pairs: some seconds on two cores.
const WORK: usize = 20_000_000_000;
/// The number of neighbours of each element.
pub(super) const NEIGHBOURS: usize = 5;

/// Which values of a statistic are unfavourable.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Tail {
    Upper,
    Lower,
}

/// Random samples and data in random order, and all distances between them.
pub(super) struct Pooled {
    /// Whether each element is a sample.
    pub is_sample: Vec<bool>,
    /// `[n, n]`
    pub distances: Vec<f32>,
    /// `[n, k]`, the nearest first
    neighbours: Vec<u32>,
    permutations: usize,
    seed: u64,
}

impl Pooled {
    pub fn new(samples: &Dataset, data: &Dataset, permutations: usize, seed: u64) -> Self {
        let dim = data.sample_len();
        let most = (((WORK / dim) as f64).sqrt() as usize / 2).clamp(2, MOST);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut all = chosen(samples, most, &mut rng);
        all.extend(chosen(data, most, &mut rng));
        // The order must not depend on the set, because it decides between neighbours at equal distances.
        let mut order: Vec<(bool, &[f32])> =
            all.into_iter().enumerate().map(|(i, row)| (i < samples.len().min(most), row)).collect();
        order.shuffle(&mut rng);
        let (is_sample, rows): (Vec<bool>, Vec<&[f32]>) = order.into_iter().unzip();
        let distances = pairwise(&rows);
        let neighbours = nearest(&distances, rows.len());
        Self { is_sample, distances, neighbours, permutations, seed }
    }

    /// The number of samples and of data.
    pub fn sizes(&self) -> [usize; 2] {
        let samples = self.is_sample.iter().filter(|&&is| is).count();
        [samples, self.is_sample.len() - samples]
    }

    /// The nearest neighbours of element `i`, at most [`NEIGHBOURS`].
    pub fn neighbours(&self, i: usize) -> &[u32] {
        let k = self.neighbours.len() / self.is_sample.len();
        &self.neighbours[i * k..][..k]
    }

    /// A permutation test: `statistic` is computed for the samples and for random choices of as many elements. With b of
    /// B choices at least as unfavourable, p = (1 + b) / (1 + B), which is valid for any B (Phipson and Smyth 2010).
    pub fn test(&self, tail: Tail, statistic: impl Fn(&[bool]) -> f64 + Sync) -> Measure {
        let value = statistic(&self.is_sample);
        let chance = parallel::map(self.permutations, |i| {
            let mut marks = self.is_sample.clone();
            marks.shuffle(&mut StdRng::seed_from_u64(self.seed.wrapping_add(1 + i as u64)));
            statistic(&marks)
        });
        // Equal choices may differ by rounding.
        let slack = 1e-9 * value.abs();
        let worse = chance.iter().filter(|&&other| match tail {
            Tail::Upper => other >= value - slack,
            Tail::Lower => other <= value + slack,
        });
        let p = (1 + worse.count()) as f64 / (1 + self.permutations) as f64;
        let (expected, error) = mean_and_deviation(&chance);
        Measure { value, expected, error, p: Some(p) }
    }
}

/// At most `most` rows of a set, at random.
fn chosen<'a>(set: &'a Dataset, most: usize, rng: &mut StdRng) -> Vec<&'a [f32]> {
    let mut rows: Vec<usize> = (0..set.len()).collect();
    rows.shuffle(rng);
    rows.truncate(most);
    rows.into_iter().map(|i| set.sample(i)).collect()
}

/// The Euclidean distances of all pairs, `[n, n]`.
fn pairwise(rows: &[&[f32]]) -> Vec<f32> {
    let n = rows.len();
    let mut distances = vec![0.0; n * n];
    parallel::blocks(
        &mut distances,
        n,
        None,
        #[inline(always)]
        |i, out, _| {
            for (out, other) in out.iter_mut().zip(rows) {
                *out = squared_distance(rows[i], other).sqrt();
            }
        },
    );
    distances
}

/// The squared Euclidean distance of two samples.
#[inline(always)]
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    parallel::sum(a.len(), |i| (a[i] - b[i]) * (a[i] - b[i]))
}

/// The indices of the nearest other elements, the nearest first.
fn nearest(distances: &[f32], n: usize) -> Vec<u32> {
    let k = NEIGHBOURS.min(n - 1);
    let lists = parallel::map(n, |i| {
        let row = &distances[i * n..][..n];
        let order = |a: &u32, b: &u32| row[*a as usize].total_cmp(&row[*b as usize]).then(a.cmp(b));
        let mut others: Vec<u32> = (0..n as u32).filter(|&j| j != i as u32).collect();
        others.select_nth_unstable_by(k - 1, order);
        others.truncate(k);
        others.sort_unstable_by(order);
        others
    });
    lists.concat()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn set(shape: usize, values: &[f32]) -> Dataset {
        Dataset::new("set", [shape], values.to_vec()).unwrap()
    }

    #[test]
    fn neighbours_are_ordered_and_large_sets_are_sampled() {
        let pooled = Pooled::new(&set(1, &[0.0, 1.0, 3.0]), &set(1, &[7.0, 15.0]), 9, 0);
        assert_eq!(pooled.sizes(), [3, 2]);
        for i in 0..5 {
            let far = |j: &u32| pooled.distances[i * 5 + *j as usize];
            assert!(pooled.neighbours(i).len() == 4 && pooled.neighbours(i).is_sorted_by_key(far));
        }
        let many = set(1, &(0..4000).map(|i| i as f32).collect::<Vec<_>>());
        assert_eq!(Pooled::new(&many, &set(1, &[0.5, 1.5]), 9, 0).sizes(), [1500, 2]);
    }

    /// Two samples at 0 and two data at 1: two of six choices separate them.
    #[test]
    fn p_counts_the_permutations() {
        let pooled = Pooled::new(&set(1, &[0.0, 0.0]), &set(1, &[1.0, 1.0]), 5999, 0);
        let first = (0..4).find(|&i| pooled.is_sample[i]).unwrap();
        let separated = |marks: &[bool]| {
            f64::from((0..4).all(|j| (marks[j] == marks[first]) == (pooled.distances[first * 4 + j] == 0.0)))
        };
        let test = pooled.test(Tail::Upper, separated);
        assert!((test.p.unwrap() - 1.0 / 3.0).abs() < 0.03 && test.value == 1.0, "{test:?}");
        assert_eq!(pooled.test(Tail::Lower, separated).p, Some(1.0));
    }
}
