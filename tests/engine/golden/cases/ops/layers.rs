//! Activations, softmax, embedding and the dense layer.

use langevin::Device;
use langevin::ops::{Activate, Activation, Dense, Embedding, Softmax};

use super::{Outcome, Outputs, check, expect_settings, has_inputs, has_setting, text, unsupported, whole};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Option<Outcome> {
    if has_inputs(case, &["x", "gy"]) && has_setting(case, "kind") {
        Some(activation(case, device, got))
    } else if has_inputs(case, &["x", "gy"]) && has_setting(case, "axis") {
        Some(softmax(case, device, got))
    } else if has_inputs(case, &["weight", "index", "gy"]) {
        Some(embedding(case, device, got))
    } else if has_inputs(case, &["x", "weight", "bias", "gy"]) && case.shape("weight").len() == 2 {
        Some(linear(case, device, got))
    } else {
        None
    }
}

fn activation(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["kind"])?;
    let op = Activate(Activation::named(text(case, "kind")?)?);
    check(case, device, got, |g, i| g.apply1(op, &[i["x"]]))
}

fn softmax(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["axis"])?;
    if text(case, "axis")? != "last" {
        return unsupported(format!("{case}: softmax over {:?}", text(case, "axis")?));
    }
    check(case, device, got, |g, i| g.apply1(Softmax, &[i["x"]]))
}

fn embedding(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["vocabulary"])?;
    let (rows, index) = (whole(case, "vocabulary")?, case.u32s("index"));
    if case.shape("weight")[0] != rows || index.iter().any(|i| *i as usize >= rows) {
        return unsupported(format!("{case}: rows beyond the table"));
    }
    check(case, device, got, |g, i| g.apply1(Embedding, &[i["weight"], i["index"]]))
}

fn linear(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &[])?;
    let op = Dense { activation: Activation::None };
    check(case, device, got, |g, i| g.apply1(op, &[i["x"], i["weight"], i["bias"]]))
}
