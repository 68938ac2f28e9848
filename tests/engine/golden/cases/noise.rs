//! Compression artefacts, and noise from given draws: the ops `Jpeg` and `AddNoise`.

use langevin::ops::{AddNoise, Disturbance, quantisation};
use langevin::{Device, Graph};

use super::{Outcome, Outputs, expect_inputs, has_inputs, has_setting, number, unsupported, whole};
use crate::golden::manifest::Case;

/// What the values of `impulse` are replaced by.
const WHITE: f64 = 1.0;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    if has_inputs(case, &["image"]) && has_setting(case, "quality") {
        jpeg(case, device, got)
    } else if has_inputs(case, &["x", "u", "z"]) {
        given_draws(case, device, got)
    } else {
        unsupported(format!("{case}: the inputs are {:?}", case.inputs()))
    }
}

fn jpeg(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["image"])?;
    let quality = whole(case, "quality")? as u32;
    let mut g = Graph::new();
    let image = g.constant(case.shape("image").to_vec(), case.f32s("image"))?;
    let y = g.jpeg(image, quality, 0.0, WHITE)?;
    g.keep(y);
    let mut run = device.compile(&g)?;
    run.steps(1)?;
    got.insert("artifact".into(), run.read_f64(y)?);
    got.insert("table".into(), quantisation(quality)?.map(f64::from).to_vec());
    Ok(())
}

/// Salt-and-pepper from uniform numbers, and the chapter's `add_noise` from normal ones.
fn given_draws(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let (amount, ratio) = (number(case, "amount")?, number(case, "salt_ratio")?);
    let salt_pepper = Disturbance::SaltPepper { amount, ratio, low: 0.0, high: WHITE };
    let gaussian = Disturbance::Gaussian { scale: number(case, "noise_scale")? };
    let mut g = Graph::new();
    let mut constant = |name: &str| g.constant(case.shape(name).to_vec(), case.f32s(name));
    let (x, u, z) = (constant("x")?, constant("u")?, constant("z")?);
    let mut results = Vec::new();
    for (name, disturbance, draws) in [("impulse", salt_pepper, u), ("gaussian", gaussian, z)] {
        disturbance.check()?;
        let y = g.apply1(AddNoise { disturbance, stream: 0, given: true }, &[x, draws])?;
        results.push((name, g.keep(y)));
    }
    let mut run = device.compile(&g)?;
    run.steps(1)?;
    for (name, y) in results {
        got.insert(name.into(), run.read_f64(y)?);
    }
    Ok(())
}
