//! The sinusoidal step encodings: the op `Encode`.

use langevin::ops::{Encode, Layout};
use langevin::{Device, Graph};

use super::{Outcome, Outputs, expect_inputs, flag, number, text, unsupported, whole};
use crate::golden::manifest::Case;

pub fn encode(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["t"])?;
    let layout = match text(case, "layout")? {
        "interleaved" => Layout::Interleaved,
        "half" => Layout::Halves { flip: flag(case, "flip_sin_to_cos")?, shift: number(case, "downscale_freq_shift")? },
        other => return unsupported(format!("layout {other:?}")),
    };
    let t = case.f32s("t");
    let mut g = Graph::new();
    let steps = g.state("t", [t.len()])?;
    let enc = Encode::new(whole(case, "d")?, layout)?.add_to(&mut g, steps)?;
    g.keep(enc);
    let mut run = device.compile(&g)?;
    run.write("t", &t)?;
    run.steps(1)?;
    got.insert("enc".into(), run.read_f64(enc)?);
    Ok(())
}
