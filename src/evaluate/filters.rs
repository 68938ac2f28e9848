//! Classical baselines for a denoiser: Gaussian and median filters, tuned on the evaluated data itself.

use std::fmt;

use super::pairs::decibels;
use super::pairs::{check_pairs, psnr, range_of};
use crate::Result;
use crate::data::{Dataset, Kind};
use crate::parallel;
use crate::text::short;

/// Number and width of the planes that are filtered independently: a signal is one row, an image has channels of h x w.
fn planes(shape: &[usize]) -> (usize, usize) {
    match shape {
        [_, h, w] => (*h, *w),
        _ => (1, shape.iter().product()),
    }
}

/// The index `at` in 0..n, continued by reflection at the edges: 2 1 0 | 0 1 2.
fn reflected(at: isize, n: usize) -> usize {
    let period = 2 * n as isize;
    let inside = at.rem_euclid(period) as usize;
    if inside < n { inside } else { period as usize - 1 - inside }
}

/// Samples of `shape` blurred with a Gaussian of standard deviation `sigma` values, truncated at four sigma.
fn gaussian_filter(values: &[f32], shape: &[usize], sigma: f64) -> Vec<f32> {
    let radius = (4.0 * sigma).ceil().max(1.0) as isize;
    let weights: Vec<f64> = (-radius..=radius).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let (h, w) = planes(shape);
    let blur = |x: &[f64], at: &dyn Fn(isize) -> usize, centre: isize| {
        let terms = weights.iter().enumerate().map(|(i, weight)| weight * x[at(centre + i as isize - radius)]);
        terms.sum::<f64>() / total
    };
    each_plane(values, h * w, |plane, out| {
        let wide: Vec<f64> = plane.iter().map(|&v| f64::from(v)).collect();
        let along: Vec<f64> =
            (0..h * w).map(|e| blur(&wide, &|j| e / w * w + reflected(j, w), (e % w) as isize)).collect();
        for (e, out) in out.iter_mut().enumerate() {
            let down = |i| reflected(i, h) * w + e % w;
            *out = if h == 1 { along[e] } else { blur(&along, &down, (e / w) as isize) } as f32;
        }
    })
}

/// Samples of `shape` with each value replaced by the median of a window of `size` values (`size` x `size` in images).
fn median_filter(values: &[f32], shape: &[usize], size: usize) -> Vec<f32> {
    let radius = (size / 2) as isize;
    let (h, w) = planes(shape);
    let tall = if h == 1 { 0 } else { radius };
    each_plane(values, h * w, |plane, out| {
        let mut window = Vec::new();
        for (e, out) in out.iter_mut().enumerate() {
            let (i, j) = ((e / w) as isize, (e % w) as isize);
            window.clear();
            for row in -tall..=tall {
                window.extend((-radius..=radius).map(|by| plane[reflected(i + row, h) * w + reflected(j + by, w)]));
            }
            let middle = window.len() / 2;
            *out = *window.select_nth_unstable_by(middle, f32::total_cmp).1;
        }
    })
}

fn each_plane(values: &[f32], len: usize, filter: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    parallel::blocks(&mut out, len, None, |i, out, _| filter(&values[i * len..][..out.len()], out));
    out
}

/// The best result of a filter and its setting.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Filtered {
    /// The standard deviation of the Gaussian or the window of the median, in values; 0 when no filtering is best.
    pub setting: f64,
    /// The PSNR, in dB.
    pub psnr: f64,
}

/// PSNR of noisy and denoised samples, and of the noisy samples after the best Gaussian and the best median filter.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Denoised {
    /// PSNR of the noisy samples, in dB.
    pub noisy: f64,
    /// PSNR of the denoised samples, in dB.
    pub denoised: f64,
    /// The best Gaussian filter; none for points.
    pub gaussian: Option<Filtered>,
    /// The best median filter; none for points.
    pub median: Option<Filtered>,
    /// The range of values used for PSNR: that of the clean samples.
    pub range: f64,
}

impl fmt::Display for Denoised {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { noisy, denoised, range, .. } = self;
        // Infinity minus infinity is not a number.
        let gain = match denoised - noisy {
            gain if gain.is_nan() => String::new(),
            gain if gain.abs() < 0.005 => " (+0.00)".to_string(),
            gain => format!(" ({gain:+.2})"),
        };
        write!(f, "PSNR: noisy {}, denoised {}{gain}", decibels(*noisy), decibels(*denoised))?;
        if let (Some(g), Some(m)) = (&self.gaussian, &self.median) {
            write!(f, ", best Gaussian filter {} (sigma {:.2})", decibels(g.psnr), g.setting)?;
            write!(f, ", best median filter {} (window {})", decibels(m.psnr), m.setting)?;
        }
        write!(f, "; range {}", short(*range))
    }
}

/// Compares `denoised` and filtered `noisy` samples with the `clean` ones. The filter settings are those that are best
/// on these samples, which favours the filters.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) when the sets differ in shape or number, or all clean values are equal.
pub fn compare_denoised(noisy: &Dataset, denoised: &Dataset, clean: &Dataset) -> Result<Denoised> {
    check_pairs(noisy, clean)?;
    check_pairs(denoised, clean)?;
    let range = range_of(clean)?;
    let of = |values: &[f32]| psnr(values, &clean.values, range);
    let unfiltered = Filtered { setting: 0.0, psnr: of(&noisy.values)? };
    let best = |settings: &[f64], filter: &dyn Fn(f64) -> Vec<f32>| -> Result<Option<Filtered>> {
        if clean.kind() == Kind::Points {
            return Ok(None);
        }
        settings.iter().try_fold(Some(unfiltered), |best, &setting| {
            let found = Filtered { setting, psnr: of(&filter(setting))? };
            Ok(best.filter(|best| best.psnr >= found.psnr).or(Some(found)))
        })
    };
    let sigmas: Vec<f64> = (0..28).map(|i| 0.25 * 2f64.powf(i as f64 / 5.0)).collect();
    let windows: Vec<f64> =
        (1..=if clean.kind() == Kind::Images { 3 } else { 12 }).map(|r| f64::from(2 * r + 1)).collect();
    Ok(Denoised {
        noisy: unfiltered.psnr,
        denoised: of(&denoised.values)?,
        gaussian: best(&sigmas, &|sigma| gaussian_filter(&noisy.values, &noisy.shape, sigma))?,
        median: best(&windows, &|size| median_filter(&noisy.values, &noisy.shape, size as usize))?,
        range,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_reflected() {
        let places: Vec<usize> = (-4..7).map(|at| reflected(at, 3)).collect();
        assert_eq!(places, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
    }

    #[test]
    fn filters_do_what_they_say() {
        let flat = vec![3.5; 2 * 24];
        for shape in [vec![24], vec![1, 4, 6], vec![2, 3, 4]] {
            assert!(gaussian_filter(&flat, &shape, 1.3).iter().all(|v| (v - 3.5).abs() < 1e-6));
            assert_eq!(median_filter(&flat, &shape, 3), flat);
        }
        assert_eq!(median_filter(&[1.0, 9.0, 2.0, 3.0, 0.0], &[5], 3), [1.0, 2.0, 3.0, 2.0, 0.0]);
        let mut point = vec![0.0; 49];
        point[24] = 1.0;
        assert_eq!(median_filter(&point, &[1, 7, 7], 3), vec![0.0; 49]);
        let blurred = gaussian_filter(&point, &[1, 7, 7], 0.6);
        assert!((blurred.iter().sum::<f32>() - 1.0).abs() < 1e-5 && blurred[24] < 0.5 && blurred[23] == blurred[17]);
        // A step of one pixel: exp(-1 / (2 0.36)) of the centre, along both axes.
        assert!((blurred[23] / blurred[24] - (-1.0f32 / 0.72).exp()).abs() < 1e-5);
    }

    #[test]
    fn the_best_filter_is_found_and_never_worse_than_none() {
        let wave = |noise: f32| {
            let value = |i: usize| (i as f32 * 0.05).sin() + noise * ((i * 7919 % 13) as f32 - 6.0) / 6.0;
            Dataset::new("w", [200], (0..1000).map(value).collect()).unwrap()
        };
        let (clean, noisy) = (wave(0.0), wave(0.3));
        let found = compare_denoised(&noisy, &clean, &clean).unwrap();
        assert!(found.denoised.is_infinite() && found.gaussian.unwrap().psnr > found.noisy + 3.0, "{found}");
        let found = compare_denoised(&clean, &clean, &clean).unwrap();
        assert_eq!(found.median.unwrap().setting, 0.0);
        let other = Dataset::new("o", [100], vec![0.5; 1000]).unwrap();
        assert!(compare_denoised(&other, &clean, &clean).unwrap_err().to_string().contains("[100]"));
    }
}
