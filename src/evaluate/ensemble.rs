//! Several draws of one value: quantiles, and scores against the true value.

/// The quantile p of sorted values, by linear interpolation between the positions k / (n + 1) of the k-th smallest. If the
/// truth is distributed as the values, it is below the quantile with probability p, however few values there are, as long
/// as p is between 1 / (n + 1) and n / (n + 1). NaN without values.
///
/// *Source*: Hyndman and Fan 1996, "Sample quantiles in statistical packages", definition 6.
pub fn quantile(sorted: &[f32], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = (p * (last + 2) as f64 - 1.0).clamp(0.0, last as f64);
    let below = place.floor() as usize;
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[(below + 1).min(last)]));
    low + (place - below as f64) * (high - low)
}

/// The continuous ranked probability score of m sorted draws against the true value y,
/// ```text
/// mean |x_i - y| - sum |x_i - x_j| / (2 m (m - 1))
/// ```
/// in the units of the values; 0 is perfect. For one draw it is the absolute error. It does not depend on m on average.
///
/// *Source*: Gneiting and Raftery 2007, eq. 21, with the unbiased estimate of Zamo and Naveau 2018, eq. 7.
pub fn crps(sorted: &[f32], y: f64) -> f64 {
    let m = sorted.len() as f64;
    let error = sorted.iter().map(|x| (f64::from(*x) - y).abs()).sum::<f64>() / m;
    if sorted.len() < 2 {
        return error;
    }
    // The sum over all pairs of |x_i - x_j|, twice, from the ranks.
    let spread: f64 = sorted.iter().enumerate().map(|(i, x)| (2.0 * i as f64 + 1.0 - m) * f64::from(*x)).sum();
    error - spread / (m * (m - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_calibrated_for_few_values() {
        let sorted: Vec<f32> = (1..=19).map(|i| i as f32).collect();
        let at = |p| quantile(&sorted, p);
        assert!((at(0.05) - 1.0).abs() < 1e-9 && (at(0.5) - 10.0).abs() < 1e-9 && (at(0.95) - 19.0).abs() < 1e-9);
        assert!((at(0.075) - 1.5).abs() < 1e-6 && at(0.001) == 1.0);
        assert!(quantile(&[], 0.5).is_nan() && quantile(&[3.0], 0.9) == 3.0);
    }

    #[test]
    fn the_score_is_that_of_its_definition() {
        let sorted = [-1.0f32, 0.5, 2.0, 2.5];
        for y in [-3.0, 0.7, 2.0, 9.0] {
            let error: f64 = sorted.iter().map(|x| (f64::from(*x) - y).abs()).sum::<f64>() / 4.0;
            let pairs: f64 = sorted.iter().flat_map(|a| sorted.iter().map(move |b| f64::from((a - b).abs()))).sum();
            assert!((crps(&sorted, y) - (error - pairs / 24.0)).abs() < 1e-6);
        }
        assert_eq!(crps(&[2.0], 5.0), 3.0);
    }
}
