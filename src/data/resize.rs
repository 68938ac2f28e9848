//! Scales signals and images to another size.

use super::{Dataset, channels_and_places};
use crate::error::{Error, Result};

impl Dataset {
    /// These signals or images with the places \[L\] or [H, W], by linear interpolation between the centres of the places, of
    /// images in both directions. Where places become fewer, each is a weighted mean over those that it covers.
    ///
    /// # Errors
    /// [`Error::Input`] when the number of axes differs.
    pub(crate) fn resized(&self, places: &[usize]) -> Result<Self> {
        let [channels, from] = channels_and_places(&self.shape);
        if from.len() != places.len() {
            let such = if places.len() == 1 { "[n, length] or [n, c, length]" } else { "[n, h, w] or [n, c, h, w]" };
            return Err(Error::input(format!(
                "{}: samples of size {from:?} cannot be scaled to {places:?}; both need as many axes: use an array {such}",
                self.name
            )));
        }
        let shape = [channels, places].concat();
        let mut values = self.values.to_vec();
        let mut outer = values.len() / from.iter().product::<usize>();
        for (axis, (&n, &m)) in from.iter().zip(places).enumerate() {
            let inner: usize = from[axis + 1..].iter().product();
            values = along(&values, outer, [n, m], inner);
            outer *= m;
        }
        let data = Self::new(self.name.clone(), shape, values)?.of_kind(self.kind())?;
        Ok(Self { columns: self.columns.clone(), ..data })
    }
}

/// Scales the middle axis of [outer, n, inner] from n to m places.
fn along(values: &[f32], outer: usize, [n, m]: [usize; 2], inner: usize) -> Vec<f32> {
    let weights: Vec<Vec<(usize, f64)>> = (0..m).map(|i| triangle(i, n, m)).collect();
    let mut out = Vec::with_capacity(outer * m * inner);
    for o in 0..outer {
        for weights in &weights {
            for i in 0..inner {
                let at = |place: usize| f64::from(values[(o * n + place) * inner + i]);
                out.push(weights.iter().map(|(place, weight)| weight * at(*place)).sum::<f64>() as f32);
            }
        }
    }
    out
}

/// The weights of the n places in place i of m: a triangle around its centre, as wide as two places of the coarser grid.
fn triangle(i: usize, n: usize, m: usize) -> Vec<(usize, f64)> {
    let ratio = n as f64 / m as f64;
    let (centre, radius) = ((i as f64 + 0.5) * ratio - 0.5, ratio.max(1.0));
    let first = (centre - radius).ceil().max(0.0) as usize;
    let last = ((centre + radius).floor() as usize).min(n - 1);
    let each = |place: usize| (place, (1.0 - (place as f64 - centre).abs() / radius).max(0.0));
    let all: Vec<(usize, f64)> = (first..=last).map(each).collect();
    let sum: f64 = all.iter().map(|(_, weight)| weight).sum();
    all.into_iter().map(|(place, weight)| (place, weight / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_means_stay_means() {
        let line = Dataset::new("d", [2, 4], vec![0.0, 1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 5.0]).unwrap();
        let fine = line.resized(&[8]).unwrap();
        assert_eq!(fine.shape, [2, 8]);
        assert_eq!(fine.values[1..7], [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]);
        assert_eq!(fine.values[8..], [5.0; 8]);
        let image = Dataset::new("d", [1, 4, 4], (0..16).map(|i| i as f32).collect()).unwrap();
        let half = image.resized(&[2, 2]).unwrap();
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean(&half.values) - mean(&image.values)).abs() < 1e-5, "{:?}", half.values);
        assert!(half.values[1] > half.values[0] && half.values[2] > half.values[1] + 3.0);
        assert_eq!(image.resized(&[4, 4]).unwrap().values, image.values);
        assert!(image.resized(&[4]).unwrap_err().to_string().contains("as many axes"));
    }
}
