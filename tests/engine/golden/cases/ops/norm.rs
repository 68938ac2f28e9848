//! Group and layer normalisation.

use langevin::Device;
use langevin::ops::{GroupNorm, LayerNorm};

use super::{Outcome, Outputs, check, expect_settings, has_inputs, has_setting, number, text, unsupported, whole};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Option<Outcome> {
    let known = has_inputs(case, &["x", "weight", "bias", "gy"]) && has_setting(case, "eps");
    known.then(|| if has_setting(case, "groups") { groups(case, device, got) } else { rows(case, device, got) })
}

fn groups(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["groups", "eps"])?;
    let op = GroupNorm::new(whole(case, "groups")?).epsilon(number(case, "eps")?);
    check(case, device, got, |g, i| g.apply1(op, &[i["x"], i["weight"], i["bias"]]))
}

fn rows(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["axis", "eps"])?;
    if text(case, "axis")? != "last" {
        return unsupported(format!("{case}: normalisation over {:?}", text(case, "axis")?));
    }
    let op = LayerNorm::default().epsilon(number(case, "eps")?);
    check(case, device, got, |g, i| g.apply1(op, &[i["x"], i["weight"], i["bias"]]))
}
