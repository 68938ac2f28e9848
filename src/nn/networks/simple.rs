//! The textbook chapter's first denoiser.

use serde::{Deserialize, Serialize};

use super::{MAX_WIDTH, Options, Recipe};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Denoiser, Inputs, Linear, Regularisation, check_size};
use crate::ops::Activation;

/// The settings of a [`Simple`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SimpleOptions {
    /// Neurons of the hidden layer.
    pub width: usize,
    /// Dropout and noise on hidden activations.
    #[serde(flatten)]
    pub regularisation: Regularisation,
}

setters!(SimpleOptions { width: usize, regularisation: Regularisation });

impl Default for SimpleOptions {
    fn default() -> Self {
        Self { width: 128, regularisation: Regularisation::default() }
    }
}

impl Options for SimpleOptions {
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        Ok(Box::new(Simple::new(g, sample.iter().product(), self)?))
    }

    fn recipe(&self) -> Recipe {
        Recipe::of_the_chapter()
    }
}

/// Flatten -> Dense ReLU -> Dense: `fc1` and `fc2`. It ignores the step, so it learns one average noise level.
#[derive(Clone, Debug)]
pub struct Simple {
    regularisation: Regularisation,
    fc1: Linear,
    fc2: Linear,
}

impl Simple {
    /// Adds the parameters for `data` values per sample.
    ///
    /// # Errors
    /// When a size is out of range.
    pub fn new(g: &mut Graph, data: usize, options: &SimpleOptions) -> Result<Self> {
        let SimpleOptions { width, regularisation } = *options;
        check_size("width", width, MAX_WIDTH)?;
        let (fc1, fc2) = (Linear::new(g, "fc1", data, width)?, Linear::new(g, "fc2", width, data)?);
        Ok(Self { regularisation, fc1, fc2 })
    }

    /// Applies the network to x [B, D].
    ///
    /// # Errors
    /// When the width of x differs from the network's.
    pub fn denoise(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let hidden = self.fc1.forward(g, x, Activation::Relu)?;
        let hidden = self.regularisation.forward(g, hidden)?;
        self.fc2.forward(g, hidden, Activation::None)
    }
}

impl Denoiser for Simple {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (x_t, _) = inputs.unconditional("simple")?;
        self.denoise(g, x_t)
    }
}
