//! Verifies f16 products on a GPU with a small matrix product before the device is used.

use super::Device;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::{Activation, Dense};

/// M, N and K of the product: not multiples of a tile.
const SHAPE: [usize; 3] = [70, 65, 37];

/// Half a unit in the last place of an f16 near 1.
const EPS: f64 = 4.882_812_5e-4;

/// Compares a product on `device` with f64. Both factors of a term are rounded to f16, and the k terms are summed in
/// f32, so the error is at most (3 + sqrt(k)) eps times the sum of absolute terms, with eps of f16.
///
/// # Errors
/// [`Error::Setting`] with the first incorrect element.
pub(super) fn check(device: &Device) -> Result<()> {
    let [m, n, k] = SHAPE;
    let value = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
    let (x, w): (Vec<f32>, Vec<f32>) = ((0..m * k).map(value).collect(), (0..n * k).map(|i| value(i + 7)).collect());
    let mut g = Graph::new();
    let inputs = [g.state("x", [m, k])?, g.state("w", [n, k])?, g.state("b", [n])?];
    let y = g.apply1(Dense { activation: Activation::None }, &inputs)?;
    g.keep(y);
    let mut run = device.compile(&g)?;
    run.write("x", &x)?;
    run.write("w", &w)?;
    run.steps(1)?;
    for (i, got) in run.read_f64(y)?.into_iter().enumerate() {
        let terms = || (0..k).map(|t| f64::from(x[i / n * k + t]) * f64::from(w[i % n * k + t]));
        let (want, allowed) =
            (terms().sum::<f64>(), (3.0 + (k as f64).sqrt()) * EPS * terms().map(f64::abs).sum::<f64>());
        // Written so that NaN fails.
        if !((got - want).abs() <= allowed) {
            let name = device.name();
            return Err(Error::setting(format!(
                "{name} computes incorrect products in f16 (element {i} is {got:e}, expected {want:e}); use precision f32"
            )));
        }
    }
    Ok(())
}
