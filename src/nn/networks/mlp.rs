//! The default network for signals, points and small images: a residual MLP.

use serde::{Deserialize, Serialize};

use super::{MAX_DEPTH, MAX_WIDTH, Options};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Denoiser, Inputs, LayerNorm, Linear, Regularisation, StepEncoderOptions, TimeMlp, check_size};
use crate::ops::{Activation, Add};

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
    /// Dropout and noise on hidden activations.
    #[serde(flatten)]
    pub regularisation: Regularisation,
}

setters!(MlpOptions {
    width: usize,
    depth: usize,
    step: StepEncoderOptions,
    activation: Activation,
    residual: bool,
    layer_norm: bool,
    regularisation: Regularisation,
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
            regularisation: Regularisation::default(),
        }
    }
}

impl Options for MlpOptions {
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        Ok(Box::new(Mlp::new(g, sample.iter().product(), self)?))
    }

    fn step(&self) -> Option<&StepEncoderOptions> {
        Some(&self.step)
    }

    fn step_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        Some(&mut self.step)
    }
}

/// h = input(x_t); per block h += dense(act(norm(h + time))); output(act(norm(h))).
///
/// `time` is a two-layer network on the step encoding. The options select the activation, the residual sum, the
/// normalisation, and dropout and noise after each block's activation.
#[derive(Clone, Debug)]
pub struct Mlp {
    options: MlpOptions,
    time: TimeMlp,
    input: Linear,
    blocks: Vec<(Option<LayerNorm>, Linear)>,
    norm: Option<LayerNorm>,
    output: Linear,
}

impl Mlp {
    /// Adds the parameters for `data` values per sample.
    ///
    /// # Errors
    /// When a size is out of range.
    pub fn new(g: &mut Graph, data: usize, options: &MlpOptions) -> Result<Self> {
        let MlpOptions { width, depth, layer_norm, .. } = *options;
        check_size("width", width, MAX_WIDTH)?;
        check_size("depth", depth, MAX_DEPTH)?;
        let time = TimeMlp::new(g, &options.step, width)?;
        let input = Linear::new(g, "input", data, width)?;
        let norm = |g: &mut Graph, name: &str| layer_norm.then(|| LayerNorm::new(g, name, width)).transpose();
        let blocks = (0..depth)
            .map(|i| {
                let norm = norm(g, &format!("blocks.{i}.norm"))?;
                Ok((norm, Linear::new(g, &format!("blocks.{i}.dense"), width, width)?))
            })
            .collect::<Result<_>>()?;
        let norm = norm(g, "norm")?;
        Ok(Self { options: *options, time, input, blocks, norm, output: Linear::new(g, "output", width, data)? })
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
        let (x_t, t) = inputs.unconditional("mlp")?;
        let time = self.time.forward(g, t, Activation::None)?;
        let mut h = self.input.forward(g, x_t, Activation::None)?;
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
