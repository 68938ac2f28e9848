//! Share of generated signals that are sines, as in the toy data set `sine`.

use std::f64::consts::TAU;
use std::fmt;

use serde::Serialize;

use crate::data::Dataset;

/// R^2 above which a signal counts as a sine.
const ENOUGH: f64 = 0.98;

/// Shares of signals that are a single sine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Sines {
    /// Share of the samples with an R^2 above `ENOUGH`.
    pub samples: f64,
    /// Share of the data with an R^2 above `ENOUGH`.
    pub data: f64,
}

impl Sines {
    /// Fits a sine to every signal of both sets.
    pub fn of(samples: &Dataset, data: &Dataset) -> Self {
        let share = |set: &Dataset| {
            let width = set.values.len() / set.len();
            let fit = set.values.chunks(width).filter(|signal| sine_fit(signal) > ENOUGH).count();
            fit as f64 / set.len() as f64
        };
        Self { samples: share(samples), data: share(data) }
    }
}

impl fmt::Display for Sines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (samples, data) = (100.0 * self.samples, 100.0 * self.data);
        write!(f, "one sine with R^2 above {ENOUGH}: {samples:.1}% of the samples, {data:.1}% of the data")
    }
}

/// R^2 of the best y_i = a sin(2 pi f i / n) + b cos(2 pi f i / n) by least squares: 1 - |y - fit|^2 / |y - mean|^2.
///
/// f lies between half a period and n / 2 periods per signal; a grid search is refined by golden-section search.
fn sine_fit(y: &[f32]) -> f64 {
    const GRID: f64 = 0.1;
    let mean = y.iter().map(|&v| v as f64).sum::<f64>() / y.len() as f64;
    let total: f64 = y.iter().map(|&v| (v as f64 - mean).powi(2)).sum();
    let steps = ((y.len() as f64 / 2.0 - 0.5) / GRID).max(0.0) as usize;
    let best =
        (0..=steps).map(|i| 0.5 + GRID * i as f64).map(|f| (residual(y, f), f)).min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, middle)) = best.filter(|_| total > 0.0) else { return 0.0 };
    let (mut low, mut high) = ((middle - GRID).max(0.05), middle + GRID);
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..20 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if residual(y, a) < residual(y, b) { high = b } else { low = a }
    }
    1.0 - residual(y, (low + high) / 2.0) / total
}

/// |y - fit|^2 at frequency f, by the normal equations.
fn residual(y: &[f32], f: f64) -> f64 {
    let [mut ss, mut sc, mut cc, mut sy, mut cy, mut yy] = [0.0; 6];
    let (turn_s, turn_c) = (TAU * f / y.len() as f64).sin_cos();
    let (mut s, mut c) = (0.0, 1.0);
    for v in y.iter().map(|&v| v as f64) {
        (ss, sc, cc) = (ss + s * s, sc + s * c, cc + c * c);
        (sy, cy, yy) = (sy + s * v, cy + c * v, yy + v * v);
        (s, c) = (s * turn_c + c * turn_s, c * turn_c - s * turn_s);
    }
    let det = ss * cc - sc * sc;
    if det.abs() < 1e-9 {
        return yy;
    }
    let (a, b) = ((sy * cc - cy * sc) / det, (cy * ss - sy * sc) / det);
    yy - a * sy - b * cy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sine_waves;

    #[test]
    fn a_sine_fits_and_other_signals_do_not() {
        assert!(sine_waves(50, 100, 3).chunks(100).all(|y| sine_fit(y) > 0.9999));
        let square: Vec<f32> = (0..100).map(|i| if i % 40 < 20 { 1.0 } else { -1.0 }).collect();
        let two: Vec<f32> =
            sine_waves(2, 100, 4)[..100].iter().zip(&sine_waves(2, 100, 4)[100..]).map(|(a, b)| a + b).collect();
        assert!(sine_fit(&square) < 0.9 && sine_fit(&two) < 0.98);
        assert_eq!(sine_fit(&[0.5; 64]), 0.0);
    }

    #[test]
    fn noise_lowers_r_squared_by_its_power() {
        // R^2 = 1 - noise / (signal + noise).
        let y: Vec<f32> =
            sine_waves(1, 1000, 5).iter().enumerate().map(|(i, v)| v + if i % 2 == 0 { 0.1 } else { -0.1 }).collect();
        let signal = sine_waves(1, 1000, 5).iter().map(|v| (v * v) as f64).sum::<f64>() / 1000.0;
        assert!((sine_fit(&y) - signal / (signal + 0.01)).abs() < 2e-3);
    }
}
