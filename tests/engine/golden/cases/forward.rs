//! Noising and its conversions, the chain step by step, and flow matching: the op `Combine` with one table each. SNR,
//! min-SNR weights and preconditioning are made on the host.

use langevin::diffusion::{Flow, Objective, Precondition, Prediction, Schedule, Weighting};
use langevin::ops::Combine;
use langevin::{Device, Graph, Var};

use super::schedules::schedule_of;
use super::{Outcome, Outputs, expect_inputs, has_inputs, has_setting, number, rows, unsupported};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    if has_inputs(case, &["x0", "eps", "t"]) {
        let schedule = schedule_of(case)?;
        weights(case, &schedule, got)?;
        noising(case, &schedule, device, got)
    } else if has_inputs(case, &["x0", "z"]) {
        chain(case, device, got)
    } else if has_inputs(case, &["x0", "eps", "u"]) {
        flow_matching(case, device, got)
    } else {
        unsupported(format!("{case}: the inputs are {:?}", case.inputs()))
    }
}

/// x_t, and each of x_t's parts from x_t and another: rows (p, q) from sqrt(alpha_bar) and sqrt(1 - alpha_bar).
fn noising(case: &Case, schedule: &Schedule, device: &Device, got: &mut Outputs) -> Outcome {
    let mut g = Graph::new();
    let x0 = g.constant(rows(case, "x0"), case.f32s("x0"))?;
    let eps = g.constant(rows(case, "eps"), case.f32s("eps"))?;
    let t = g.constant([case.f32s("t").len()], case.f32s("t"))?;
    let combine = |g: &mut Graph, a, b, row: &dyn Fn(f64, f64) -> [f64; 2]| {
        combined(g, [a, b], t, schedule.noise_table().iter().map(|&[a, s]| row(a, s)))
    };
    let x_t = combine(&mut g, x0, eps, &|a, s| [a, s])?;
    let v = combine(&mut g, eps, x0, &|a, s| [a, -s])?;
    let results = [
        ("x_t", x_t),
        ("v", v),
        ("x0_from_eps", combine(&mut g, x_t, eps, &|a, s| [1.0 / a, -s / a])?),
        ("x0_from_v", combine(&mut g, x_t, v, &|a, s| [a, -s])?),
        ("eps_from_v", combine(&mut g, v, x_t, &|a, s| [a, s])?),
        ("eps_from_x0", combine(&mut g, x_t, x0, &|a, s| [1.0 / s, -a / s])?),
    ];
    run_once(&g, device, &results, got)
}

/// `x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z_t`, one node per step.
fn chain(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let betas = schedule_of(case)?.betas().to_vec();
    let ([steps, n], z) = (rows(case, "z"), case.f32s("z"));
    if steps > betas.len() || case.f32s("x0").len() != n {
        return unsupported(format!("{case}: {steps} rows of noise for {} steps", betas.len()));
    }
    let mut g = Graph::new();
    let mut x = g.constant([1, n], case.f32s("x0"))?;
    let mut states = Vec::new();
    for (k, z) in z.chunks(n).enumerate() {
        let z = g.constant([1, n], z.to_vec())?;
        let t = g.constant([1], vec![k as f32])?;
        x = combined(&mut g, [x, z], t, betas.iter().map(|beta| [(1.0 - beta).sqrt(), beta.sqrt()]))?;
        states.push(("x", x));
    }
    run_once(&g, device, &states, got)
}

/// The straight path and its velocity, with one table row per row of the batch.
fn flow_matching(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let mut g = Graph::new();
    let x0 = g.constant(rows(case, "x0"), case.f32s("x0"))?;
    let eps = g.constant(rows(case, "eps"), case.f32s("eps"))?;
    let u = case.f64s("u");
    let row = g.constant([u.len()], (0..u.len()).map(|i| i as f32).collect())?;
    let x_t = combined(&mut g, [x0, eps], row, u.iter().map(|&u| Flow::at(u)))?;
    let target = combined(&mut g, [x0, eps], row, u.iter().map(|&u| Prediction::Flow.weights(Flow::at(u))))?;
    run_once(&g, device, &[("x_t", x_t), ("target", target)], got)
}

/// p_t a + q_t b with the rows (p, q) of a table.
fn combined(g: &mut Graph, [a, b]: [Var; 2], t: Var, table: impl Iterator<Item = [f64; 2]>) -> langevin::Result<Var> {
    let table: Vec<f32> = table.flatten().map(|v| v as f32).collect();
    let table = g.constant([table.len() / 2, 2], table)?;
    let y = g.apply1(Combine, &[a, b, t, table])?;
    Ok(g.keep(y))
}

/// One step, then each result; results of one name are joined.
fn run_once(g: &Graph, device: &Device, results: &[(&str, Var)], got: &mut Outputs) -> Outcome {
    let mut run = device.compile(g)?;
    run.steps(1)?;
    for (name, var) in results {
        got.entry(name.to_string()).or_default().extend(run.read_f64(*var)?);
    }
    Ok(())
}

/// SNR and min-SNR weights; the latter's names hold the prediction and gamma: `min_snr_v_g5`.
fn weights(case: &Case, schedule: &Schedule, got: &mut Outputs) -> Outcome {
    let ts: Vec<usize> = case.u32s("t").into_iter().map(|t| t as usize).collect();
    if ts.iter().any(|&t| t >= schedule.steps()) {
        return unsupported(format!("{case}: a time step beyond the schedule"));
    }
    got.insert("snr".into(), ts.iter().map(|&t| schedule.snr(t)).collect());
    for name in case.outputs() {
        let Some((prediction, gamma)) = name.strip_prefix("min_snr_").and_then(|rest| rest.split_once("_g")) else {
            continue;
        };
        if let (Ok(prediction), Ok(gamma)) = (prediction.parse(), gamma.parse()) {
            let weights = Weighting::MinSnr { gamma }.table(&Objective::new(schedule.clone(), prediction))?;
            got.insert(name.to_string(), ts.iter().map(|&t| weights[t]).collect());
        }
    }
    Ok(())
}

/// Whether the case is about EDM's coefficients.
pub fn is_precondition(case: &Case) -> bool {
    case.file == "forward" && has_setting(case, "sigma_data")
}

pub fn precondition(case: &Case, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["sigma"])?;
    let data = number(case, "sigma_data")?;
    for sigma in case.f64s("sigma") {
        let p = Precondition::new(sigma, data)?;
        let values = [
            ("c_skip", p.c_skip),
            ("c_out", p.c_out),
            ("c_in", p.c_in),
            ("c_noise", p.c_noise),
            ("loss_weight", p.loss_weight),
        ];
        values.into_iter().for_each(|(name, value)| got.entry(name.into()).or_default().push(value));
    }
    Ok(())
}
