//! Feature networks from files.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::Checkpoint;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::nn::{AutoEncoderOptions, FeatureLayer, Features, Model, StepEncoder};

/// Reads a feature network from a safetensors file with the float32 tensors `conv1.weight` [O, C, kh, kw] and `conv1.bias`
/// \[O\], `conv2.weight` and so on. The metadata of the file may contain `conv1.stride` (1 by default), `conv1.padding`
/// (half the kernel by default) and `conv1.factor` (1 by default) as decimal numbers; stride and padding are
/// whole numbers.
///
/// The file may also be a checkpoint of the model `autoencoder`: the layers are those of its encoder for clean data at step
/// 0, with averaged weights if there are any.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Input`] when its tensors or metadata do not fit.
pub fn load_features(path: &Path) -> Result<Features> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, e))?;
    let fail = |e: Error| Error::input(format!("{}: {e}", path.display()));
    let damaged = |e| fail(Error::input(format!("not a safetensors file, or damaged: {e}")));
    let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let settings = header.metadata().clone().unwrap_or_default();
    let own = settings.contains_key("langevin");
    let source = if own { of_checkpoint(&Checkpoint::load(path)?, &file) } else { of_layers(&file, &settings) };
    source.map_err(fail)
}

/// The largest stride and padding of a layer.
const LARGEST: usize = 1_024;

fn of_layers(file: &SafeTensors, settings: &HashMap<String, String>) -> Result<Features> {
    let has = |i: usize| file.tensor(&format!("conv{i}.weight")).is_ok();
    if !has(1) {
        let mut names = file.names();
        names.sort_unstable();
        names.truncate(8);
        return Err(Error::input(format!("there is no conv1.weight, but {names:?}")));
    }
    let read = |i: usize| {
        let name = format!("conv{i}");
        let setting = |key: &str| settings.get(&format!("{name}.{key}"));
        let invalid = |key: &str, text: &str, valid: &str| {
            Error::input(format!("the metadata contain {name}.{key} = {text:?}; it must be {valid}"))
        };
        let whole = |key: &str, default: usize, range: RangeInclusive<usize>| match setting(key) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|v| range.contains(v)).ok_or_else(|| {
                invalid(key, text, &format!("a whole number from {} to {}", range.start(), range.end()))
            }),
        };
        let factor = match setting("factor") {
            None => 1.0,
            Some(text) => {
                let value = text.parse().ok().filter(|v: &f64| *v >= 0.0 && v.is_finite());
                value.ok_or_else(|| invalid("factor", text, "a number that is not negative"))?
            }
        };
        let layer = layer(file, "", name.clone())?;
        let (stride, padding) = (whole("stride", 1, 1..=LARGEST)?, whole("padding", layer.padding, 0..=LARGEST)?);
        Ok(FeatureLayer { stride, padding, factor, ..layer })
    };
    Features::new((1..).take_while(|&i| has(i)).map(read).collect::<Result<_>>()?)
}

/// The encoder of a trained autoencoder, whose inputs are the image and the step encoding.
fn of_checkpoint(checkpoint: &Checkpoint, file: &SafeTensors) -> Result<Features> {
    let Model::AutoEncoder(AutoEncoderOptions { step, .. }) = &checkpoint.config.model else {
        let name = checkpoint.config.model.name();
        let text = format!("a checkpoint of the model {name}; features need a checkpoint of the model autoencoder");
        return Err(Error::input(text));
    };
    let averaged = checkpoint.tensors.iter().any(|t| t.name.starts_with("ema."));
    let prefix = if averaged { "ema." } else { "" };
    let layers = ["enc1", "enc2"].map(|name| Ok(FeatureLayer { stride: 2, ..layer(file, prefix, name.into())? }));
    let features = Features::new(layers.into_iter().collect::<Result<_>>()?)?;
    let mut g = Graph::seeded(checkpoint.config.seed);
    let t = g.constant([1], vec![0.0])?;
    let code = StepEncoder::new(&mut g, step)?.forward(&mut g, t)?;
    g.keep(code);
    let mut run = Device::cpu().compile(&g)?;
    for parameter in g.parameters() {
        let (_, values) = floats(file, &format!("{prefix}{}", parameter.name))?;
        run.write(&parameter.name, &values)?;
    }
    run.steps(1)?;
    Ok(features.with_code(run.read(code)?))
}

/// A layer with stride 1 and a padding of half the kernel, which keeps the size if the kernel is odd.
fn layer(file: &SafeTensors, prefix: &str, name: String) -> Result<FeatureLayer> {
    let (shape, weight) = floats(file, &format!("{prefix}{name}.weight"))?;
    let (_, bias) = floats(file, &format!("{prefix}{name}.bias"))?;
    let padding = shape.last().map_or(0, |k| k / 2);
    Ok(FeatureLayer { name, shape, weight, bias, stride: 1, padding, factor: 1.0 })
}

/// Shape and values of a float32 tensor.
fn floats(file: &SafeTensors, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let tensor = file.tensor(name).map_err(|_| Error::input(format!("there is no {name}")))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(Error::input(format!("{name} has type {:?}; save it as float32", tensor.dtype())));
    }
    let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    Ok((tensor.shape().to_vec(), values.collect()))
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::data::Dataset;
    use crate::nn::{StepEncoderOptions, StepEncoding};
    use crate::train::{Config, Trainer};
    use crate::verify::check_losses;

    /// Writes a file with tensors of small numbers.
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
        let two = load_features(file(&TWO, &[("conv2.stride", "2"), ("conv2.factor", "0.5")]).path()).unwrap();
        // The features of the second layer have half the size.
        let build = |g: &mut Graph, x, y| {
            let parts = two.loss(g, x, y, 0.3)?;
            assert_eq!(parts.iter().map(|part| part.1).collect::<Vec<_>>(), [1.0, 0.5]);
            Ok(parts.into_iter().map(|(loss, factor)| (loss, 0.3 * factor)).collect())
        };
        check_losses(&[2, 2, 6, 5], build).unwrap();
    }

    /// For several step encodings, including a learned one.
    #[test]
    fn the_encoder_of_a_checkpoint_is_read() {
        let value = |i: usize| ((i * 31 % 17) as f32 - 8.0) / 8.0;
        let images = Dataset::new("images", [1, 8, 8], (0..640).map(value).collect()).unwrap();
        for kind in [StepEncoding::Sinusoidal, StepEncoding::Fourier, StepEncoding::Learned] {
            let step = StepEncoderOptions { kind, width: 6, ..StepEncoderOptions::default() };
            let model = AutoEncoderOptions { width: 3, step, ..AutoEncoderOptions::default() };
            let config = Config { batch: 5, ..Config::new(model) };
            let mut trainer = Trainer::new(&Device::cpu(), &config, &images).unwrap();
            trainer.advance(2).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            trainer.checkpoint().unwrap().save(file.path()).unwrap();
            let features = load_features(file.path()).unwrap();
            let build = |g: &mut Graph, x, y| features.loss(g, x, y, 1.0);
            check_losses(&[2, 1, 8, 8], build).unwrap();
        }
    }

    #[test]
    fn files_that_do_not_fit_say_why() {
        let message = |tensors: &[(&str, &[usize])], settings: &[(&str, &str)]| {
            load_features(file(tensors, settings).path()).unwrap_err().to_string()
        };
        assert!(message(&[("fc.weight", &[2, 2])], &[]).contains("but [\"fc.weight\"]"));
        assert!(message(&TWO[..1], &[]).contains("there is no conv1.bias"));
        assert!(message(&[("conv1.weight", &[4, 2]), ("conv1.bias", &[4])], &[]).contains("[4, 2]"));
        let chain = [TWO[0], TWO[1], ("conv2.weight", &[3, 5, 3, 3]), TWO[3]];
        assert!(
            message(&chain, &[]).contains("expects 5 input channels, but the previous layer has 4 output channels")
        );
        for (setting, value) in [
            ("conv1.stride", "two"),
            ("conv1.stride", "1.5"),
            ("conv1.stride", "0"),
            ("conv2.padding", "0.5"),
            ("conv2.padding", "1e30"),
            ("conv2.factor", "-1"),
        ] {
            let refused = message(&TWO, &[(setting, value)]);
            assert!(refused.contains(&format!("{setting} = \"{value}\"")), "{refused}");
        }
        let not_tensors = tempfile::NamedTempFile::new().unwrap();
        assert!(load_features(not_tensors.path()).unwrap_err().to_string().contains("not a safetensors file"));
        let features = load_features(file(&TWO, &[]).path()).unwrap();
        let mut g = Graph::new();
        let [x, y] = ["x", "y"].map(|name| g.state(name, [2, 1, 8, 8]).unwrap());
        let refused = features.loss(&mut g, x, y, 1.0).unwrap_err().to_string();
        assert!(refused.contains("takes images of 2 channels, but these have 1"), "{refused}");
    }
}
