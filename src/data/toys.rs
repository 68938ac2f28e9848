//! Built-in data sets, generated from a seed.

use std::f64::consts::PI;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use super::Dataset;
use crate::Result;

/// The names of the built-in data sets in [`Dataset::load`].
pub const TOYS: [&str; 4] = ["sine", "moons", "circles", "swissroll"];

/// The number of samples of a built-in data set, and the length of a sine wave.
const N: usize = 8192;
const LENGTH: usize = 100;

/// Whether this is the name of a built-in data set, which takes precedence over a file.
#[cfg(feature = "cli")]
pub(super) fn is_toy(name: &str) -> bool {
    TOYS.contains(&name)
}

pub(super) fn by_name(name: &str, seed: u64) -> Option<Result<Dataset>> {
    let (shape, values) = match name {
        "sine" => ([LENGTH], sine_waves(N, LENGTH, seed)),
        "moons" => ([2], two_moons(N, seed)),
        "circles" => ([2], two_circles(N, seed)),
        "swissroll" => ([2], swiss_roll(N, seed)),
        _ => return None,
    };
    Some(Dataset::new(name, shape, values))
}

/// a sin(2 pi f s + phi) at `length` points s in [0, 1): amplitude a in [0.5, 1], frequency f in [1, 5] periods, phase
/// phi in [0, 2 pi), each uniform. `[n, length]`
pub fn sine_waves(n: usize, length: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(n * length);
    for _ in 0..n {
        let (a, f) = (rng.random_range(0.5..1.0), rng.random_range(1.0..5.0));
        let phi = rng.random_range(0.0..2.0 * PI);
        values.extend((0..length).map(|i| (a * f64::sin(2.0 * PI * f * i as f64 / length as f64 + phi)) as f32));
    }
    values
}

/// Two interleaved half circles of radius 1, noise 0.05, as scikit-learn's `make_moons`. `[n, 2]`
pub fn two_moons(n: usize, seed: u64) -> Vec<f32> {
    points(n, 0.05, seed, |rng| {
        let t: f64 = rng.random_range(0.0..PI);
        if rng.random() { (t.cos(), t.sin()) } else { (1.0 - t.cos(), 0.5 - t.sin()) }
    })
}

/// Two circles of radius 1 and 0.5, noise 0.05, as scikit-learn's `make_circles`. `[n, 2]`
pub fn two_circles(n: usize, seed: u64) -> Vec<f32> {
    points(n, 0.05, seed, |rng| {
        let t: f64 = rng.random_range(0.0..2.0 * PI);
        let radius = if rng.random() { 1.0 } else { 0.5 };
        (radius * t.cos(), radius * t.sin())
    })
}

/// (t cos t, t sin t) for t in [1.5 pi, 4.5 pi], noise 0.3: the flat view of scikit-learn's `make_swiss_roll`. `[n, 2]`
pub fn swiss_roll(n: usize, seed: u64) -> Vec<f32> {
    points(n, 0.3, seed, |rng| {
        let t: f64 = rng.random_range(1.5 * PI..4.5 * PI);
        (t * t.cos(), t * t.sin())
    })
}

fn points(n: usize, noise: f64, seed: u64, mut draw: impl FnMut(&mut StdRng) -> (f64, f64)) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(2 * n);
    for _ in 0..n {
        let (x, y) = draw(&mut rng);
        for value in [x, y] {
            let eps: f64 = StandardNormal.sample(&mut rng);
            values.push((value + noise * eps) as f32);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toys_depend_on_the_seed() {
        for name in TOYS {
            let toy = |seed| Dataset::load(name, seed).unwrap();
            assert_eq!(toy(3), toy(3));
            assert_ne!(toy(3).values, toy(4).values);
            assert_eq!(toy(3).len(), 8192);
        }
    }

    #[test]
    fn toys_have_the_right_statistics() {
        let mean = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
        let radius: Vec<f32> = two_circles(20_000, 1).chunks(2).map(|p| p[0].hypot(p[1])).collect();
        assert!((mean(&radius) - 0.75).abs() < 0.01, "{}", mean(&radius));
        let moons = two_moons(20_000, 1);
        let x: Vec<f32> = moons.iter().step_by(2).copied().collect();
        assert!((mean(&x) - 0.5).abs() < 0.03, "{}", mean(&x));
        assert!(sine_waves(100, 50, 1).iter().all(|value| value.abs() <= 1.0));
    }
}
