//! The default network for signals, points and small images: a residual MLP.

use serde::{Deserialize, Serialize};

use super::{MAX_DEPTH, MAX_WIDTH, Options};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::conditions::Conditions;
use crate::nn::{
    ConditionOptions, Denoiser, Inputs, LayerNorm, Linear, Regularisation, StepEncoderOptions, check_size,
};
use crate::ops::{Activation, Add, Affine, Encode, Layout};

/// The settings of an [`Mlp`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MlpOptions {
    /// Width of a hidden layer.
    pub width: usize,
    /// Number of residual blocks.
    pub depth: usize,
    /// The step encoding.
    #[serde(flatten)]
    pub step: StepEncoderOptions,
    /// The hidden layers' activation.
    pub activation: Activation,
    /// Whether a block adds its input to its output.
    pub residual: bool,
    /// Whether a block normalises its input.
    pub layer_norm: bool,
    /// The size of a sinusoidal encoding of each value of the input, beside the value itself; 0 for none. With it, a network
    /// of few inputs learns fine structure much faster (Tancik et al. 2020).
    #[serde(default)]
    pub input_encoding: usize,
    /// Dropout and noise on hidden activations.
    #[serde(flatten)]
    pub regularisation: Regularisation,
    /// The conditions besides the step.
    #[serde(default, skip_serializing_if = "ConditionOptions::is_none")]
    pub conditions: ConditionOptions,
}

setters!(MlpOptions {
    width: usize,
    depth: usize,
    step: StepEncoderOptions,
    activation: Activation,
    residual: bool,
    layer_norm: bool,
    input_encoding: usize,
    regularisation: Regularisation,
    conditions: ConditionOptions,
});

impl Default for MlpOptions {
    fn default() -> Self {
        Self {
            width: 256,
            depth: 4,
            step: StepEncoderOptions::default(),
            activation: Activation::Silu,
            residual: true,
            layer_norm: true,
            input_encoding: 0,
            regularisation: Regularisation::default(),
            conditions: ConditionOptions::default(),
        }
    }
}

impl Options for MlpOptions {
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        let data = sample.iter().product();
        Ok(Box::new(Mlp::with_inputs(g, data + self.conditions.given_len(sample), data, self)?))
    }

    fn step(&self) -> Option<&StepEncoderOptions> {
        Some(&self.step)
    }

    fn step_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        Some(&mut self.step)
    }

    fn conditions(&self) -> Option<&ConditionOptions> {
        Some(&self.conditions)
    }

    fn conditions_mut(&mut self) -> Option<&mut ConditionOptions> {
        Some(&mut self.conditions)
    }
}

/// h = input(x_t) + waves(enc(x_t)); per block h += dense(act(norm(h + time))); output(act(norm(h))).
///
/// `waves` exists with an input encoding, which has sines and cosines of each value with wavelengths from 0.4 up. `time` is
/// a two-layer network on the step encoding, to which the embeddings of other conditions are added; known values are
/// concatenated to the x_t of `input`. The options select the activation, the residual sum, the
/// normalisation, and dropout and noise after each block's activation.
#[derive(Clone, Debug)]
pub struct Mlp {
    options: MlpOptions,
    conditions: Conditions,
    input: Linear,
    waves: Option<Waves>,
    blocks: Vec<(Option<LayerNorm>, Linear)>,
    norm: Option<LayerNorm>,
    output: Linear,
}

impl Mlp {
    /// Adds the parameters for `data` values per sample, and as many known values for each of the
    /// [`ConditionOptions::given`] channels.
    ///
    /// # Errors
    /// When a size is out of range.
    pub fn new(g: &mut Graph, data: usize, options: &MlpOptions) -> Result<Self> {
        Self::with_inputs(g, data + options.conditions.given_len(&[data]), data, options)
    }

    /// [`Mlp::new`] for `inputs` values of a sample and its known values.
    fn with_inputs(g: &mut Graph, inputs: usize, data: usize, options: &MlpOptions) -> Result<Self> {
        let MlpOptions { width, depth, layer_norm, input_encoding, .. } = *options;
        check_size("width", width, MAX_WIDTH)?;
        check_size("depth", depth, MAX_DEPTH)?;
        let conditions = Conditions::new(g, &options.step, options.conditions, width)?;
        let input = Linear::new(g, "input", inputs, width)?;
        let waves = match input_encoding {
            0 => None,
            size => Some(Waves::new(g, data, size, width)?),
        };
        let norm = |g: &mut Graph, name: &str| layer_norm.then(|| LayerNorm::new(g, name, width)).transpose();
        let blocks = (0..depth)
            .map(|i| {
                let norm = norm(g, &format!("blocks.{i}.norm"))?;
                Ok((norm, Linear::new(g, &format!("blocks.{i}.dense"), width, width)?))
            })
            .collect::<Result<_>>()?;
        let norm = norm(g, "norm")?;
        let output = Linear::new(g, "output", width, data)?;
        Ok(Self { options: *options, conditions, input, waves, blocks, norm, output })
    }

    /// act(norm(h)), with dropout and noise in training.
    fn active(&self, g: &mut Graph, norm: &Option<LayerNorm>, h: Var) -> Result<Var> {
        let active = match norm {
            Some(norm) => norm.forward(g, h, self.options.activation)?,
            None => g.activate(h, self.options.activation)?,
        };
        self.options.regularisation.forward(g, active)
    }
}

impl Denoiser for Mlp {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (x, time) = self.conditions.forward(g, inputs, "mlp", Activation::None)?;
        let mut h = self.input.forward(g, x, Activation::None)?;
        if let Some(waves) = &self.waves {
            let fine = waves.forward(g, inputs.x_t)?;
            h = g.apply1(Add, &[h, fine])?;
        }
        for (norm, dense) in &self.blocks {
            let shifted = g.apply1(Add, &[h, time])?;
            let active = self.active(g, norm, shifted)?;
            let change = dense.forward(g, active, Activation::None)?;
            h = if self.options.residual { g.apply1(Add, &[h, change])? } else { change };
        }
        let active = self.active(g, &self.norm, h)?;
        self.output.forward(g, active, Activation::None)
    }
}

/// A dense layer on the sinusoidal encoding of each value of the input.
#[derive(Clone, Debug)]
struct Waves {
    encode: Encode,
    dense: Linear,
}

impl Waves {
    /// Values are multiplied by this factor, so that the shortest wavelength is 2 pi / 16 = 0.4: about the distance
    /// at which single points of a small data set are still seen as one line.
    const FACTOR: f32 = 16.0;
    /// Makes the arguments of the encoding positive, for values above -1024.
    const SHIFT: f32 = 16_384.0;

    fn new(g: &mut Graph, data: usize, size: usize, width: usize) -> Result<Self> {
        check_size("input_encoding", size, MAX_WIDTH)?;
        check_size("input_encoding times the values of a sample", data.saturating_mul(size), 1 << 20)?;
        let encode = Encode::new(size, Layout::Halves { flip: false, shift: 0.0 })?;
        Ok(Self { encode, dense: Linear::new(g, "waves", data * size, width)? })
    }

    /// From x [B, D] to [B, width].
    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let (rows, data) = g.spec(x).rows();
        let scale = g.constant([2, 1], vec![Self::FACTOR, Self::SHIFT])?;
        let positive = g.apply1(Affine, &[x, scale])?;
        let values = g.reshape(positive, [rows * data])?;
        let waves = self.encode.add_to(g, values)?;
        let waves = g.reshape(waves, [rows, data * self.encode.width])?;
        self.dense.forward(g, waves, Activation::None)
    }
}
