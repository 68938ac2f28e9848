//! A convolutional encoder and decoder around a small latent.

use super::conv::{channels_and_places, spread};
use super::{Conv, ConvTranspose, Denoiser, Model, StepEncoder};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::Activation;

/// [x_t | enc(t) at every place] -> `enc1`, `enc2` (stride 2, ReLU) -> latent -> `dec1` (ReLU), `dec2` (twice the size each).
///
/// The latent [B, 2 width, sizes / 4] can be read as `latent` after a step; of a batch in parts, that of the first part.
#[derive(Clone, Debug)]
pub struct AutoEncoder {
    model: Model,
    encoder: StepEncoder,
    channels: usize,
    places: Vec<usize>,
    down: [Conv; 2],
    up: [ConvTranspose; 2],
}

impl AutoEncoder {
    /// Adds its parameters for samples \[L\], [C, L] or [C, H, W]: `width` channels, then twice as many.
    ///
    /// # Errors
    /// When a size of the sample is not a multiple of four.
    pub fn new(g: &mut Graph, sample: &[usize], width: usize, encoding: usize) -> Result<Self> {
        Self::of(g, sample, &Model { width, encoding, ..Model::named("autoencoder")? })
    }

    /// Adds the parameters of a model, as [`AutoEncoder::new`] does.
    ///
    /// # Errors
    /// When a size of the sample is not a multiple of four.
    pub fn of(g: &mut Graph, sample: &[usize], model: &Model) -> Result<Self> {
        let Model { width, encoding, .. } = *model;
        let (channels, places) = channels_and_places("autoencoder", sample, 4)?;
        let axes = places.len();
        let encoder = StepEncoder::new(g, model)?;
        let down = [
            Conv::new(g, "enc1", axes, [channels + encoding, width], 3)?.stride(2),
            Conv::new(g, "enc2", axes, [width, 2 * width], 3)?.stride(2),
        ];
        let up = [
            ConvTranspose::new(g, "dec1", axes, [2 * width, width], [4, 2, 1])?,
            ConvTranspose::new(g, "dec2", axes, [width, channels], [4, 2, 1])?,
        ];
        Ok(Self { model: model.clone(), encoder, channels, places, down, up })
    }

    /// The latent from x_t [B, D] and the encoding [B, E].
    pub fn latent(&self, g: &mut Graph, x_t: Var, encoding: Var) -> Result<Var> {
        let shape = [&[g.shape(x_t)[0], self.channels], &self.places[..]].concat();
        let (image, code) = (g.reshape(x_t, shape)?, spread(g, encoding, &self.places)?);
        let joined = g.concat_channels(image, code)?;
        let hidden = self.down[0].forward(g, joined, Activation::Relu)?;
        let hidden = self.model.disturbed(g, hidden)?;
        self.down[1].forward(g, hidden, Activation::Relu)
    }

    /// The prediction [B, D] from the latent.
    pub fn decode(&self, g: &mut Graph, latent: Var) -> Result<Var> {
        let hidden = self.up[0].forward(g, latent, Activation::Relu)?;
        let hidden = self.model.disturbed(g, hidden)?;
        let image = self.up[1].forward(g, hidden, Activation::None)?;
        let (batch, sample) = g.spec(image).rows();
        g.reshape(image, [batch, sample])
    }
}

impl Denoiser for AutoEncoder {
    fn forward(&self, g: &mut Graph, x_t: Var, t: Var) -> Result<Var> {
        let encoding = self.encoder.forward(g, t)?;
        let latent = self.latent(g, x_t, encoding)?;
        if g.find("latent").is_err() {
            g.name("latent", latent)?;
        }
        self.decode(g, latent)
    }
}
