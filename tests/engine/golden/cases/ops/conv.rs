//! Convolutions, upsampling and pooling.

use langevin::Device;
use langevin::ops::{Activation, Conv, ConvTranspose, Pool, Pooling, Upsample};

use super::{Outcome, Outputs, check, expect_settings, has_inputs, has_setting, unsupported, whole};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Option<Outcome> {
    let images = matches!(case.shape(case.inputs().first()?).len(), 3 | 4);
    if has_inputs(case, &["x", "weight", "bias", "gy"]) && has_setting(case, "stride") {
        Some(convolution(case, device, got))
    } else if images && has_inputs(case, &["x", "gy"]) && has_setting(case, "scale") {
        Some(upsample(case, device, got))
    } else if images && has_inputs(case, &["x", "gy"]) && has_setting(case, "kernel") {
        Some(pool(case, device, got))
    } else {
        None
    }
}

/// A setting that may be left out.
fn whole_or_none(case: &Case, key: &str) -> Outcome<usize> {
    if has_setting(case, key) { whole(case, key) } else { Ok(0) }
}

fn convolution(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["stride", "padding", "kernel", "output_padding"])?;
    let (stride, padding, kernel) = (whole(case, "stride")?, whole(case, "padding")?, whole(case, "kernel")?);
    let w = case.shape("weight");
    if w[2..].iter().any(|&k| k != kernel) {
        return unsupported(format!("{case}: a kernel {w:?}, where the settings say {kernel}"));
    }
    let activation = Activation::None;
    // The settings of both kinds are alike: what says which is meant is the layout of the weight.
    if case.meaning("weight").starts_with("[Cin,Cout") {
        let op = ConvTranspose { stride, padding, output_padding: whole_or_none(case, "output_padding")?, activation };
        return check(case, device, got, |g, i| g.apply1(op, &[i["x"], i["weight"], i["bias"]]));
    }
    let op = Conv { stride, padding, activation };
    check(case, device, got, |g, i| g.apply1(op, &[i["x"], i["weight"], i["bias"]]))
}

fn upsample(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["scale"])?;
    let op = Upsample::by(whole(case, "scale")?, case.shape("x").len() - 2);
    check(case, device, got, |g, i| g.apply1(op, &[i["x"]]))
}

fn pool(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["kernel", "stride", "padding"])?;
    let (kernel, stride) = (whole(case, "kernel")?, whole(case, "stride")?);
    let op = Pool { kind: kind_of(case), kernel, stride, padding: whole_or_none(case, "padding")? };
    check(case, device, got, |g, i| g.apply1(op, &[i["x"]]))
}

/// The settings do not say whether the mean or the maximum is meant. A maximum is an element, and all of them are to agree.
fn kind_of(case: &Case) -> Pooling {
    let x = case.f64s("x");
    let taken = |y: &f64| x.iter().any(|x| (x - y).abs() < 1e-6);
    if case.f64s("y").iter().all(taken) { Pooling::Max } else { Pooling::Average }
}
