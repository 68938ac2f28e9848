//! Coverage: whether the samples reach all parts of the data.

use super::measure::Measure;
use super::pooled::{Pooled, Tail};

/// The share of the data that have a sample nearer than their fifth nearest neighbour in the data, with its permutation
/// test. This is equivalent to a sample among the five nearest neighbours in both sets.
///
/// *Source*: Naeem et al. 2020, Reliable fidelity and diversity metrics for generative models, eq. 6.
pub(super) fn coverage(pooled: &Pooled) -> Measure {
    let n = pooled.is_sample.len();
    pooled.test(Tail::Lower, |marks| {
        let covered = |&i: &usize| pooled.neighbours(i).iter().any(|&j| marks[j as usize]);
        let data: Vec<usize> = (0..n).filter(|&i| !marks[i]).collect();
        data.iter().filter(|i| covered(i)).count() as f64 / data.len() as f64
    })
}

#[cfg(test)]
mod tests {
    use super::super::pooled::NEIGHBOURS;
    use super::super::pooled::tests::set;
    use super::*;

    #[test]
    fn the_expected_coverage_is_that_of_the_paper() {
        let line = |n: usize, by: f32| set(1, &(0..n).map(|i| by * i as f32).collect::<Vec<_>>());
        let (samples, data) = (line(60, 1.01), line(80, 0.77));
        let found = coverage(&Pooled::new(&samples, &data, 999, 0));
        // 1 - (n - 1) ... (n - k) / ((n + m - 1) ... (n + m - k)), with m samples.
        let missed: f64 = (1..=NEIGHBOURS).map(|i| (80 - i) as f64 / (140 - i) as f64).product();
        assert!((found.expected - (1.0 - missed)).abs() < 0.005 && found.p.unwrap() > 0.05, "{found:?}");
        // The samples lie in the lower half of the data.
        let half = coverage(&Pooled::new(&line(60, 0.5), &data, 999, 0));
        assert!((half.value - 0.5).abs() < 0.05 && half.p == Some(1e-3), "{half:?}");
    }
}
