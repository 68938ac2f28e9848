//! The default network for signals, points and small images: a residual MLP.

use super::{Denoiser, Linear, Norm};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{Activate, Activation, Add, Encode, Layout};

/// h = input(x_t); per block h += dense(SiLU(norm(h + time))); output(SiLU(norm(h))).
///
/// `time` is a two-layer network on the half/half step encoding. The last layer of each block and the output start at
/// a small scale, so that the network starts near the identity.
#[derive(Clone, Debug)]
pub struct Mlp {
    encode: Encode,
    time: [Linear; 2],
    input: Linear,
    blocks: Vec<(Norm, Linear)>,
    norm: Norm,
    output: Linear,
}

impl Mlp {
    /// Adds its parameters for `data` values a sample.
    pub fn new(g: &mut Graph, data: usize, width: usize, depth: usize, encoding: usize) -> Result<Self> {
        let encode = Encode::new(encoding, Layout::Halves { flip: false, shift: 0.0 })?;
        let time = [Linear::new(g, "time.0", encoding, width)?, Linear::new(g, "time.2", width, width)?];
        let input = Linear::new(g, "input", data, width)?;
        let blocks = (0..depth)
            .map(|i| {
                let norm = Norm::new(g, &format!("blocks.{i}.norm"), width)?;
                Ok((norm, Linear::new(g, &format!("blocks.{i}.dense"), width, width)?))
            })
            .collect::<Result<_>>()?;
        let norm = Norm::new(g, "norm", width)?;
        Ok(Self { encode, time, input, blocks, norm, output: Linear::new(g, "output", width, data)? })
    }
}

impl Denoiser for Mlp {
    fn forward(&self, g: &mut Graph, x_t: Var, t: Var) -> Result<Var> {
        let encoding = self.encode.add_to(g, t)?;
        let time = self.time[0].forward(g, encoding, Activation::Silu)?;
        let time = self.time[1].forward(g, time, Activation::None)?;
        let mut h = self.input.forward(g, x_t, Activation::None)?;
        for (norm, dense) in &self.blocks {
            let shifted = g.apply(Add, &[h, time])?[0];
            let normed = norm.forward(g, shifted)?;
            let active = g.apply(Activate(Activation::Silu), &[normed])?[0];
            let change = dense.forward(g, active, Activation::None)?;
            h = g.apply(Add, &[h, change])?[0];
        }
        let normed = self.norm.forward(g, h)?;
        let active = g.apply(Activate(Activation::Silu), &[normed])?[0];
        self.output.forward(g, active, Activation::None)
    }
}
