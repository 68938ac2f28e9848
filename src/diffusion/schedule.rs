//! Noise schedules: the share of the data left after t steps of noise.
//!
//! `x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps` (Ho et al. 2020, eq. 4). t counts from 0 to T - 1 and
//! alpha_bar_t includes beta_t; the state before the first step is `None`, where alpha_bar is 1. All tables are
//! computed in f64 on the host: in f32 the products drift by up to 6e-5 over 1000 steps.

use std::f64::consts::FRAC_PI_2;
use std::fmt;

use crate::text::count;
use crate::{Error, Result};

/// The names accepted by [`Schedule::named`].
pub const SCHEDULES: &[&str] = &["linear", "scaled_linear", "cosine", "sigmoid", "sigmoid_alphabar", "linear_scaled_T"];

const MAX_STEPS: usize = 100_000;
/// Below this value 1 - beta loses digits.
const MIN_BETA: f64 = 1e-12;
/// Keeps 1 / sqrt(alpha_bar) well inside the range of f32.
const MIN_ALPHA_BAR: f64 = 1e-60;
/// Largest beta of the schedules that are defined through alpha_bar (Nichol and Dhariwal 2021, section 3.2).
const MAX_COSINE_BETA: f64 = 0.999;

/// beta_t and alpha_bar_t = prod_{i <= t} (1 - beta_i) for t = 0..T-1.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    kind: &'static str,
    zero_terminal: bool,
    betas: Vec<f64>,
    alpha_bar: Vec<f64>,
}

impl Schedule {
    /// `beta_t` evenly spaced from `beta_start` to `beta_end`, independent of the number of steps.
    ///
    /// # Errors
    /// When `steps` or a beta is out of range, or alpha_bar underflows.
    ///
    /// *Source*: Ho et al. 2020 (DDPM), section 4, with 1e-4 to 0.02 at 1000 steps.
    pub fn linear(steps: usize, beta_start: f64, beta_end: f64) -> Result<Self> {
        check_ends(steps, beta_start, beta_end)?;
        Self::from_betas("linear", linspace(beta_start, beta_end, steps))
    }

    /// `sqrt(beta_t)` evenly spaced from `sqrt(beta_start)` to `sqrt(beta_end)`.
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    ///
    /// *Source*: Rombach et al. 2022 (latent diffusion); `scaled_linear` in diffusers.
    pub fn scaled_linear(steps: usize, beta_start: f64, beta_end: f64) -> Result<Self> {
        check_ends(steps, beta_start, beta_end)?;
        let roots = linspace(beta_start.sqrt(), beta_end.sqrt(), steps);
        Self::from_betas("scaled_linear", roots.iter().map(|r| r * r).collect())
    }

    /// `alpha_bar(u) = cos((u + 0.008) / 1.008 * pi / 2)^2` at u = (t + 1) / T, with every beta at most 0.999.
    ///
    /// # Errors
    /// When `steps` is out of range.
    ///
    /// *Source*: Nichol and Dhariwal 2021 (improved DDPM), eq. 17.
    pub fn cosine(steps: usize) -> Result<Self> {
        let alpha_bar = |u: f64| ((u + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
        Self::from_betas("cosine", betas_from_alpha_bar(steps, alpha_bar)?)
    }

    /// `beta_t = beta_start + (beta_end - beta_start) * sigmoid(v_t)`, v_t evenly spaced from -6 to 6.
    ///
    /// # Errors
    /// As [`Schedule::linear`].
    ///
    /// *Source*: Xu et al. 2022 (GeoDiff); `sigmoid` in diffusers. Not the schedule of Jabri et al., which is
    /// [`Schedule::sigmoid_alphabar`].
    pub fn sigmoid(steps: usize, beta_start: f64, beta_end: f64) -> Result<Self> {
        check_ends(steps, beta_start, beta_end)?;
        let v = linspace(-6.0, 6.0, steps);
        let betas = v.iter().map(|&v| logistic(v) * (beta_end - beta_start) + beta_start).collect();
        Self::from_betas("sigmoid", betas)
    }

    /// `alpha_bar(u) = (sigmoid(3) - sigmoid(6u - 3)) / (sigmoid(3) - sigmoid(-3))` at u = (t + 1) / T, with every
    /// beta at most 0.999.
    ///
    /// # Errors
    /// When `steps` is out of range.
    ///
    /// *Source*: Jabri et al. 2022 (arXiv 2212.11972), sigmoid schedule with start -3, end 3, tau 1.
    pub fn sigmoid_alphabar(steps: usize) -> Result<Self> {
        let (low, high) = (logistic(-3.0), logistic(3.0));
        let alpha_bar = |u: f64| (high - logistic(6.0 * u - 3.0)) / (high - low);
        Self::from_betas("sigmoid_alphabar", betas_from_alpha_bar(steps, alpha_bar)?)
    }

    /// [`Schedule::linear`] with both ends multiplied by `1000 / T`, so that the last alpha_bar is about the same for
    /// every T.
    ///
    /// # Errors
    /// As [`Schedule::linear`], and when `beta_end` reaches 1 after scaling.
    ///
    /// *Source*: the code of Nichol and Dhariwal 2021 (improved-diffusion).
    pub fn linear_scaled_t(steps: usize, beta_start: f64, beta_end: f64) -> Result<Self> {
        check_ends(steps, beta_start, beta_end)?;
        let scale = 1000.0 / steps as f64;
        if beta_end * scale >= 1.0 {
            return Err(Error::setting(format!(
                "linear_scaled_T with {steps} steps ends at beta = {:.3}, which must be below 1: use more than {:.0} \
                 steps, or `cosine`",
                beta_end * scale,
                beta_end * 1000.0
            )));
        }
        Self::from_betas("linear_scaled_T", linspace(beta_start * scale, beta_end * scale, steps))
    }

    /// A schedule of custom betas, each above 0 and below 1; only the last may be 1 (no signal left at the end).
    ///
    /// # Errors
    /// When a beta is out of range, or their number is.
    pub fn custom(betas: Vec<f64>) -> Result<Self> {
        Self::from_betas("custom", betas)
    }

    /// Creates a schedule by name, see [`SCHEDULES`]; beta runs from 1e-4 to 0.02 where the schedule has these ends.
    ///
    /// # Errors
    /// As [`Schedule::with_ends`].
    pub fn named(kind: &str, steps: usize) -> Result<Self> {
        Self::with_ends(kind, steps, 1e-4, 0.02)
    }

    /// Creates a schedule by name with its first and last beta; `cosine` and `sigmoid_alphabar` ignore them.
    ///
    /// # Errors
    /// When the name is unknown, and for the reasons of the constructor of that name.
    pub fn with_ends(kind: &str, steps: usize, beta_start: f64, beta_end: f64) -> Result<Self> {
        let wanted = kind.replace('-', "_");
        match SCHEDULES.iter().find(|name| name.eq_ignore_ascii_case(&wanted)) {
            Some(&"linear") => Self::linear(steps, beta_start, beta_end),
            Some(&"scaled_linear") => Self::scaled_linear(steps, beta_start, beta_end),
            Some(&"cosine") => Self::cosine(steps),
            Some(&"sigmoid") => Self::sigmoid(steps, beta_start, beta_end),
            Some(&"sigmoid_alphabar") => Self::sigmoid_alphabar(steps),
            Some(&"linear_scaled_T") => Self::linear_scaled_t(steps, beta_start, beta_end),
            _ => Err(Error::unknown("schedule", kind, SCHEDULES)),
        }
    }

    /// Shifts and scales `sqrt(alpha_bar)` so that the last value is exactly 0 and the first is unchanged. The model is
    /// then also trained on pure noise, where the sampler starts. Such a model has to predict v or x0, because epsilon
    /// carries no information about the data where alpha_bar is 0.
    ///
    /// # Errors
    /// When the schedule has a single step.
    ///
    /// *Source*: Lin et al. 2023 (arXiv 2305.08891), algorithm 1.
    pub fn zero_terminal_snr(self) -> Result<Self> {
        let steps = self.steps();
        if steps < 2 {
            return Err(Error::setting("zero terminal SNR needs a schedule of at least 2 steps, got 1"));
        }
        let roots: Vec<f64> = self.alpha_bar.iter().map(|a| a.sqrt()).collect();
        let (first, last) = (roots[0], roots[steps - 1]);
        let shifted = |t: usize| ((roots[t] - last) * first / (first - last)).powi(2);
        let betas = (0..steps).map(|t| 1.0 - if t == 0 { shifted(0) } else { shifted(t) / shifted(t - 1) }).collect();
        Ok(Self { zero_terminal: true, ..Self::from_betas(self.kind, betas)? })
    }

    /// The number of steps T.
    pub fn steps(&self) -> usize {
        self.betas.len()
    }

    /// The name, as in [`SCHEDULES`], or `custom`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// beta_t, the share of the variance replaced by noise at step t.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// alpha_bar_t, the share of the data's variance left after step t.
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bar
    }

    /// alpha_bar_t; `None` is the clean data before step 0, where it is 1.
    ///
    /// # Panics
    /// When t is not below [`Schedule::steps`], like all methods that take a t.
    pub fn alpha_bar(&self, t: Option<usize>) -> f64 {
        t.map_or(1.0, |t| self.alpha_bar[t])
    }

    /// `SNR(t) = alpha_bar_t / (1 - alpha_bar_t)`.
    ///
    /// *Source*: Kingma et al. 2021, section 3.2.
    pub fn snr(&self, t: usize) -> f64 {
        self.alpha_bar[t] / (1.0 - self.alpha_bar[t])
    }

    /// `beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)`, the variance of q(x_{t-1} | x_t, x0); 0 at t = 0.
    ///
    /// *Source*: Ho et al. 2020, eq. 7.
    pub fn posterior_variance(&self, t: usize) -> f64 {
        self.betas[t] * (1.0 - self.alpha_bar(t.checked_sub(1))) / (1.0 - self.alpha_bar[t])
    }

    /// `sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t)`, the weight of x0 in the mean of q(x_{t-1} | x_t, x0).
    ///
    /// *Source*: Ho et al. 2020, eq. 7.
    pub fn posterior_coef_x0(&self, t: usize) -> f64 {
        self.betas[t] * self.alpha_bar(t.checked_sub(1)).sqrt() / (1.0 - self.alpha_bar[t])
    }

    /// `sqrt(1 - beta_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)`, the weight of x_t in the mean of
    /// q(x_{t-1} | x_t, x0).
    ///
    /// *Source*: Ho et al. 2020, eq. 7.
    pub fn posterior_coef_xt(&self, t: usize) -> f64 {
        (1.0 - self.alpha_bar(t.checked_sub(1))) * (1.0 - self.betas[t]).sqrt() / (1.0 - self.alpha_bar[t])
    }

    /// `ln` of [`Schedule::posterior_variance`]; t = 0, where the variance is 0, uses the value of t = 1.
    ///
    /// *Source*: the code of Ho et al. 2020.
    pub fn posterior_log_variance_clipped(&self, t: usize) -> f64 {
        let t = t.max(1).min(self.steps() - 1);
        self.posterior_variance(t).max(1e-20).ln()
    }

    /// Row t is `(sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t))`, the weights of data and noise in x_t.
    pub fn noise_table(&self) -> Vec<[f64; 2]> {
        self.alpha_bar.iter().map(|a| [a.sqrt(), (1.0 - a).sqrt()]).collect()
    }

    fn from_betas(kind: &'static str, betas: Vec<f64>) -> Result<Self> {
        check_steps(betas.len())?;
        let last = betas.len() - 1;
        let mut alpha_bar = Vec::with_capacity(betas.len());
        let mut product = 1.0;
        for (t, &beta) in betas.iter().enumerate() {
            if !((MIN_BETA..1.0).contains(&beta) || (t == last && beta == 1.0)) {
                return Err(Error::setting(format!(
                    "schedule {kind}: beta[{t}] is {beta}, it must lie between {MIN_BETA:e} and 1 (only the last of \
                     the {} may be 1)",
                    betas.len()
                )));
            }
            product *= 1.0 - beta;
            if product < MIN_ALPHA_BAR && beta < 1.0 {
                return Err(Error::setting(format!(
                    "schedule {kind}: nothing is left of the data at step {t} of {} (alpha_bar < {MIN_ALPHA_BAR:e}); use \
                     fewer steps, smaller betas, or linear_scaled_T",
                    betas.len()
                )));
            }
            alpha_bar.push(product);
        }
        Ok(Self { kind, zero_terminal: betas[last] == 1.0, betas, alpha_bar })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, last] = [self.betas[0], self.betas[self.steps() - 1]].map(three_digits);
        write!(f, "{}, {}, beta {first}..{last}", self.kind, count(self.steps(), "step"))?;
        if self.zero_terminal { f.write_str(", zero terminal SNR") } else { Ok(()) }
    }
}

pub(super) fn check_steps(steps: usize) -> Result<()> {
    if (1..=MAX_STEPS).contains(&steps) {
        return Ok(());
    }
    Err(Error::setting(format!("{steps} diffusion steps: use 1 to {MAX_STEPS}; 1000 is usual")))
}

fn check_ends(steps: usize, beta_start: f64, beta_end: f64) -> Result<()> {
    check_steps(steps)?;
    if beta_start > 0.0 && beta_start <= beta_end && beta_end < 1.0 {
        return Ok(());
    }
    Err(Error::setting(format!(
        "beta_start = {beta_start}, beta_end = {beta_end}: they must satisfy 0 < beta_start <= beta_end < 1; 1e-4 and \
         0.02 are usual"
    )))
}

fn betas_from_alpha_bar(steps: usize, alpha_bar: impl Fn(f64) -> f64) -> Result<Vec<f64>> {
    check_steps(steps)?;
    let at = |t: usize| alpha_bar(t as f64 / steps as f64);
    Ok((0..steps).map(|t| (1.0 - at(t + 1) / at(t)).min(MAX_COSINE_BETA)).collect())
}

pub(super) fn linspace(first: f64, last: f64, n: usize) -> Vec<f64> {
    let step = if n > 1 { (last - first) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(|i| if i > 0 && i + 1 == n { last } else { first + i as f64 * step }).collect()
}

fn logistic(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

/// A positive number below 10 with three significant digits: `1e-4`, `0.02`, `0.999`.
fn three_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    if rounded < 1e-3 { format!("{rounded:e}") } else { format!("{rounded}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_say_what_to_do() {
        let says = |result: Result<Schedule>, parts: &[&str]| {
            let message = result.unwrap_err().to_string();
            parts.iter().for_each(|part| assert!(message.contains(part), "{message:?} lacks {part:?}"));
        };
        says(Schedule::named("cosinus", 10), &["cosinus", "sigmoid_alphabar", "linear_scaled_T"]);
        says(Schedule::cosine(0), &["0 diffusion steps", "1 to 100000"]);
        says(Schedule::linear(100_001, 1e-4, 0.02), &["100001"]);
        says(Schedule::linear(10, 0.02, 1e-4), &["beta_start = 0.02", "beta_end = 0.0001", "usual"]);
        says(Schedule::linear(10, f64::NAN, 0.5), &["NaN"]);
        says(Schedule::linear_scaled_t(20, 1e-4, 0.02), &["20 steps", "1.000", "cosine"]);
        says(Schedule::linear(100_000, 1e-4, 0.02), &["nothing is left", "linear_scaled_T"]);
        says(Schedule::custom(vec![]), &["0 diffusion steps"]);
        says(Schedule::custom(vec![0.1, 1.0, 0.1]), &["beta[1] is 1", "of the 3"]);
        says(Schedule::custom(vec![0.1, f64::NAN]), &["beta[1] is NaN"]);
        says(Schedule::cosine(1).unwrap().zero_terminal_snr(), &["at least 2"]);
    }

    #[test]
    fn zero_terminal_snr_ends_at_zero() {
        let schedule = Schedule::named("scaled-linear", 1000).unwrap().zero_terminal_snr().unwrap();
        assert_eq!((schedule.snr(999), schedule.noise_table()[999]), (0.0, [0.0, 1.0]));
        assert!(schedule.clone().zero_terminal_snr().is_ok(), "a second time changes nothing much");
        assert!(Schedule::custom(schedule.betas().to_vec()).is_ok());
    }

    #[test]
    fn a_schedule_prints_in_one_line() {
        let line = |schedule: Result<Schedule>| schedule.unwrap().to_string();
        assert_eq!(line(Schedule::named("linear", 1000)), "linear, 1000 steps, beta 1e-4..0.02");
        assert_eq!(line(Schedule::named("cosine", 1000)), "cosine, 1000 steps, beta 4.13e-5..0.999");
        let zero = Schedule::linear_scaled_t(100, 1e-4, 0.02).unwrap().zero_terminal_snr();
        assert_eq!(line(zero), "linear_scaled_T, 100 steps, beta 0.001..1, zero terminal SNR");
    }
}
