//! DDPM and DDIM step by step: the op `SamplerStep` with a table of coefficients and the given noise. The model of
//! these cases is computed here, between the steps.

use langevin::diffusion::{Objective, PrevRule, SamplerOptions, SamplerSettings, SamplerTable, Schedule, sampler};
use langevin::ops::SamplerStep;
use langevin::{Device, Graph};

use super::{Outcome, Outputs, Trouble, expect_inputs, flag, has_setting, number, rows, text, unsupported, whole};
use crate::golden::manifest::{Case, Golden};

pub fn trajectory(golden: &Golden, case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let table = table_of(case)?;
    let inputs = inputs(golden, case)?;
    expect_inputs(case, &["timesteps", "step_tol"])?;
    if case.f64s("timesteps") != table.rows.iter().map(|row| row.t).collect::<Vec<f64>>() {
        return Err(Trouble::Failed("the table visits other time steps".into()));
    }
    let model = Model::new(inputs)?;
    let (shape, mut noise) = (rows(inputs, "x_init"), inputs.f32s("noise"));
    let (n, steps) = (shape[0] * shape[1], table.rows.len());
    if noise.len() < steps * n {
        return unsupported(format!("{case}: noise for {} of {steps} steps", noise.len() / n));
    }
    noise.truncate(steps * n);
    let mut g = Graph::new();
    let [x, m] = [g.state("x", shape)?, g.state("m", shape)?];
    let rows = g.constant([steps, SamplerStep::ROW], table.rows_f32().concat())?;
    let z = g.constant([steps, n], noise)?;
    let history = table.has_history();
    let states = if history { vec![x, g.state("h", shape)?] } else { vec![x] };
    g.apply_to(SamplerStep { stream: 0, given: true, history }, &[m, rows, z], &states)?;
    let mut run = device.compile(&g)?;
    run.write("x", &inputs.f32s("x_init"))?;
    let mut state = inputs.f64s("x_init");
    let mut states = state.clone();
    for row in &table.rows {
        let raw: Vec<f32> = state.iter().map(|&x| model.output(x, row.t) as f32).collect();
        run.write("m", &raw)?;
        run.steps(1)?;
        state = run.read_f64(x)?;
        states.extend(&state);
    }
    got.insert("x".into(), states);
    Ok(())
}

pub fn inputs<'a>(golden: &'a Golden, case: &Case) -> Outcome<&'a Case> {
    let found = golden.cases(&case.file).iter().find(|c| c.name == "inputs");
    let inputs = found.ok_or_else(|| Trouble::Unsupported(format!("{case}: there are no inputs")))?;
    expect_inputs(inputs, &["x_init", "noise"])?;
    Ok(inputs)
}

pub fn table_of(case: &Case) -> Outcome<SamplerTable> {
    let (name, mut settings) = (text(case, "sampler")?, SamplerSettings::default());
    match name {
        "ddpm" => settings = settings.variance(Some(text(case, "variance")?.parse()?)),
        "ddim" => settings = settings.eta(Some(number(case, "eta")?)),
        other => return unsupported(format!("{case}: sampler {other:?}")),
    }
    // Without the setting, the values are those of diffusers.
    let prev_rule = if has_setting(case, "prev_rule") { text(case, "prev_rule")?.parse()? } else { PrevRule::Stride };
    let options = SamplerOptions::shared(sampler(name, settings)?, whole(case, "N")?)
        .spacing(text(case, "spacing")?.parse()?)
        .clip(flag(case, "clip")?.then_some(1.0))
        .rederive(flag(case, "rederive")?)
        .prev_rule(prev_rule);
    let schedule = Schedule::named(text(case, "schedule")?, whole(case, "T")?)?;
    Ok(SamplerTable::new(&Objective::new(schedule, text(case, "pred")?.parse()?), &options)?)
}

/// a x + b fn(t / period).
pub struct Model {
    a: f64,
    b: f64,
    wave: fn(f64) -> f64,
    period: f64,
}

impl Model {
    pub fn new(inputs: &Case) -> Outcome<Self> {
        let wave = match text(inputs, "fn")? {
            "sin" => f64::sin,
            "cos" => f64::cos,
            other => return unsupported(format!("{inputs}: a model with {other:?}")),
        };
        Ok(Self { a: number(inputs, "a")?, b: number(inputs, "b")?, wave, period: number(inputs, "period")? })
    }

    pub fn output(&self, x: f64, t: f64) -> f64 {
        self.a * x + self.b * (self.wave)(t / self.period)
    }
}
