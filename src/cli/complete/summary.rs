//! The draws of each sample: their mean, their quantiles, and how well they restore hidden values.

use serde::Serialize;

use crate::data::Dataset;
use crate::evaluate::{calibrated_quantile, crps};
use crate::text::{grouped, short};
use crate::train::Facts;

/// The quantiles that are written and drawn.
const QUANTILES: [f64; 3] = [0.05, 0.5, 0.95];
/// The number of draws from which on the smallest and the largest quantile are between draws: 1 / (n + 1) = 5%.
pub(super) const LEAST_DRAWS: usize = 19;
/// The samples and the draws in a picture of images.
const SHOWN_IMAGES: usize = 8;
pub(super) const SHOWN_DRAWS: usize = 4;

/// The scale of each value of a sample if columns or channels have their own, otherwise 1.
fn scales(facts: &Facts) -> Vec<f64> {
    let width: usize = facts.shape.iter().product();
    let scale = &facts.normalisation;
    match scale.scale.len() {
        1 => vec![1.0; width],
        _ => scale.entries().map(|(_, scale)| scale.into()).cycle().take(width).collect(),
    }
}

/// Mean and quantiles of the draws, with known values as they are.
pub(super) struct Summary<'a> {
    data: &'a Dataset,
    pub count: usize,
    truth: Option<&'a Dataset>,
    scales: Vec<f64>,
    /// The draws of the current sample.
    current: Vec<f32>,
    /// The first draws of the samples that a picture shows.
    pub shown: Vec<Vec<f32>>,
    pub mean: Vec<f32>,
    pub quantiles: [Vec<f32>; 3],
    errors: Errors,
}

/// Sums over the hidden values.
#[derive(Default)]
struct Errors {
    n: usize,
    crps: f64,
    squares: f64,
    /// The values that have a band, which are all but categories, and those within it.
    banded: usize,
    covered: usize,
}

/// How well hidden values are restored.
#[derive(Serialize)]
pub(super) struct Scores {
    hidden: usize,
    crps: f64,
    rmse: f64,
    /// `None` if all are categories, which have no band.
    coverage: Option<f64>,
}

impl Scores {
    pub fn describe(&self, scaled: bool) -> String {
        let unit = if scaled { ", in standard deviations of each column or channel" } else { "" };
        let band = |share: f64| format!("; {:.1}% are within the quantiles 5% and 95%", 100.0 * share);
        format!(
            "{} hidden values: CRPS {}, RMSE of the median {}{unit}{}",
            grouped(self.hidden),
            short(self.crps),
            short(self.rmse),
            self.coverage.map(band).unwrap_or_default()
        )
    }
}

impl<'a> Summary<'a> {
    pub fn new(data: &'a Dataset, count: usize, truth: Option<&'a Dataset>, facts: &Facts) -> Self {
        let scales = scales(facts);
        let (current, shown, mean, quantiles) = (Vec::new(), Vec::new(), Vec::new(), Default::default());
        Self { data, count, truth, scales, current, shown, mean, quantiles, errors: Errors::default() }
    }

    /// Adds the next draws.
    pub fn take(&mut self, draws: &[f32]) {
        let len = self.data.sample_len();
        for draw in draws.chunks_exact(len) {
            self.current.extend_from_slice(draw);
            if self.current.len() == self.count * len {
                self.sample();
                self.current.clear();
            }
        }
    }

    /// Summarises the draws of a sample.
    fn sample(&mut self) {
        let len = self.data.sample_len();
        let index = self.mean.len() / len;
        let known = self.data.sample(index);
        if index < SHOWN_IMAGES {
            self.shown.push(self.current[..SHOWN_DRAWS.min(self.count) * len].to_vec());
        }
        let mut sorted = Vec::with_capacity(self.count);
        for i in 0..len {
            if !known[i].is_nan() {
                self.mean.push(known[i]);
                self.quantiles.iter_mut().for_each(|of| of.push(known[i]));
                continue;
            }
            sorted.clear();
            sorted.extend(self.current.iter().skip(i).step_by(len));
            sorted.sort_unstable_by(f32::total_cmp);
            let mean = sorted.iter().map(|v| f64::from(*v)).sum::<f64>() / sorted.len() as f64;
            self.mean.push(mean as f32);
            // The most frequent category has the largest mean.
            let is_category = self.data.columns.categories_at(i).is_some();
            let of = if is_category { [mean; 3] } else { QUANTILES.map(|p| calibrated_quantile(&sorted, p)) };
            self.quantiles.iter_mut().zip(of).for_each(|(all, value)| all.push(value as f32));
            if let Some(truth) = self.truth.map(|truth| truth.sample(index)[i]).filter(|y| !y.is_nan()) {
                let (scale, [low, median, high], y) = (self.scales[i], of, f64::from(truth));
                let score = crps(&sorted, sorted.len(), &[truth], sorted.len() > 1).expect("one row");
                self.errors.n += 1;
                self.errors.crps += score[0] / scale;
                self.errors.squares += ((median - y) / scale).powi(2);
                self.errors.banded += usize::from(!is_category);
                self.errors.covered += usize::from(!is_category && (low..=high).contains(&y));
            }
        }
    }

    /// The scores; `None` if no value was hidden.
    pub fn scores(&self) -> Option<Scores> {
        let Errors { n: hidden, crps, squares, banded, covered } = self.errors;
        let n = hidden as f64;
        let coverage = (banded > 0).then(|| covered as f64 / banded as f64);
        let of = || Scores { hidden, crps: crps / n, rmse: (squares / n).sqrt(), coverage };
        (hidden > 0).then(of)
    }
}
