//! Pairwise comparison of samples with references: PSNR and SSIM.

use std::fmt;

use crate::data::{Dataset, Kind};
use crate::ops::Ssim;
use crate::text::{count, exact, short};
use crate::{Device, Error, Graph, Result};

/// PSNR = 10 log10(range^2 / mean((a - b)^2)) in dB over all values; infinite when the sets are equal.
///
/// *Units*: `range` is the difference of the largest and smallest possible value, in the units of the data.
///
/// # Errors
/// [`Error::Input`] for empty sets or sets of different length, [`Error::Setting`] when `range` is not positive.
pub fn psnr(a: &[f32], b: &[f32], range: f64) -> Result<f64> {
    if a.is_empty() || a.len() != b.len() {
        return Err(Error::input(format!("PSNR compares pairs: {} values and {}", a.len(), b.len())));
    }
    if !(range > 0.0 && range.is_finite()) {
        let range = exact(range);
        return Err(Error::setting(format!(
            "PSNR: a range of {range}; use the difference of the largest and smallest value"
        )));
    }
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    Ok(10.0 * (range * range * a.len() as f64 / squares).log10())
}

/// A level in decibels with two decimal places, and without a minus sign at zero.
pub(crate) fn decibels(value: f64) -> String {
    let text = format!("{value:.2} dB");
    if text == "-0.00 dB" { "0.00 dB".into() } else { text }
}

/// Values compared at a time.
const CHUNK_VALUES: usize = 1 << 20;

/// The mean SSIM of pairs of images [c, h, w], in f64: [`Graph::ssim_loss`] on the reference executor.
///
/// # Errors
/// [`Error::Input`] for sets of different length or with incomplete images; the errors of [`Ssim::check`].
pub fn ssim(a: &[f32], b: &[f32], image: [usize; 3], ssim: &Ssim) -> Result<f64> {
    let [c, h, w] = image;
    let len: usize = c * h * w;
    if a.is_empty() || a.len() != b.len() || len == 0 || !a.len().is_multiple_of(len) {
        let (a, b) = (a.len(), b.len());
        return Err(Error::input(format!("SSIM compares pairs of images of {image:?}: {a} values and {b}")));
    }
    let per_chunk = (CHUNK_VALUES / len).max(1) * len;
    let mut sum = 0.0;
    for (a, b) in a.chunks(per_chunk).zip(b.chunks(per_chunk)) {
        let n = a.len() / len;
        let mut g = Graph::new();
        let (x, y) = (g.state("x", [n, c, h, w])?, g.state("y", [n, c, h, w])?);
        let loss = g.ssim_loss(ssim, x, y, 1.0)?;
        let mut run = Device::reference().compile(&g)?;
        run.write("x", a)?;
        run.write("y", b)?;
        run.steps(1)?;
        sum += (1.0 - run.scalar(loss)?) * n as f64;
    }
    Ok(sum * len as f64 / a.len() as f64)
}

/// The result of [`compare_pairs`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Pairs {
    /// Peak signal-to-noise ratio in dB over all values; infinite (null in JSON) for equal sets.
    pub psnr: f64,
    /// Mean structural similarity; `None` where it does not apply.
    pub ssim: Option<f64>,
    /// The range of values used by both.
    pub range: f64,
    /// Why SSIM is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "as pairs, in their order: PSNR {}", decibels(self.psnr))?;
        if let Some(ssim) = self.ssim {
            write!(f, ", SSIM {ssim:.4}")?;
        }
        write!(f, " (range {})", short(self.range))?;
        if let Some(why) = &self.left_out {
            write!(f, "; SSIM not computed: {why}")?;
        }
        Ok(())
    }
}

/// Checks that two sets consist of pairs, matched by position.
///
/// # Errors
/// [`Error::Input`] with the shapes and sizes of both.
pub(crate) fn check_pairs(samples: &Dataset, data: &Dataset) -> Result<()> {
    if samples.shape == data.shape && samples.len() == data.len() {
        return Ok(());
    }
    Err(Error::input(format!(
        "not pairs: {} of shape {:?} in {}, {} of {:?} in {}; pairs need equal shapes and the same number in the same order",
        count(samples.len(), "sample"),
        samples.shape,
        samples.name,
        data.len(),
        data.shape,
        data.name
    )))
}

/// The difference of the largest and smallest value, used as the range of PSNR.
///
/// # Errors
/// [`Error::Input`] when all values are equal.
pub(crate) fn range_of(data: &Dataset) -> Result<f64> {
    let (low, high) = data.values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
    if low < high {
        return Ok(f64::from(high) - f64::from(low));
    }
    Err(Error::input(format!("{}: all values are equal, but PSNR needs a range above 0", data.name)))
}

/// Compares sample i of `samples` with sample i of `data`. The default `range` is that of the data, the difference of
/// the largest and smallest value. SSIM is computed for images at least as large as its window.
///
/// # Errors
/// [`Error::Input`] when the sets differ in shape or number, or all values of the data are equal.
pub fn compare_pairs(samples: &Dataset, data: &Dataset, range: Option<f64>) -> Result<Pairs> {
    check_pairs(samples, data)?;
    let range = match range {
        Some(range) => range,
        None => range_of(data)?,
    };
    let settings = Ssim::new(range);
    let why = match (data.kind(), &data.shape[..]) {
        (Kind::Images, [_, h, w]) if h.min(w) < &settings.window => {
            Some(format!("images of {h} x {w} are smaller than its window of {0} x {0}", settings.window))
        }
        (Kind::Images, _) => None,
        (kind, _) => Some(format!("it needs images, these are {kind}")),
    };
    let ssim = match (data.shape[..].try_into(), &why) {
        (Ok(image), None) => Some(ssim(&samples.values, &data.values, image, &settings)?),
        _ => None,
    };
    Ok(Pairs { psnr: psnr(&samples.values, &data.values, range)?, ssim, range, left_out: why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_two_decimal_places() {
        assert_eq!([-0.001, -0.01, 12.345].map(decibels), ["0.00 dB", "-0.01 dB", "12.35 dB"]);
    }

    fn images(n: usize, shape: [usize; 3], noise: f32) -> Dataset {
        let len = n * shape.iter().product::<usize>();
        let value = |i: usize| ((i % 13) as f32 / 12.0) + noise * ((i * 7 % 5) as f32 - 2.0);
        Dataset::new("images", shape, (0..len).map(value).collect()).unwrap()
    }

    #[test]
    fn equal_sets_are_perfect_and_noise_lowers_both() {
        let clean = images(3, [2, 12, 14], 0.0);
        let same = compare_pairs(&clean, &clean, None).unwrap();
        assert_eq!((same.psnr, same.range), (f64::INFINITY, 1.0));
        assert!((same.ssim.unwrap() - 1.0).abs() < 1e-12);
        let (a, b) = (images(3, [2, 12, 14], 0.01), images(3, [2, 12, 14], 0.1));
        let (a, b) = (compare_pairs(&a, &clean, None).unwrap(), compare_pairs(&b, &clean, None).unwrap());
        assert!((a.psnr - b.psnr - 20.0).abs() < 1e-4, "{a}, {b}");
        assert!(a.ssim > b.ssim && b.ssim.unwrap() > 0.0, "{a}, {b}");
    }

    #[test]
    fn psnr_has_the_known_value() {
        // A constant error of 0.1 in data of range 2: 20 log10(20).
        let got = psnr(&[0.0, 0.5, -1.0], &[0.1, 0.6, -0.9], 2.0).unwrap();
        assert!((got - 20.0 * 20f64.log10()).abs() < 1e-5, "{got}");
    }

    #[test]
    fn a_large_set_is_compared_in_chunks() {
        let (len, n) = (256 * 256, 20);
        let shape = [1, 256, 256];
        let (clean, noisy) = (images(n, shape, 0.0), images(n, shape, 0.05));
        let whole = compare_pairs(&noisy, &clean, None).unwrap().ssim.unwrap();
        let settings = Ssim::new(1.0);
        let one = |i: usize| ssim(&noisy.values[i * len..][..len], &clean.values[i * len..][..len], shape, &settings);
        let mean = (0..n).map(|i| one(i).unwrap()).sum::<f64>() / n as f64;
        assert!((whole - mean).abs() < 1e-12, "{whole} {mean}");
    }

    #[test]
    fn a_missing_ssim_is_explained() {
        let digits = images(3, [1, 8, 8], 0.0);
        let text = compare_pairs(&digits, &digits, None).unwrap().to_string();
        assert!(text.contains("8 x 8") && text.contains("11 x 11"), "{text}");
        let waves = Dataset::new("waves", [20], (0..60).map(|i| i as f32).collect()).unwrap();
        assert!(compare_pairs(&waves, &waves, None).unwrap().to_string().contains("signals"));
        let text = compare_pairs(&digits, &waves, None).unwrap_err().to_string();
        assert!(text.contains("[1, 8, 8]") && text.contains("[20]"), "{text}");
        let flat = Dataset::new("flat", [20], vec![1.0; 60]).unwrap();
        assert!(compare_pairs(&waves, &flat, None).unwrap_err().to_string().contains("equal"));
        assert!(compare_pairs(&waves, &flat, Some(-1.0)).unwrap_err().to_string().contains("-1"));
    }
}
