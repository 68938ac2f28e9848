//! Scores of probabilistic forecasts: an ensemble of draws, or quantiles, against one observation for each row.

use crate::{Error, Result};

/// The rows of a matrix with `columns` columns, which must be as many as there are `observations`.
fn rows_of<'a>(
    what: &str,
    values: &'a [f32],
    columns: usize,
    observations: usize,
) -> Result<std::slice::ChunksExact<'a, f32>> {
    if columns == 0 || values.len() != columns * observations {
        return Err(Error::input(format!(
            "{} {what} are not {columns} for each of {observations} observations",
            values.len()
        )));
    }
    Ok(values.chunks_exact(columns))
}

/// The continuous ranked probability score of each row of an ensemble, `mean_i |x_i - y| - sum_ij |x_i - x_j| / (2 m^2)`; the
/// fair score divides by 2 m (m - 1) instead, which removes the bias of a small ensemble.
///
/// *Shapes*: ensemble [n, m], observations \[n\], scores \[n\]. *Units*: those of the data; for m = 1 the absolute error. Smaller is
/// better. *Source*: Gneiting and Raftery 2007, eq. 20; the fair score: Ferro 2014, Fair scores for ensemble forecasts.
///
/// # Errors
/// When there are not `members` values for each observation, or less than 2 for the fair score.
pub fn crps(ensemble: &[f32], members: usize, observations: &[f32], fair: bool) -> Result<Vec<f64>> {
    if fair && members < 2 {
        return Err(Error::input("the fair CRPS needs an ensemble of at least 2 members"));
    }
    let rows = rows_of("members", ensemble, members, observations.len())?;
    let m = members as f64;
    let pairs = if fair { m * (m - 1.0) } else { m * m };
    let score = |(row, &y): (&[f32], &f32)| {
        let mut x: Vec<f64> = row.iter().map(|&x| x.into()).collect();
        x.sort_by(f64::total_cmp);
        let error = x.iter().map(|x| (x - f64::from(y)).abs()).sum::<f64>() / m;
        // The sum of |x_i - x_j| over i < j: the i-th smallest is the larger one of i pairs, and the smaller of m - 1 - i.
        let spread: f64 = x.iter().enumerate().map(|(i, x)| (2.0 * i as f64 + 1.0 - m) * x).sum();
        error - spread / pairs
    };
    Ok(rows.zip(observations).map(score).collect())
}

/// The quantiles of each row of an ensemble, interpolated linearly at (m - 1) level between the sorted members.
///
/// *Shapes*: ensemble [n, m], levels \[l\], quantiles [n, l]. *Source*: Hyndman and Fan 1996, definition 7, the default of NumPy.
///
/// # Errors
/// When the ensemble is not a whole number of rows, or a level is not between 0 and 1.
pub fn quantiles(ensemble: &[f32], members: usize, levels: &[f64]) -> Result<Vec<f64>> {
    if let Some(level) = levels.iter().find(|level| !(0.0..=1.0).contains(*level)) {
        return Err(Error::input(format!("a quantile level of {level}; use levels from 0 to 1")));
    }
    let rows = rows_of("members", ensemble, members, ensemble.len() / members.max(1))?;
    let of_row = |row: &[f32]| {
        let mut x: Vec<f64> = row.iter().map(|&x| x.into()).collect();
        x.sort_by(f64::total_cmp);
        let quantile = |level: &f64| {
            let at = level * (members - 1) as f64;
            let [low, high] = [at.floor(), at.ceil()].map(|i| x[i as usize]);
            low + at.fract() * (high - low)
        };
        levels.iter().map(quantile).collect::<Vec<f64>>()
    };
    Ok(rows.flat_map(of_row).collect())
}

/// The quantile p of sorted values, by linear interpolation between the positions k / (n + 1) of the k-th smallest. If the
/// truth is distributed as the values, it is below the quantile with probability p, however few values there are, as long
/// as p is between 1 / (n + 1) and n / (n + 1). NaN without values.
///
/// *Source*: Hyndman and Fan 1996, definition 6.
pub fn calibrated_quantile(sorted: &[f32], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = (p * (last + 2) as f64 - 1.0).clamp(0.0, last as f64);
    let below = place.floor() as usize;
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[(below + 1).min(last)]));
    low + (place - below as f64) * (high - low)
}

/// The scores of forecast quantiles, each the mean over the rows.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct QuantileScores {
    /// The pinball loss of each level a, `max(a (y - q), (a - 1) (y - q))`, which the true quantile minimises (Koenker and
    /// Bassett 1978).
    pub pinball: Vec<f64>,
    /// The share of observations at or below the quantile of each level, which is the level itself for calibrated forecasts.
    pub below: Vec<f64>,
}

/// The scores of quantiles [n, l] of `levels` \[l\] against observations \[n\].
///
/// # Errors
/// When there is not one quantile for each level and observation, or there is no observation.
pub fn quantile_scores(quantiles: &[f32], levels: &[f64], observations: &[f32]) -> Result<QuantileScores> {
    let rows = rows_of("quantiles", quantiles, levels.len(), observations.len())?;
    if observations.is_empty() {
        return Err(Error::input("the scores of quantiles need at least one observation"));
    }
    let mut scores = QuantileScores { pinball: vec![0.0; levels.len()], below: vec![0.0; levels.len()] };
    let n = observations.len() as f64;
    for (row, &y) in rows.zip(observations) {
        for (i, (&q, level)) in row.iter().zip(levels).enumerate() {
            let error = f64::from(y) - f64::from(q);
            scores.pinball[i] += (level * error).max((level - 1.0) * error) / n;
            scores.below[i] += f64::from(y <= q) / n;
        }
    }
    Ok(scores)
}

/// The share of observations in an interval between two quantiles, and its width.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntervalCoverage {
    /// The share of observations with low <= y <= high: for calibrated forecasts, the difference of the levels.
    pub coverage: f64,
    /// The mean of high - low. Among calibrated forecasts, the narrower is better.
    pub width: f64,
}

/// The score of the intervals between the quantiles `low` and `high` of each observation.
///
/// # Errors
/// When the numbers differ, or there is no observation.
pub fn interval_coverage(low: &[f32], high: &[f32], observations: &[f32]) -> Result<IntervalCoverage> {
    let n = observations.len();
    if n == 0 || [low.len(), high.len()] != [n, n] {
        let [low, high] = [low.len(), high.len()];
        return Err(Error::input(format!("{low} lower and {high} upper ends of intervals for {n} observations")));
    }
    let inside = |(y, (low, high)): &(&f32, (&f32, &f32))| low <= y && y <= high;
    let intervals = || observations.iter().zip(low.iter().zip(high));
    let width: f64 = low.iter().zip(high).map(|(low, high)| f64::from(*high) - f64::from(*low)).sum();
    Ok(IntervalCoverage { coverage: intervals().filter(inside).count() as f64 / n as f64, width: width / n as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_have_known_values() {
        // 1 - 1 / 2 for the members 0 and 2 around 1; the fair score subtracts 1.
        assert_eq!(crps(&[0.0, 2.0], 2, &[1.0], false).unwrap(), [0.5]);
        assert_eq!(crps(&[0.0, 2.0], 2, &[1.0], true).unwrap(), [0.0]);
        assert_eq!(crps(&[3.0, -1.0], 1, &[1.0, 1.0], false).unwrap(), [2.0, 2.0]);
        assert_eq!(quantiles(&[4.0, 0.0, 2.0], 3, &[0.0, 0.5, 0.75, 1.0]).unwrap(), [0.0, 2.0, 3.0, 4.0]);
        let scores = quantile_scores(&[1.0, 1.0], &[0.25], &[2.0, 0.0]).unwrap();
        assert_eq!((scores.pinball[0], scores.below[0]), (0.5 * (0.25 + 0.75), 0.5));
        let score = interval_coverage(&[0.0, 0.0], &[1.0, 3.0], &[1.0, 4.0]).unwrap();
        assert_eq!(score, IntervalCoverage { coverage: 0.5, width: 2.0 });
    }

    #[test]
    fn calibrated_quantiles_of_few_values() {
        let sorted: Vec<f32> = (1..=19).map(|i| i as f32).collect();
        let at = |p| calibrated_quantile(&sorted, p);
        assert!((at(0.05) - 1.0).abs() < 1e-9 && (at(0.5) - 10.0).abs() < 1e-9 && (at(0.95) - 19.0).abs() < 1e-9);
        assert!((at(0.075) - 1.5).abs() < 1e-6 && at(0.001) == 1.0);
        assert!(calibrated_quantile(&[], 0.5).is_nan() && calibrated_quantile(&[3.0], 0.9) == 3.0);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        assert!(crps(&[0.0; 5], 2, &[0.0; 2], false).unwrap_err().to_string().contains("5 members are not 2"));
        assert!(crps(&[0.0; 2], 1, &[0.0; 2], true).unwrap_err().to_string().contains("at least 2 members"));
        assert!(quantiles(&[0.0; 5], 2, &[0.5]).is_err() && quantiles(&[0.0; 4], 0, &[0.5]).is_err());
        assert!(quantiles(&[0.0; 4], 2, &[1.5]).unwrap_err().to_string().contains("level of 1.5"));
        assert!(quantile_scores(&[0.0; 3], &[0.5; 2], &[0.0; 2]).is_err());
        assert!(interval_coverage(&[0.0], &[0.0; 2], &[0.0]).is_err() && interval_coverage(&[], &[], &[]).is_err());
    }
}
