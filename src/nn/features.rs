//! A fixed network whose features say how alike two images are: the perceptual loss.

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops::{Activation, Conv, Factors, Measure, PointLoss};

/// Convolutions with ReLU one after the other, none of which is trained.
///
/// *Source*: Johnson et al. 2016, Perceptual losses for real-time style transfer and super-resolution, section 3.2.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    layers: Vec<FeatureLayer>,
    /// What the first layer takes at every place beside the image.
    code: Vec<f32>,
}

/// One layer of a [`Features`] network, in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureLayer {
    /// Its name in messages, such as `conv1`.
    pub name: String,
    /// The weight's shape [O, C, kh, kw].
    pub shape: Vec<usize>,
    /// The weight.
    pub weight: Vec<f32>,
    /// The bias \[O\].
    pub bias: Vec<f32>,
    /// The stride.
    pub stride: usize,
    /// The padding.
    pub padding: usize,
    /// Its factor in the loss.
    pub factor: f64,
}

impl Features {
    /// A network of layers that fit each other.
    ///
    /// # Errors
    /// [`Error::Input`] with the layer and both shapes when one does not.
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
                    "{name}.weight takes {c} channels, but the layer before it makes {before}"
                )));
            }
            channels = Some(o);
        }
        if layers.iter().all(|layer| layer.factor == 0.0) {
            return Err(Error::input("a feature network needs a layer whose factor is not 0"));
        }
        Ok(Self { layers, code: Vec::new() })
    }

    /// With values that the first layer takes at every place beside the image, a channel each.
    pub fn with_code(self, code: Vec<f32>) -> Self {
        Self { code, ..self }
    }

    /// Adds the loss: for each layer its factor and the mean squared difference of the features of prediction and goal,
    /// both [B, C, H, W], as scalars with their factors. `weight` is that among other losses. The gradient flows to the
    /// prediction only.
    ///
    /// # Errors
    /// When the first layer takes another number of channels than the images have, or they are smaller than a window.
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
                let squared = PointLoss::new(Measure::Squared).weighted(weight * layer.factor);
                parts.push((g.point_loss(squared, x, y, Factors::default())?, layer.factor));
            }
        }
        Ok(parts)
    }
}
