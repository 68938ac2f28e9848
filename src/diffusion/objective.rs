//! The objective of training as data: a path (a, s) and a target (p, q).
//!
//! ```text
//! x_t = a x0 + s eps        target = p x0 + q eps
//! x0  = (q x_t - s m) / d   eps = (a m - p x_t) / d        d = a q - s p, m the network's output
//! ```
//! Training kernels, the estimates of x0 in losses, the rows of samplers and the weightings are all computed from these
//! four numbers per time step; nothing else depends on the prediction target.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::path::{Flow, NoiseLevels, Path};
use super::times::TrainingTimes;
use crate::error::{Error, Result};
use crate::text::short;

/// What the network predicts: the weights (p, q) of x0 and eps in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Prediction {
    /// The noise eps in x_t, (0, 1) (Ho et al. 2020).
    #[default]
    Epsilon,
    /// The clean data, (1, 0).
    X0,
    /// `v = a eps - s x0`, (-s, a) (Salimans and Ho 2022, appendix D).
    V,
    /// The velocity of the straight path, `eps - x0`, (-1, 1) (Liu et al. 2022).
    Flow,
    /// The target of the network in EDM's preconditioning, `(x0 - c_skip x) / c_out`, which has unit variance. With
    /// r = sqrt(1 - s^2), it is (a s / r, -r): on its path [`NoiseLevels`](super::NoiseLevels), r is sigma_data a. On
    /// variance-preserving paths it is -v (Karras et al. 2022, table 1).
    Edm,
}

named!(
    Prediction,
    "prediction",
    Epsilon = "epsilon" | "eps",
    X0 = "x0" | "sample",
    V = "v" | "v_prediction",
    Flow = "flow" | "velocity",
    Edm = "edm"
);

impl Prediction {
    /// (p, q) where x_t = a x0 + s eps.
    pub fn weights(self, [a, s]: [f64; 2]) -> [f64; 2] {
        match self {
            Prediction::Epsilon => [0.0, 1.0],
            Prediction::X0 => [1.0, 0.0],
            Prediction::V => [-s, a],
            Prediction::Flow => [-1.0, 1.0],
            Prediction::Edm => {
                let r = ((1.0 - s) * (1.0 + s)).sqrt();
                [a * s / r, -r]
            }
        }
    }
}

/// One noise level of an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The time passed to the network.
    pub t: f64,
    /// Weight of x0 in x_t.
    pub a: f64,
    /// Weight of eps in x_t.
    pub s: f64,
    /// Weight of x0 in the target.
    pub p: f64,
    /// Weight of eps in the target.
    pub q: f64,
}

impl Level {
    /// The clean data, where sampling ends.
    pub const CLEAN: Self = Self { t: -1.0, a: 1.0, s: 0.0, p: 1.0, q: 0.0 };

    /// `SNR = a^2 / s^2` (Kingma et al. 2021, section 3.2).
    pub fn snr(&self) -> f64 {
        (self.a / self.s).powi(2)
    }

    /// (c_x, c_m) with x0 = c_x x_t + c_m m; not finite where the output does not determine x0.
    pub fn x0(&self) -> [f64; 2] {
        [if self.q == 0.0 { 0.0 } else { self.q / self.d() }, -self.s_over_d()]
    }

    /// (e_x, e_m) with eps = e_x x_t + e_m m.
    pub fn eps(&self) -> [f64; 2] {
        [if self.p == 0.0 { 0.0 } else { -self.p / self.d() }, self.a_over_d()]
    }

    /// The same level with another target.
    pub fn with_prediction(self, prediction: Prediction) -> Self {
        let [p, q] = prediction.weights([self.a, self.s]);
        Self { p, q, ..self }
    }

    /// (l_x, l_m) of another target: p' x0 + q' eps = l_x x_t + l_m m; not finite where the output does not determine it.
    pub fn converted(&self, to: Prediction) -> [f64; 2] {
        self.converted_above(to, 0.0)
    }

    /// [`Level::converted`] with |d| at least `floor`.
    pub(super) fn converted_above(&self, to: Prediction, floor: f64) -> [f64; 2] {
        let [p, q] = to.weights([self.a, self.s]);
        // The sign of d is that of -p for data, also where d is 0.
        let sign = if self.q == 0.0 { -self.p } else { self.d() };
        let d = self.d().abs().max(floor).copysign(sign);
        [(p * self.q - q * self.p) / d, (self.a * q - self.s * p) / d]
    }

    fn d(&self) -> f64 {
        self.a * self.q - self.s * self.p
    }

    /// a / d; its limit where the target is pure noise and a is 0.
    pub(super) fn a_over_d(&self) -> f64 {
        if self.p == 0.0 { 1.0 / self.q } else { self.a / self.d() }
    }

    /// s / d; its limit where the target is pure data and s is 0.
    pub(super) fn s_over_d(&self) -> f64 {
        if self.q == 0.0 { -1.0 / self.p } else { self.s / self.d() }
    }
}

/// The largest weight of the data at the last step of a path that ends in noise; that of stable diffusion is 0.07.
const MOST_DATA_AT_THE_END: f64 = 0.1;

/// The number of intervals of the tables of a continuous path. Values between two rows are interpolated linearly: exactly for
/// a straight path, otherwise to about 1e-7.
const INTERVALS: usize = 20_000;

/// The training objective: a path, a prediction target, and the distribution of the times.
#[derive(Debug, Clone)]
pub struct Objective {
    path: Arc<dyn Path>,
    prediction: Prediction,
    times: TrainingTimes,
}

impl Objective {
    /// Creates the objective of a path and a prediction target.
    pub fn new(path: impl Path + 'static, prediction: Prediction) -> Self {
        let times = if path.is_continuous() { TrainingTimes::Uniform } else { TrainingTimes::Steps };
        Self { path: Arc::new(path), prediction, times }
    }

    /// Rectified flow: the straight path with velocity prediction, and [`TrainingTimes::LOGIT_NORMAL`] from 0 to `steps`.
    ///
    /// *Source*: Liu et al. 2022, Lipman et al. 2023, which draw the times uniformly; Esser et al. 2024, eq. 19, for the times.
    ///
    /// # Errors
    /// When `steps` is out of range.
    pub fn flow(steps: usize) -> Result<Self> {
        Self::new(Flow::new(steps)?, Prediction::Flow).with_times(TrainingTimes::LOGIT_NORMAL)
    }

    /// EDM for data of standard deviation `sigma_data`: preconditioning and log-normal noise levels. The mean squared error of
    /// the network's output is its weighted loss, as the weight is 1 / c_out^2.
    ///
    /// *Source*: Karras et al. 2022, table 1.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn edm(steps: usize, sigma_data: f64) -> Result<Self> {
        Self::new(NoiseLevels::new(steps, sigma_data)?, Prediction::Edm).with_times(TrainingTimes::edm(sigma_data))
    }

    /// The objective with another distribution of the times in training.
    ///
    /// # Errors
    /// When the path does not have such times.
    pub fn with_times(self, times: TrainingTimes) -> Result<Self> {
        times.check(self.path())?;
        Ok(Self { times, ..self })
    }

    /// The objective with another prediction target.
    pub fn with_prediction(&self, prediction: Prediction) -> Self {
        Self { prediction, ..self.clone() }
    }

    /// The distribution of the times in training.
    pub fn times(&self) -> TrainingTimes {
        self.times
    }

    /// The number of rows per training step of its tables: 1 for a path of T steps.
    pub fn rows_per_step(&self) -> f64 {
        if self.path.is_continuous() { INTERVALS as f64 / self.path.last() } else { 1.0 }
    }

    /// sigma at the last time; infinite for pure noise.
    pub(super) fn last_sigma(&self) -> f64 {
        self.sigma(self.path.last())
    }

    /// The path.
    pub fn path(&self) -> &dyn Path {
        &*self.path
    }

    /// The prediction target.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The number T of training steps.
    pub fn steps(&self) -> usize {
        self.path.steps()
    }

    /// The level at time `t`, in training steps.
    pub fn level(&self, t: f64) -> Level {
        self.level_with(t, self.path.weights(t))
    }

    /// The level with noise of standard deviation `sigma` for x0 of weight 1, sigma = s / a. On a path of T steps, its time is
    /// interpolated in ln(sigma) between the training steps, and rounded to one of them.
    pub fn level_of_sigma(&self, sigma: f64) -> Level {
        if self.path.is_continuous() {
            return self.level_with(self.path.time_of_sigma(sigma), self.path.weights_of_sigma(sigma));
        }
        let sigma_of = |t: usize| self.sigma(t as f64);
        let (mut below, mut above) = (0, self.steps() - 1);
        while above - below > 1 {
            let middle = (below + above) / 2;
            if sigma_of(middle) > sigma { above = middle } else { below = middle }
        }
        let [low, high] = [below, above].map(sigma_of);
        let part = ((sigma / low).ln() / (high / low).ln()).clamp(0.0, 1.0);
        let t = if above > below && part.is_finite() { (below as f64 + part).round() } else { below as f64 };
        self.level_with(t, self.path.weights_of_sigma(sigma))
    }

    /// The level between training steps, at the sigma that is interpolated linearly between theirs.
    pub(super) fn level_between(&self, t: f64) -> Level {
        if t.fract() == 0.0 {
            return self.level(t);
        }
        let [low, high] = [t.floor(), t.ceil()].map(|t| self.sigma(t));
        let sigma = low + t.fract() * (high - low);
        if sigma.is_finite() { self.level_with(t, self.path.weights_of_sigma(sigma)) } else { self.level(t) }
    }

    /// sigma = s / a at a time; infinite for pure noise.
    pub fn sigma(&self, t: f64) -> f64 {
        let [a, s] = self.path.weights(t);
        s / a
    }

    /// Checks that almost no data are left at the last time, because generation starts there with pure noise.
    ///
    /// # Errors
    /// When the weight a of the data is above 0.1: the start then lacks a share of their mean and variance that the samples
    /// keep missing.
    pub fn check_end(&self) -> Result<()> {
        let last = self.level(self.path.last());
        let Level { a, .. } = last;
        if a <= MOST_DATA_AT_THE_END {
            return self.check_start(&last);
        }
        Err(Error::setting(format!(
            "the noise schedule ({}) does not end in noise: the weight of the data at its last step is {}, and samples are \
             drawn from pure noise; use the schedule cosine, which ends in noise with any number of steps, or diffusion_steps \
             = 1000 (or more for slower schedules)",
            self.path,
            short(a)
        )))
    }

    /// Checks that the output at a level, where sampling starts, determines x0.
    ///
    /// # Errors
    /// With what to predict instead.
    pub(super) fn check_start(&self, level: &Level) -> Result<()> {
        if level.x0().iter().all(|c| c.is_finite()) {
            return Ok(());
        }
        Err(Error::setting(format!(
            "a model that predicts {} cannot be sampled from t = {}, which is pure noise and contains no data ({}): train it to \
             predict v, x0 or flow",
            self.prediction,
            short(level.t),
            self.path
        )))
    }

    fn level_with(&self, t: f64, [a, s]: [f64; 2]) -> Level {
        Level { t, a, s, p: 0.0, q: 0.0 }.with_prediction(self.prediction)
    }

    /// The levels of all training steps; for a continuous path, those of a fine grid of times from 0 to the last.
    pub fn levels(&self) -> Vec<Level> {
        match self.path.is_continuous() {
            true => (0..=INTERVALS).map(|i| self.level(i as f64 / self.rows_per_step())).collect(),
            false => (0..self.steps()).map(|t| self.level(t as f64)).collect(),
        }
    }

    /// The rows (a, s, p, q) of all [`levels`](Self::levels), as read by the training kernels.
    pub fn table(&self) -> Vec<[f64; 4]> {
        self.levels().into_iter().map(|Level { a, s, p, q, .. }| [a, s, p, q]).collect()
    }

    /// Rows (c_x, c_m) with x0 = c_x x_t + c_m m, for each of the [`levels`](Self::levels).
    ///
    /// # Errors
    /// When the output does not determine x0 at some step, for example when eps is predicted and x_t is pure noise.
    pub fn x0_table(&self) -> Result<Vec<[f64; 2]>> {
        let row = |level: Level| match level.x0() {
            row if row.iter().all(|c| c.is_finite()) => Ok(row),
            _ => Err(Error::setting(format!(
                "{} does not determine x0 at step {}, where x_t contains no x0; predict v or x0",
                self.prediction, level.t
            ))),
        };
        self.levels().into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Schedule;

    /// x0 and eps are recovered from x_t and the target, for every path and prediction.
    #[test]
    fn estimates_invert_the_objective() {
        let (x0, eps) = (0.7, -1.3);
        for prediction in [Prediction::Epsilon, Prediction::X0, Prediction::V, Prediction::Flow] {
            let curved = Objective::new(Schedule::cosine(30).unwrap(), prediction);
            let straight = Objective::new(Flow::new(30).unwrap(), prediction);
            let edm = Objective::edm(30, 0.6).unwrap();
            let straight_levels = (1..=30).map(|t| straight.level(t as f64));
            let edm_levels = (0..=30).map(|t| edm.level(t as f64));
            for level in curved.levels().into_iter().chain(straight_levels).chain(edm_levels) {
                let x_t = level.a * x0 + level.s * eps;
                let m = level.p * x0 + level.q * eps;
                let ([c_x, c_m], [e_x, e_m]) = (level.x0(), level.eps());
                if level.a > 0.0 || level.p != 0.0 {
                    let got = c_x * x_t + c_m * m;
                    assert!((got - x0).abs() < 1e-9 * (1.0 + c_x.abs()), "{prediction} {level:?}: {got}");
                }
                assert!((e_x * x_t + e_m * m - eps).abs() < 1e-9, "{prediction} {level:?}");
            }
        }
    }

    #[test]
    fn the_velocity_is_the_slope_of_the_straight_path() {
        let [[a0, s0], [a1, s1]] = [0.25, 0.75].map(Flow::at);
        assert_eq!([(a1 - a0) / 0.5, (s1 - s0) / 0.5], Prediction::Flow.weights([a0, s0]));
    }

    #[test]
    fn epsilon_does_not_determine_x0_at_pure_noise() {
        let schedule = Schedule::linear(100, 1e-4, 0.02).unwrap().zero_terminal_snr().unwrap();
        let refused = Objective::new(schedule.clone(), Prediction::Epsilon).x0_table().unwrap_err().to_string();
        assert!(refused.contains("step 99") && refused.contains("predict v or x0"), "{refused}");
        for prediction in [Prediction::V, Prediction::X0, Prediction::Flow] {
            assert_eq!(Objective::new(schedule.clone(), prediction).x0_table().unwrap().len(), 100);
        }
    }

    #[test]
    fn prediction_names_round_trip() {
        for (name, want) in [("x0", Prediction::X0), ("sample", Prediction::X0), ("v_prediction", Prediction::V)] {
            assert_eq!(name.parse::<Prediction>().unwrap(), want);
            assert_eq!(want.to_string().parse::<Prediction>().unwrap(), want);
        }
        assert!("noise".parse::<Prediction>().unwrap_err().to_string().contains("epsilon, x0, v, flow"));
    }

    #[test]
    fn paths_that_do_not_end_in_noise_are_refused() {
        let check = |schedule: Result<Schedule>| Objective::new(schedule.unwrap(), Prediction::V).check_end();
        let refused = check(Schedule::named("linear", 100)).unwrap_err().to_string();
        assert!(
            refused.contains("linear, 100 steps") && refused.contains("0.60") && refused.contains("cosine"),
            "{refused}"
        );
        for steps in [1, 2, 10, 100, 1_000] {
            check(Schedule::cosine(steps)).unwrap();
        }
        for name in crate::diffusion::SCHEDULES {
            check(Schedule::named(name, 1_000)).unwrap();
        }
        check(Schedule::linear(100, 1e-4, 0.02).unwrap().zero_terminal_snr()).unwrap();
        Objective::new(Flow::new(10).unwrap(), Prediction::Flow).check_end().unwrap();
    }
}
