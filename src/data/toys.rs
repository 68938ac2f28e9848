//! Built-in data sets, generated from a seed.

use std::f64::consts::PI;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::weighted::WeightedIndex;
use rand_distr::{Distribution, StandardNormal};

use super::Dataset;
use crate::Result;

/// The names of the built-in data sets in [`Dataset::load`].
pub const TOYS: [&str; 6] = ["sine", "moons", "circles", "swissroll", "coastline", "ecg"];

/// The number of samples of a built-in data set, and the length of a sine wave.
const N: usize = 8192;
const LENGTH: usize = 100;

/// The number of points of `coastline`, and the number and the length of the windows of `ecg`.
const COAST: usize = 3000;
const WINDOWS: usize = 2000;
const WINDOW: usize = 160;

/// Whether this is the name of a built-in data set, which takes precedence over a file.
pub(super) fn is_toy(name: &str) -> bool {
    TOYS.contains(&name)
}

pub(super) fn by_name(name: &str, seed: u64) -> Option<Result<Dataset>> {
    let (shape, values) = match name {
        "sine" => ([LENGTH], sine_waves(N, LENGTH, seed)),
        "moons" => ([2], two_moons(N, seed)),
        "circles" => ([2], two_circles(N, seed)),
        "swissroll" => ([2], swiss_roll(N, seed)),
        "coastline" => ([2], coastline(COAST, seed)),
        "ecg" => ([WINDOW], electrocardiograms(WINDOWS, WINDOW, seed)),
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

/// Points on the coast of an island in degrees of longitude and latitude: a closed fractal curve by midpoint displacement
/// (Fournier, Fussell and Carpenter 1982), with a noise of 0.05 degrees. `[n, 2]`
pub fn coastline(n: usize, seed: u64) -> Vec<f32> {
    /// Corners of the first polygon, how often each edge is halved, and the displacement relative to an edge.
    const CORNERS: usize = 9;
    const HALVINGS: usize = 8;
    const ROUGHNESS: f64 = 0.18;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut normal = move || -> f64 { StandardNormal.sample(&mut rng) };
    let corner = |i: usize, r: f64| {
        let angle = 2.0 * PI * i as f64 / CORNERS as f64;
        [-95.0 + 25.0 * r * angle.cos(), 40.0 + 12.0 * r * angle.sin()]
    };
    let mut coast: Vec<[f64; 2]> = (0..CORNERS).map(|i| corner(i, 1.0 + 0.15 * normal())).collect();
    for _ in 0..HALVINGS {
        let next = coast.iter().cycle().skip(1);
        let halved = coast.iter().zip(next).flat_map(|(a, b)| {
            let along = [b[0] - a[0], b[1] - a[1]];
            let aside = ROUGHNESS * normal();
            let middle = [a[0] + along[0] / 2.0 - aside * along[1], a[1] + along[1] / 2.0 + aside * along[0]];
            [*a, middle]
        });
        coast = halved.collect();
    }
    let ends = |i: usize| [coast[i], coast[(i + 1) % coast.len()]];
    let length = |i: usize| ends(i)[1][0] - ends(i)[0][0];
    let lengths: Vec<f64> = (0..coast.len()).map(|i| length(i).hypot(ends(i)[1][1] - ends(i)[0][1])).collect();
    let edge = WeightedIndex::new(&lengths).expect("edges have a length");
    points(n, 0.05, seed.wrapping_add(1), |rng| {
        let ([a, b], t) = (ends(edge.sample(rng)), rng.random_range(0.0..1.0));
        (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]))
    })
}

/// Windows of `length` values of simulated electrocardiograms at 128 Hz in millivolts: a sum of five bell curves per beat,
/// the waves P, Q, R, S and T (McSharry et al. 2003, table 1), with a heart rate of 50 to 100 per minute and an amplitude of
/// 0.8 to 1.2 per window, breathing of 0.05 mV and a noise of 0.01 mV. `[n, length]`
pub fn electrocardiograms(n: usize, length: usize, seed: u64) -> Vec<f32> {
    /// Angle within a beat (R is at 0), height and width.
    const WAVES: [[f64; 3]; 5] = [
        [-PI / 3.0, 0.12, 0.25],
        [-PI / 12.0, -0.15, 0.1],
        [0.0, 1.0, 0.1],
        [PI / 12.0, -0.25, 0.1],
        [PI / 2.0, 0.3, 0.4],
    ];
    let mut rng = StdRng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(n * length);
    for _ in 0..n {
        let (rate, height) = (rng.random_range(50.0..100.0) / 60.0, rng.random_range(0.8..1.2));
        let [start, breath] = [0, 1].map(|_| rng.random_range(0.0..2.0 * PI));
        values.extend((0..length).map(|i| {
            let t = i as f64 / 128.0;
            let angle = start + 2.0 * PI * rate * t;
            let wave = |[at, height, width]: [f64; 3]| {
                let away = (angle - at + PI).rem_euclid(2.0 * PI) - PI;
                height * (-0.5 * (away / width).powi(2)).exp()
            };
            let eps: f64 = StandardNormal.sample(&mut rng);
            let slow = 0.05 * (2.0 * PI * 0.25 * t + breath).sin();
            (height * WAVES.map(wave).iter().sum::<f64>() + slow + 0.01 * eps) as f32
        }));
    }
    values
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
            let samples = match name {
                "coastline" => 3000,
                "ecg" => 2000,
                _ => 8192,
            };
            assert_eq!(toy(3).len(), samples);
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
        let coast = coastline(3000, 1);
        assert!(coast.chunks(2).all(|p| (-135.0..-55.0).contains(&p[0]) && (20.0..60.0).contains(&p[1])));
        // A window of 1.25 s contains at least one whole beat at 50 per minute, whose peak is 0.8 to 1.2 mV.
        let peak = |window: &[f32]| window.iter().copied().fold(f32::MIN, f32::max);
        assert!(electrocardiograms(200, 160, 1).chunks(160).all(|w| (0.65..1.35).contains(&peak(w))));
    }
}
