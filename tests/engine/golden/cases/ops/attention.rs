//! Multi-head self-attention with its projections.

use langevin::Device;
use langevin::ops::{Activation, Attention, Channels, Dense};

use super::{Outcome, Outputs, check, expect_settings, has_inputs, number, text, unsupported, whole};
use crate::golden::manifest::Case;

const INPUTS: [&str; 6] = ["x", "qkv.weight", "qkv.bias", "out.weight", "out.bias", "gy"];

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Option<Outcome> {
    has_inputs(case, &INPUTS).then(|| self_attention(case, device, got))
}

fn self_attention(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_settings(case, &["heads", "scale", "dropout"])?;
    if text(case, "scale")? != "1/sqrt(C/heads)" || number(case, "dropout")? != 0.0 {
        return unsupported(format!("{case}: another scale, or dropout"));
    }
    let heads = whole(case, "heads")?;
    let shape = case.shape("x");
    let [batch, places, channels] = shape[..] else { return unsupported(format!("{case}: x of shape {shape:?}")) };
    check(case, device, got, |g, i| {
        let dense = Dense { activation: Activation::None };
        let x = g.reshape(i["x"], [batch * places, channels])?;
        let qkv = g.apply1(dense, &[x, i["qkv.weight"], i["qkv.bias"]])?;
        let qkv = g.reshape(qkv, [batch, places, 3 * channels])?;
        let y = g.apply1(Attention { heads, channels: Channels::Last }, &[qkv])?;
        let y = g.reshape(y, [batch * places, channels])?;
        let y = g.apply1(dense, &[y, i["out.weight"], i["out.bias"]])?;
        g.reshape(y, [batch, places, channels])
    })
}
