//! Layers with PyTorch's names, layouts and initialisation: each holds its parameters and adds its op to a graph.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::numeric::random::{Distribution, Draw};
use crate::ops::{self, Activation, Dense, Widen};

/// `nn.Linear`: y = act(x W^T + b), by the op [`Dense`].
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Var,
    bias: Var,
}

impl Linear {
    /// `name.weight` [outputs, inputs] and `name.bias` \[outputs\], uniform in +-1/sqrt(inputs).
    ///
    /// # Errors
    /// When a parameter of this name exists already.
    pub fn new(g: &mut Graph, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        let limit = 1.0 / (inputs as f32).sqrt();
        let weight = uniform(g, &format!("{name}.weight"), [outputs, inputs], limit)?;
        Ok(Self { weight, bias: uniform(g, &format!("{name}.bias"), [outputs], limit)? })
    }

    /// Applies the layer to x [B, inputs].
    ///
    /// # Errors
    /// When the shape of x does not fit.
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        g.apply1(Dense { activation }, &[x, self.weight, self.bias])
    }
}

/// `nn.LayerNorm`: normalisation over the last dimension, by the op [`ops::LayerNorm`].
#[derive(Clone, Debug)]
pub struct LayerNorm {
    gamma: Var,
    beta: Var,
}

impl LayerNorm {
    /// `name.weight` of ones and `name.bias` of zeros, both \[width\].
    ///
    /// # Errors
    /// When a parameter of this name exists already.
    pub fn new(g: &mut Graph, name: &str, width: usize) -> Result<Self> {
        let gamma = g.parameter(&format!("{name}.weight"), [width], vec![1.0; width])?;
        Ok(Self { gamma, beta: g.parameter(&format!("{name}.bias"), [width], vec![0.0; width])? })
    }

    /// Applies the normalisation over the last dimension of x [..., width], then the activation.
    ///
    /// # Errors
    /// When the shape of x does not fit.
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        g.apply1(ops::LayerNorm { activation, ..ops::LayerNorm::default() }, &[x, self.gamma, self.beta])
    }
}

/// `nn.GroupNorm`: normalisation over groups of channels, by the op [`ops::GroupNorm`].
#[derive(Clone, Debug)]
pub struct GroupNorm {
    gamma: Var,
    beta: Var,
    groups: usize,
}

impl GroupNorm {
    /// `name.weight` of ones and `name.bias` of zeros, both \[channels\].
    ///
    /// # Errors
    /// When a parameter of this name exists already.
    pub fn new(g: &mut Graph, name: &str, channels: usize, groups: usize) -> Result<Self> {
        let gamma = g.parameter(&format!("{name}.weight"), [channels], vec![1.0; channels])?;
        Ok(Self { gamma, beta: g.parameter(&format!("{name}.bias"), [channels], vec![0.0; channels])?, groups })
    }

    /// Applies the normalisation to x [B, channels, ...], then the activation.
    ///
    /// # Errors
    /// When the shape of x does not fit.
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        let op = ops::GroupNorm { activation, ..ops::GroupNorm::new(self.groups) };
        g.apply1(op, &[x, self.gamma, self.beta])
    }
}

/// `nn.Conv1d` or `nn.Conv2d`: y = act(w * x + b), by the op [`ops::Conv`].
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
    /// \[outputs\], uniform in +-1/sqrt(inputs kernel^axes). Stride 1, with the padding that preserves the size for odd
    /// kernels.
    ///
    /// # Errors
    /// When a parameter of this name exists already.
    pub fn new(g: &mut Graph, name: &str, axes: usize, [inputs, outputs]: [usize; 2], kernel: usize) -> Result<Self> {
        let shape = [vec![outputs, inputs], vec![kernel; axes]].concat();
        let fan = shape[1..].iter().product::<usize>();
        let (weight, bias) = weights(g, name, shape, outputs, 1.0 / (fan as f32).sqrt())?;
        Ok(Self { weight, bias, kernel, stride: 1, padding: kernel / 2 })
    }

    /// Sets the stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Sets the padding.
    pub fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// Applies the layer to x [B, inputs, ...].
    ///
    /// # Errors
    /// When the shape of x does not fit.
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        let Self { stride, padding, .. } = *self;
        g.apply1(ops::Conv { stride, padding, activation }, &[x, self.weight, self.bias])
    }

    /// Applies the layer to x upsampled by `factor` (nearest), as a single transposed convolution of x.
    ///
    /// # Errors
    /// When the stride is not 1, or the padding is not smaller than the kernel.
    pub fn forward_upsampled(&self, g: &mut Graph, x: Var, factor: usize, activation: Activation) -> Result<Var> {
        if self.stride != 1 || self.padding >= self.kernel {
            let what = format!("stride {}, padding {}, kernel {}", self.stride, self.padding, self.kernel);
            return Err(Error::setting(format!(
                "an upsampled convolution needs stride 1 and padding < kernel; got {what}"
            )));
        }
        let weight = g.apply1(Widen { factor }, &[self.weight])?;
        let padding = self.kernel - 1 - self.padding;
        let op = ops::ConvTranspose { stride: factor, padding, output_padding: 0, activation };
        g.apply1(op, &[x, weight, self.bias])
    }
}

/// `nn.ConvTranspose1d` or `nn.ConvTranspose2d`, by the op [`ops::ConvTranspose`].
#[derive(Clone, Debug)]
pub struct ConvTranspose {
    weight: Var,
    bias: Var,
    stride: usize,
    padding: usize,
}

impl ConvTranspose {
    /// `name.weight` [inputs, outputs, kernel...] over `axes` axes and `name.bias` \[outputs\], uniform in
    /// +-1/sqrt(outputs kernel^axes) as in PyTorch. Kernel 4, stride 2 and padding 1 double the size.
    ///
    /// # Errors
    /// When a parameter of this name exists already.
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

    /// Applies the layer to x [B, inputs, ...].
    ///
    /// # Errors
    /// When the shape of x does not fit.
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

/// Regularisation of hidden activations in training: dropout, then noise. Both are disabled at inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Regularisation {
    /// The probability that an activation is dropped.
    pub dropout: f32,
    /// Standard deviation of the noise added to the activations.
    pub activation_noise: f32,
}

setters!(Regularisation { dropout: f32, activation_noise: f32 });

impl Regularisation {
    /// The activations with dropout and noise applied.
    ///
    /// # Errors
    /// When the probability or the deviation is out of range.
    pub fn forward(self, g: &mut Graph, active: Var) -> Result<Var> {
        let active = g.dropout(active, self.dropout)?;
        g.activation_noise(active, self.activation_noise)
    }
}

/// Adds a parameter initialised uniformly in +-limit from the graph's seed.
fn uniform(g: &mut Graph, name: &str, shape: impl Into<Vec<usize>>, limit: f32) -> Result<Var> {
    let place = [g.parameters().len() as u32, 2];
    let draw = Draw { distribution: Distribution::Uniform { limit }, seed: g.seed(), place };
    g.drawn_parameter(name, shape, draw)
}
