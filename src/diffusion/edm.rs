//! Preconditioning by the noise level sigma.
//!
//! EDM wraps a raw network F so that its input and its target have unit variance at every sigma:
//! ```text
//! D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)
//! ```
//! D estimates the clean data, x = data + sigma * eps, and sigma_data is the standard deviation of the data.

use super::objective::Level;
use crate::error::{Error, Result};

/// The coefficients at one noise level.
///
/// *Units*: sigma and sigma_data are in units of the data, so `c_skip` and `c_noise` have none.
/// *Source*: Karras et al. 2022 (EDM), table 1, last column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precondition {
    /// Weight of x in the estimate: `sigma_data^2 / (sigma^2 + sigma_data^2)`.
    pub c_skip: f64,
    /// Weight of the network's output: `sigma sigma_data / sqrt(sigma^2 + sigma_data^2)`.
    pub c_out: f64,
    /// Factor of the network's input: `1 / sqrt(sigma^2 + sigma_data^2)`.
    pub c_in: f64,
    /// Noise conditioning of the network: `ln(sigma) / 4`.
    pub c_noise: f64,
    /// Weight of the squared error of D: `(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = 1 / c_out^2`.
    pub loss_weight: f64,
}

impl Precondition {
    /// The coefficients at `sigma` for data of standard deviation `sigma_data` (0.5 is usual).
    ///
    /// # Errors
    /// When `sigma` or `sigma_data` is not above 0.
    pub fn new(sigma: f64, sigma_data: f64) -> Result<Self> {
        if !(sigma > 0.0 && sigma.is_finite() && sigma_data > 0.0 && sigma_data.is_finite()) {
            return Err(Error::setting(format!(
                "sigma = {sigma}, sigma_data = {sigma_data}: both must be above 0; sigma lies between 0.002 and 80, and \
                 sigma_data is 0.5, usually"
            )));
        }
        let total = sigma.hypot(sigma_data);
        let c_out = sigma / total * sigma_data;
        Ok(Self {
            c_skip: (sigma_data / total).powi(2),
            c_out,
            c_in: 1.0 / total,
            c_noise: sigma.ln() / 4.0,
            loss_weight: c_out.powi(-2),
        })
    }

    /// The equivalent level of an objective: the network sees c_in x = a x0 + s eps, and F is trained towards
    /// p x0 + q eps = (x0 - c_skip x) / c_out.
    pub fn level(&self, sigma: f64) -> Level {
        let Self { c_skip, c_out, c_in, c_noise, .. } = *self;
        Level { t: c_noise, a: c_in, s: c_in * sigma, p: (1.0 - c_skip) / c_out, q: -c_skip * sigma / c_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With data of variance sigma_data^2 and noise of variance sigma^2, the input and the target of F have variance 1.
    #[test]
    fn input_and_target_have_unit_variance() {
        for (sigma, data) in [(0.002, 0.5), (0.5, 0.5), (80.0, 0.5), (3.0, 2.0)] {
            let p = Precondition::new(sigma, data).unwrap();
            let input = p.c_in.powi(2) * (sigma * sigma + data * data);
            let target = ((1.0 - p.c_skip).powi(2) * data * data + (p.c_skip * sigma).powi(2)) / p.c_out.powi(2);
            assert!((input - 1.0).abs() < 1e-12 && (target - 1.0).abs() < 1e-9, "{sigma} {data}: {input} {target}");
            assert!((p.loss_weight * p.c_out.powi(2) - 1.0).abs() < 1e-12);
        }
    }

    /// The level's estimate of x0 equals D = c_skip x + c_out F.
    #[test]
    fn preconditioning_is_an_objective() {
        for (sigma, data) in [(0.002, 0.5), (0.5, 0.5), (80.0, 0.5), (3.0, 2.0)] {
            let p = Precondition::new(sigma, data).unwrap();
            // The network sees c_in x, so x is the input divided by c_in.
            let [c_x, c_m] = p.level(sigma).x0();
            assert!((c_x * p.c_in / p.c_skip - 1.0).abs() < 1e-12 && (c_m / p.c_out - 1.0).abs() < 1e-12, "{sigma}");
        }
    }

    #[test]
    fn sigma_must_be_positive() {
        for (sigma, data) in [(0.0, 0.5), (1.0, 0.0), (f64::NAN, 0.5), (1.0, f64::INFINITY)] {
            assert!(Precondition::new(sigma, data).unwrap_err().to_string().contains("above 0"));
        }
    }
}
