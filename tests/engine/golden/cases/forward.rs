//! Noising and its conversions, and the chain step by step: the op `Combine` with one table each. Flow matching, rectified
//! flow and the loss of an x0 prediction in v: the noise and the losses of training, with given draws. SNR, min-SNR weights
//! and preconditioning are made on the host.

use langevin::diffusion::{
    Flow, Level, LossTarget, Objective, Precondition, Prediction, Schedule, TrainingTimes, Weighting, shifted,
};
use langevin::ops::Combine;
use langevin::train::{DiffusionSteps, LossInputs, LossMix};
use langevin::{Device, Graph, Var};

use super::schedules::schedule_of;
use super::{
    Outcome, Outputs, Trouble, expect_inputs, has_inputs, has_setting, number, rows, samplers, text, unsupported, whole,
};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    if has_inputs(case, &["x0", "eps", "t"]) {
        let schedule = schedule_of(case)?;
        weights(case, &schedule, got)?;
        noising(case, &schedule, device, got)
    } else if has_inputs(case, &["x0", "z"]) {
        chain(case, device, got)
    } else if has_inputs(case, &["x0", "eps", "u"]) {
        rectified_flow(case, "u", TrainingTimes::Uniform, device, got)
    } else if has_inputs(case, &["x0", "eps", "z"]) {
        let times = TrainingTimes::LogNormal { mean: number(case, "mean")?, deviation: number(case, "std")? };
        rectified_flow(case, "z", times, device, got)
    } else if has_inputs(case, &["x0", "eps", "pred", "t"]) {
        let objective = Objective::new(Schedule::named(text(case, "schedule")?, whole(case, "T")?)?, Prediction::X0);
        other_loss_target(case, "t", &objective, "v".parse()?, device, got)
    } else if has_inputs(case, &["x0", "eps", "pred", "u"]) {
        let target = format!("flow:{}", number(case, "u_min")?).parse()?;
        let objective = Objective::new(Flow::new(1_000)?, Prediction::X0);
        other_loss_target(case, "u", &objective, target, device, got)
    } else if has_inputs(case, &["x_init", "step_tol"]) {
        samplers::flow(case, device, got)
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

/// The training pairs of a flow: the noise of training with given draws, and the conversions back.
fn rectified_flow(case: &Case, draws: &str, times: TrainingTimes, device: &Device, got: &mut Outputs) -> Outcome {
    let last = 1_000;
    let objective = Objective::flow(last)?.with_times(times)?;
    let mut g = Graph::new();
    let x0 = g.constant(rows(case, "x0"), case.f32s("x0"))?;
    let eps = g.constant(rows(case, "eps"), case.f32s("eps"))?;
    let draws = g.constant([case.f32s(draws).len()], case.f32s(draws))?;
    let noised = g.noise_given(x0, eps, draws, &objective)?;
    let pair = [noised.x_t, noised.target];
    let eps_table: Vec<[f64; 2]> = objective.levels().iter().map(Level::eps).collect();
    let x0_from_v = g.combined_at(&objective, &objective.x0_table()?, pair, noised.t)?;
    let eps_from_v = g.combined_at(&objective, &eps_table, pair, noised.t)?;
    let results =
        [("x_t", noised.x_t), ("target", noised.target), ("x0_from_v", x0_from_v), ("eps_from_v", eps_from_v)];
    for (_, var) in &results {
        g.keep(*var);
    }
    g.keep(noised.t);
    run_once(&g, device, &results, got)?;
    run_once(&g, device, &[("u", noised.t)], got)?;
    let u: Vec<f64> = got["u"].iter().map(|t| t / last as f64).collect();
    got.insert("u_shift3".into(), u.iter().map(|&u| shifted(u, 3.0)).collect());
    got.insert("u".into(), u);
    Ok(())
}

/// The loss of a prediction in another quantity, and its gradient, as in training: of all rows, and of each row alone.
fn other_loss_target(
    case: &Case,
    draws: &str,
    objective: &Objective,
    target: LossTarget,
    device: &Device,
    got: &mut Outputs,
) -> Outcome {
    if text(case, "prediction")? != "x0" {
        return unsupported(format!("{case}: prediction {:?}", text(case, "prediction")?));
    }
    let [n, width] = rows(case, "x0");
    let of_rows = |first: usize, n: usize| -> Outcome<Outputs> {
        let mut g = Graph::new();
        let part = |name: &str, width: usize| case.f32s(name)[first * width..][..n * width].to_vec();
        let x0 = g.constant([n, width], part("x0", width))?;
        let eps = g.constant([n, width], part("eps", width))?;
        let draws = g.constant([n], part(draws, 1))?;
        let prediction = g.constant([n, width], part("pred", width))?;
        let noised = g.noise_given(x0, eps, draws, objective)?;
        let mut steps = DiffusionSteps::new(noised.x_t, noised.t, objective);
        steps.target = Some(target);
        let shape = [width];
        let mut inputs = LossInputs::new(prediction, noised.target, &shape, 2.0);
        inputs.steps = Some(steps);
        let [v_pred, converted] = inputs.compared(&mut g)?;
        // Without a floor, the target of a network that predicts v, which nothing cancels in.
        let v_target = match target.floor {
            None => g.noise_given(x0, eps, draws, &objective.with_prediction(target.of))?.target,
            Some(_) => converted,
        };
        let losses: Vec<Var> =
            LossMix::default().add_to(&mut g, &inputs)?[0].parts.iter().map(|(loss, _)| *loss).collect();
        let d = g.backward(&losses, &[prediction])?.of(prediction);
        let d = d.ok_or(Trouble::Failed(format!("{case}: there is no gradient by the prediction")))?;
        let results = [("x_t", noised.x_t), ("v_target", v_target), ("v_pred", v_pred), ("d_pred", d)];
        for (_, var) in &results {
            g.keep(*var);
        }
        let mut run = device.compile(&g)?;
        run.steps(1)?;
        let mut got = Outputs::new();
        for (name, var) in results {
            got.insert(name.into(), run.read_f64(var)?);
        }
        got.insert("loss".into(), vec![run.scalar(losses[0])?]);
        Ok(got)
    };
    let each = (0..n).map(|row| Ok(of_rows(row, 1)?["loss"][0])).collect::<Outcome<Vec<f64>>>()?;
    got.extend(of_rows(0, n)?);
    got.insert("loss_rows".into(), each);
    Ok(())
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
