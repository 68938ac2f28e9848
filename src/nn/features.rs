//! A fixed network whose features say how alike two images are: the perceptual loss.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops::{Activation, Conv, Factors, Measure, PointLoss};

/// Convolutions with ReLU one after the other, none of which is trained.
///
/// *Source*: Johnson et al. 2016, Perceptual losses for real-time style transfer and super-resolution, section 3.2.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    layers: Vec<FeatureLayer>,
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

/// The names a file may give its layers, `conv1`, `conv2`, ... or `enc1`, ..., and their stride: the latter are the encoder
/// of the model `autoencoder`.
const STEMS: [(&str, usize); 2] = [("conv", 1), ("enc", 2)];

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
        if layers.is_empty() {
            return Err(Error::input("a feature network needs a layer: conv1.weight and conv1.bias"));
        }
        Ok(Self { layers })
    }

    /// Reads `conv1.weight` [O, C, kh, kw], `conv1.bias` \[O\], `conv2.weight`, ... of a safetensors file in float32. The
    /// file's metadata may hold `conv2.stride` (else 1), `conv2.padding` (else half the kernel) and `conv2.factor` (else 1)
    /// in decimal. A checkpoint of the model `autoencoder` serves as well: its encoder, averaged if it has an average.
    ///
    /// # Errors
    /// When the file cannot be read, or names or shapes do not fit, with those it has.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, e))?;
        let fail = |what: String| Error::input(format!("{}: {what}", path.display()));
        let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(format!("no safetensors file: {e}")))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let settings = header.metadata().clone().unwrap_or_default();
        let prefix = if file.names().iter().any(|name| name.starts_with("ema.")) { "ema." } else { "" };
        let found = |stem: &str, i: usize| file.tensor(&format!("{prefix}{stem}{i}.weight")).is_ok();
        let Some((stem, stride)) = STEMS.into_iter().find(|(stem, _)| found(stem, 1)) else {
            let mut names = file.names();
            names.sort_unstable();
            names.truncate(8);
            return Err(fail(format!("no conv1.weight (nor enc1.weight of an autoencoder); it has {names:?}")));
        };
        let read = |i: usize| -> Result<FeatureLayer> {
            let name = format!("{stem}{i}");
            let (shape, weight) = floats(&file, &format!("{prefix}{name}.weight")).map_err(&fail)?;
            let (_, bias) = floats(&file, &format!("{prefix}{name}.bias")).map_err(&fail)?;
            let number = |key: &str, default: f64| match settings.get(&format!("{name}.{key}")) {
                None => Ok(default),
                Some(text) => match text.parse::<f64>() {
                    Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
                    _ => Err(fail(format!("its metadata say {name}.{key} = {text:?}, which is no number of a layer"))),
                },
            };
            let half = shape.last().map_or(0, |k| k / 2) as f64;
            let (stride, padding) = (number("stride", stride as f64)? as usize, number("padding", half)? as usize);
            Ok(FeatureLayer { factor: number("factor", 1.0)?, name, shape, weight, bias, stride, padding })
        };
        let layers = (1..).take_while(|&i| found(stem, i)).map(read).collect::<Result<_>>()?;
        Self::new(layers).map_err(|e| fail(e.to_string()))
    }

    /// Adds the loss: for each layer its factor and the mean squared difference of the features of prediction and goal,
    /// both [B, C, H, W], as scalars with their factors. `weight` is that among other losses. The gradient flows to the
    /// prediction only. A first layer that takes more channels than the images have gets the encoding of step 0 in them, as
    /// in the model `autoencoder`.
    ///
    /// # Errors
    /// When the first layer takes fewer channels than the images have, or the images are smaller than a window.
    pub fn loss(&self, g: &mut Graph, prediction: Var, goal: Var, weight: f64) -> Result<Vec<(Var, f64)>> {
        let first = &self.layers[0];
        let channels = g.shape(prediction).get(1).copied().unwrap_or(0);
        let extra = first.shape[1].checked_sub(channels).filter(|extra| *extra == 0 || first.name.starts_with("enc"));
        let Some(extra) = extra else {
            return Err(Error::input(format!(
                "perceptual: {}.weight takes {} channels, but the images have {channels}",
                first.name, first.shape[1]
            )));
        };
        let [mut x, mut y] = [prediction, goal];
        if extra > 0 {
            let code = step_zero(g, x, extra)?;
            (x, y) = (g.concat_channels(x, code)?, g.concat_channels(y, code)?);
        }
        let mut parts = Vec::new();
        for layer in &self.layers {
            let w = g.constant(layer.shape.clone(), layer.weight.clone())?;
            let b = g.constant([layer.bias.len()], layer.bias.clone())?;
            let op = Conv { stride: layer.stride, padding: layer.padding, activation: Activation::Relu };
            x = g.apply(op, &[x, w, b])?[0];
            y = g.apply(op, &[y, w, b])?[0];
            if layer.factor > 0.0 {
                let squared = PointLoss::new(Measure::Squared).weighted(weight * layer.factor);
                parts.push((g.point_loss(squared, x, y, Factors::default())?, layer.factor));
            }
        }
        Ok(parts)
    }
}

/// The interleaved encoding of step 0 at every place of images [B, C, H, W]: its sines are 0, its cosines 1.
fn step_zero(g: &mut Graph, images: Var, width: usize) -> Result<Var> {
    let &[b, _, h, w] = g.shape(images) else {
        return Err(Error::shape("perceptual", format!("compares images [B, C, H, W], got {:?}", g.shape(images))));
    };
    g.constant([b, width, h, w], (0..b * width * h * w).map(|i| (i / (h * w) % width % 2) as f32).collect())
}

/// Shape and values of a tensor of float32.
fn floats(file: &SafeTensors, name: &str) -> std::result::Result<(Vec<usize>, Vec<f32>), String> {
    let tensor = file.tensor(name).map_err(|_| format!("there is no {name}"))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("{name} is of type {:?}; save it as float32", tensor.dtype()));
    }
    let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    Ok((tensor.shape().to_vec(), values.collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::TensorView;

    use super::*;
    use crate::ops::case::check_losses;

    /// Writes tensors of small numbers.
    fn file(tensors: &[(&str, &[usize])], settings: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let bytes = |shape: &[usize]| -> Vec<u8> {
            let n: usize = shape.iter().product();
            (0..n).flat_map(|i| ((i * 37 % 19) as f32 / 19.0 - 0.45).to_le_bytes()).collect()
        };
        let data: Vec<Vec<u8>> = tensors.iter().map(|(_, shape)| bytes(shape)).collect();
        let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
            (name.to_string(), TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap())
        });
        let settings: HashMap<_, _> = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), safetensors::serialize(views, Some(settings)).unwrap()).unwrap();
        file
    }

    const TWO: [(&str, &[usize]); 4] =
        [("conv1.weight", &[4, 2, 3, 3]), ("conv1.bias", &[4]), ("conv2.weight", &[3, 4, 3, 3]), ("conv2.bias", &[3])];

    #[test]
    fn the_loss_matches_central_differences() {
        let two = Features::load(file(&TWO, &[("conv2.stride", "2"), ("conv2.factor", "0.5")]).path()).unwrap();
        assert_eq!((two.layers[1].stride, two.layers[1].padding, two.layers[1].factor), (2, 1, 0.5));
        let encoder = [("ema.enc1.weight", &[4, 2 + 6, 3, 3][..]), ("ema.enc1.bias", &[4])];
        let encoder = Features::load(file(&encoder, &[]).path()).unwrap();
        assert_eq!(encoder.layers[0].stride, 2);
        for features in [two, encoder] {
            let build = |g: &mut Graph, x, y| {
                let parts = features.loss(g, x, y, 0.3)?;
                Ok(parts.into_iter().map(|(loss, factor)| (loss, 0.3 * factor)).collect())
            };
            check_losses(&[2, 2, 6, 5], build).unwrap();
        }
    }

    #[test]
    fn files_that_do_not_fit_say_why() {
        let message = |tensors: &[(&str, &[usize])], settings: &[(&str, &str)]| {
            Features::load(file(tensors, settings).path()).unwrap_err().to_string()
        };
        assert!(message(&[("fc.weight", &[2, 2])], &[]).contains("it has [\"fc.weight\"]"));
        assert!(message(&TWO[..1], &[]).contains("there is no conv1.bias"));
        assert!(message(&[("conv1.weight", &[4, 2]), ("conv1.bias", &[4])], &[]).contains("[4, 2]"));
        let chain = [TWO[0], TWO[1], ("conv2.weight", &[3, 5, 3, 3]), TWO[3]];
        assert!(message(&chain, &[]).contains("takes 5 channels, but the layer before it makes 4"));
        assert!(message(&TWO, &[("conv1.stride", "two")]).contains("conv1.stride = \"two\""));
        let not_tensors = tempfile::NamedTempFile::new().unwrap();
        assert!(Features::load(not_tensors.path()).unwrap_err().to_string().contains("no safetensors file"));
        let features = Features::load(file(&TWO, &[]).path()).unwrap();
        let mut g = Graph::new();
        let [x, y] = ["x", "y"].map(|name| g.state(name, [2, 1, 8, 8]).unwrap());
        let refused = features.loss(&mut g, x, y, 1.0).unwrap_err().to_string();
        assert!(refused.contains("takes 2 channels, but the images have 1"), "{refused}");
    }
}
