//! The textbook chapter's full model.

use super::{Denoiser, Linear, Model, StepEncoder, StepEncoding};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{Activation, Concat, Encode};

/// [x_t | enc(t)] -> Dense ReLU -> Dense: `fc1` and `fc2`, the encoding interleaved unless the model says otherwise.
///
/// With 100 data values, width 128 and encoding 128 it has 42 212 parameters.
#[derive(Clone, Debug)]
pub struct Chapter {
    model: Model,
    encoder: StepEncoder,
    fc1: Linear,
    fc2: Linear,
}

impl Chapter {
    /// Adds its parameters for `data` values a sample.
    pub fn new(g: &mut Graph, data: usize, width: usize, encoding: usize) -> Result<Self> {
        let step_encoding = StepEncoding::Sinusoidal;
        Self::of(g, data, &Model { width, encoding, step_encoding, ..Model::named("chapter")? })
    }

    /// Adds the parameters of a model for `data` values a sample.
    pub fn of(g: &mut Graph, data: usize, model: &Model) -> Result<Self> {
        Ok(Self {
            model: model.clone(),
            encoder: StepEncoder::new(g, model)?,
            fc1: Linear::new(g, "fc1", data + model.encoding, model.width)?,
            fc2: Linear::new(g, "fc2", model.width, data)?,
        })
    }
}

impl Denoiser for Chapter {
    fn forward(&self, g: &mut Graph, x_t: Var, t: Var) -> Result<Var> {
        let encoding = self.encoder.forward(g, t)?;
        let joined = g.apply1(Concat, &[x_t, encoding])?;
        self.forward_joined(g, joined)
    }

    fn joined_encoding(&self) -> Option<Encode> {
        self.encoder.plain()
    }

    fn forward_joined(&self, g: &mut Graph, input: Var) -> Result<Var> {
        let hidden = self.fc1.forward(g, input, Activation::Relu)?;
        let hidden = self.model.disturbed(g, hidden)?;
        self.fc2.forward(g, hidden, Activation::None)
    }
}
