//! Networks: a layer is a function over the graph, its parameters carry PyTorch's names and layouts.

mod autoencoder;
mod chapter;
mod conv;
mod features;
mod mlp;
mod simple;
mod step_encoding;
mod summary;
mod unet;

pub use autoencoder::AutoEncoder;
pub use chapter::Chapter;
pub use conv::{Conv, ConvTranspose};
pub use features::{FeatureLayer, Features};
pub use mlp::Mlp;
pub use simple::Simple;
pub use step_encoding::{StepEncoder, StepEncoding, TimeMlp};
pub use summary::{Layer, Layers, layers};
pub use unet::{UNet, UNetOptions};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::numeric::random::{Draw, Law};
use crate::ops::{self, Activation, Dense, Encode, LayerNorm};

/// A network that looks at noisy data and the step.
pub trait Denoiser {
    /// The prediction [B, D] (eps, x0 or v) from x_t [B, D] and t \[B\].
    ///
    /// # Errors
    /// When x_t has another width than the network was made for.
    fn forward(&self, g: &mut Graph, x_t: Var, t: Var) -> Result<Var>;

    /// The step encoding that the network takes beside x_t in one input, if it does so: a training step then writes
    /// both in one pass, and calls [`Denoiser::forward_joined`].
    fn joined_encoding(&self) -> Option<Encode> {
        None
    }

    /// [`Denoiser::forward`] from [x_t | encoding].
    ///
    /// # Errors
    /// By default: the network takes x_t and t apart.
    fn forward_joined(&self, _: &mut Graph, _: Var) -> Result<Var> {
        Err(Error::setting("this network takes x_t and t apart"))
    }
}

/// y = act(x W^T + b) with PyTorch's `nn.Linear` names, layout and initial values.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Var,
    bias: Var,
}

impl Linear {
    /// `name.weight` [outputs, inputs] and `name.bias` \[outputs\], uniform in +-1/sqrt(inputs).
    pub fn new(g: &mut Graph, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Self::scaled(g, name, inputs, outputs, 1.0)
    }

    /// [`Linear::new`] with initial values multiplied by `scale`; 0 makes a residual branch start as nothing.
    pub fn scaled(g: &mut Graph, name: &str, inputs: usize, outputs: usize, scale: f32) -> Result<Self> {
        let limit = scale / (inputs as f32).sqrt();
        let weight = uniform(g, &format!("{name}.weight"), [outputs, inputs], limit)?;
        Ok(Self { weight, bias: uniform(g, &format!("{name}.bias"), [outputs], limit)? })
    }

    /// The layer on x [B, inputs].
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        g.apply1(Dense { activation }, &[x, self.weight, self.bias])
    }
}

/// Layer normalisation with PyTorch's `nn.LayerNorm` names and initial values.
#[derive(Clone, Debug)]
pub struct Norm {
    gamma: Var,
    beta: Var,
}

impl Norm {
    /// `name.weight` of ones and `name.bias` of zeros, both \[width\].
    pub fn new(g: &mut Graph, name: &str, width: usize) -> Result<Self> {
        let gamma = g.parameter(&format!("{name}.weight"), [width], vec![1.0; width])?;
        Ok(Self { gamma, beta: g.parameter(&format!("{name}.bias"), [width], vec![0.0; width])? })
    }

    /// act of the normalisation over the last dimension of x [..., width].
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        g.apply1(LayerNorm { activation, ..LayerNorm::default() }, &[x, self.gamma, self.beta])
    }
}

/// Group normalisation with PyTorch's `nn.GroupNorm` names and initial values.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    gamma: Var,
    beta: Var,
    groups: usize,
}

impl GroupNorm {
    /// `name.weight` of ones and `name.bias` of zeros, both \[channels\].
    pub fn new(g: &mut Graph, name: &str, channels: usize, groups: usize) -> Result<Self> {
        let gamma = g.parameter(&format!("{name}.weight"), [channels], vec![1.0; channels])?;
        Ok(Self { gamma, beta: g.parameter(&format!("{name}.bias"), [channels], vec![0.0; channels])?, groups })
    }

    /// act of the normalisation of x [B, channels, ...].
    pub fn forward(&self, g: &mut Graph, x: Var, activation: Activation) -> Result<Var> {
        let op = ops::GroupNorm { activation, ..ops::GroupNorm::new(self.groups) };
        g.apply1(op, &[x, self.gamma, self.beta])
    }
}

/// Adds a parameter with uniform numbers in +-limit, from the graph's seed.
fn uniform(g: &mut Graph, name: &str, shape: impl Into<Vec<usize>>, limit: f32) -> Result<Var> {
    let place = [g.parameters().len() as u32, 2];
    let draw = Draw { law: Law::Uniform { limit }, seed: g.seed(), place };
    g.drawn_parameter(name, shape, draw)
}

/// A network by name and size, as `config.toml` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// One of [`MODELS`].
    pub name: String,
    /// Neurons of a hidden layer, or channels at full size.
    pub width: usize,
    /// Residual blocks, a U-Net's on each level: `mlp` and `unet` only.
    pub depth: usize,
    /// Width of the step encoding; all but `simple` have one.
    pub encoding: usize,
    /// How the step becomes numbers.
    pub step_encoding: StepEncoding,
    /// `halves` only: cosines before sines.
    pub flip_sin_to_cos: bool,
    /// `halves` only: 0, or 1 as in DDPM's code.
    pub frequency_shift: f64,
    /// `learned` only: rows of the table, at least the diffusion steps.
    pub learned_steps: usize,
    /// `mlp` only: the hidden layers' activation.
    pub activation: Activation,
    /// `mlp` only: whether a block adds to what it got.
    pub residual: bool,
    /// `mlp` only: whether a block normalises what it got.
    pub layer_norm: bool,
    /// The probability that training drops an activation of a hidden layer.
    pub dropout: f32,
    /// Deviation of the noise that training adds to the activations of hidden layers.
    pub activation_noise: f32,
    /// What only a U-Net has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unet: Option<UNetOptions>,
}

/// The names of [`Model::named`].
pub const MODELS: &[&str] = &["mlp", "chapter", "simple", "autoencoder", "unet"];

impl Model {
    /// A network with its usual size.
    ///
    /// # Errors
    /// With the names there are.
    pub fn named(name: &str) -> Result<Self> {
        let (width, depth, encoding) = match name {
            "mlp" => (256, 4, 128),
            "chapter" | "simple" => (128, 1, 128),
            "autoencoder" => (32, 1, 32),
            "unet" => (32, 1, 64),
            _ => return Err(Error::unknown("model", name, MODELS)),
        };
        let step_encoding =
            if matches!(name, "chapter" | "autoencoder") { StepEncoding::Sinusoidal } else { StepEncoding::Halves };
        Ok(Self {
            name: name.into(),
            width,
            depth,
            encoding,
            step_encoding,
            flip_sin_to_cos: false,
            frequency_shift: 0.0,
            learned_steps: 1_000,
            activation: Activation::Silu,
            residual: true,
            layer_norm: true,
            dropout: 0.0,
            activation_noise: 0.0,
            unet: (name == "unet").then(UNetOptions::default),
        })
    }

    /// Samples in a training step, where nothing else is said.
    pub fn usual_batch(&self) -> usize {
        if self.name == "unet" { 64 } else { 256 }
    }

    /// Refuses settings that this network has no use for, so that none is stated in vain.
    ///
    /// # Errors
    /// With the setting, its value and the networks that have it.
    pub(crate) fn check_unused(&self) -> Result<()> {
        const USES: [(&str, &[&str]); 9] = [
            ("depth", &["mlp", "unet"]),
            ("encoding", &["mlp", "chapter", "autoencoder", "unet"]),
            ("step_encoding", &["mlp", "chapter", "autoencoder", "unet"]),
            ("flip_sin_to_cos", &["mlp", "chapter", "autoencoder", "unet"]),
            ("frequency_shift", &["mlp", "chapter", "autoencoder", "unet"]),
            ("activation", &["mlp"]),
            ("residual", &["mlp"]),
            ("layer_norm", &["mlp"]),
            ("unet", &["unet"]),
        ];
        let table = |model: &Self| toml::Table::try_from(model).expect("a model is a table");
        let (stated, usual) = (table(self), table(&Self::named(&self.name)?));
        for (setting, users) in USES.into_iter().filter(|(_, users)| !users.contains(&self.name.as_str())) {
            if stated.get(setting) != usual.get(setting) {
                let value = stated.get(setting).map_or("absent".into(), ToString::to_string);
                return Err(Error::setting(format!(
                    "model.{setting} is {value}, but the network {} has no such thing; leave it out, or take one of: {}",
                    self.name,
                    users.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// What training does to activations: dropout, then noise.
    fn disturbed(&self, g: &mut Graph, active: Var) -> Result<Var> {
        let active = g.dropout(active, self.dropout)?;
        g.activation_noise(active, self.activation_noise)
    }

    /// Adds the network's parameters for samples of a shape: \[L\], [H, W] or [C, H, W].
    ///
    /// # Errors
    /// When a size is zero or absurd, with what is allowed.
    pub fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        let data = sample.iter().product();
        for (what, value, most) in [
            ("width", self.width, 1 << 15),
            ("depth", self.depth, 256),
            ("encoding", self.encoding, 1 << 15),
            ("learned_steps", self.learned_steps, 1 << 20),
        ] {
            if value == 0 || value > most {
                return Err(Error::setting(format!("the model's {what} is {value}; use 1 to {most}")));
            }
        }
        Ok(match self.name.as_str() {
            "mlp" => Box::new(Mlp::of(g, data, self)?),
            "chapter" => Box::new(Chapter::of(g, data, self)?),
            "simple" => Box::new(Simple::of(g, data, self)?),
            "autoencoder" => Box::new(AutoEncoder::of(g, sample, self)?),
            "unet" => Box::new(UNet::of(g, sample, self)?),
            other => return Err(Error::unknown("model", other, MODELS)),
        })
    }
}
