//! Copies: samples that are closer to one of the data than new data would be.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::measure::Measure;
use super::pooled::squared_distance;
use super::tails::fisher_tail;
use crate::data::Dataset;
use crate::parallel;

/// The largest number of samples that are searched for copies, and of data that are held out.
const MOST: usize = 1000;
/// The largest number of differences of values in one search, and the fewest searched samples.
const WORK: usize = 20_000_000_000;
const FEWEST: usize = 50;
/// Queries that share a pass over the data.
const BLOCK: usize = 16;

/// The test for copies of the data.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Copies {
    /// The share of copies among the samples, and among held-out data.
    #[serde(flatten)]
    pub measure: Measure,
    /// The number of samples that were searched.
    pub searched: usize,
    /// The number of data that were held out for `expected`.
    pub held_out: usize,
}

/// The share of samples that are copies of data. A sample is a copy of its nearest neighbour x in the data if it is closer
/// than half the distance between x and the nearest other element of the data.
///
/// The expected share is that of held-out data (a quarter, at most 1000), compared with the remaining data. The p-value
/// is that of Fisher's exact test on the shares of the samples and the held-out data, both compared with the remaining
/// data. `None` for fewer than four data.
///
/// The factor of one half excludes samples that are only blurred: in many dimensions, the mean of the data is closer to
/// each of them than they are to each other, by a factor of about 1 / sqrt(2).
///
/// *Source*: distances to the training data compared with those of held-out data as in Meehan et al. 2020, A
/// non-parametric test to detect data-copying in generative models; the distance at the nearest neighbour as the unit as
/// in Alaa et al. 2022, How faithful is your synthetic data?, section 4.3.
pub(super) fn copies(samples: &Dataset, data: &Dataset, seed: u64) -> Option<Copies> {
    let (n, dim) = (data.len(), data.sample_len());
    let most = (WORK / (n * dim)).clamp(FEWEST, MOST);
    let held_out = (n / 4).min(most);
    if held_out == 0 {
        return None;
    }
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(2));
    let order = |n: usize, rng: &mut StdRng| {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(rng);
        order
    };
    let queries: Vec<&[f32]> =
        order(samples.len(), &mut rng).into_iter().take(most).map(|i| samples.sample(i)).collect();
    let all: Vec<&[f32]> = order(n, &mut rng).into_iter().map(|i| data.sample(i)).collect();
    let (held, rest) = all.split_at(held_out);
    let (found, new) = (count_copies(&queries, rest), count_copies(held, rest));
    let value = count_copies(&queries, &all) as f64 / queries.len() as f64;
    let expected = new as f64 / held.len() as f64;
    let pooled = (found + new) as f64 / (queries.len() + held.len()) as f64;
    let error = (pooled * (1.0 - pooled) * (1.0 / queries.len() as f64 + 1.0 / held.len() as f64)).sqrt();
    let p = Some(fisher_tail((found, queries.len()), (new, held.len())));
    let measure = Measure { value, expected, error, p };
    Some(Copies { measure, searched: queries.len(), held_out })
}

/// The number of `queries` that are copies of one of `data`.
fn count_copies(queries: &[&[f32]], data: &[&[f32]]) -> usize {
    let found = nearest(queries, data, |_| usize::MAX);
    let originals: Vec<&[f32]> = found.iter().map(|&(at, _)| data[at]).collect();
    let spacing = nearest(&originals, data, |i| found[i].0);
    found.iter().zip(&spacing).filter(|((_, near), (_, spacing))| *near < 0.25 * spacing).count()
}

/// The index of the nearest of `data` and its squared distance for each query i, without the element `except(i)`.
fn nearest(queries: &[&[f32]], data: &[&[f32]], except: impl Fn(usize) -> usize + Sync) -> Vec<(usize, f32)> {
    let mut nearest = vec![(0, f32::INFINITY); queries.len()];
    parallel::blocks(
        &mut nearest,
        BLOCK,
        None,
        #[inline(always)]
        |block, out, _| {
            for (at, row) in data.iter().enumerate() {
                for (i, out) in out.iter_mut().enumerate() {
                    let query = block * BLOCK + i;
                    let distance = squared_distance(queries[query], row);
                    if distance < out.1 && except(query) != at {
                        *out = (at, distance);
                    }
                }
            }
        },
    );
    nearest
}

#[cfg(test)]
mod tests {
    use super::super::pooled::tests::set;
    use super::*;

    #[test]
    fn a_copy_is_within_half_of_the_spacing() {
        let rows = |values: &'static [f32]| values.chunks(1).collect::<Vec<_>>();
        let data = rows(&[0.0, 10.0, 14.0]);
        assert_eq!(nearest(&rows(&[9.0, 13.0]), &data, |i| i + 1), [(2, 25.0), (1, 9.0)]);
        // 0 has its neighbour at 10, the others at 4.
        assert_eq!(count_copies(&rows(&[4.9, -4.9, 11.9, 14.0]), &data), 4);
        assert_eq!(count_copies(&rows(&[5.0, 12.0, -6.0, 16.5]), &data), 0);
        // An element that occurs twice has no copies.
        assert_eq!(count_copies(&rows(&[1.0, 1.0]), &rows(&[1.0, 1.0, 5.0])), 0);
    }

    #[test]
    fn the_share_is_compared_with_held_out_data() {
        let square = |seed: usize| {
            let at = |i: usize| ((i * (7919 + seed)) % 10_007) as f32;
            set(2, &(0..400).map(|i| at(i * i + 31 * i + 1)).collect::<Vec<_>>())
        };
        let data = square(0);
        let same = copies(&data, &data, 0).unwrap();
        assert!(same.measure.value == 1.0 && same.measure.expected < 0.4, "{same:?}");
        assert!(same.measure.p.unwrap() < 1e-6 && (same.searched, same.held_out) == (200, 50), "{same:?}");
        let new = copies(&square(1000), &data, 0).unwrap();
        assert!(new.measure.p.unwrap() > 0.01 && new.measure.value < 0.4, "{new:?}");
        assert_eq!(copies(&data, &set(2, &[0.0; 6]), 0), None);
    }
}
