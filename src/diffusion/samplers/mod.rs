//! Samplers of the reverse process, one file per paper.
//!
//! To add a sampler, implement [`Sampler`] in a new file and add a line to `SAMPLERS`.

mod ddim;
mod ddpm;

pub use ddim::Ddim;
pub use ddpm::{Ddpm, Variance};

use std::sync::Arc;

use super::sampler::Sampler;
use crate::error::{Error, Result};

/// Settings for creating a sampler by name; a setting that the sampler does not have is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SamplerSettings {
    /// Amount of noise added per step: 0 for none, 1 for as much as DDPM.
    pub eta: Option<f64>,
    /// The variance of the noise.
    pub variance: Option<Variance>,
}

setters!(SamplerSettings { eta: Option<f64>, variance: Option<Variance> });

/// Takes the settings that this sampler has and leaves the others in place.
type Make = fn(&mut SamplerSettings) -> Arc<dyn Sampler>;

/// The available samplers by name.
const SAMPLERS: [(&str, Make); 2] = [("ddpm", ddpm::make), ("ddim", ddim::make)];

/// The names accepted by [`sampler`].
pub fn sampler_names() -> [&'static str; SAMPLERS.len()] {
    SAMPLERS.map(|(name, _)| name)
}

/// Creates a sampler by name.
///
/// # Errors
/// When the name is unknown, the sampler does not have one of the given settings, or a setting is out of range.
pub fn sampler(name: &str, mut settings: SamplerSettings) -> Result<Arc<dyn Sampler>> {
    let make = SAMPLERS.iter().find(|(known, _)| *known == name);
    let (_, make) = make.ok_or_else(|| Error::unknown("sampler", name, &sampler_names()))?;
    let made = make(&mut settings);
    let left = [("eta", settings.eta.is_some()), ("variance", settings.variance.is_some())];
    if let Some((setting, _)) = left.into_iter().find(|(_, left)| *left) {
        return Err(Error::setting(format!("the sampler {name} has no {setting}; leave it out")));
    }
    made.check()?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Flow, Mix, Objective, Path, PrevRule, SamplerOptions, SamplerTable, Schedule, Spacing};
    use crate::diffusion::{Level, Prediction};
    use std::fmt;

    use crate::diffusion::{Row, Step};

    const SMALL: Ddpm = Ddpm { variance: Variance::FixedSmall };
    const LARGE: Ddpm = Ddpm { variance: Variance::FixedLarge };
    const PREDICTIONS: [Prediction; 4] = [Prediction::Epsilon, Prediction::X0, Prediction::V, Prediction::Flow];

    fn ddim(eta: f64) -> Arc<dyn Sampler> {
        Arc::new(Ddim { eta })
    }

    fn ddpm(of: Ddpm) -> Arc<dyn Sampler> {
        Arc::new(of)
    }

    fn table(path: impl Path + 'static, sampler: &Arc<dyn Sampler>, steps: usize) -> SamplerTable {
        let objective = Objective::new(path, Prediction::Epsilon);
        SamplerTable::new(&objective, &SamplerOptions::shared(sampler.clone(), steps)).unwrap()
    }

    fn linear() -> Schedule {
        Schedule::named("linear", 1000).unwrap()
    }

    /// If x = a x0 + s eps and the network is perfect, the next state is a_to x0 + noise of variance s_to^2. This is
    /// exact for DDPM with the small variance and for DDIM with any eta, on every path and for every prediction.
    #[test]
    fn every_step_keeps_the_marginals() {
        let curved = |prediction| Objective::new(Schedule::named("cosine", 200).unwrap(), prediction);
        let straight = |prediction| Objective::new(Flow::new(200).unwrap(), prediction);
        for sampler in [ddpm(SMALL), ddim(0.0), ddim(0.5), ddim(1.0)] {
            for (prediction, rederive) in PREDICTIONS.into_iter().flat_map(|p| [(p, false), (p, true)]) {
                for objective in [curved(prediction), straight(prediction)] {
                    let options = SamplerOptions { rederive, ..SamplerOptions::shared(sampler.clone(), 40) };
                    let rows = SamplerTable::new(&objective, &options).unwrap().rows;
                    for (k, row) in rows.iter().enumerate() {
                        let Level { a, s, p, q, .. } = objective.level(row.t);
                        let to = rows.get(k + 1).map_or(Level::CLEAN, |next| objective.level(next.t));
                        let [c_x, c_m] = row.estimate;
                        assert!((c_x * a + c_m * p - 1.0).abs() < 1e-12 && (c_x * s + c_m * q).abs() < 1e-12);
                        let Mix { x0, x, m, .. } = row.next;
                        let (signal, noise) = (x0 + x * a + m * p, x * s + m * q);
                        assert!((signal - to.a).abs() < 1e-12, "{sampler} {prediction} row {k}");
                        let variance = noise * noise + row.k_z * row.k_z;
                        assert!((variance - to.s * to.s).abs() < 1e-12, "{sampler} {prediction} row {k}");
                    }
                }
            }
        }
    }

    #[test]
    fn ddim_with_eta_1_is_ddpm() {
        let rows = |sampler| table(linear(), &sampler, 50).rows;
        for (p, i) in rows(ddpm(SMALL)).iter().zip(rows(ddim(1.0))) {
            let of_x_and_m = |r: &Row| {
                let [c_x, c_m] = r.estimate;
                [r.next.x0 * c_x + r.next.x, r.next.x0 * c_m + r.next.m, r.k_z]
            };
            let (p, i) = (of_x_and_m(p), of_x_and_m(&i));
            assert!(p.iter().zip(i).all(|(p, i)| (p - i).abs() < 1e-11), "{p:?} {i:?}");
        }
    }

    /// Final mean and variance for data N(mu, deviation^2) and the optimal epsilon, which is linear in x:
    /// eps = s (x - a mu) / (a^2 deviation^2 + s^2). The start is N(0, 1), so no random number is needed.
    fn gaussian(sampler: &Arc<dyn Sampler>, steps: usize, mu: f64, deviation: f64) -> (f64, f64) {
        let (schedule, table) = (linear(), table(linear(), sampler, steps));
        let (mut mean, mut variance) = (0.0, 1.0);
        for (k, row) in table.rows.iter().enumerate() {
            let [a, s] = schedule.weights(row.t);
            let slope = s / (a * a * deviation * deviation + s * s);
            let next = |x: f64| {
                let mut state = [x];
                table.step_f64(k, &mut state, &mut [0.0], &[slope * (x - a * mu)], &[0.0]);
                state[0]
            };
            let gain = next(1.0) - next(0.0);
            mean = next(mean);
            variance = gain * gain * variance + row.k_z * row.k_z;
        }
        (mean, variance)
    }

    /// The variance is too small by O(1/N) unless the added noise compensates; the mean lacks the alpha_bar left at the
    /// end.
    #[test]
    fn samples_match_gaussian_data() {
        let (mu, deviation) = (0.7, 0.5);
        // sampler, steps, bound on |mean - mu|, bounds on variance / deviation^2
        let cases = [
            (ddpm(SMALL), 1000, 1e-5, 0.984, 1.0),
            (ddpm(LARGE), 1000, 1e-5, 1.0, 1.004),
            (ddim(0.0), 50, 0.003, 0.89, 0.9),
            (ddim(0.5), 50, 0.001, 0.87, 0.88),
            (ddim(1.0), 50, 2e-5, 0.78, 0.79),
            (ddim(0.0), 1000, 0.003, 0.993, 1.0),
        ];
        for (sampler, steps, bound, low, high) in cases {
            let (mean, variance) = gaussian(&sampler, steps, mu, deviation);
            let ratio = variance / (deviation * deviation);
            assert!((mean - mu).abs() <= bound, "{sampler}, {steps} steps: mean {mean}, want {mu}");
            assert!((low..=high).contains(&ratio), "{sampler}, {steps} steps: variance {ratio} of the data's");
        }
    }

    #[test]
    fn doubling_the_steps_halves_the_error() {
        for sampler in [ddpm(SMALL), ddim(0.0), ddim(0.5), ddim(1.0)] {
            let error = |steps| 0.25 - gaussian(&sampler, steps, 0.7, 0.5).1;
            for (few, many) in [(50, 100), (100, 200), (500, 1000)] {
                let part = error(many) / error(few);
                assert!((0.45..0.6).contains(&part), "{sampler}, {many} steps: {part} of the error of {few}");
            }
        }
    }

    #[test]
    fn a_single_point_is_reached_exactly() {
        for sampler in [ddpm(SMALL), ddpm(LARGE), ddim(0.0), ddim(0.5)] {
            let (mean, variance) = gaussian(&sampler, 50, 0.7, 0.0);
            assert!((mean - 0.7).abs() < 1e-12 && variance < 1e-24, "{sampler}: {mean} {variance}");
        }
    }

    #[test]
    fn the_last_step_adds_no_noise() {
        let objective = Objective::new(Schedule::named("cosine", 100).unwrap(), Prediction::Epsilon);
        for sampler in [ddpm(SMALL), ddpm(LARGE), ddim(1.0)] {
            for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing] {
                for prev_rule in [PrevRule::List, PrevRule::Stride] {
                    let options = SamplerOptions::shared(sampler.clone(), 30);
                    let options = SamplerOptions { spacing, prev_rule, ..options };
                    let rows = SamplerTable::new(&objective, &options).unwrap().rows;
                    assert_eq!(rows[29].k_z, 0.0);
                    assert!(rows[..29].iter().all(|row| row.k_z > 0.0), "{sampler} {spacing}");
                }
            }
        }
    }

    #[test]
    fn steps_that_the_objective_does_not_have_are_refused() {
        let objective = Objective::new(linear(), Prediction::V);
        let over = |ts: &[usize]| SamplerTable::over(&objective, &SamplerOptions::shared(ddim(0.0), 0), ts);
        assert_eq!(over(&[999, 0]).unwrap().rows.len(), 2);
        for ts in [&[][..], &[1000], &[999, 2000]] {
            assert!(over(ts).unwrap_err().to_string().contains("from 0 to 999"));
        }
    }

    #[test]
    fn epsilon_is_refused_at_pure_noise() {
        let schedule = Schedule::linear(100, 1e-4, 0.02).unwrap().zero_terminal_snr().unwrap();
        let table = |prediction, sampler: &Arc<dyn Sampler>| {
            let options = SamplerOptions::shared(sampler.clone(), 10);
            let options = SamplerOptions { spacing: Spacing::Trailing, ..options };
            SamplerTable::new(&Objective::new(schedule.clone(), prediction), &options)
        };
        for sampler in [ddpm(SMALL), ddpm(LARGE), ddim(0.5)] {
            let message = table(Prediction::Epsilon, &sampler).unwrap_err().to_string();
            assert!(message.contains("t = 99") && message.contains("predict v"), "{message}");
            for prediction in [Prediction::V, Prediction::X0, Prediction::Flow] {
                let rows = table(prediction, &sampler).unwrap().rows_f32();
                assert!(rows.iter().flatten().all(|v| v.is_finite()), "{sampler} {prediction}");
            }
        }
    }

    #[test]
    fn names_and_settings_are_checked() {
        let message = |name: &str, settings| sampler(name, settings).unwrap_err().to_string();
        let eta = |eta: f64| SamplerSettings { eta: Some(eta), ..SamplerSettings::default() };
        assert!(message("euler2", SamplerSettings::default()).contains("ddpm, ddim"));
        assert!(message("ddpm", eta(0.5)).contains("has no eta"));
        assert!(message("ddim", eta(1.5)).contains("1.5"));
        assert_eq!(sampler("ddim", eta(0.5)).unwrap().to_string(), "ddim, eta 0.5");
        assert_eq!(sampler("ddpm", SamplerSettings::default()).unwrap().default_steps(1000), 1000);
    }

    #[test]
    fn bad_options_are_refused() {
        let objective = Objective::new(linear(), Prediction::Epsilon);
        let message = |options: &SamplerOptions| SamplerTable::new(&objective, options).unwrap_err().to_string();
        assert!(message(&SamplerOptions::new(Ddim { eta: -0.1 }, 10)).contains("eta = -0.1"));
        assert!(message(&SamplerOptions::new(SMALL, 1001)).contains("1 to 1000"));
        for bound in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let options = SamplerOptions { clip: Some(bound), ..SamplerOptions::new(SMALL, 10) };
            assert!(message(&options).contains("clip"), "{bound}");
        }
    }

    /// A second-order multistep solver and a two-stage step can be written as rows with a history: both are exact when
    /// the estimate of x0 changes linearly in the noise level or in time.
    #[derive(Debug)]
    enum SecondOrder {
        Multistep,
        TwoStage,
    }

    impl fmt::Display for SecondOrder {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{self:?}")
        }
    }

    impl Sampler for SecondOrder {
        fn rows(&self, steps: &[Step]) -> Vec<Row> {
            let estimate = |level: &Level| Row::new(level, Mix::ZERO, 0.0);
            let sigma = |level: &Level| level.s / level.a;
            // On the path x / a, the slope with respect to sigma is (x / a - x0) / sigma; for these rows a is 1.
            let slope = |level: &Level| Mix { x0: -1.0 / sigma(level), x: 1.0 / sigma(level), ..Mix::ZERO };
            let row = |k: usize| {
                let (from, to) = (steps[k].from, steps[k].to);
                let h = sigma(&to) - sigma(&from);
                match self {
                    // Adams-Bashforth with variable steps; the history is the last slope.
                    Self::Multistep => {
                        let ratio = if k == 0 { 0.0 } else { h / (sigma(&from) - sigma(&steps[k - 1].from)) };
                        let slope = slope(&from);
                        let last = Mix { h: -0.5 * ratio * h, ..Mix::ZERO };
                        let next = Mix { x: 1.0, ..Mix::ZERO } + (h * (1.0 + 0.5 * ratio)) * slope + last;
                        vec![Row { next, history: slope, ..estimate(&from) }]
                    }
                    // Heun's rule; the history is the state plus half of the first slope.
                    Self::TwoStage if to.s > 0.0 => {
                        let (first, second) = (slope(&from), slope(&to));
                        let x = Mix { x: 1.0, ..Mix::ZERO };
                        let history = Mix { h: 1.0, ..Mix::ZERO };
                        vec![
                            Row { next: x + h * first, history: x + (0.5 * h) * first, ..estimate(&from) },
                            Row { next: history + (0.5 * h) * second, ..estimate(&to) },
                        ]
                    }
                    Self::TwoStage => {
                        vec![Row { next: Mix { x: 1.0, ..Mix::ZERO } + h * slope(&from), ..estimate(&from) }]
                    }
                }
            };
            (0..steps.len()).flat_map(row).collect()
        }

        fn default_steps(&self, steps: usize) -> usize {
            steps
        }
    }

    /// The path x = data + noise: a = 1, s from 0.1 to 10.
    #[derive(Debug)]
    struct Exploding;

    impl fmt::Display for Exploding {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("exploding")
        }
    }

    impl Path for Exploding {
        fn steps(&self) -> usize {
            1000
        }
        fn weights(&self, t: f64) -> [f64; 2] {
            [1.0, 0.1 * 100f64.powf(t / 999.0)]
        }
    }

    /// The final standard deviation of x is that of the data times the factor of the exact probability flow.
    #[test]
    fn second_order_solvers_are_rows_with_a_history() {
        let error = |sampler: &Arc<dyn Sampler>, steps: usize| {
            let objective = Objective::new(Exploding, Prediction::Epsilon);
            let options =
                SamplerOptions { spacing: Spacing::Linspace, ..SamplerOptions::shared(sampler.clone(), steps) };
            let table = SamplerTable::new(&objective, &options).unwrap();
            let (mut x, mut h) = ([1.0], [0.0]);
            for (k, row) in table.rows.iter().enumerate().filter(|(_, row)| row.t > 0.0) {
                let s = Exploding.weights(row.t)[1];
                let m = [s * x[0] / (0.25 + s * s)]; // the optimal epsilon for data N(0, 0.5^2)
                table.step_f64(k, &mut x, &mut h, &m, &[0.0]);
            }
            (x[0] - ((0.25 + 0.01f64) / (0.25 + 100.0)).sqrt()).abs()
        };
        for (sampler, least, most) in [
            (Arc::new(SecondOrder::Multistep) as Arc<dyn Sampler>, 1.7, 2.6),
            (Arc::new(SecondOrder::TwoStage), 1.7, 2.6),
        ] {
            let order = (error(&sampler, 65) / error(&sampler, 129)).log2();
            assert!((least..most).contains(&order), "{sampler}: order {order}");
            let objective = Objective::new(Exploding, Prediction::Epsilon);
            assert!(SamplerTable::new(&objective, &SamplerOptions::shared(sampler, 10)).unwrap().has_history());
        }
    }
}
