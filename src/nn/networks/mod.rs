//! The networks: one file each, and one line in the list below.

mod autoencoder;
mod chapter;
mod mlp;
mod simple;
mod unet;

pub use autoencoder::{AutoEncoder, AutoEncoderOptions};
pub use chapter::{Chapter, ChapterOptions};
pub use mlp::{Mlp, MlpOptions};
pub use simple::{Simple, SimpleOptions};
pub use unet::{UNet, UNetLevels, UNetOptions};

use serde::{Deserialize, Serialize};

use super::{Denoiser, StepEncoderOptions};
use crate::diffusion::Prediction;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::Decay;

/// How a network is trained where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recipe {
    /// Training steps.
    pub steps: u32,
    /// Samples in a step.
    pub batch: usize,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Learning rate.
    pub lr: f64,
    /// The course of the learning rate.
    pub decay: Decay,
    /// The norm that gradients are clipped to; 0 for none.
    pub clip_norm: f64,
    /// Decay of the weights' moving average; 0 for none.
    pub ema: f64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            steps: 5_000,
            batch: 256,
            prediction: Prediction::V,
            lr: 2e-3,
            decay: Decay::InverseSqrt { hold: 1_000 },
            clip_norm: 1.0,
            ema: 0.999,
        }
    }
}

impl Recipe {
    /// As the textbook chapter trains its networks.
    fn of_the_chapter() -> Self {
        let prediction = Prediction::Epsilon;
        Self { prediction, lr: 1e-3, decay: Decay::Constant, clip_norm: 0.0, ema: 0.0, ..Self::default() }
    }
}

/// What the settings of every network can do.
trait Options {
    /// Adds the network's parameters for samples of a shape: \[L\], [H, W] or [C, H, W].
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>>;

    /// How the network is trained where nothing else is said.
    fn recipe(&self) -> Recipe {
        Recipe::default()
    }

    /// The settings of its step encoding, if it is told the step.
    fn step(&self) -> Option<&StepEncoderOptions> {
        None
    }

    /// The same, to be changed.
    fn step_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        None
    }

    /// Fills in what follows from the shape of a sample.
    fn resolve(&mut self, _sample: &[usize]) {}
}

/// Makes the enum of all networks from a list of their names and settings.
///
/// Settings that a network does not have are refused by its own options. serde does so for options with flattened parts
/// too, though it does not promise it: tests of the settings of a run would notice.
macro_rules! models {
    ($($(#[$doc:meta])* $model:ident($options:ident) = $name:literal,)+) => {
        /// A network by name, with its settings: the table `[model]` of `config.toml`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        #[non_exhaustive]
        pub enum Model {
            $($(#[$doc])* #[serde(rename = $name)] $model($options),)+
        }

        /// The names of [`Model::named`].
        pub const MODELS: &[&str] = &[$($name),+];

        impl Model {
            /// A network with its usual settings.
            ///
            /// # Errors
            /// With the names there are.
            pub fn named(name: &str) -> Result<Self> {
                match name {
                    $($name => Ok(Self::$model($options::default())),)+
                    _ => Err(Error::unknown("model", name, MODELS)),
                }
            }

            /// The name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$model(_) => $name,)+
                }
            }

            fn options(&self) -> &dyn Options {
                match self {
                    $(Self::$model(options) => options,)+
                }
            }

            fn options_mut(&mut self) -> &mut dyn Options {
                match self {
                    $(Self::$model(options) => options,)+
                }
            }
        }

        $(impl From<$options> for Model {
            fn from(options: $options) -> Self {
                Self::$model(options)
            }
        })+
    };
}

models! {
    /// A residual MLP: the default.
    Mlp(MlpOptions) = "mlp",
    /// The textbook chapter's full model.
    Chapter(ChapterOptions) = "chapter",
    /// The textbook chapter's first denoiser.
    Simple(SimpleOptions) = "simple",
    /// A convolutional encoder and decoder.
    AutoEncoder(AutoEncoderOptions) = "autoencoder",
    /// A U-Net.
    UNet(UNetOptions) = "unet",
}

impl Model {
    /// Adds the network's parameters for samples of a shape: \[L\], [H, W] or [C, H, W].
    ///
    /// # Errors
    /// [`Error::Setting`] when a size is out of range or does not fit the sample, with what does.
    pub fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        self.options().build(g, sample)
    }

    /// How the network is trained where nothing else is said.
    pub fn recipe(&self) -> Recipe {
        self.options().recipe()
    }

    /// The settings of the step encoding; `None` for a network that is not told the step.
    pub fn step_encoder(&self) -> Option<&StepEncoderOptions> {
        self.options().step()
    }

    /// [`Model::step_encoder`], to be changed.
    pub fn step_encoder_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        self.options_mut().step_mut()
    }

    /// With the settings filled in that follow from the shape of a sample.
    pub fn for_sample(mut self, sample: &[usize]) -> Self {
        self.options_mut().resolve(sample);
        self
    }
}

/// The largest width of a layer, and the most blocks.
const MOST_WIDTH: usize = 1 << 15;
const MOST_DEPTH: usize = 256;
