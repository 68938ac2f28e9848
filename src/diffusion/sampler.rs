//! DDPM and DDIM as one table of coefficients, so that the device needs one kernel for both.
//!
//! Step k of a table, with x the state, m the model's output at (x, t) and z unit normal noise:
//! ```text
//! x0 = clip(c_x * x + c_m * m, -bound, bound)
//! x  = k_x0 * x0 + k_x * x + k_m * m + k_z * z
//! ```
//! The first line turns what the model predicts into an estimate of the clean data, the second steps to the next,
//! less noisy time. Everything that depends on the schedule, the prediction and the sampler is in the numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::schedule::{Prediction, Schedule};
use super::spacing::{Spacing, timesteps};
use crate::{Error, Result};

/// The names [`Sampler::named`] accepts.
pub const SAMPLERS: &[&str] = &["ddpm", "ddim"];

/// The rule for one step of the reverse process, from alpha_bar `at` at t to `ap` at the previous time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Ancestral sampling: the mean of q(x_prev | x_t, x0), plus noise of a fixed variance.
    ///
    /// `x = sqrt(ap) b / (1-at) x0 + sqrt(at/ap) (1-ap) / (1-at) x + sd z`, with b = 1 - at/ap.
    ///
    /// *Source*: Ho et al. 2020, eq. 7 and algorithm 2; for fewer than T steps with b as in Nichol and Dhariwal 2021,
    /// eq. 19.
    Ddpm {
        /// The variance sd^2.
        variance: Variance,
    },
    /// `x = sqrt(ap) x0 + sqrt(1 - ap - sd^2) eps + sd z`, with sd = eta sqrt((1-ap)/(1-at)) sqrt(1 - at/ap).
    ///
    /// *Source*: Song et al. 2021 (DDIM), eq. 12 and 16.
    Ddim {
        /// 0 is deterministic, 1 equals DDPM with [`Variance::FixedSmall`].
        eta: f64,
    },
}

/// The variance of the noise DDPM adds (Ho et al. 2020, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Variance {
    /// That of q(x_prev | x_t, x0), the smallest there can be: best when the data is a single point.
    #[default]
    FixedSmall,
    /// `1 - at/ap`, which is beta_t when all steps are visited: best when the data is unit normal.
    FixedLarge,
}

/// How DDIM finds the time it steps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PrevRule {
    /// The next entry of the list of time steps.
    #[default]
    List,
    /// `t - T/N` (rounded down), as diffusers does: it disagrees with the list for linspace spacing, and for trailing
    /// spacing when N does not divide T.
    Stride,
}

/// What a [`SamplerTable`] is made from, besides the schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// The rule of one step.
    pub sampler: Sampler,
    /// How many of the schedule's steps are visited.
    pub steps: usize,
    /// Which ones.
    pub spacing: Spacing,
    /// What the model predicts.
    pub prediction: Prediction,
    /// Keeps the estimate of x0 within +-this (1 for images in [-1, 1]); `None` leaves it alone.
    pub clip: Option<f64>,
    /// Whether DDIM takes eps from the clipped x0, not from the model's output. DDPM does not use eps.
    pub rederive: bool,
    /// Where DDIM steps to. DDPM always takes the next entry of the list.
    pub prev_rule: PrevRule,
}

impl SamplerOptions {
    /// Leading spacing, epsilon prediction, no clipping.
    pub fn new(sampler: Sampler, steps: usize) -> Self {
        Self {
            sampler,
            steps,
            spacing: Spacing::default(),
            prediction: Prediction::default(),
            clip: None,
            rederive: false,
            prev_rule: PrevRule::default(),
        }
    }
}

/// One step's time and coefficients, see the top of this file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The time step the model is asked about, in training steps.
    pub t: f64,
    /// Weight of x in the estimate of x0.
    pub c_x: f64,
    /// Weight of the model's output in the estimate of x0.
    pub c_m: f64,
    /// Weight of the clipped estimate of x0.
    pub k_x0: f64,
    /// Weight of x.
    pub k_x: f64,
    /// Weight of the model's output.
    pub k_m: f64,
    /// Standard deviation of the added noise; 0 in the last row.
    pub k_z: f64,
}

/// The rows of a sampling run, noisiest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerTable {
    /// One row a step.
    pub rows: Vec<Row>,
    /// The bound on x0, `None` when it is not clipped.
    pub clip: Option<f64>,
}

impl SamplerTable {
    /// The table of a sampler on a schedule.
    ///
    /// *Errors*: more steps than the schedule has, eta outside [0, 1], a clip bound that is not positive, and epsilon
    /// prediction where alpha_bar is 0.
    pub fn new(schedule: &Schedule, options: &SamplerOptions) -> Result<Self> {
        let ts = timesteps(options.spacing, schedule.steps(), options.steps, 0)?;
        Self::over(schedule, options, &ts)
    }

    /// The table over given time steps, the noisiest first; `options.steps` and `options.spacing` are not read.
    ///
    /// *Errors*: as [`SamplerTable::new`].
    pub fn over(schedule: &Schedule, options: &SamplerOptions, ts: &[usize]) -> Result<Self> {
        check(options)?;
        if options.prediction == Prediction::Epsilon && schedule.alpha_bars()[ts[0]] == 0.0 {
            return Err(Error::setting(format!(
                "a model that predicts epsilon cannot be sampled from t = {}, where alpha_bar is 0: train it to predict v \
                 or x0, or use leading spacing",
                ts[0]
            )));
        }
        let stride = schedule.steps() / ts.len();
        let by_stride = options.prev_rule == PrevRule::Stride && matches!(options.sampler, Sampler::Ddim { .. });
        let row = |k: usize| {
            let next = ts.get(k + 1).copied();
            let prev = if by_stride { ts[k].checked_sub(stride) } else { next };
            Step::new(schedule, ts[k], prev, next.is_none()).row(options)
        };
        Ok(Self { rows: (0..ts.len()).map(row).collect(), clip: options.clip })
    }

    /// Step k on the host: x becomes the next state.
    ///
    /// # Panics
    /// When there is no row k, or m or z are not as long as x.
    pub fn step_f64(&self, k: usize, x: &mut [f64], m: &[f64], z: &[f64]) {
        assert!(x.len() == m.len() && x.len() == z.len(), "x, m, z: {}, {}, {}", x.len(), m.len(), z.len());
        let row = &self.rows[k];
        let bound = self.clip.unwrap_or(f64::INFINITY);
        for i in 0..x.len() {
            let x0 = (row.c_x * x[i] + row.c_m * m[i]).clamp(-bound, bound);
            x[i] = row.k_x0 * x0 + row.k_x * x[i] + row.k_m * m[i] + row.k_z * z[i];
        }
    }

    /// The table for the device: `t, c_x, c_m, k_x0, k_x, k_m, k_z, bound` per row, the bound being `f32::MAX` when
    /// x0 is not clipped.
    pub fn rows_f32(&self) -> Vec<[f32; 8]> {
        let bound = self.clip.map_or(f32::MAX, |bound| bound as f32);
        let narrow = |r: &Row| [r.t, r.c_x, r.c_m, r.k_x0, r.k_x, r.k_m, r.k_z].map(|v| v as f32);
        let with_bound = |[t, c_x, c_m, k_x0, k_x, k_m, k_z]: [f32; 7]| [t, c_x, c_m, k_x0, k_x, k_m, k_z, bound];
        self.rows.iter().map(|row| with_bound(narrow(row))).collect()
    }
}

/// One step of the reverse process, before it is known what the model predicts.
struct Step {
    t: usize,
    /// alpha_bar at t and at the time it goes to.
    at: f64,
    ap: f64,
    last: bool,
}

impl Step {
    fn new(schedule: &Schedule, t: usize, prev: Option<usize>, last: bool) -> Self {
        Self { t, at: schedule.alpha_bar(Some(t)), ap: schedule.alpha_bar(prev), last }
    }

    fn row(&self, options: &SamplerOptions) -> Row {
        let (a, s) = (self.at.sqrt(), (1.0 - self.at).sqrt());
        let (c_x, c_m) = match options.prediction {
            Prediction::Epsilon => (1.0 / a, -s / a),
            Prediction::X0 => (0.0, 1.0),
            Prediction::V => (a, -s),
        };
        let [k_x0, k_x, k_m, k_z] = match options.sampler {
            Sampler::Ddpm { variance } => self.ddpm(variance),
            Sampler::Ddim { eta } => {
                // eps = e_x0 * x0 + e_x * x + e_m * m
                let [e_x0, e_x, e_m] = match options.prediction {
                    _ if options.rederive => [-a / s, 1.0 / s, 0.0],
                    Prediction::Epsilon => [0.0, 0.0, 1.0],
                    Prediction::X0 => [0.0, 1.0 / s, -a / s],
                    Prediction::V => [0.0, s, a],
                };
                let sd = eta * self.posterior_sd();
                let k_eps = (1.0 - self.ap - sd * sd).max(0.0).sqrt();
                [self.ap.sqrt() + k_eps * e_x0, k_eps * e_x, k_eps * e_m, sd]
            }
        };
        Row { t: self.t as f64, c_x, c_m, k_x0, k_x, k_m, k_z }
    }

    fn ddpm(&self, variance: Variance) -> [f64; 4] {
        let (at, ap) = (self.at, self.ap);
        let beta = 1.0 - at / ap;
        let k_x0 = ap.sqrt() * beta / (1.0 - at);
        let k_x = (at / ap).sqrt() * (1.0 - ap) / (1.0 - at);
        let k_z = match variance {
            _ if self.last => 0.0,
            Variance::FixedSmall => self.posterior_sd(),
            Variance::FixedLarge => beta.sqrt(),
        };
        [k_x0, k_x, 0.0, k_z]
    }

    /// The standard deviation of q(x_prev | x_t, x0); the last step adds no noise.
    fn posterior_sd(&self) -> f64 {
        if self.last {
            return 0.0;
        }
        ((1.0 - self.ap) / (1.0 - self.at) * (1.0 - self.at / self.ap)).sqrt()
    }
}

fn check(options: &SamplerOptions) -> Result<()> {
    if let Sampler::Ddim { eta } = options.sampler
        && !(0.0..=1.0).contains(&eta)
    {
        return Err(Error::setting(format!("ddim eta = {eta}: use 0 (deterministic) to 1 (as noisy as ddpm)")));
    }
    match options.clip {
        Some(bound) if !(bound > 0.0 && bound.is_finite()) => Err(Error::setting(format!(
            "clip = {bound}: the bound on x0 must be above 0 (1 for images in [-1, 1]), or leave it out"
        ))),
        _ => Ok(()),
    }
}

impl Sampler {
    /// A sampler by name, see [`SAMPLERS`]: `ddpm` with the small variance, `ddim` with eta 0.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "ddpm" => Ok(Self::Ddpm { variance: Variance::default() }),
            "ddim" => Ok(Self::Ddim { eta: 0.0 }),
            _ => Err(Error::unknown("sampler", name, SAMPLERS)),
        }
    }
}

impl FromStr for Sampler {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::named(name)
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ddpm { variance } => write!(f, "ddpm, {variance} variance"),
            Self::Ddim { eta } => write!(f, "ddim, eta {eta}"),
        }
    }
}

named!(Variance, "variance", FixedSmall = "fixed_small", FixedLarge = "fixed_large");

named!(PrevRule, "prev_rule", List = "list", Stride = "stride");

#[cfg(test)]
mod tests {
    use super::super::schedule::golden_support::{Case, Golden, Tally};
    use super::*;

    const SMALL: Sampler = Sampler::Ddpm { variance: Variance::FixedSmall };
    const LARGE: Sampler = Sampler::Ddpm { variance: Variance::FixedLarge };
    const PREDICTIONS: [Prediction; 3] = [Prediction::Epsilon, Prediction::X0, Prediction::V];

    fn is_tabled(case: &Case) -> bool {
        case.meta["sampler"] == "ddpm" || case.meta["sampler"] == "ddim"
    }

    fn table_of(case: &Case) -> SamplerTable {
        let text = |key: &str| case.meta[key].as_str().unwrap();
        let integer = |key: &str| case.meta[key].as_u64().unwrap() as usize;
        let sampler = match text("sampler") {
            "ddpm" => Sampler::Ddpm { variance: text("variance").parse().unwrap() },
            _ => Sampler::Ddim { eta: case.meta["eta"].as_f64().unwrap() },
        };
        let options = SamplerOptions {
            spacing: text("spacing").parse().unwrap(),
            prediction: text("pred").parse().unwrap(),
            clip: (case.meta["clip"] == true).then_some(1.0),
            rederive: case.meta["rederive"] == true,
            prev_rule: case.meta.get("prev_rule").map_or(PrevRule::List, |_| text("prev_rule").parse().unwrap()),
            ..SamplerOptions::new(sampler, integer("N"))
        };
        SamplerTable::new(&Schedule::named(text("schedule"), integer("T")).unwrap(), &options).unwrap()
    }

    /// Calls `step(k, x, a, b, z)` for every row, where the model's output is a x + b; returns all states in a row.
    fn walk(
        golden: &Golden,
        table: &SamplerTable,
        mut step: impl FnMut(usize, &mut [f64], f64, f64, &[f64]),
    ) -> Vec<f64> {
        let inputs = golden.case("samplers", "inputs");
        let number = |key: &str| inputs.meta[key].as_f64().unwrap();
        assert_eq!(inputs.meta["fn"], "sin");
        let noise = inputs.f64s("noise");
        let mut x = inputs.f64s("x_init");
        let mut states = x.clone();
        for (k, row) in table.rows.iter().enumerate() {
            let z = &noise[k * x.len()..][..x.len()];
            step(k, &mut x, number("a"), number("b") * (row.t / number("period")).sin(), z);
            states.extend(&x);
        }
        states
    }

    fn states_f64(golden: &Golden, table: &SamplerTable) -> Vec<f64> {
        walk(golden, table, |k, x, a, b, z| {
            let m: Vec<f64> = x.iter().map(|x| a * x + b).collect();
            table.step_f64(k, x, &m, z);
        })
    }

    /// What the kernel does, in f32, with multiply-adds fused or not.
    fn states_f32(golden: &Golden, table: &SamplerTable, fused: bool) -> Vec<f64> {
        let rows = table.rows_f32();
        let mul_add = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
        walk(golden, table, |k, x, a, b, z| {
            let [_, c_x, c_m, k_x0, k_x, k_m, k_z, bound] = rows[k];
            for i in 0..x.len() {
                let (xi, zi) = (x[i] as f32, z[i] as f32);
                let m = a as f32 * xi + b as f32;
                let x0 = mul_add(c_m, m, c_x * xi).clamp(-bound, bound);
                x[i] = mul_add(k_z, zi, mul_add(k_m, m, mul_add(k_x, xi, k_x0 * x0))) as f64;
            }
        })
    }

    #[test]
    fn all_golden_trajectories_pass_in_f64_and_f32() {
        let golden = Golden::open();
        let mut tally = Tally::new();
        for case in golden.cases("samplers").iter().filter(|case| is_tabled(case)) {
            let table = table_of(case);
            let ts: Vec<f64> = table.rows.iter().map(|row| row.t).collect();
            assert_eq!(ts, case.f64s("timesteps"), "{}", case.name);
            let states =
                [states_f64(&golden, &table), states_f32(&golden, &table, false), states_f32(&golden, &table, true)];
            for got in states {
                tally.case(case, |name| (name == "x").then(|| got.clone()));
            }
        }
        assert_eq!(tally.failures(), [""; 0]);
        assert!(tally.passed() >= 3 * 60, "{} passed", tally.passed());
    }

    /// The largest deviation of the f32 run over the tolerance of its row.
    fn worst_part_of_tolerance(case: &Case, got: &[f64]) -> f64 {
        let (want, tol) = (case.f64s("x"), case.f64s("step_tol"));
        let row = want.len() / tol.len();
        (0..want.len()).map(|i| (got[i] - want[i]).abs() / tol[i / row]).fold(0.0, f64::max)
    }

    #[test]
    fn f32_keeps_a_margin_to_the_golden_tolerance() {
        let golden = Golden::open();
        for case in golden.cases("samplers").iter().filter(|case| is_tabled(case)) {
            for fused in [false, true] {
                let part = worst_part_of_tolerance(case, &states_f32(&golden, &table_of(case), fused));
                assert!(part < 0.25, "{}: {part:.3} of the tolerance", case.name);
            }
        }
    }

    /// If x = sqrt(at) x0 + sqrt(1-at) e and the model is perfect, the next state is sqrt(ap) x0 + noise of variance
    /// 1 - ap: exact for DDPM with the small variance and for DDIM with any eta.
    #[test]
    fn every_step_keeps_the_marginals() {
        let schedule = Schedule::named("cosine", 200).unwrap();
        let samplers = [SMALL, Sampler::Ddim { eta: 0.0 }, Sampler::Ddim { eta: 0.5 }, Sampler::Ddim { eta: 1.0 }];
        for sampler in samplers {
            for (prediction, rederive) in PREDICTIONS.into_iter().flat_map(|p| [(p, false), (p, true)]) {
                let options = SamplerOptions { prediction, rederive, ..SamplerOptions::new(sampler, 40) };
                let rows = SamplerTable::new(&schedule, &options).unwrap().rows;
                for (k, row) in rows.iter().enumerate() {
                    let at = schedule.alpha_bar(Some(row.t as usize));
                    let ap = schedule.alpha_bar(rows.get(k + 1).map(|next| next.t as usize));
                    let (a, s) = (at.sqrt(), (1.0 - at).sqrt());
                    let (m_x0, m_e) = match prediction {
                        Prediction::Epsilon => (0.0, 1.0),
                        Prediction::X0 => (1.0, 0.0),
                        Prediction::V => (-s, a),
                    };
                    let (signal, noise) = (row.k_x0 + row.k_x * a + row.k_m * m_x0, row.k_x * s + row.k_m * m_e);
                    assert!(
                        (row.c_x * a + row.c_m * m_x0 - 1.0).abs() < 1e-12
                            && (row.c_x * s + row.c_m * m_e).abs() < 1e-12
                    );
                    assert!((signal - ap.sqrt()).abs() < 1e-12, "{sampler} {prediction} row {k}");
                    assert!(
                        (noise * noise + row.k_z * row.k_z - (1.0 - ap)).abs() < 1e-12,
                        "{sampler} {prediction} row {k}"
                    );
                }
            }
        }
    }

    #[test]
    fn ddim_with_eta_1_is_ddpm() {
        let schedule = Schedule::named("linear", 1000).unwrap();
        let rows = |sampler| SamplerTable::new(&schedule, &SamplerOptions::new(sampler, 50)).unwrap().rows;
        for (p, i) in rows(SMALL).iter().zip(rows(Sampler::Ddim { eta: 1.0 })) {
            let of_x_and_m = |r: &Row| [r.k_x0 * r.c_x + r.k_x, r.k_x0 * r.c_m + r.k_m, r.k_z];
            let (p, i) = (of_x_and_m(p), of_x_and_m(&i));
            assert!(p.iter().zip(i).all(|(p, i)| (p - i).abs() < 1e-11), "{p:?} {i:?}");
        }
    }

    /// Mean and variance at the end for data N(mu, s^2) and the best epsilon there is, which is linear in x:
    /// eps = sd (x - a mu) / (a^2 s^2 + sd^2). The start is N(0, 1), so no random number is needed.
    fn gaussian(sampler: Sampler, steps: usize, mu: f64, s: f64) -> (f64, f64) {
        let schedule = Schedule::named("linear", 1000).unwrap();
        let table = SamplerTable::new(&schedule, &SamplerOptions::new(sampler, steps)).unwrap();
        let (mut mean, mut variance) = (0.0, 1.0);
        for (k, row) in table.rows.iter().enumerate() {
            let [a, sd] = schedule.noise_table()[row.t as usize];
            let slope = sd / (a * a * s * s + sd * sd);
            let next = |x: f64| {
                let mut state = [x];
                table.step_f64(k, &mut state, &[slope * (x - a * mu)], &[0.0]);
                state[0]
            };
            let gain = next(1.0) - next(0.0);
            mean = next(mean);
            variance = gain * gain * variance + row.k_z * row.k_z;
        }
        (mean, variance)
    }

    /// The variance is short by O(1/N) unless the noise makes up for it; the mean lacks what alpha_bar leaves at the end.
    #[test]
    fn gaussian_data_is_reproduced() {
        let (mu, s) = (0.7, 0.5);
        // sampler, steps, bound on |mean - mu|, bounds on variance / s^2
        let cases = [
            (SMALL, 1000, 1e-5, 0.984, 1.0),
            (LARGE, 1000, 1e-5, 1.0, 1.004),
            (Sampler::Ddim { eta: 0.0 }, 50, 0.003, 0.89, 0.9),
            (Sampler::Ddim { eta: 0.5 }, 50, 0.001, 0.87, 0.88),
            (Sampler::Ddim { eta: 1.0 }, 50, 2e-5, 0.78, 0.79),
            (Sampler::Ddim { eta: 0.0 }, 1000, 0.003, 0.993, 1.0),
        ];
        for (sampler, steps, bound, low, high) in cases {
            let (mean, variance) = gaussian(sampler, steps, mu, s);
            let ratio = variance / (s * s);
            assert!((mean - mu).abs() <= bound, "{sampler}, {steps} steps: mean {mean}, want {mu}");
            assert!((low..=high).contains(&ratio), "{sampler}, {steps} steps: variance {variance}, want {}", s * s);
        }
    }

    #[test]
    fn twice_the_steps_halve_the_error() {
        for sampler in [SMALL, Sampler::Ddim { eta: 0.0 }, Sampler::Ddim { eta: 0.5 }, Sampler::Ddim { eta: 1.0 }] {
            let error = |steps| 0.25 - gaussian(sampler, steps, 0.7, 0.5).1;
            for (few, many) in [(50, 100), (100, 200), (500, 1000)] {
                let part = error(many) / error(few);
                assert!((0.45..0.6).contains(&part), "{sampler}, {many} steps: {part} of the error of {few}");
            }
        }
    }

    #[test]
    fn a_single_point_is_reached_exactly() {
        for sampler in [SMALL, LARGE, Sampler::Ddim { eta: 0.0 }, Sampler::Ddim { eta: 0.5 }] {
            let (mean, variance) = gaussian(sampler, 50, 0.7, 0.0);
            assert!((mean - 0.7).abs() < 1e-12 && variance < 1e-24, "{sampler}: {mean} {variance}");
        }
    }

    #[test]
    fn the_last_step_adds_no_noise() {
        let schedule = Schedule::named("cosine", 100).unwrap();
        for sampler in [SMALL, LARGE, Sampler::Ddim { eta: 1.0 }] {
            for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing] {
                for prev_rule in [PrevRule::List, PrevRule::Stride] {
                    let options = SamplerOptions { spacing, prev_rule, ..SamplerOptions::new(sampler, 30) };
                    let rows = SamplerTable::new(&schedule, &options).unwrap().rows;
                    assert_eq!(rows[29].k_z, 0.0);
                    assert!(rows[..29].iter().all(|row| row.k_z > 0.0), "{sampler} {spacing}");
                }
            }
        }
    }

    #[test]
    fn pure_noise_needs_v_or_x0() {
        let schedule = Schedule::named("linear", 100).unwrap().zero_terminal_snr().unwrap();
        let table = |prediction, sampler| {
            let trailing = SamplerOptions { spacing: Spacing::Trailing, ..SamplerOptions::new(sampler, 10) };
            SamplerTable::new(&schedule, &SamplerOptions { prediction, ..trailing })
        };
        for sampler in [SMALL, LARGE, Sampler::Ddim { eta: 0.5 }] {
            let message = table(Prediction::Epsilon, sampler).unwrap_err().to_string();
            assert!(message.contains("t = 99") && message.contains("predict v"), "{message}");
            for prediction in [Prediction::V, Prediction::X0] {
                let rows = table(prediction, sampler).unwrap().rows_f32();
                assert!(rows.iter().flatten().all(|v| v.is_finite()), "{sampler} {prediction}");
            }
        }
    }

    #[test]
    fn bad_settings_say_what_to_do() {
        let schedule = Schedule::named("linear", 100).unwrap();
        let says = |options: SamplerOptions, part: &str| {
            let message = SamplerTable::new(&schedule, &options).unwrap_err().to_string();
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        };
        says(SamplerOptions::new(SMALL, 101), "use 1 to 100");
        says(SamplerOptions::new(Sampler::Ddim { eta: 1.5 }, 10), "eta = 1.5");
        says(SamplerOptions::new(Sampler::Ddim { eta: f64::NAN }, 10), "eta = NaN");
        says(SamplerOptions { clip: Some(0.0), ..SamplerOptions::new(SMALL, 10) }, "clip = 0");
        let message = "euler".parse::<Sampler>().unwrap_err().to_string();
        assert!(message.contains("ddpm, ddim"), "{message}");
        assert!("large".parse::<Variance>().unwrap_err().to_string().contains("fixed_large"));
        assert!("next".parse::<PrevRule>().unwrap_err().to_string().contains("stride"));
    }
}
