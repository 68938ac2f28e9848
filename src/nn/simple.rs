//! The textbook chapter's first denoiser.

use super::{Denoiser, Linear, Model};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::Activation;

/// Flatten -> Dense ReLU -> Dense: `fc1` and `fc2`. It does not look at the step, so it learns one average amount of noise.
#[derive(Clone, Debug)]
pub struct Simple {
    model: Model,
    fc1: Linear,
    fc2: Linear,
}

impl Simple {
    /// Adds its parameters for `data` values a sample; the chapter's `width` is 128.
    pub fn new(g: &mut Graph, data: usize, width: usize) -> Result<Self> {
        Self::of(g, data, &Model { width, ..Model::named("simple")? })
    }

    /// Adds the parameters of a model for `data` values a sample.
    pub fn of(g: &mut Graph, data: usize, model: &Model) -> Result<Self> {
        let (fc1, fc2) = (Linear::new(g, "fc1", data, model.width)?, Linear::new(g, "fc2", model.width, data)?);
        Ok(Self { model: model.clone(), fc1, fc2 })
    }

    /// The network on x [B, D].
    pub fn denoise(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let hidden = self.fc1.forward(g, x, Activation::Relu)?;
        let hidden = self.model.disturbed(g, hidden)?;
        self.fc2.forward(g, hidden, Activation::None)
    }
}

impl Denoiser for Simple {
    fn forward(&self, g: &mut Graph, x_t: Var, _: Var) -> Result<Var> {
        self.denoise(g, x_t)
    }
}
