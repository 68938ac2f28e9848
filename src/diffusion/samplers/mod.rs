//! Samplers of the reverse process, one file per paper.
//!
//! To add a sampler, implement [`Sampler`] in a new file and add a line to `SAMPLERS`.

mod ddim;
mod ddpm;
mod dpmpp;
mod euler;
mod heun;
mod unipc;

pub use ddim::Ddim;
pub use ddpm::{Ddpm, Variance};
pub use dpmpp::{DpmPp2M, DpmPp2MSde};
pub use euler::{Euler, EulerAncestral};
pub use heun::{Edm, Heun};
pub use unipc::UniPc;

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
    /// Amount of noise added before each step of EDM's sampler.
    pub churn: Option<f64>,
    /// The lowest noise level at which this noise is added.
    pub churn_min: Option<f64>,
    /// The highest noise level at which this noise is added.
    pub churn_max: Option<f64>,
    /// Factor of the standard deviation of this noise.
    pub churn_noise: Option<f64>,
}

setters!(SamplerSettings {
    eta: Option<f64>,
    variance: Option<Variance>,
    churn: Option<f64>,
    churn_min: Option<f64>,
    churn_max: Option<f64>,
    churn_noise: Option<f64>,
});

impl SamplerSettings {
    /// The names of the settings that are set.
    fn set(&self) -> impl Iterator<Item = &'static str> {
        let Self { eta, variance, churn, churn_min, churn_max, churn_noise } = *self;
        let all = [
            ("eta", eta.is_some()),
            ("variance", variance.is_some()),
            ("churn", churn.is_some()),
            ("churn_min", churn_min.is_some()),
            ("churn_max", churn_max.is_some()),
            ("churn_noise", churn_noise.is_some()),
        ];
        all.into_iter().filter(|(_, set)| *set).map(|(name, _)| name)
    }
}

/// Takes the settings that this sampler has and leaves the others in place.
type Make = fn(&mut SamplerSettings) -> Arc<dyn Sampler>;

/// The available samplers by name.
const SAMPLERS: [(&str, Make); 9] = [
    ("ddpm", ddpm::make),
    ("ddim", ddim::make),
    ("euler", euler::make),
    ("euler_ancestral", euler::make_ancestral),
    ("heun", heun::make),
    ("edm", heun::make_edm),
    ("dpmpp_2m", dpmpp::make),
    ("dpmpp_2m_sde", dpmpp::make_sde),
    ("unipc", unipc::make),
];

/// The names accepted by [`sampler`].
pub fn sampler_names() -> [&'static str; SAMPLERS.len()] {
    SAMPLERS.map(|(name, _)| name)
}

/// Creates a sampler by name.
///
/// # Errors
/// When the name is unknown, the sampler does not have one of the given settings, or a setting is out of range.
pub fn sampler(name: &str, settings: SamplerSettings) -> Result<Arc<dyn Sampler>> {
    let make = SAMPLERS.iter().find(|(known, _)| *known == name);
    let (_, make) = make.ok_or_else(|| Error::unknown("sampler", name, &sampler_names()))?;
    let mut left = settings;
    let made = make(&mut left);
    if let Some(setting) = left.set().next() {
        let others = samplers_with(setting, settings).join(" or ");
        return Err(Error::setting(format!("the sampler {name} has no {setting}; leave it out, or use {others}")));
    }
    made.check()?;
    Ok(made)
}

/// The samplers that have a setting, which is one of those given.
fn samplers_with(setting: &str, given: SamplerSettings) -> Vec<&'static str> {
    let has = |make: &Make| {
        let mut left = given;
        make(&mut left);
        left.set().all(|name| name != setting)
    };
    SAMPLERS.iter().filter(|(_, make)| has(make)).map(|(name, _)| *name).collect()
}

/// Checks that eta is between 0 and 1.
fn unit_interval(sampler: &str, eta: f64) -> Result<()> {
    if (0.0..=1.0).contains(&eta) {
        return Ok(());
    }
    Err(Error::setting(format!("{sampler} eta = {eta}: use 0 (deterministic) to 1 (as noisy as ddpm)")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Flow, Mix, Objective, Path, PrevRule, SamplerOptions, SamplerTable, Schedule, Spacing};
    use crate::diffusion::{Level, Prediction};
    use std::fmt;

    use crate::diffusion::Row;

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
                    if objective.check_end().is_err() {
                        continue; // epsilon does not determine x0 where a straight path begins
                    }
                    let options = SamplerOptions::shared(sampler.clone(), 40).spacing(Spacing::Trailing);
                    let options = SamplerOptions { rederive, ..options };
                    let rows = SamplerTable::new(&objective, &options).unwrap().rows;
                    for (k, row) in rows.iter().enumerate() {
                        let Level { a, s, p, q, .. } = row.level;
                        let to = rows.get(k + 1).map_or(Level::CLEAN, |next| next.level);
                        let [c_x, c_m] = row.level.x0();
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
                let [c_x, c_m] = r.level.x0();
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
            let [a, s] = schedule.weights(row.level.t);
            let slope = s / (a * a * deviation * deviation + s * s);
            let next = |x: f64| {
                let mut state = [x];
                table.step_f64(k, &mut state, [&mut [0.0], &mut [0.0]], &[slope * (x - a * mu)], &[0.0]);
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
        for ts in [&[1, 500][..], &[500, 500]] {
            assert!(over(ts).unwrap_err().to_string().contains("500 follows"));
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
        assert!(message("ddpm", eta(0.5)).contains("has no eta; leave it out, or use ddim or euler_ancestral"));
        let churn = SamplerSettings::default().churn(Some(5.0)).churn_min(Some(2.0)).churn_max(Some(1.0));
        assert!(message("heun", churn).contains("has no churn; leave it out, or use edm"));
        assert!(message("edm", churn).contains("churn_min = 2, churn_max = 1"));
        assert!(message("edm", churn.churn(Some(-1.0))).contains("churn = -1"));
        let edm = sampler("edm", churn.churn_max(Some(50.0)).churn_noise(Some(1.003))).unwrap();
        assert_eq!(edm.to_string(), "edm, churn 5 for sigma 2 to 50, noise 1.003");
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

    /// The error against the exact solution of the probability flow ODE, for data N(0, 0.5^2).
    fn error(objective: &Objective, sampler: &Arc<dyn Sampler>, steps: usize) -> f64 {
        let options = SamplerOptions { spacing: Spacing::KARRAS, ..SamplerOptions::shared(sampler.clone(), steps) };
        let table = SamplerTable::new(objective, &options).unwrap();
        let variance = |level: &Level| 0.25 * level.a * level.a + level.s * level.s;
        let (mut x, mut h, mut g) = ([1.0], [0.0], [0.0]);
        for (k, row) in table.rows.iter().enumerate() {
            let m = [row.level.s * x[0] / variance(&row.level)]; // the optimal epsilon
            table.step_f64(k, &mut x, [&mut h, &mut g], &m, &[0.0]);
        }
        let [first, last] = [table.levels[0], table.levels[steps - 1]];
        let estimate = 0.25 * last.a / variance(&last);
        (x[0] - (variance(&last) / variance(&first)).sqrt() * estimate).abs()
    }

    #[test]
    fn solvers_converge_with_their_order() {
        let solvers: [(Arc<dyn Sampler>, f64); 6] = [
            (ddim(0.0), 1.0),
            (Arc::new(Euler), 1.0),
            (Arc::new(Edm::default().churn(0.0).correction(false)), 1.0),
            (Arc::new(Heun::default()), 2.0),
            (Arc::new(DpmPp2M), 2.0),
            (Arc::new(UniPc), 3.0), // the corrector raises the order of the predictor by one
        ];
        for objective in [Objective::new(Exploding, Prediction::Epsilon), Objective::new(linear(), Prediction::Epsilon)]
        {
            for (sampler, order) in &solvers {
                let measured = (error(&objective, sampler, 100) / error(&objective, sampler, 200)).log2();
                assert!((measured - order).abs() < 0.3, "{sampler}: order {measured}");
            }
        }
    }

    #[test]
    fn default_spacings_fit_paths_that_end_in_pure_noise() {
        let ends_in_noise = linear().zero_terminal_snr().unwrap();
        for (name, _) in SAMPLERS {
            let sampler = sampler(name, SamplerSettings::default()).unwrap();
            for path in [linear(), ends_in_noise.clone()] {
                let objective = Objective::new(path, Prediction::V);
                let options = SamplerOptions::shared(sampler.clone(), sampler.default_steps(1000));
                let options = SamplerOptions { spacing: sampler.default_spacing(&objective), ..options };
                let table = SamplerTable::new(&objective, &options).unwrap();
                assert!(table.rows_f32().iter().flatten().all(|v| v.is_finite()), "{name}");
            }
        }
    }

    #[test]
    fn histories_are_counted() {
        let count = |sampler: Arc<dyn Sampler>| table(linear(), &sampler, 10).histories();
        assert_eq!([ddim(0.5), Arc::new(Heun::default()), Arc::new(DpmPp2M), Arc::new(UniPc)].map(count), [0, 1, 1, 2]);
    }

    /// On the straight path Euler and Heun are those of rectified flow, in u with the velocity v = eps - x0.
    #[test]
    fn straight_paths_are_integrated_in_their_own_time() {
        let objective = Objective::new(Flow::new(100).unwrap(), Prediction::Flow);
        let velocity = |x: f64, u: f64| 0.3 * x + (3.0 * u).sin();
        for (sampler, heun) in [(Arc::new(Euler) as Arc<dyn Sampler>, false), (Arc::new(Heun::default()), true)] {
            let options = SamplerOptions { spacing: Spacing::Trailing, ..SamplerOptions::shared(sampler, 5) };
            let table = SamplerTable::new(&objective, &options).unwrap();
            let (mut x, mut h, mut g) = ([0.7], [0.0], [0.0]);
            for (k, row) in table.rows.iter().enumerate() {
                let m = [velocity(x[0], row.level.s)];
                table.step_f64(k, &mut x, [&mut h, &mut g], &m, &[0.0]);
            }
            let mut want = 0.7;
            for k in 0..5 {
                let [u, to] = [k, k + 1].map(|k| 1.0 - f64::from(k) / 5.0);
                let v = velocity(want, u);
                let euler = want + (to - u) * v;
                let corrected = want + 0.5 * (to - u) * (v + velocity(euler, to));
                want = if heun && k < 4 { corrected } else { euler };
            }
            assert!((x[0] - want).abs() < 1e-12, "{} {want}", x[0]);
        }
    }

    /// New noise raises the level of a step within the range, and the variance of the state with it.
    #[test]
    fn edm_adds_noise_only_within_its_range() {
        let sampler: Arc<dyn Sampler> = Arc::new(Edm::default().churn(4.0).range([0.5, 5.0]));
        let options = SamplerOptions { spacing: Spacing::KARRAS, ..SamplerOptions::shared(sampler, 20) };
        let table = SamplerTable::new(&Objective::new(linear(), Prediction::Epsilon), &options).unwrap();
        let sigma = |level: &Level| level.s / level.a;
        for (k, level) in table.levels.iter().enumerate() {
            let row = &table.rows[2 * k];
            let within = (0.5..=5.0).contains(&sigma(level));
            let factor = if within { 1.2 } else { 1.0 };
            assert!((sigma(&row.level) / sigma(level) - factor).abs() < 1e-9, "step {k}");
            let Some(before) = (2 * k).checked_sub(1) else { continue };
            let variance = sigma(&row.level).powi(2) - sigma(level).powi(2);
            assert!((table.rows[before].k_z - row.level.a * variance.max(0.0).sqrt()).abs() < 1e-12, "step {k}");
        }
    }
}
