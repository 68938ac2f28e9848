//! A convolutional encoder and decoder around a small latent.

use serde::{Deserialize, Serialize};

use super::{MAX_WIDTH, Options};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::{
    Conv, ConvTranspose, Denoiser, Inputs, Regularisation, StepEncoder, StepEncoderOptions, StepEncoding, check_size,
};
use crate::ops::{Activation, Upsample};

/// The settings of an [`AutoEncoder`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AutoEncoderOptions {
    /// Channels of the first layer; the latent has twice as many.
    pub width: usize,
    /// The step encoding.
    #[serde(flatten)]
    pub step: StepEncoderOptions,
    /// Dropout and noise on hidden activations.
    #[serde(flatten)]
    pub regularisation: Regularisation,
}

setters!(AutoEncoderOptions { width: usize, step: StepEncoderOptions, regularisation: Regularisation });

impl Default for AutoEncoderOptions {
    fn default() -> Self {
        let kind = StepEncoding::Sinusoidal;
        let step = StepEncoderOptions { kind, width: 32, ..StepEncoderOptions::default() };
        Self { width: 32, step, regularisation: Regularisation::default() }
    }
}

impl Options for AutoEncoderOptions {
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        Ok(Box::new(AutoEncoder::new(g, sample, self)?))
    }

    fn step(&self) -> Option<&StepEncoderOptions> {
        Some(&self.step)
    }

    fn step_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        Some(&mut self.step)
    }
}

/// [x_t | enc(t) at every place] -> `enc1`, `enc2` (stride 2, ReLU) -> latent -> `dec1` (ReLU), `dec2` (twice the size
/// each).
///
/// The latent [B, 2 width, sizes / 4] can be read as `latent` after a step; with micro-batches, that of the last one of
/// full size.
#[derive(Clone, Debug)]
pub struct AutoEncoder {
    regularisation: Regularisation,
    encoder: StepEncoder,
    channels: usize,
    places: Vec<usize>,
    down: [Conv; 2],
    up: [ConvTranspose; 2],
}

impl AutoEncoder {
    /// Adds the parameters for samples \[L\], [C, L] or [C, H, W].
    ///
    /// # Errors
    /// When a size of the sample is not a multiple of four, or the width is out of range.
    pub fn new(g: &mut Graph, sample: &[usize], options: &AutoEncoderOptions) -> Result<Self> {
        let AutoEncoderOptions { width, step, regularisation } = *options;
        check_size("width", width, MAX_WIDTH)?;
        let (channels, places) = channels_and_places(sample)?;
        let axes = places.len();
        let encoder = StepEncoder::new(g, &step)?;
        let down = [
            Conv::new(g, "enc1", axes, [channels + step.width, width], 3)?.stride(2),
            Conv::new(g, "enc2", axes, [width, 2 * width], 3)?.stride(2),
        ];
        let up = [
            ConvTranspose::new(g, "dec1", axes, [2 * width, width], [4, 2, 1])?,
            ConvTranspose::new(g, "dec2", axes, [width, channels], [4, 2, 1])?,
        ];
        Ok(Self { regularisation, encoder, channels, places, down, up })
    }

    /// The latent from x_t [B, D] and the encoding [B, E].
    ///
    /// # Errors
    /// When the shape of an input does not fit.
    pub fn latent(&self, g: &mut Graph, x_t: Var, encoding: Var) -> Result<Var> {
        let shape = [&[g.shape(x_t)[0], self.channels], &self.places[..]].concat();
        let (image, code) = (g.reshape(x_t, shape)?, at_every_place(g, encoding, &self.places)?);
        let joined = g.concat_channels(image, code)?;
        let hidden = self.down[0].forward(g, joined, Activation::Relu)?;
        let hidden = self.regularisation.forward(g, hidden)?;
        self.down[1].forward(g, hidden, Activation::Relu)
    }

    /// The prediction [B, D] from the latent.
    ///
    /// # Errors
    /// When the shape of the latent does not fit.
    pub fn decode(&self, g: &mut Graph, latent: Var) -> Result<Var> {
        let hidden = self.up[0].forward(g, latent, Activation::Relu)?;
        let hidden = self.regularisation.forward(g, hidden)?;
        let image = self.up[1].forward(g, hidden, Activation::None)?;
        let (batch, sample) = g.spec(image).rows();
        g.reshape(image, [batch, sample])
    }
}

impl Denoiser for AutoEncoder {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (x_t, t) = inputs.unconditional("autoencoder")?;
        let encoding = self.encoder.forward(g, t)?;
        let latent = self.latent(g, x_t, encoding)?;
        if g.find("latent").is_err() {
            g.name("latent", latent)?;
        }
        self.decode(g, latent)
    }
}

/// Broadcasts v [B, E] to every place: [B, E, places...].
fn at_every_place(g: &mut Graph, v: Var, places: &[usize]) -> Result<Var> {
    let [batch, width] = [0, 1].map(|i| g.shape(v)[i]);
    let points = g.reshape(v, [vec![batch, width], vec![1; places.len()]].concat())?;
    let factor = match *places {
        [l] => [1, l],
        [h, w] => [h, w],
        _ => return Err(Error::shape("autoencoder", format!("places along one or two axes, got {places:?}"))),
    };
    g.apply1(Upsample { factor }, &[points])
}

/// Channels and spatial sizes of a sample: \[L\] has one channel.
///
/// # Errors
/// When a size is not divisible by 4.
fn channels_and_places(sample: &[usize]) -> Result<(usize, Vec<usize>)> {
    let (channels, places) = match sample {
        [l] => (1, vec![*l]),
        [c, places @ ..] if matches!(places.len(), 1 | 2) => (*c, places.to_vec()),
        _ => return Err(Error::setting(format!("autoencoder takes signals or images, not samples of {sample:?}"))),
    };
    if places.iter().any(|&n| n == 0 || n % 4 != 0) {
        return Err(Error::setting(format!(
            "autoencoder halves its input twice, so sizes must be multiples of 4, got {places:?}: crop or resample it, \
             or use the model mlp"
        )));
    }
    Ok((channels, places))
}
