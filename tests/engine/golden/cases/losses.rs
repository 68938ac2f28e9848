//! Losses with their gradients on the device; PSNR and the Frechet distance on the host.

use langevin::evaluate::{frechet_distance, psnr};
use langevin::nn::{FeatureLayer, Features};
use langevin::ops::{Average, Factors, Measure, PointLoss, Ssim};
use langevin::{Device, Graph, Var};
use serde_json::Value;

use super::{Outcome, Outputs, Trouble, expect_inputs, has_inputs, number, number_or, text, unsupported, whole};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    if !["x", "y"].iter().all(|name| case.inputs().contains(name)) {
        return unsupported(format!("{case}: the inputs are {:?}", case.inputs()));
    }
    if case.outputs().contains(&"ssim") { similarity(case, device, got) } else { terms(case, device, got) }
}

/// Whether the case is about the distance of two sets.
pub fn is_frechet(case: &Case) -> bool {
    case.file == "losses" && has_inputs(case, &["a", "b"])
}

pub fn frechet(case: &Case, got: &mut Outputs) -> Outcome {
    let [_, dim] = super::rows(case, "a");
    if super::rows(case, "b")[1] != dim {
        return unsupported(format!("{case}: features of different width"));
    }
    got.insert("frechet".into(), vec![frechet_distance(&case.f32s("a"), &case.f32s("b"), dim)?]);
    Ok(())
}

/// SSIM, its gradient, and PSNR of the same images.
fn similarity(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["x", "y"])?;
    for (key, known) in [("positions", "valid"), ("covariance", "population")] {
        if text(case, key)? != known {
            return unsupported(format!("{case}: {key} {:?}", text(case, key)?));
        }
    }
    let range = number(case, "data_range")?;
    let ssim = Ssim::new(range)
        .window(whole(case, "window")?)
        .sigma(number(case, "sigma")?)
        .k1(number(case, "K1")?)
        .k2(number(case, "K2")?);
    let (loss, d_x) = minimized(case, device, |g, x, y| Ok(vec![(g.ssim_loss(&ssim, x, y, 1.0)?, 1.0)]))?;
    got.insert("ssim".into(), vec![1.0 - loss]);
    got.insert("d_x".into(), d_x.into_iter().map(|d| -d).collect());
    got.insert("psnr".into(), vec![psnr(&case.f32s("x"), &case.f32s("y"), range)?]);
    Ok(())
}

/// A term's losses, with the weight of each.
type Term = Vec<(Var, f64)>;

/// Each output `NAME` with its gradient `NAME.d_x`; a term that is not known leaves the others to be checked.
fn terms(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let mut outcome = Ok(());
    for name in case.outputs().into_iter().filter(|name| !name.ends_with(".d_x")) {
        match minimized(case, device, |g, x, y| term(case, g, name, 1.0, x, y)) {
            Ok((loss, d_x)) => {
                got.insert(name.to_string(), vec![loss]);
                got.insert(format!("{name}.d_x"), d_x);
            }
            Err(Trouble::Unsupported(what)) => outcome = unsupported(what),
            other => drop(other?),
        }
    }
    outcome
}

fn term(case: &Case, g: &mut Graph, name: &str, weight: f64, x: Var, y: Var) -> Outcome<Term> {
    let point = |g: &mut Graph, op: PointLoss| {
        let loss = g.point_loss(op.weight(weight), x, y, Factors::default())?;
        Ok(vec![(loss, weight)])
    };
    let squared = PointLoss::new(Measure::Squared);
    match name {
        "mse" => point(g, squared),
        "mse_document" => point(g, squared.average(Average::Positions)),
        "l1" => point(g, PointLoss::new(Measure::Absolute)),
        "huber" => point(g, PointLoss::new(Measure::Huber { delta: number(case, "huber_delta")? })),
        "perceptual" => {
            let parts = features(case)?.loss(g, x, y, weight)?;
            Ok(parts.into_iter().map(|(loss, factor)| (loss, weight * factor)).collect())
        }
        "one_minus_ssim" => {
            let ssim = Ssim::new(number_or(case, "data_range", 1.0)?);
            Ok(vec![(g.ssim_loss(&ssim, x, y, weight)?, weight)])
        }
        "mixed" => {
            let weights = super::setting(case, "mixed_weights", Value::as_object)?;
            let mut all = Vec::new();
            for (name, weight) in weights {
                let weight =
                    weight.as_f64().ok_or_else(|| Trouble::Unsupported(format!("{case}: a weight of {weight}")))?;
                all.extend(term(case, g, name, weight, x, y)?);
            }
            Ok(all)
        }
        other => unsupported(format!("{case}: the loss {other:?}")),
    }
}

/// The feature network, as the setting describes it: "layer 1: 3x3 stride 1 pad 1 + relu, weight 1.0; ...; MSE of
/// features".
fn features(case: &Case) -> Outcome<Features> {
    let said = text(case, "perceptual")?;
    let unknown = || Trouble::Unsupported(format!("{case}: the features {said:?}"));
    let parts: Vec<&str> = said.split(';').map(str::trim).collect();
    let (last, layers) = parts.split_last().ok_or_else(unknown)?;
    if *last != "MSE of features" {
        return Err(unknown());
    }
    let layer = |part: &&str| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let ["layer", number, _, "stride", stride, "pad", padding, "+", "relu,", "weight", factor] = words[..] else {
            return None;
        };
        let name = format!("conv{}", number.strip_suffix(':')?);
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        (case.has(&weight) && case.has(&bias)).then_some(())?;
        Some(FeatureLayer {
            shape: case.shape(&weight),
            weight: case.f32s(&weight),
            bias: case.f32s(&bias),
            stride: stride.parse().ok()?,
            padding: padding.parse().ok()?,
            factor: factor.parse().ok()?,
            name,
        })
    };
    let layers: Option<Vec<FeatureLayer>> = layers.iter().map(layer).collect();
    Ok(Features::new(layers.ok_or_else(unknown)?)?)
}

/// The weighted sum of losses and its gradient by x.
fn minimized(
    case: &Case,
    device: &Device,
    build: impl FnOnce(&mut Graph, Var, Var) -> Outcome<Term>,
) -> Outcome<(f64, Vec<f64>)> {
    let mut g = Graph::new();
    let x = g.constant(case.shape("x"), case.f32s("x"))?;
    let y = g.constant(case.shape("y"), case.f32s("y"))?;
    let losses = build(&mut g, x, y)?;
    let vars: Vec<Var> = losses.iter().map(|(loss, _)| *loss).collect();
    let d = g.backward(&vars, &[x])?.of(x).ok_or(Trouble::Failed(format!("{case}: there is no gradient by x")))?;
    g.keep(d);
    let mut run = device.compile(&g)?;
    run.steps(1)?;
    let mut total = 0.0;
    for (loss, weight) in losses {
        total += weight * run.scalar(loss)?;
    }
    Ok((total, run.read_f64(d)?))
}
