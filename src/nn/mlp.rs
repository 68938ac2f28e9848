//! The default network for signals, points and small images: a residual MLP.

use super::{Denoiser, Linear, Model, Norm, TimeMlp};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{Activation, Add};

/// h = input(x_t); per block h += dense(act(norm(h + time))); output(act(norm(h))).
///
/// `time` is a two-layer network on the step encoding. The activation, the sum over blocks, the normalisation, and
/// dropout and noise after each block's activation are the model's choice.
#[derive(Clone, Debug)]
pub struct Mlp {
    model: Model,
    time: TimeMlp,
    input: Linear,
    blocks: Vec<(Option<Norm>, Linear)>,
    norm: Option<Norm>,
    output: Linear,
}

impl Mlp {
    /// Adds its parameters for `data` values a sample, with the other settings of [`Model::named`].
    pub fn new(g: &mut Graph, data: usize, width: usize, depth: usize, encoding: usize) -> Result<Self> {
        Self::of(g, data, &Model { width, depth, encoding, ..Model::named("mlp")? })
    }

    /// Adds the parameters of a model for `data` values a sample.
    pub fn of(g: &mut Graph, data: usize, model: &Model) -> Result<Self> {
        let width = model.width;
        let time = TimeMlp::new(g, model, width)?;
        let input = Linear::new(g, "input", data, width)?;
        let norm = |g: &mut Graph, name: &str| model.layer_norm.then(|| Norm::new(g, name, width)).transpose();
        let blocks = (0..model.depth)
            .map(|i| {
                let norm = norm(g, &format!("blocks.{i}.norm"))?;
                Ok((norm, Linear::new(g, &format!("blocks.{i}.dense"), width, width)?))
            })
            .collect::<Result<_>>()?;
        let norm = norm(g, "norm")?;
        Ok(Self { model: model.clone(), time, input, blocks, norm, output: Linear::new(g, "output", width, data)? })
    }

    /// act(norm(h)), with what training adds.
    fn active(&self, g: &mut Graph, norm: &Option<Norm>, h: Var) -> Result<Var> {
        let active = match norm {
            Some(norm) => norm.forward(g, h, self.model.activation)?,
            None => g.activate(h, self.model.activation)?,
        };
        self.model.disturbed(g, active)
    }
}

impl Denoiser for Mlp {
    fn forward(&self, g: &mut Graph, x_t: Var, t: Var) -> Result<Var> {
        let time = self.time.forward(g, t, Activation::None)?;
        let mut h = self.input.forward(g, x_t, Activation::None)?;
        for (norm, dense) in &self.blocks {
            let shifted = g.apply1(Add, &[h, time])?;
            let active = self.active(g, norm, shifted)?;
            let change = dense.forward(g, active, Activation::None)?;
            h = if self.model.residual { g.apply1(Add, &[h, change])? } else { change };
        }
        let active = self.active(g, &self.norm, h)?;
        self.output.forward(g, active, Activation::None)
    }
}
