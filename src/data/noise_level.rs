//! Estimates of the noise level of data without knowing the clean ones.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::{Dataset, Kind};
use crate::error::{Error, Result};
use crate::text::short;

/// The maximum share of values at the smallest or largest one: beyond it, noise was cut off there.
const MOST_CUT: f64 = 0.1;

/// The maximum share of residuals within the median: beyond it, almost all are equal and tell nothing about the noise.
const MOST_EQUAL: f64 = 0.98;

/// Estimates the standard deviation of Gaussian noise on samples: one for each channel of signals, one for images.
///
/// Images: Immerkaer (1996, Fast noise variance estimation): sqrt(pi / 2) / 6 times the mean of |I * L|. L is the
/// difference of two Laplacians, which is 0 for linear structures. Signals: a robust scale of the second differences,
/// divided by sqrt 6 (the pseudo-residuals of Gasser, Sroka and Jennen-Steinmetz 1986). The scale is the median of their
/// absolute values divided by that of a normal distribution. Residuals of values in steps of q, such as whole numbers, are
/// multiples of q: if a share P of them is at most the median m, the scale is (m + q / 2) / z with P(|N(0, 1)| < z) = P. Below
/// one step, it is the root mean square of the residuals, each limited to four times that scale or three steps. The rounding
/// of the values, of variance q^2 / 12, is a part of the noise. Fine structure of the data counts as noise, so
/// the estimates are too large for rough data.
///
/// # Errors
/// [`Error::Input`] for points and tables, for samples with fewer than three values in a row or column, for noise that was
/// cut off at the end of the range of the values, and for data without noise.
pub fn estimate_levels(data: &Dataset) -> Result<Vec<f64>> {
    let grouping = data.grouping();
    let refuse = |group: usize, why: &str| {
        let name =
            if grouping.count > 1 { format!("{}: ", data.columns.title(data.kind(), group)) } else { String::new() };
        Err(Error::input(format!(
            "{}: {name}the noise level cannot be estimated, because {why}; set it with --noise-level 0.1, in the units of the \
             data",
            data.name
        )))
    };
    let level = |group: usize| {
        let values: Vec<f32> = grouping.values(group, &data.values).collect();
        let [height, width] = match (data.kind(), &data.shape[..]) {
            (Kind::Images, &[_, h, w]) if h > 2 && w > 2 => [h, w],
            (Kind::Signals, &[length] | &[_, length]) if length > 2 => [1, length],
            _ => {
                let why = format!("the samples are {} of shape {:?}", data.kind().samples(), data.shape);
                return refuse(group, &why);
            }
        };
        if let Some((share, end)) = cut_off(&values).filter(|(share, _)| *share > MOST_CUT) {
            let why = format!(
                "{:.0}% of the values are exactly {}, the end of their range, where noise was cut off",
                100.0 * share,
                short(f64::from(end) + data.columns.offset_of(group))
            );
            return refuse(group, &why);
        }
        let estimate = match data.kind() {
            Kind::Images => of_images(&values, height, width),
            _ => of_signals(&values, width),
        };
        estimate.map_or_else(|| refuse(group, "neighbouring values hardly differ"), Ok)
    };
    (0..grouping.count).map(level).collect()
}

/// The larger of the shares of the values at the smallest and at the largest one, and this value.
fn cut_off(values: &[f32]) -> Option<(f64, f32)> {
    let ends = [values.iter().copied().reduce(f32::min)?, values.iter().copied().reduce(f32::max)?];
    let share = |end: f32| values.iter().filter(|v| **v == end).count() as f64 / values.len() as f64;
    ends.map(|end| (share(end), end)).into_iter().max_by(|a, b| a.0.total_cmp(&b.0))
}

fn of_images(values: &[f32], h: usize, w: usize) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for plane in values.chunks_exact(h * w) {
        for value in laplacian_differences(plane, h, w) {
            (sum, count) = (sum + value, count + 1);
        }
    }
    let level = (PI / 2.0).sqrt() / 6.0 * sum / count as f64;
    (level > 0.0).then_some(level)
}

/// |I * [1 -2 1; -2 4 -2; 1 -2 1]| at all inner pixels.
fn laplacian_differences(plane: &[f32], h: usize, w: usize) -> impl Iterator<Item = f64> {
    (1..h - 1).flat_map(move |i| {
        (1..w - 1).map(move |j| {
            let row = |i: usize| {
                let at = |j: usize| f64::from(plane[i * w + j]);
                at(j - 1) - 2.0 * at(j) + at(j + 1)
            };
            (row(i - 1) - 2.0 * row(i) + row(i + 1)).abs()
        })
    })
}

fn of_signals(values: &[f32], length: usize) -> Option<f64> {
    let second = |w: &[f32]| (f64::from(w[0]) - 2.0 * f64::from(w[1]) + f64::from(w[2])).abs();
    let mut residuals: Vec<f64> =
        values.chunks_exact(length).flat_map(|signal| signal.windows(3).map(second)).collect();
    let middle = residuals.len() / 2;
    let median = *residuals.select_nth_unstable_by(middle, f64::total_cmp).1;
    let half = step_of(values).unwrap_or(0.0) / 2.0;
    // Without steps, half of the residuals are within the median.
    let within = residuals.iter().filter(|r| **r < median + half).count() as f64 / residuals.len() as f64;
    let share = if half > 0.0 { within } else { 0.5 };
    let scale = (median + half) / normal_quantile(share);
    // In a few steps, the shares of the residuals are not those of a normal distribution, but their variance is right. What
    // is far off is a jump of the data.
    let most = (4.0 * scale).max(6.0 * half);
    let variance = || residuals.iter().map(|r| r.min(most).powi(2)).sum::<f64>() / residuals.len() as f64;
    let level = if scale < 6f64.sqrt() * 2.0 * half { variance().sqrt() } else { scale } / 6f64.sqrt();
    (level > 0.0 && share <= MOST_EQUAL).then_some(level)
}

/// The step of values that are all multiples of a number, apart from a constant: 1 for whole numbers. `None` for other
/// values.
fn step_of(values: &[f32]) -> Option<f64> {
    /// How far a multiple may be from a whole number, because of the rounding to float32.
    const ROUNDING: f64 = 0.02;
    let mut distinct = values.to_vec();
    distinct.sort_unstable_by(f32::total_cmp);
    distinct.dedup();
    let gaps = distinct.windows(2).map(|pair| f64::from(pair[1]) - f64::from(pair[0]));
    let step = gaps.reduce(f64::min)?;
    let first = f64::from(distinct[0]);
    let whole = |v: &f32| {
        let multiple = (f64::from(*v) - first) / step;
        (multiple - multiple.round()).abs() < ROUNDING
    };
    distinct.iter().all(whole).then_some(step)
}

/// z with P(|N(0, 1)| < z) = `share`, by bisection.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let z = (low + high) / 2.0;
        if libm::erf(z * FRAC_1_SQRT_2) < share { low = z } else { high = z }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corrupt::{NoiseKind, add_noise};
    use crate::device::Device;

    fn noisy(shape: &[usize], n: usize, level: f64, clean: impl Fn(usize) -> f32) -> Dataset {
        let len: usize = shape.iter().product();
        let clean = Dataset::new("d", shape.to_vec(), (0..n * len).map(clean).collect()).unwrap();
        add_noise(&Device::cpu(), &clean, NoiseKind::Gaussian(level), 4).unwrap()
    }

    fn rounded(data: &Dataset, step: f32) -> Dataset {
        data.with_values("d", data.values.iter().map(|v| (v / step).round() * step).collect()).unwrap()
    }

    #[test]
    fn the_level_of_gaussian_noise_is_estimated() {
        let smooth = |i: usize| (i as f32 * 0.01).sin();
        for (shape, n) in [(vec![128], 100), (vec![1, 16, 16], 100), (vec![3, 20, 13], 40)] {
            for level in [0.1, 0.5] {
                let found = estimate_levels(&noisy(&shape, n, level, smooth)).unwrap()[0];
                assert!((found / level - 1.0).abs() < 0.06, "{shape:?} {level}: {found}");
            }
        }
        let points = Dataset::new("p", [2], vec![0.0; 8]).unwrap();
        assert!(estimate_levels(&points).unwrap_err().to_string().contains("[2]"));
    }

    /// The noise of rounded values is that before rounding and that of the rounding.
    #[test]
    fn the_level_is_estimated_from_rounded_values() {
        let slow = |i: usize| 30.0 * (i as f32 * 0.02).sin();
        for step in [1.0, 0.004, 1.0 / 255.0] {
            for relative in [0.2, 0.3, 0.4, 0.6, 1.5, 6.0] {
                let clean = |i: usize| slow(i) * step;
                let level = relative * f64::from(step);
                let data = rounded(&noisy(&[200], 200, level, clean), step);
                let found = estimate_levels(&data).unwrap()[0] / f64::from(step);
                let whole = (relative * relative + 1.0 / 12.0).sqrt();
                assert!((found / whole - 1.0).abs() < 0.08, "steps of {step}, noise of {relative} steps: {found}");
            }
        }
    }

    #[test]
    fn each_channel_has_its_own_level() {
        let smooth = |i: usize| (i as f32 * 0.01).sin();
        let mut data = noisy(&[2, 100], 50, 0.2, smooth);
        data.values.chunks_mut(100).skip(1).step_by(2).flatten().for_each(|v| *v *= 1000.0);
        let found = estimate_levels(&data).unwrap();
        assert!((found[0] / 0.2 - 1.0).abs() < 0.06 && (found[1] / 200.0 - 1.0).abs() < 0.06, "{found:?}");
    }

    #[test]
    fn an_estimate_that_is_impossible_is_refused() {
        let cut = noisy(&[1, 16, 16], 20, 0.2, |_| 0.0);
        let cut = cut.with_values("d", cut.values.iter().map(|v| v.clamp(0.0, 1.0)).collect()).unwrap();
        let message = estimate_levels(&cut).unwrap_err().to_string();
        assert!(
            message.contains("exactly 0, the end of their range") && message.contains("--noise-level"),
            "{message}"
        );
        // Long plateaus, whose ends are a small part of the values.
        let level = |i: usize| ((i / 100 * 7) % 23) as f32;
        let steady = Dataset::new("d", [100], (0..4_000).map(level).collect()).unwrap();
        let message = estimate_levels(&steady).unwrap_err().to_string();
        assert!(
            message.contains("neighbouring values hardly differ") && message.contains("--noise-level"),
            "{message}"
        );
    }
}
