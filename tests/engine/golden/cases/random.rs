//! Philox words, uniforms and normals: the op `Philox`.

use langevin::ops::Philox;
use langevin::{Device, Graph};

use super::{Outcome, Outputs, expect_inputs, rows};
use crate::golden::manifest::Case;

pub fn draw(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["counter", "key"])?;
    let mut g = Graph::new();
    let counter = g.constant_u32(rows(case, "counter"), case.u32s("counter"))?;
    let key = g.constant_u32(rows(case, "key"), case.u32s("key"))?;
    let drawn = g.apply(Philox, &[counter, key])?;
    drawn.iter().for_each(|&v| _ = g.keep(v));
    let mut run = device.compile(&g)?;
    run.steps(1)?;
    let words = run.read_u32(drawn[0])?;
    got.insert("uniform".into(), words.iter().map(|w| f64::from(w >> 8) / 16_777_216.0).collect());
    got.insert("words".into(), words.into_iter().map(f64::from).collect());
    got.insert("normal".into(), run.read_f64(drawn[1])?);
    Ok(())
}
