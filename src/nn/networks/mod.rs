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

use super::{ConditionOptions, Denoiser, StepEncoderOptions};
use crate::diffusion::Prediction;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::Decay;

/// The default training settings of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recipe {
    /// Training steps.
    pub steps: u32,
    /// Batch size.
    pub batch: usize,
    /// The prediction target.
    pub prediction: Prediction,
    /// Learning rate.
    pub lr: f64,
    /// The learning rate schedule.
    pub decay: Decay,
    /// The norm to which gradients are clipped; 0 for none.
    pub clip_norm: f64,
    /// Decay of the exponential moving average of the weights; 0 for none.
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
    /// The training settings of the textbook chapter.
    fn of_the_chapter() -> Self {
        let prediction = Prediction::Epsilon;
        Self { prediction, lr: 1e-3, decay: Decay::Constant, clip_norm: 0.0, ema: 0.0, ..Self::default() }
    }
}

/// The interface of every network's settings.
trait Options {
    /// Adds the network's parameters for samples of a shape: \[L\], [H, W] or [C, H, W].
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>>;

    /// The default training settings.
    fn recipe(&self) -> Recipe {
        Recipe::default()
    }

    /// The settings of the step encoding, if the network is conditioned on the step.
    fn step(&self) -> Option<&StepEncoderOptions> {
        None
    }

    /// Mutable access to the step encoding's settings.
    fn step_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        None
    }

    /// The conditions, if the network can have some.
    fn conditions(&self) -> Option<&ConditionOptions> {
        None
    }

    /// Mutable access to the conditions.
    fn conditions_mut(&mut self) -> Option<&mut ConditionOptions> {
        None
    }

    /// Fills in the settings that follow from the shape of a sample.
    fn resolve(&mut self, _sample: &[usize]) {}
}

/// Defines the enum of all networks from a list of their names and settings.
///
/// Settings that a network does not have are refused by its own options. serde does so for options with flattened parts
/// too, though it does not promise it: tests of the settings of a run would notice.
macro_rules! models {
    ($($(#[$doc:meta])* $model:ident($options:ident) = $name:literal,)+) => {
        /// A network selected by name, with its settings: the table `[model]` of `config.toml`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        #[non_exhaustive]
        pub enum Model {
            $($(#[$doc])* #[serde(rename = $name)] $model($options),)+
        }

        /// The names accepted by [`Model::named`].
        pub const MODELS: &[&str] = &[$($name),+];

        impl Model {
            /// Creates a network with its default settings.
            ///
            /// # Errors
            /// When the name is unknown; the message lists the available names.
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
    /// [`Error::Setting`] when a size is out of range or does not fit the sample; the message names a size that does.
    pub fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        self.options().build(g, sample)
    }

    /// The default training settings of the network.
    pub fn recipe(&self) -> Recipe {
        self.options().recipe()
    }

    /// The settings of the step encoding; `None` for a network that is not conditioned on the step.
    pub fn step_encoder(&self) -> Option<&StepEncoderOptions> {
        self.options().step()
    }

    /// Mutable access to [`Model::step_encoder`].
    pub fn step_encoder_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        self.options_mut().step_mut()
    }

    /// The conditions that the network is built with.
    pub fn conditions(&self) -> ConditionOptions {
        self.options().conditions().copied().unwrap_or_default()
    }

    /// The network with these conditions.
    ///
    /// # Errors
    /// [`Error::Setting`] when the network cannot have conditions.
    pub fn with_conditions(mut self, conditions: ConditionOptions) -> Result<Self> {
        let name = self.name();
        match self.options_mut().conditions_mut() {
            Some(own) => *own = conditions,
            None if conditions.is_none() => {}
            None => {
                return Err(Error::setting(format!(
                    "the network {name} cannot be conditioned on classes, vectors or known values; use the model mlp or unet"
                )));
            }
        }
        Ok(self)
    }

    /// Fills in the settings that follow from the shape of a sample.
    pub fn for_sample(mut self, sample: &[usize]) -> Self {
        self.options_mut().resolve(sample);
        self
    }
}

/// The maximum width of a layer, and the maximum number of blocks.
const MAX_WIDTH: usize = 1 << 15;
const MAX_DEPTH: usize = 256;
