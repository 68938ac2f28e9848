//! Optimizers on given gradients, which are written to their slab before each step; clipping; the learning rate.

use langevin::ops::{Decay, Optimizer, PowerProfile, power_gamma};
use langevin::{Device, Graph, Run, Slab, Var};

use super::{
    Outcome, Outputs, Trouble, expect_inputs, has_inputs, number, number_or, numbers, rows, unsupported, whole,
};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    if has_inputs(case, &["weights", "snapshot_steps"]) {
        return power_ema(case, device, got);
    }
    expect_inputs(case, &["p0", "grads"])?;
    if case.shape("p0") != [rows(case, "grads")[1]] {
        return unsupported(format!("{case}: p0 {:?}, grads {:?}", case.shape("p0"), case.shape("grads")));
    }
    let mut outcome = Ok(());
    for name in case.outputs() {
        let computed = match name.split_once('.') {
            Some(("clip", "norm" | "grad")) => clip(case, device, got),
            Some(("lr", "cosine_warmup")) => cosine_warmup(case, name, device, got),
            Some((optimizer, "p")) => trajectory(case, optimizer, device, got),
            _ => Ok(()), // a state, read with the trajectory, or unknown
        };
        match computed {
            Err(Trouble::Unsupported(what)) => outcome = unsupported(what),
            other => other?,
        }
    }
    outcome
}

/// An optimizer by name. Momentum and AdamW's decay are those of the case, else those its generator always uses.
pub fn named(case: &Case, name: &str, lr: f64) -> Outcome<Optimizer> {
    let [momentum, decay] = [number_or(case, "momentum", 0.9)?, number_or(case, "adamw_weight_decay", 0.01)?];
    Ok(Optimizer::named(name.parse()?, lr, momentum, decay))
}

/// The slab of a tensor that has PyTorch's name, and its parameter.
pub fn state(tensor: &str) -> (Slab, &str) {
    let prefixes = [("exp_avg.", Slab::First), ("momentum_buffer.", Slab::First), ("exp_avg_sq.", Slab::Second)];
    let found = prefixes.iter().find_map(|(prefix, slab)| Some((*slab, tensor.strip_prefix(prefix)?)));
    found.unwrap_or((Slab::Params, tensor))
}

/// A program that only has the parameter `p` and an optimizer.
struct Alone {
    run: Run,
    norm: Option<Var>,
}

impl Alone {
    fn new(p: Vec<f32>, optimizer: Optimizer, device: &Device) -> langevin::Result<Self> {
        Self::averaged(p, optimizer, None, device)
    }

    /// With a power-function average in [`Slab::ShortAverage`].
    fn averaged(p: Vec<f32>, optimizer: Optimizer, gamma: Option<f64>, device: &Device) -> langevin::Result<Self> {
        let mut g = Graph::new();
        g.parameter("p", [p.len()], p)?;
        let norm = g.optimize(optimizer)?;
        if let Some(gamma) = gamma {
            g.average(gamma, Slab::ShortAverage)?;
        }
        Ok(Self { run: device.compile(&g)?, norm })
    }

    /// One step with this gradient. Slabs may be longer than their parameters.
    fn step(&mut self, gradient: &[f32]) -> langevin::Result<()> {
        let mut slab = self.run.read_slab(Slab::Grads)?;
        slab[..gradient.len()].copy_from_slice(gradient);
        self.run.write_slab(Slab::Grads, &slab)?;
        self.run.steps(1)
    }

    fn p(&self) -> langevin::Result<Vec<f64>> {
        self.run.read_parameter(Slab::Params, "p")
    }
}

fn trajectory(case: &Case, name: &str, device: &Device, got: &mut Outputs) -> Outcome {
    let optimizer = named(case, name, number(case, "lr")?)?;
    let mut alone = Alone::new(case.f32s("p0"), optimizer, device)?;
    let mut states = Vec::new();
    for gradient in case.f32s("grads").chunks(rows(case, "grads")[1]) {
        alone.step(gradient)?;
        states.extend(alone.p()?);
    }
    got.insert(format!("{name}.p"), states);
    let prefix = format!("{name}.");
    for output in case.outputs() {
        if let Some((slab, parameter)) = output.strip_prefix(&prefix).map(state).filter(|s| s.0 != Slab::Params) {
            got.insert(output.to_string(), alone.run.read_parameter(slab, parameter)?);
        }
    }
    Ok(())
}

/// With lr 1 and p = 0, plain gradient descent leaves minus the clipped gradient in p.
fn clip(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let n = rows(case, "grads")[1];
    let optimizer = Optimizer::sgd(1.0, 0.0, false).clip(Some(number(case, "clip_norm")?));
    let mut alone = Alone::new(vec![0.0; n], optimizer, device)?;
    alone.step(&case.f32s("grads")[..n])?;
    let norm = alone.norm.ok_or(Trouble::Failed("clipping gave no norm".into()))?;
    got.insert("clip.norm".into(), vec![alone.run.scalar(norm)?]);
    got.insert("clip.grad".into(), alone.p()?.iter().map(|p| -p).collect());
    Ok(())
}

/// lr(k) is what a gradient of 1 takes from p = 0 in step k; the host's factor has to agree as well. The numbers of
/// steps stand in the tensor's description: "lr(k), 10 warm-up steps then half cosine to step 100".
fn cosine_warmup(case: &Case, name: &str, device: &Device, got: &mut Outputs) -> Outcome {
    let words = case.meaning(name).split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
    let [warmup, total] = numbers[..] else {
        return unsupported(format!("{case}/{name}: two numbers of steps in {:?}", case.meaning(name)));
    };
    let (decay, lr) = (Decay::Cosine { warmup, total }, number(case, "lr")?);
    let steps = case.shape(name).iter().product::<usize>() as u32;
    let on_host: Vec<f64> = (0..steps).map(|k| lr * decay.factor(k)).collect();
    case.check(name, &on_host).map_err(|e| Trouble::Failed(format!("on the host: {e}")))?;
    let mut alone = Alone::new(vec![0.0], Optimizer::sgd(lr, 0.0, false).decay(decay), device)?;
    let zeros = vec![0.0; alone.run.read_slab(Slab::Params)?.len()];
    let mut rates = Vec::new();
    for _ in 0..steps {
        alone.run.write_slab(Slab::Params, &zeros)?;
        alone.step(&[1.0])?;
        rates.push(-alone.p()?[0]);
    }
    got.insert(name.to_string(), rates);
    Ok(())
}

/// Whether the case is about the exponents of power-function averages, which are computed on the host.
pub fn is_of_gamma(case: &Case) -> bool {
    case.file == "optimizers" && case.inputs().is_empty()
}

pub fn gammas(case: &Case, got: &mut Outputs) -> Outcome {
    let gammas = numbers(case, "sigma_rel")?.into_iter().map(power_gamma).collect::<langevin::Result<Vec<f64>>>()?;
    got.insert("gamma".into(), gammas);
    Ok(())
}

/// Averages of given weights as the training tracks them, and the reconstruction of others from their snapshots.
fn power_ema(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let steps = whole(case, "target_step")? as f64;
    let snapshots = case.u32s("snapshot_steps");
    let (mut profiles, mut averages) = (vec![], vec![]);
    for gamma in numbers(case, "gammas")? {
        let kept = tracked(case, gamma, device)?;
        let kept: Vec<Vec<f64>> = snapshots.iter().map(|&step| kept[step as usize - 1].clone()).collect();
        got.insert(format!("ema_gamma{gamma}"), kept.concat());
        profiles.extend(snapshots.iter().map(|&step| PowerProfile { steps: step.into(), gamma }));
        averages.extend(kept);
    }
    let sum = |weights: &[f64]| -> Vec<f64> {
        let element = |i: usize| weights.iter().zip(&averages).map(|(weight, average)| weight * average[i]).sum();
        (0..averages[0].len()).map(element).collect()
    };
    for length in numbers(case, "sigma_rel")? {
        let wanted = PowerProfile { steps, gamma: power_gamma(length)? };
        let fit = wanted.fit(&profiles)?;
        let total: f64 = fit.iter().sum();
        let normalised: Vec<f64> = fit.iter().map(|weight| weight / total).collect();
        let direct = tracked(case, wanted.gamma, device)?;
        let taus: Vec<f64> = (0..steps as usize).map(|k| k as f64 + 0.5).collect();
        let fitted = |tau: &f64| profiles.iter().zip(&fit).map(|(profile, weight)| weight * profile.at(*tau)).sum();
        for (name, values) in [
            ("ema", sum(&fit)),
            ("ema_normalised", sum(&normalised)),
            ("ema_direct", direct[steps as usize - 1].clone()),
            ("profile", taus.iter().map(fitted).collect()),
            ("profile_target", taus.iter().map(|tau| wanted.at(*tau)).collect()),
            ("fit", fit),
            ("fit_normalised", normalised),
        ] {
            got.insert(format!("{name}_sigma_rel{length}"), values);
        }
    }
    Ok(())
}

/// The average after each step, when the weights are given.
fn tracked(case: &Case, gamma: f64, device: &Device) -> Outcome<Vec<Vec<f64>>> {
    let n = rows(case, "weights")[1];
    let mut alone = Alone::averaged(vec![0.0; n], Optimizer::sgd(0.0, 0.0, false), Some(gamma), device)?;
    let mut slab = alone.run.read_slab(Slab::Params)?;
    let mut states = Vec::new();
    for weights in case.f32s("weights").chunks(n) {
        slab[..n].copy_from_slice(weights);
        alone.run.write_slab(Slab::Params, &slab)?;
        alone.step(&vec![0.0; n])?;
        states.push(alone.run.read_parameter(Slab::ShortAverage, "p")?);
    }
    Ok(states)
}
