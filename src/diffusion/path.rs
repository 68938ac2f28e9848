//! Paths from data to noise: the weights of both in x_t at time t.

use std::fmt;

use super::schedule::{Schedule, check_steps};
use crate::error::{Error, Result};
use crate::ops::TimeDraw;
use crate::text::short;

/// The weights of data and noise along the forward process: x_t = a(t) x0 + s(t) eps, eps standard normal.
///
/// Time is measured in training steps, from 0 (least noise) to [`Path::last`], and is continuous between them. Implement
/// this trait to define a path of your own.
pub trait Path: fmt::Debug + fmt::Display + Send + Sync {
    /// The number T of training steps.
    fn steps(&self) -> usize;

    /// Whether every time between 0 and the last one is trained on, and not only T steps.
    fn is_continuous(&self) -> bool {
        false
    }

    /// The time with the most noise: T - 1, the last of T steps, or T if time is continuous.
    fn last(&self) -> f64 {
        (self.steps() - usize::from(!self.is_continuous())) as f64
    }

    /// (a, s) at time `t`, which is clamped to 0..=last. At least one of the two is above 0.
    fn weights(&self, t: f64) -> [f64; 2];

    /// Draws of times at which ln(sigma) is normal with this mean and standard deviation. `None` if the path has none.
    fn log_normal(&self, _mean: f64, _deviation: f64) -> Option<TimeDraw> {
        None
    }

    /// The time with the noise level sigma = s / a, by default found by bisection.
    fn time_of_sigma(&self, sigma: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.last());
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            let [a, s] = self.weights(middle);
            if s > sigma * a { high = middle } else { low = middle }
        }
        0.5 * (low + high)
    }

    /// (a, s) at the noise level sigma = s / a; by default those of its time.
    fn weights_of_sigma(&self, sigma: f64) -> [f64; 2] {
        self.weights(self.time_of_sigma(sigma))
    }
}

/// The variance-preserving process of a noise schedule: a = sqrt(alpha_bar_t), s = sqrt(1 - alpha_bar_t).
///
/// Between two steps log(alpha_bar) is interpolated linearly, as in the code of Lu et al. 2022 (DPM-Solver).
impl Path for Schedule {
    fn steps(&self) -> usize {
        Schedule::steps(self)
    }

    fn weights(&self, t: f64) -> [f64; 2] {
        let t = t.clamp(0.0, (self.steps() - 1) as f64);
        let (below, part) = (t.floor() as usize, t.fract());
        let alpha_bar = match part {
            0.0 => self.alpha_bars()[below],
            _ => {
                let [low, high] = [below, below + 1].map(|i| self.alpha_bars()[i]);
                low.powf(1.0 - part) * high.powf(part)
            }
        };
        [alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()]
    }

    fn weights_of_sigma(&self, sigma: f64) -> [f64; 2] {
        let a = 1.0 / sigma.hypot(1.0);
        [a, sigma * a]
    }
}

/// The straight path of flow matching: a = 1 - u, s = u, with u = t / T in \[0, 1\]. It ends in pure noise. T only scales the
/// time that the network gets.
///
/// *Source*: Liu et al. 2022 (rectified flow) and Lipman et al. 2023, with time running from data to noise, as in Esser et
/// al. 2024 (Stable Diffusion 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    steps: usize,
}

impl Flow {
    /// Creates the path with times from 0 to `steps`.
    ///
    /// # Errors
    /// When `steps` is 0 or above the limit.
    pub fn new(steps: usize) -> Result<Self> {
        check_steps(steps)?;
        Ok(Self { steps })
    }

    /// (a, s) at u in [0, 1].
    pub fn at(u: f64) -> [f64; 2] {
        [1.0 - u, u]
    }
}

impl Path for Flow {
    fn steps(&self) -> usize {
        self.steps
    }

    fn is_continuous(&self) -> bool {
        true
    }

    fn weights(&self, t: f64) -> [f64; 2] {
        Self::at((t / self.last()).clamp(0.0, 1.0))
    }

    /// sigma = u / (1 - u), so that u is the logistic function of ln(sigma).
    fn log_normal(&self, mean: f64, deviation: f64) -> Option<TimeDraw> {
        Some(TimeDraw::LogitNormal { mean, deviation })
    }

    fn time_of_sigma(&self, sigma: f64) -> f64 {
        self.last() * sigma / (1.0 + sigma)
    }
}

/// The noise levels of EDM: x_t = (x0 + sigma eps) / sqrt(sigma^2 + sigma_data^2), the input c_in x of its network, with
/// ln(sigma) proportional to the time.
///
/// sigma_data is the standard deviation of the data. Times from 0 to T are levels from 0.004 to 160 times sigma_data, which are
/// the 0.002 and 80 of the paper for its sigma_data of 0.5. The time is c_noise = ln(sigma) / 4 in the range that step
/// encodings expect.
///
/// *Source*: Karras et al. 2022 (EDM), table 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseLevels {
    steps: usize,
    sigma_data: f64,
}

impl NoiseLevels {
    /// The smallest and the largest level, relative to sigma_data.
    const RANGE: [f64; 2] = [0.004, 160.0];

    /// Creates the path with times from 0 to `steps`.
    ///
    /// # Errors
    /// When `steps` is 0 or above the limit, or `sigma_data` is not positive.
    pub fn new(steps: usize, sigma_data: f64) -> Result<Self> {
        check_steps(steps)?;
        if sigma_data > 0.0 && sigma_data.is_finite() {
            return Ok(Self { steps, sigma_data });
        }
        Err(Error::setting(format!(
            "sigma_data is {sigma_data}; use the standard deviation of the normalised data, which is 1 for normalise = standard \
             and about 0.5 for range"
        )))
    }

    /// The smallest and the largest level.
    pub fn range(&self) -> [f64; 2] {
        Self::RANGE.map(|sigma| sigma * self.sigma_data)
    }

    /// The logarithms of the range: the first, and the difference of both.
    fn logarithms(&self) -> [f64; 2] {
        let [low, high] = self.range().map(f64::ln);
        [low, high - low]
    }
}

impl Path for NoiseLevels {
    fn steps(&self) -> usize {
        self.steps
    }

    fn is_continuous(&self) -> bool {
        true
    }

    fn weights(&self, t: f64) -> [f64; 2] {
        let [low, span] = self.logarithms();
        self.weights_of_sigma((low + span * (t / self.last()).clamp(0.0, 1.0)).exp())
    }

    fn log_normal(&self, mean: f64, deviation: f64) -> Option<TimeDraw> {
        let [low, span] = self.logarithms();
        Some(TimeDraw::Normal { mean: (mean - low) / span, deviation: deviation / span })
    }

    fn time_of_sigma(&self, sigma: f64) -> f64 {
        let [low, span] = self.logarithms();
        (self.last() * (sigma.ln() - low) / span).clamp(0.0, self.last())
    }

    fn weights_of_sigma(&self, sigma: f64) -> [f64; 2] {
        let a = 1.0 / sigma.hypot(self.sigma_data);
        [a, sigma * a]
    }
}

impl fmt::Display for NoiseLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.range().map(short);
        write!(f, "noise levels {low}..{high}, sigma_data {}", short(self.sigma_data))
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "straight path, times 0..{}", self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_continuous_and_exact_at_whole_steps() {
        let schedule = Schedule::cosine(50).unwrap();
        for (t, row) in schedule.noise_table().into_iter().enumerate() {
            assert_eq!(schedule.weights(t as f64), row);
        }
        let [a, s] = schedule.weights(7.5);
        let [low, high] = [7, 8].map(|t| schedule.noise_table()[t][0]);
        assert!(high < a && a < low && (a * a + s * s - 1.0).abs() < 1e-15);
        assert_eq!(schedule.weights(1e9), schedule.weights(49.0));
    }

    #[test]
    fn the_straight_path_ends_in_noise() {
        let flow = Flow::new(4).unwrap();
        assert_eq!([1.0, 2.0, 4.0].map(|t| flow.weights(t)), [[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]]);
        assert!(Flow::new(0).is_err());
    }

    #[test]
    fn times_and_noise_levels_belong_together() {
        let paths: [&dyn Path; 3] =
            [&Flow::new(1_000).unwrap(), &NoiseLevels::new(1_000, 0.7).unwrap(), &Schedule::cosine(1_000).unwrap()];
        for path in paths {
            for t in [1.0, 3.25, 500.0, 900.5] {
                let [a, s] = path.weights(t);
                assert!((path.time_of_sigma(s / a) - t).abs() < 1e-6, "{path} {t}");
                let [b, r] = path.weights_of_sigma(s / a);
                assert!((a - b).abs() < 1e-9 && (s - r).abs() < 1e-9, "{path} {t}");
            }
        }
        let levels = NoiseLevels::new(10, 0.5).unwrap();
        let [a, s] = levels.weights(10.0);
        assert!((s / a - 80.0).abs() < 1e-9 && (levels.range()[0] - 0.002).abs() < 1e-12);
        assert!(NoiseLevels::new(10, 0.0).unwrap_err().to_string().contains("sigma_data is 0"));
    }
}
