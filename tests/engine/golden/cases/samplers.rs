//! Samplers step by step: the op `SamplerStep` with a table of coefficients and the given noise. The model of these cases
//! is computed here, between the steps.

use std::fmt;

use langevin::diffusion::{
    DpmPp2M, Edm, Euler, Heun, Level, Mix, Objective, Prediction, PrevRule, Row, Sampler, SamplerOptions,
    SamplerSettings, SamplerTable, Schedule, Spacing, Step, Times, karras_sigmas, sampler,
};
use langevin::ops::SamplerStep;
use langevin::{Device, Graph};

use super::{Outcome, Outputs, Trouble, expect_inputs, flag, has_setting, number, text, unsupported, whole};
use crate::golden::manifest::{Case, Golden};

pub fn trajectory(golden: &Golden, case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let walk = Walk::new(golden, case)?;
    let states = walk.on(device)?;
    got.insert("x".into(), walk.states_of_the_case(&states));
    if case.outputs().contains(&"sigmas") {
        got.insert("sigmas".into(), walk.sigmas());
    }
    if case.outputs().contains(&"x_corrected") {
        got.insert("x_corrected".into(), corrected(golden, case, device)?);
    }
    Ok(())
}

/// A walk over the rows of a table with the model and the noise of a case.
pub struct Walk {
    pub table: SamplerTable,
    model: Model,
    /// The initial state, in the scale of the engine: x_t = a x0 + s eps.
    pub start: Vec<f64>,
    /// The noise of each row.
    pub noise: Vec<f64>,
    /// Whether the states of the case are x / a.
    unscaled: bool,
    /// The noise that EDM's sampler adds before each step, in the scale of the case.
    new_noise: Vec<Vec<f64>>,
}

impl Walk {
    pub fn new(golden: &Golden, case: &Case) -> Outcome<Self> {
        if text(case, "sampler")?.starts_with("edm_") {
            return edm(case);
        }
        let (objective, options) = options_of(case)?;
        Self::with(golden, case, SamplerTable::new(&objective, &options)?)
    }

    fn with(golden: &Golden, case: &Case, table: SamplerTable) -> Outcome<Self> {
        let known = ["timesteps", "step_tol", "x_corrected_tol"];
        expect_inputs(case, &known[..if case.outputs().contains(&"x_corrected") { 3 } else { 2 }])?;
        let inputs = inputs(golden, case)?;
        let mut walk = Self {
            table,
            model: Model::new(inputs)?,
            start: inputs.f64s("x_init"),
            noise: vec![],
            unscaled: false,
            new_noise: vec![],
        };
        let times: Vec<f64> = case.f64s("timesteps");
        let visited: Vec<f64> = walk.table.levels.iter().map(|level| f64::from(level.t as f32)).collect();
        if visited[..times.len()] != times {
            return Err(Trouble::Failed(format!("the table visits {visited:?} instead of {times:?}")));
        }
        let n = walk.start.len();
        let noise = inputs.f64s("noise");
        walk.noise = noise.iter().copied().cycle().take(walk.table.rows.len() * n).collect();
        if walk.table.rows.iter().any(|row| row.k_z != 0.0) && noise.len() < walk.noise.len() {
            return unsupported(format!("{case}: noise for {} of {} steps", noise.len() / n, walk.table.rows.len()));
        }
        if has_setting(case, "init_sigma") {
            walk.unscaled = true;
            let scale = number(case, "init_sigma")? * walk.table.levels[0].a;
            walk.start.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(walk)
    }

    /// All states, of all rows, when `step(k, x, m)` gives the next one.
    pub fn walk(&self, mut step: impl FnMut(usize, &[f64], &[f64]) -> Outcome<Vec<f64>>) -> Outcome<Vec<Vec<f64>>> {
        let mut states = vec![self.start.clone()];
        for (k, row) in self.table.rows.iter().enumerate() {
            let x = &states[k];
            let m: Vec<f64> = x.iter().map(|&x| self.model.output(x, &row.level)).collect();
            states.push(step(k, x, &m)?);
        }
        Ok(states)
    }

    /// All states on a device.
    fn on(&self, device: &Device) -> Outcome<Vec<Vec<f64>>> {
        let (n, rows) = (self.start.len(), self.table.rows.len());
        let mut g = Graph::new();
        let [x, m] = [g.state("x", [1, n])?, g.state("m", [1, n])?];
        let table = g.constant([rows, SamplerStep::ROW], self.table.rows_f32().concat())?;
        let z = g.constant([rows, n], narrow(&self.noise))?;
        let histories = self.table.histories();
        let states = if histories > 0 { vec![x, g.state("h", [histories, n])?] } else { vec![x] };
        g.apply_to(SamplerStep { stream: 0, given: true, histories, limited: false }, &[m, table, z], &states)?;
        let mut run = device.compile(&g)?;
        run.write("x", &narrow(&self.start))?;
        self.walk(|_, _, raw| {
            run.write("m", &narrow(raw))?;
            run.steps(1)?;
            Ok(run.read_f64(x)?)
        })
    }

    /// The results of `others` at each state of the walk, in place of its own rows.
    fn instead(&self, others: &SamplerTable, device: &Device) -> Outcome<Vec<Vec<f64>>> {
        let (n, rows) = (self.start.len(), self.table.rows.len());
        let histories = self.table.histories();
        let mut g = Graph::new();
        let m = g.state("m", [1, n])?;
        let step = |g: &mut Graph, table: &SamplerTable, [x, h]: [&'static str; 2]| {
            let table = g.constant([rows, SamplerStep::ROW], table.rows_f32().concat())?;
            let states = [g.state(x, [1, n])?, g.state(h, [histories, n])?];
            g.apply_to(SamplerStep { stream: 0, given: false, histories, limited: false }, &[m, table], &states)?;
            Ok::<_, langevin::Error>(states)
        };
        let [x, h] = step(&mut g, &self.table, ["x", "h"])?;
        let [other, _] = step(&mut g, others, ["x of the other", "h of the other"])?;
        let mut run = device.compile(&g)?;
        run.write("x", &narrow(&self.start))?;
        let mut results = vec![];
        self.walk(|_, _, raw| {
            run.write("m", &narrow(raw))?;
            let [x_now, h_now] = [run.read(x)?, run.read(h)?];
            run.write("x of the other", &x_now)?;
            run.write("h of the other", &h_now)?;
            run.steps(1)?;
            results.push(run.read_f64(other)?);
            Ok(run.read_f64(x)?)
        })?;
        Ok(results)
    }

    /// The states between steps, in the scale of the case and before new noise.
    pub fn states_of_the_case(&self, states: &[Vec<f64>]) -> Vec<f64> {
        let (levels, rows) = (&self.table.levels, &self.table.rows);
        let per_step = rows.len().div_ceil(levels.len());
        let state = |k: usize| {
            let row = (k * per_step).min(rows.len());
            let scale = if self.unscaled { rows.get(row).map_or(1.0, |row| 1.0 / row.level.a) } else { 1.0 };
            let new = self.new_noise.get(k);
            let value = move |(i, x): (usize, &f64)| x * scale - new.map_or(0.0, |noise| noise[i]);
            states[row].iter().enumerate().map(value).collect::<Vec<f64>>()
        };
        (0..=levels.len()).flat_map(state).collect()
    }

    fn sigmas(&self) -> Vec<f64> {
        self.table.levels.iter().map(|level| level.s / level.a).chain([0.0]).collect()
    }
}

pub fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// Euler and Heun on a straight path with a velocity given by a formula.
pub fn flow(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let corrected = match text(case, "sampler")? {
        "flow_euler" => false,
        "flow_heun" => true,
        other => return unsupported(format!("{case}: sampler {other:?}")),
    };
    let spacing = Spacing::Shift { shift: number(case, "shift")? };
    let (n, objective) = (whole(case, "N")?, Objective::flow(1_000)?);
    let walk = |options: SamplerOptions| -> Outcome<Walk> {
        let table = SamplerTable::new(&objective, &options.spacing(spacing))?;
        let start = case.f64s("x_init");
        let noise = vec![0.0; table.rows.len() * start.len()];
        Ok(Walk { table, model: Model::new(case)?, start, noise, unscaled: false, new_noise: vec![] })
    };
    let plain = walk(match corrected {
        false => SamplerOptions::new(Euler::default(), n),
        true => SamplerOptions::new(Heun::default(), n),
    })?;
    got.insert("x".into(), plain.states_of_the_case(&plain.on(device)?));
    got.insert("u".into(), plain.table.levels.iter().map(|level| level.s).chain([0.0]).collect());
    if corrected {
        let states = walk(SamplerOptions::new(FullHeun, n))?.on(device)?;
        got.insert("x_full_last".into(), states[states.len() - 1].clone());
    }
    Ok(())
}

/// Heun's method on a straight path with a correction of the last step too, at the clean data:
/// `x' = x1 - u / 2 (v1 - v)`. The velocity v = eps - x0 is kept in the second history.
#[derive(Debug)]
struct FullHeun;

impl Sampler for FullHeun {
    fn rows(&self, objective: &Objective, steps: &[Step]) -> Vec<Row> {
        let mut rows = Heun::default().rows(objective, steps);
        let (Some(first), Some(step)) = (rows.last_mut(), steps.last()) else { return rows };
        let velocity = |level: &Level| {
            let ([e_x, e_m], [c_x, c_m]) = (level.eps(), level.x0());
            Mix { x: e_x - c_x, m: e_m - c_m, ..Mix::ZERO }
        };
        first.history = [Mix::ZERO, velocity(&step.from)];
        let (to, half) = (objective.level(0.0), -0.5 * step.from.s);
        let second = Mix { x: 1.0, g: -half, ..Mix::ZERO } + half * velocity(&to);
        rows.push(Row::new(&to, second, 0.0));
        rows
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps
    }

    fn times(&self) -> Times {
        Heun::default().times()
    }
}

impl fmt::Display for FullHeun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("heun with a corrected last step")
    }
}

/// The states that UniPC corrects. A row corrects and predicts at once, so the correction is what it does besides the
/// prediction, which is that of DPM-Solver++; the last row, which keeps nothing of the state, becomes a step to one more
/// level.
fn corrected(golden: &Golden, case: &Case, device: &Device) -> Outcome<Vec<f64>> {
    let (objective, options) = options_of(case)?;
    let mut levels = SamplerTable::new(&objective, &options)?.levels;
    let last = levels[levels.len() - 1];
    levels.push(Level { t: last.t, ..objective.level_of_sigma(0.5 * last.s / last.a) });
    let walk = Walk::with(golden, case, SamplerTable::of_levels(&objective, &options, &levels)?)?;
    let multistep = SamplerOptions::new(DpmPp2M::default(), levels.len());
    let mut correctors = SamplerTable::of_levels(&objective, &multistep, &levels)?;
    for (predictor, both) in correctors.rows.iter_mut().zip(&walk.table.rows) {
        let (p, b) = (predictor.next, both.next);
        predictor.next = Mix { x: 1.0, d: (b.d - p.d) / p.x, g: b.g / p.x, ..Mix::ZERO };
    }
    let mut states = walk.instead(&correctors, device)?;
    states.pop();
    Ok(states.concat())
}

pub fn inputs<'a>(golden: &'a Golden, case: &Case) -> Outcome<&'a Case> {
    let found = golden.cases(&case.file).iter().find(|c| c.name == "inputs");
    let inputs = found.ok_or_else(|| Trouble::Unsupported(format!("{case}: there are no inputs")))?;
    expect_inputs(inputs, &["x_init", "noise"])?;
    Ok(inputs)
}

pub fn options_of(case: &Case) -> Outcome<(Objective, SamplerOptions)> {
    let mut settings = SamplerSettings::default();
    let name = match text(case, "sampler")? {
        "ddpm" => {
            settings = settings.variance(Some(text(case, "variance")?.parse()?));
            "ddpm"
        }
        name @ ("ddim" | "ddim_guided" | "euler_ancestral") => {
            settings = settings.eta(Some(number(case, "eta")?));
            if name == "ddim_guided" { "ddim" } else { name }
        }
        "dpmpp2m" | "dpmpp2m_karras" | "dpmpp2m_lambda" => "dpmpp_2m",
        "dpmpp2m_sde" | "dpmpp2m_sde_karras" => "dpmpp_2m_sde",
        name @ ("euler" | "heun" | "unipc") => name,
        other => return unsupported(format!("{case}: sampler {other:?}")),
    };
    let rule = if has_setting(case, "sigma_rule") { text(case, "sigma_rule")? } else { "timesteps" };
    let spacing: Spacing = if rule == "timesteps" { text(case, "spacing")?.parse()? } else { rule.parse()? };
    // Without the setting, the values are those of diffusers.
    let prev_rule = if has_setting(case, "prev_rule") { text(case, "prev_rule")?.parse()? } else { PrevRule::Stride };
    let set = |key: &str| if has_setting(case, key) { flag(case, key) } else { Ok(false) };
    let options = SamplerOptions::shared(sampler(name, settings)?, whole(case, "N")?)
        .spacing(spacing)
        .clip(set("clip")?.then_some(1.0))
        .rederive(set("rederive")?)
        .prev_rule(prev_rule);
    let schedule = Schedule::named(text(case, "schedule")?, whole(case, "T")?)?;
    Ok((Objective::new(schedule, text(case, "pred")?.parse()?), options))
}

/// The sampler of EDM with a given denoiser: a model that predicts x0.
fn edm(case: &Case) -> Outcome<Walk> {
    expect_inputs(case, &["x_init", "noise", "step_tol"])?;
    let known = "D(x;s) = 0.25/(0.25+s^2)*x + 0.1*s^2/(1+s^2)";
    if text(case, "denoiser")? != known || number(case, "s_noise")? != 1.0 {
        return unsupported(format!("{case}: another denoiser"));
    }
    let (n, churn) = (whole(case, "N")?, number(case, "s_churn")?);
    let correction = match text(case, "sampler")? {
        "edm_heun" => true,
        "edm_euler" => false,
        other => return unsupported(format!("{case}: sampler {other:?}")),
    };
    let options = SamplerOptions::new(Edm::default().churn(churn).correction(correction), n);
    // The path is only used for its scale, 1 / sqrt(sigma^2 + 1).
    let objective = Objective::new(Schedule::named("linear", 1000)?, Prediction::X0);
    let sigmas = karras_sigmas(n, number(case, "sigma_min")?, number(case, "sigma_max")?, number(case, "rho")?)?;
    let levels: Vec<Level> = sigmas[..n].iter().map(|&sigma| objective.level_of_sigma(sigma)).collect();
    let table = SamplerTable::of_levels(&objective, &options, &levels)?;
    let (given, rows) = (case.f64s("noise"), table.rows.len());
    let mut start = case.f64s("x_init");
    let len = start.len();
    let gamma = (churn / n as f64).min(std::f64::consts::SQRT_2 - 1.0);
    let first = objective.level_of_sigma(sigmas[0] * (1.0 + gamma));
    let up = |k: usize| sigmas[k] * ((1.0 + gamma).powi(2) - 1.0).sqrt();
    start.iter_mut().zip(&given).for_each(|(x, z)| *x = first.a * (sigmas[0] * *x + up(0) * z));
    let new_noise = (0..n).map(|k| given[k * len..][..len].iter().map(|z| up(k) * z).collect()).collect();
    // Noise enters with the last row of a step, and is that of the next step.
    let per_step = rows.div_ceil(n);
    let mut noise = vec![0.0; rows * len];
    for (k, z) in given.chunks(len).enumerate().skip(1) {
        noise[(k * per_step - 1) * len..][..len].copy_from_slice(z);
    }
    Ok(Walk { table, model: Model::Edm, start, noise, unscaled: true, new_noise })
}

/// The model of a case.
pub enum Model {
    /// a x + b fn(t / period).
    Wave { a: f64, b: f64, wave: fn(f64) -> f64, period: f64 },
    /// The denoiser of the EDM cases, D(x / a; sigma).
    Edm,
}

impl Model {
    pub fn new(inputs: &Case) -> Outcome<Self> {
        let wave = match text(inputs, "fn")? {
            "sin" => f64::sin,
            "cos" => f64::cos,
            other => return unsupported(format!("{inputs}: a model with {other:?}")),
        };
        Ok(Self::Wave { a: number(inputs, "a")?, b: number(inputs, "b")?, wave, period: number(inputs, "period")? })
    }

    /// The output for a state in the scale of the engine.
    fn output(&self, x: f64, level: &Level) -> f64 {
        match self {
            Self::Wave { a, b, wave, period } => a * x + b * wave(level.t / period),
            Self::Edm => {
                let variance = (level.s / level.a).powi(2);
                0.25 / (0.25 + variance) * x / level.a + 0.1 * variance / (1.0 + variance)
            }
        }
    }
}
