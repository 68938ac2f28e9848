//! The map between the units of the data and those a model sees.

use super::{Dataset, Kind};
use crate::{Error, Result};

/// x_norm = (x - shift) / scale: one entry for signals and images, one a coordinate for points.
///
/// *Units*: `shift` and `scale` are in units of the data, `bound` in those of the model.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalisation {
    /// What is subtracted.
    pub shift: Vec<f32>,
    /// What is divided by; positive.
    pub scale: Vec<f32>,
    /// The largest |x_norm| of the data: a sampler clips its estimate of x_0 there.
    pub bound: f32,
}

impl Normalisation {
    /// Mean 0 and standard deviation 1, both computed in f64 over all values (of a coordinate).
    ///
    /// *Errors*: [`Error::Input`] when there is only one sample, or when the values do not vary.
    pub fn standard(data: &Dataset) -> Result<Self> {
        Self::fit(data, |values| {
            let n = values.clone().count() as f64;
            let mean = values.clone().sum::<f64>() / n;
            let variance = values.map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            (mean, variance.sqrt())
        })
    }

    /// The smallest value at -1 and the largest at 1.
    ///
    /// *Errors*: as [`Normalisation::standard`].
    pub fn range(data: &Dataset) -> Result<Self> {
        Self::fit(data, |values| {
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
            ((low + high) / 2.0, (high - low) / 2.0)
        })
    }

    /// One (shift, scale) from the values of each coordinate.
    fn fit(data: &Dataset, rule: impl Fn(Values) -> (f64, f64)) -> Result<Self> {
        if data.len() < 2 {
            return Err(Error::input(format!(
                "{}: there is only one sample, and a distribution cannot be learnt from it; give at least two, better \
                 hundreds",
                data.name
            )));
        }
        let coordinates = if data.kind() == Kind::Points { data.sample_len() } else { 1 };
        let mut fitted = Normalisation { shift: Vec::new(), scale: Vec::new(), bound: 0.0 };
        for coordinate in 0..coordinates {
            let (shift, scale) = rule(Values { values: &data.values[coordinate..], step: coordinates, at: 0 });
            // A spread below the spacing of float32 at this place is the rounding of a constant.
            if !(scale > 1e-7 * shift.abs() && scale as f32 >= f32::MIN_POSITIVE) {
                let what = if coordinates > 1 {
                    format!("coordinate {coordinate} of all points")
                } else {
                    "every value".into()
                };
                return Err(Error::input(format!(
                    "{}: {what} is {shift:e}, so there is nothing to learn and no scale to divide by; check the file, or \
                     leave out what is constant",
                    data.name
                )));
            }
            fitted.shift.push(shift as f32);
            fitted.scale.push(scale as f32);
        }
        fitted.bound = fitted.apply(&data.values).iter().fold(0.0, |bound, x| x.abs().max(bound));
        Ok(fitted)
    }

    /// Data to the units of the model. `values` are whole samples.
    pub fn apply(&self, values: &[f32]) -> Vec<f32> {
        self.map(values, |x, shift, scale| (x - shift) / scale)
    }

    /// The units of the model back to those of the data.
    pub fn undo(&self, values: &[f32]) -> Vec<f32> {
        self.map(values, |x, shift, scale| x * scale + shift)
    }

    fn map(&self, values: &[f32], rule: impl Fn(f64, f64, f64) -> f64) -> Vec<f32> {
        let entries = self.shift.iter().zip(&self.scale).cycle();
        let wide = f64::from;
        values
            .iter()
            .zip(entries)
            .map(|(&x, (&shift, &scale))| rule(wide(x), wide(shift), wide(scale)) as f32)
            .collect()
    }
}

/// Every `step`-th value.
#[derive(Clone)]
struct Values<'a> {
    values: &'a [f32],
    step: usize,
    at: usize,
}

impl Iterator for Values<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let value = self.values.get(self.at).map(|&value| f64::from(value));
        self.at += self.step;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_has_mean_0_and_deviation_1() {
        let data = Dataset::new("d", [4], vec![1.0, 3.0, 1.0, 3.0, 5.0, -1.0, 5.0, -1.0]).unwrap();
        let norm = Normalisation::standard(&data).unwrap();
        assert_eq!((norm.shift.clone(), norm.scale.clone()), (vec![2.0], vec![5f32.sqrt()]));
        assert!((norm.bound - 3.0 / 5f32.sqrt()).abs() < 1e-6);
        let back = norm.undo(&norm.apply(&data.values));
        assert!(back.iter().zip(&data.values).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn points_have_one_entry_a_coordinate() {
        let data = Dataset::new("d", [2], vec![0.0, 100.0, 1.0, 300.0, 2.0, 200.0]).unwrap();
        let norm = Normalisation::range(&data).unwrap();
        assert_eq!((norm.shift.clone(), norm.scale.clone()), (vec![1.0, 200.0], vec![1.0, 100.0]));
        assert_eq!((norm.apply(&data.values), norm.bound), (vec![-1.0, -1.0, 0.0, 1.0, 1.0, 0.0], 1.0));
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let data = Dataset::new("d", [3], vec![-3e38, 3e38, 0.0, 1e38, -1e38, 2e38]).unwrap();
        assert_eq!(Normalisation::range(&data).unwrap().bound, 1.0);
        assert!(Normalisation::standard(&data).unwrap().bound.is_finite());
    }

    #[test]
    fn data_without_spread_are_refused() {
        let message = |shape: usize, values: Vec<f32>| {
            let data = Dataset::new("d", [shape], values).unwrap();
            assert!(Normalisation::range(&data).is_err());
            Normalisation::standard(&data).unwrap_err().to_string()
        };
        assert!(message(3, vec![0.1; 6]).contains("every value is 1"));
        assert!(message(2, vec![1.0, 7.0, 2.0, 7.0]).contains("coordinate 1 of all points is 7"));
        assert!(message(3, vec![1.0, 2.0, 3.0]).contains("only one sample"));
    }
}
