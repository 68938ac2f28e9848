//! The energy distance.

use super::measure::Measure;
use super::pooled::{Pooled, Tail};

/// The energy distance of samples X and data Y with its permutation test:
///
/// D = sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|), the means over all pairs, each element paired with itself included.
///
/// *Units*: those of the distances.
///
/// *Source*: Székely and Rizzo 2013, Energy statistics: a class of statistics based on distances, eq. 5 and section 5.
pub(super) fn energy_distance(pooled: &Pooled) -> Measure {
    let n = pooled.is_sample.len();
    let rows = pooled.distances.chunks(n).map(|row| row.iter().map(|&d| f64::from(d)).sum::<f64>());
    let rows: Vec<f64> = rows.collect();
    let all: f64 = rows.iter().sum();
    let [samples, data] = pooled.sizes();
    let of_samples = samples <= data;
    pooled.test(Tail::Upper, |marks| {
        let smaller: Vec<usize> = (0..n).filter(|&i| marks[i] == of_samples).collect();
        let row = |i: usize| &pooled.distances[i * n..][..n];
        let within = |i: usize| smaller.iter().map(|&j| f64::from(row(i)[j])).sum::<f64>();
        let inside: f64 = smaller.iter().map(|&i| within(i)).sum();
        let between = smaller.iter().map(|&i| rows[i]).sum::<f64>() - inside;
        let outside = all - 2.0 * between - inside;
        let (a, b) = (smaller.len() as f64, (n - smaller.len()) as f64);
        (2.0 * between / (a * b) - inside / (a * a) - outside / (b * b)).max(0.0).sqrt()
    })
}

#[cfg(test)]
mod tests {
    use super::super::pooled::tests::set;
    use super::*;

    #[test]
    fn small_sets_have_known_distances() {
        let of = |dim: usize, samples: &[f32], data: &[f32]| {
            energy_distance(&Pooled::new(&set(dim, samples), &set(dim, data), 99, 0))
        };
        // 2 x 1 - 0 - 0, and (0, 4) against 1: 2 x 2 - 4 / 2 - 0.
        assert!((of(1, &[0.0], &[1.0]).value - 2f64.sqrt()).abs() < 1e-9);
        assert!((of(1, &[0.0, 4.0], &[1.0]).value - 2f64.sqrt()).abs() < 1e-7);
        // 3-4-5 triangle: 2 x (3 + 5) / 2 - 4 / 2.
        assert!((of(2, &[0.0, 0.0], &[3.0, 0.0, 3.0, 4.0]).value - 6f64.sqrt()).abs() < 1e-7);
        // scipy.stats.energy_distance([0.3, 1.7, 2.2, 5.0], [1.0, 2.5, 9.0])
        assert!((of(1, &[0.3, 1.7, 2.2, 5.0], &[1.0, 2.5, 9.0]).value - 1.073_674_893_893_760_6).abs() < 1e-6);
        let same = of(2, &[0.0, 1.0, 3.0, 4.0], &[0.0, 1.0, 3.0, 4.0]);
        assert!(same.value < 1e-6 && same.p == Some(1.0), "{same:?}");
    }
}
