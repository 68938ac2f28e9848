//! A fixed feature network that measures the similarity of two images: the perceptual loss.

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops::{Activation, Conv, Factors, Measure, PointLoss};

/// A chain of convolutions with ReLU, with fixed weights.
///
/// *Source*: Johnson et al. 2016, Perceptual losses for real-time style transfer and super-resolution, section 3.2.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    layers: Vec<FeatureLayer>,
    /// Constant input channels of the first layer, in addition to the image.
    code: Vec<f32>,
}

/// One layer of a [`Features`] network, in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureLayer {
    /// Its name in messages, such as `conv1`.
    pub name: String,
    /// The shape of the weight, [O, C, kh, kw].
    pub shape: Vec<usize>,
    /// The weight.
    pub weight: Vec<f32>,
    /// The bias \[O\].
    pub bias: Vec<f32>,
    /// The stride.
    pub stride: usize,
    /// The padding.
    pub padding: usize,
    /// The factor of its features in the loss.
    pub factor: f64,
}

impl Features {
    /// Creates a network from layers.
    ///
    /// # Errors
    /// [`Error::Input`] with the layer and both shapes when consecutive layers do not fit each other.
    pub fn new(layers: Vec<FeatureLayer>) -> Result<Self> {
        let mut channels = None;
        for layer in &layers {
            let (name, shape) = (&layer.name, &layer.shape);
            let &[o, c, kh, kw] = &shape[..] else {
                return Err(Error::input(format!("{name}.weight has shape {shape:?}; images need [O, C, kh, kw]")));
            };
            if layer.weight.len() != o * c * kh * kw || layer.bias.len() != o {
                let (w, b) = (layer.weight.len(), layer.bias.len());
                return Err(Error::input(format!("{name}: {w} weights of shape {shape:?} and {b} biases do not fit")));
            }
            if let Some(before) = channels.filter(|before| *before != c) {
                return Err(Error::input(format!(
                    "{name}.weight expects {c} input channels, but the previous layer has {before} output channels"
                )));
            }
            channels = Some(o);
        }
        if layers.iter().all(|layer| layer.factor == 0.0) {
            return Err(Error::input("a feature network needs a layer whose factor is not 0"));
        }
        Ok(Self { layers, code: Vec::new() })
    }

    /// Adds constant input channels to the first layer, one per value.
    pub fn with_code(self, code: Vec<f32>) -> Self {
        Self { code, ..self }
    }

    /// Adds the loss: for each layer its factor times the mean squared difference of the features of prediction and
    /// goal, both [B, C, H, W], as scalars with their factors. `weight` is the weight of this loss in a sum of losses.
    /// The gradient flows to the prediction only.
    ///
    /// # Errors
    /// When the number of channels differs from that of the first layer, or the images are smaller than a window.
    pub fn loss(&self, g: &mut Graph, prediction: Var, goal: Var, weight: f64) -> Result<Vec<(Var, f64)>> {
        let &[b, channels, h, w] = g.shape(prediction) else {
            let text = format!("compares images [B, C, H, W], got {:?}", g.shape(prediction));
            return Err(Error::shape("perceptual", text));
        };
        let (first, width) = (&self.layers[0], self.code.len());
        if first.shape[1] != channels + width {
            return Err(Error::input(format!(
                "perceptual: {}.weight takes images of {} channels, but these have {channels}",
                first.name,
                first.shape[1].saturating_sub(width)
            )));
        }
        let [mut x, mut y] = [prediction, goal];
        if width > 0 {
            let code = (0..b * width * h * w).map(|i| self.code[i / (h * w) % width]).collect();
            let code = g.constant([b, width, h, w], code)?;
            (x, y) = (g.concat_channels(x, code)?, g.concat_channels(y, code)?);
        }
        let mut parts = Vec::new();
        for layer in &self.layers {
            let w = g.constant(layer.shape.clone(), layer.weight.clone())?;
            let b = g.constant([layer.bias.len()], layer.bias.clone())?;
            let op = Conv { stride: layer.stride, padding: layer.padding, activation: Activation::Relu };
            x = g.apply1(op, &[x, w, b])?;
            y = g.apply1(op, &[y, w, b])?;
            if layer.factor > 0.0 {
                let squared = PointLoss::new(Measure::Squared).weight(weight * layer.factor);
                parts.push((g.point_loss(squared, x, y, Factors::default())?, layer.factor));
            }
        }
        Ok(parts)
    }
}
