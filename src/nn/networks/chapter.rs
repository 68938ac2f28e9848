//! The textbook chapter's full model.

use serde::{Deserialize, Serialize};

use super::{MAX_WIDTH, Options, Recipe};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Denoiser, Inputs, Linear, Regularisation, StepEncoder, StepEncoderOptions, StepEncoding, check_size};
use crate::ops::{Activation, Concat};

/// The settings of a [`Chapter`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ChapterOptions {
    /// Neurons of the hidden layer.
    pub width: usize,
    /// The step encoding.
    #[serde(flatten)]
    pub step: StepEncoderOptions,
    /// Dropout and noise on hidden activations.
    #[serde(flatten)]
    pub regularisation: Regularisation,
}

setters!(ChapterOptions { width: usize, step: StepEncoderOptions, regularisation: Regularisation });

impl Default for ChapterOptions {
    fn default() -> Self {
        let step = StepEncoderOptions { kind: StepEncoding::Sinusoidal, ..StepEncoderOptions::default() };
        Self { width: 128, step, regularisation: Regularisation::default() }
    }
}

impl Options for ChapterOptions {
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        Ok(Box::new(Chapter::new(g, sample.iter().product(), self)?))
    }

    fn recipe(&self) -> Recipe {
        Recipe::of_the_chapter()
    }

    fn step(&self) -> Option<&StepEncoderOptions> {
        Some(&self.step)
    }

    fn step_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        Some(&mut self.step)
    }
}

/// [x_t | enc(t)] -> Dense ReLU -> Dense: `fc1` and `fc2`, the encoding interleaved unless the options say otherwise.
///
/// With 100 data values, width 128 and encoding 128 it has 42 212 parameters.
#[derive(Clone, Debug)]
pub struct Chapter {
    regularisation: Regularisation,
    encoder: StepEncoder,
    fc1: Linear,
    fc2: Linear,
}

impl Chapter {
    /// Adds the parameters for `data` values per sample.
    ///
    /// # Errors
    /// When a size is out of range.
    pub fn new(g: &mut Graph, data: usize, options: &ChapterOptions) -> Result<Self> {
        let ChapterOptions { width, step, regularisation } = *options;
        check_size("width", width, MAX_WIDTH)?;
        let encoder = StepEncoder::new(g, &step)?;
        let (fc1, fc2) = (Linear::new(g, "fc1", data + step.width, width)?, Linear::new(g, "fc2", width, data)?);
        Ok(Self { regularisation, encoder, fc1, fc2 })
    }
}

impl Denoiser for Chapter {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (x_t, t) = inputs.unconditional("chapter")?;
        let encoding = self.encoder.forward(g, t)?;
        let joined = g.apply1(Concat, &[x_t, encoding])?;
        let hidden = self.fc1.forward(g, joined, Activation::Relu)?;
        let hidden = self.regularisation.forward(g, hidden)?;
        self.fc2.forward(g, hidden, Activation::None)
    }
}
