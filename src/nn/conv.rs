//! Layers that look at places: convolutions with PyTorch's names, layouts and initial values.

use super::uniform;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops;
use crate::ops::{Activation, Upsample, Widen};

/// `nn.Conv1d` or `nn.Conv2d`: y = act(w * x + b).
#[derive(Clone, Debug)]
pub struct Conv {
    weight: Var,
    bias: Var,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Conv {
    /// `name.weight` [outputs, inputs, kernel...] over `axes` axes (1 for signals, 2 for images) and `name.bias`
    /// \[outputs\], uniform in +-1/sqrt(inputs kernel^axes). Stride 1, and the padding that keeps the size for an odd kernel.
    pub fn new(g: &mut Graph, name: &str, axes: usize, [inputs, outputs]: [usize; 2], kernel: usize) -> Result<Self> {
        Self::scaled(g, name, axes, [inputs, outputs], kernel, 1.0)
    }

    /// [`Conv::new`] with initial values multiplied by `scale`; 0 makes a residual branch start as nothing.
    pub fn scaled(
        g: &mut Graph,
        name: &str,
        axes: usize,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        scale: f32,
    ) -> Result<Self> {
        let shape = [vec![outputs, inputs], vec![kernel; axes]].concat();
        let fan = shape[1..].iter().product::<usize>();
        let (weight, bias) = weights(g, name, shape, outputs, scale / (fan as f32).sqrt())?;
        Ok(Self { weight, bias, kernel, stride: 1, padding: kernel / 2 })
    }

    /// The layer with another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The layer with another padding.
    pub fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// The layer on x [B, inputs, ...].
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        let Self { stride, padding, .. } = *self;
        g.apply1(ops::Conv { stride, padding, activation }, &[x, self.weight, self.bias])
    }

    /// The layer on x upsampled by `factor` (nearest), as one transposed convolution of x itself.
    ///
    /// # Errors
    /// When the layer has a stride.
    pub fn forward_upsampled(&self, g: &mut Graph, x: Var, factor: usize, activation: Activation) -> Result<Var> {
        if self.stride != 1 || self.padding >= self.kernel {
            let what = format!("stride {}, padding {}, kernel {}", self.stride, self.padding, self.kernel);
            return Err(Error::setting(format!("an upsampled convolution has stride 1 and less padding; got {what}")));
        }
        let weight = g.apply1(Widen { factor }, &[self.weight])?;
        let padding = self.kernel - 1 - self.padding;
        let op = ops::ConvTranspose { stride: factor, padding, output_padding: 0, activation };
        g.apply1(op, &[x, weight, self.bias])
    }
}

/// `nn.ConvTranspose1d` or `nn.ConvTranspose2d`.
#[derive(Clone, Debug)]
pub struct ConvTranspose {
    weight: Var,
    bias: Var,
    stride: usize,
    padding: usize,
}

impl ConvTranspose {
    /// `name.weight` [inputs, outputs, kernel...] over `axes` axes and `name.bias` \[outputs\], uniform in
    /// +-1/sqrt(outputs kernel^axes) as PyTorch has it. Kernel 4, stride 2 and padding 1 double the size.
    pub fn new(
        g: &mut Graph,
        name: &str,
        axes: usize,
        [inputs, outputs]: [usize; 2],
        [kernel, stride, padding]: [usize; 3],
    ) -> Result<Self> {
        let shape = [vec![inputs, outputs], vec![kernel; axes]].concat();
        let fan = shape[1..].iter().product::<usize>();
        let (weight, bias) = weights(g, name, shape, outputs, 1.0 / (fan as f32).sqrt())?;
        Ok(Self { weight, bias, stride, padding })
    }

    /// The layer on x [B, inputs, ...].
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        let Self { stride, padding, .. } = *self;
        let op = ops::ConvTranspose { stride, padding, output_padding: 0, activation };
        g.apply1(op, &[x, self.weight, self.bias])
    }
}

fn weights(g: &mut Graph, name: &str, shape: Vec<usize>, outputs: usize, limit: f32) -> Result<(Var, Var)> {
    let weight = uniform(g, &format!("{name}.weight"), shape, limit)?;
    Ok((weight, uniform(g, &format!("{name}.bias"), [outputs], limit)?))
}

/// v [B, E] at every place: [B, E, places...].
pub(crate) fn spread(g: &mut Graph, v: Var, places: &[usize]) -> Result<Var> {
    let [batch, width] = [0, 1].map(|i| g.shape(v)[i]);
    let points = g.reshape(v, [vec![batch, width], vec![1; places.len()]].concat())?;
    let factor = match *places {
        [l] => [1, l],
        [h, w] => [h, w],
        _ => return Err(Error::shape("spread", format!("places along one or two axes, got {places:?}"))),
    };
    g.apply1(Upsample { factor }, &[points])
}

/// Channels and places of a sample: [L] and [H, W] have one channel.
///
/// # Errors
/// When a size is not a multiple of `multiple`, which `network` needs.
pub(crate) fn channels_and_places(network: &str, sample: &[usize], multiple: usize) -> Result<(usize, Vec<usize>)> {
    let (channels, places) = match sample {
        [l] => (1, vec![*l]),
        [c, places @ ..] if matches!(places.len(), 1 | 2) => (*c, places.to_vec()),
        _ => return Err(Error::setting(format!("{network} takes signals or images, not samples of {sample:?}"))),
    };
    if places.iter().any(|&n| n == 0 || n % multiple != 0) {
        let text = format!("{network} halves its input, so sizes are multiples of {multiple}; the data has {places:?}");
        return Err(Error::setting(format!("{text}: crop or resample it, or use --model mlp")));
    }
    Ok((channels, places))
}
