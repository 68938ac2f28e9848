//! Paths from data to noise: the weights of both in x_t at time t.

use std::fmt;

use super::schedule::{Schedule, check_steps};
use crate::error::Result;

/// The weights of data and noise along the forward process: x_t = a(t) x0 + s(t) eps, eps standard normal.
///
/// Time is measured in training steps, from 0 (least noise) to `steps() - 1`, and is continuous between them. Implement
/// this trait to define a path of your own.
pub trait Path: fmt::Debug + fmt::Display + Send + Sync {
    /// The number T of training steps.
    fn steps(&self) -> usize;

    /// (a, s) at time `t`, which is clamped to 0..=T - 1. At least one of the two is above 0.
    fn weights(&self, t: f64) -> [f64; 2];

    /// (a, s) at the noise level sigma = s / a. By default, of the time that has this level, found by bisection.
    fn weights_of_sigma(&self, sigma: f64) -> [f64; 2] {
        let (mut low, mut high) = (0.0, (self.steps() - 1) as f64);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            let [a, s] = self.weights(middle);
            if s > sigma * a { high = middle } else { low = middle }
        }
        self.weights(0.5 * (low + high))
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

/// The straight path of flow matching: a = 1 - u, s = u, with u = (t + 1) / T, so that the last step is pure noise.
///
/// *Source*: Liu et al. 2022 (rectified flow) and Lipman et al. 2023, with time running from data to noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    steps: usize,
}

impl Flow {
    /// Creates the path with `steps` training steps.
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

    fn weights(&self, t: f64) -> [f64; 2] {
        Self::at((t.clamp(0.0, (self.steps - 1) as f64) + 1.0) / self.steps as f64)
    }

    fn weights_of_sigma(&self, sigma: f64) -> [f64; 2] {
        Self::at(sigma / (1.0 + sigma))
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "straight path, {}", crate::text::count(self.steps, "step"))
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
        assert_eq!([0.0, 1.0, 3.0].map(|t| flow.weights(t)), [[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]]);
        assert!(Flow::new(0).is_err());
    }
}
