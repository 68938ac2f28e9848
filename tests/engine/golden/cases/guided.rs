//! Guidance: the op `Guide` alone, and between two networks and a sampler.

use langevin::diffusion::SamplerTable;
use langevin::inference::Guidance;
use langevin::ops::{Guide, SamplerStep};
use langevin::{Device, Graph};
use serde_json::Value;

use super::samplers::{narrow, options_of};
use super::{Outcome, Outputs, Trouble, expect_inputs, has_setting, number, rows, setting, unsupported};
use crate::golden::manifest::{Case, Golden};

/// Whether a case is about guidance.
pub fn is_guided(case: &Case) -> bool {
    case.has("uncond") || has_setting(case, "positive")
}

pub fn compute(golden: &Golden, case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    if has_setting(case, "positive") { walk(golden, case, device, got) } else { alone(case, device, got) }
}

/// Rows [p | n].
fn pairs(positive: &[f64], negative: &[f64], width: usize) -> Vec<f32> {
    positive.chunks(width).zip(negative.chunks(width)).flat_map(|(p, n)| narrow(&[p, n].concat())).collect()
}

fn alone(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["uncond", "cond"])?;
    let [batch, width] = rows(case, "cond");
    for (name, rescale) in [("guided", 0.0), ("rescaled", number(case, "rescale")?)] {
        let mut g = Graph::new();
        let both = g.constant([batch, 2 * width], pairs(&case.f64s("cond"), &case.f64s("uncond"), width))?;
        let scale = g.constant([1], vec![number(case, "scale")? as f32])?;
        let y = g.apply1(Guide { rescale }, &[both, scale])?;
        g.keep(y);
        let mut run = device.compile(&g)?;
        run.steps(1)?;
        got.insert(name.into(), run.read_f64(y)?);
    }
    Ok(())
}

/// a x + b fn(t / period) + c y.
struct Branch {
    a: f64,
    b: f64,
    c: f64,
    period: f64,
    wave: fn(f64) -> f64,
}

impl Branch {
    fn new(case: &Case, key: &str) -> Outcome<Self> {
        let number = |name: &str| setting(case, key, |branch| branch.get(name).and_then(Value::as_f64));
        let wave = match setting(case, key, |branch| branch.get("fn").and_then(Value::as_str))? {
            "sin" => f64::sin,
            "cos" => f64::cos,
            other => return unsupported(format!("{case}: a model with {other:?}")),
        };
        Ok(Self { a: number("a")?, b: number("b")?, c: number("c")?, period: number("period")?, wave })
    }

    fn output(&self, x: &[f64], y: &[f64], t: f64) -> Vec<f64> {
        let shift = self.b * (self.wave)(t / self.period);
        x.iter().zip(y).map(|(x, y)| self.a * x + shift + self.c * y).collect()
    }
}

fn walk(golden: &Golden, case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["timesteps", "step_tol", "guided_tol"])?;
    let inputs = golden
        .cases(&case.file)
        .iter()
        .find(|inputs| setting(case, "inputs", Value::as_str).ok() == Some(&inputs.name));
    let inputs = inputs.ok_or_else(|| Trouble::Unsupported(format!("{case}: there are no inputs")))?;
    expect_inputs(inputs, &["x_init", "y"])?;
    let (positive, negative) = (Branch::new(case, "positive")?, Branch::new(case, "negative")?);
    let (objective, options) = options_of(case)?;
    let table = SamplerTable::new(&objective, &options)?;
    let times: Vec<f64> = table.rows.iter().map(|row| row.level.t).collect();
    if times != case.f64s("timesteps") {
        return Err(Trouble::Failed(format!("the table visits {times:?}")));
    }
    let interval = setting(case, "interval", |v| match v.as_array().map(Vec::as_slice) {
        Some([low, high]) => Some(Some([low.as_f64()?, high.as_f64()?])),
        _ => v.is_null().then_some(None),
    })?;
    let guidance =
        Guidance::default().scale(number(case, "scale")?).rescale(number(case, "rescale")?).interval(interval);
    let [batch, width] = rows(inputs, "x_init");
    let mut g = Graph::new();
    let (x, both) = (g.state("x", [batch, width])?, g.state("pairs", [batch, 2 * width])?);
    let scales = g.constant([times.len()], guidance.scales(&table))?;
    let m = g.apply1(Guide { rescale: guidance.rescale }, &[both, scales])?;
    g.keep(m);
    let rows = g.constant([times.len(), SamplerStep::ROW], table.rows_f32().concat())?;
    g.apply_to(SamplerStep { stream: 0, given: false, histories: 0, limited: false }, &[m, rows], &[x])?;
    let mut run = device.compile(&g)?;
    run.write("x", &inputs.f32s("x_init"))?;
    let (mut state, y) = (inputs.f64s("x_init"), inputs.f64s("y"));
    let (mut states, mut guided) = (state.clone(), vec![]);
    for t in times {
        let [positive, negative] = [&positive, &negative].map(|branch| branch.output(&state, &y, t));
        run.write("pairs", &pairs(&positive, &negative, width))?;
        run.steps(1)?;
        guided.extend(run.read_f64(m)?);
        state = run.read_f64(x)?;
        states.extend(&state);
    }
    got.insert("x".into(), states);
    got.insert("guided".into(), guided);
    Ok(())
}
