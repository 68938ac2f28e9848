//! The nearest-neighbour two-sample test.

use super::measure::Measure;
use super::pooled::{Pooled, Tail};

/// The share of the five nearest neighbours that belong to the same set, over all samples and data, with its permutation
/// test. It is sensitive to structure at the scale of the distance between neighbours, which the energy distance averages
/// out.
///
/// *Source*: Schilling 1986, Multivariate two-sample tests based on nearest neighbors; Henze 1988.
pub(super) fn same_set_neighbours(pooled: &Pooled) -> Measure {
    let n = pooled.is_sample.len();
    pooled.test(Tail::Upper, |marks| {
        let same = |i: usize| pooled.neighbours(i).iter().filter(|&&j| marks[j as usize] == marks[i]).count();
        (0..n).map(same).sum::<usize>() as f64 / (n * pooled.neighbours(0).len()) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::super::pooled::tests::set;
    use super::*;

    #[test]
    fn separated_and_interleaved_sets_have_known_shares() {
        let line = |from: f32, step: f32| set(1, &(0..40).map(|i| from + step * i as f32).collect::<Vec<_>>());
        let of = |samples, data| same_set_neighbours(&Pooled::new(&samples, &data, 199, 0));
        let apart = of(line(0.0, 1.0), line(100.0, 1.0));
        assert_eq!((apart.value, apart.p), (1.0, Some(1.0 / 200.0)));
        assert!((apart.expected - 39.0 / 79.0).abs() < 0.01, "{apart:?}");
        let interleaved = of(line(0.0, 1.0), line(0.5, 1.0));
        assert!(interleaved.value < 0.45 && interleaved.p.unwrap() > 0.5, "{interleaved:?}");
    }
}
