//! Networks: a layer is a function over the graph; parameters have PyTorch's names and layouts.
//!
//! # Example
//!
//! A network adds its parameters and its operations to a graph:
//!
//! ```
//! use langevin::nn::{Denoiser, Inputs, Mlp, MlpOptions, layers};
//! use langevin::{Device, Graph, Slab};
//!
//! let options = MlpOptions::default().width(32).depth(2);
//! println!("{}", layers(&options.clone().into(), &[2])?); // each layer with its shapes
//! let mut g = Graph::new();
//! let (x_t, t) = (g.state("x_t", [5, 2])?, g.state("t", [5])?);
//! let net = Mlp::new(&mut g, 2, &options)?;
//! let prediction = net.forward(&mut g, Inputs::new(x_t, t))?;
//! g.keep(prediction);
//! let mut run = Device::cpu().compile(&g)?;
//! run.steps(1)?;
//! assert_eq!(run.read(prediction)?.len(), 5 * 2);
//! assert_eq!(g.parameters()[0].name, "time.0.weight"); // as in PyTorch
//! # Ok::<(), langevin::Error>(())
//! ```

mod conditions;
mod features;
mod layers;
mod networks;
mod step_encoding;
mod summary;

pub use conditions::ConditionOptions;
pub use features::{FeatureLayer, Features};
pub use layers::{Conv, ConvTranspose, GroupNorm, LayerNorm, Linear, Regularisation};
pub use networks::*;
pub use step_encoding::{StepEncoder, StepEncoderOptions, StepEncoding, TimeMlp};
pub use summary::{Layer, Layers, layers};

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};

/// A network that predicts something about clean data or noise from noisy data.
pub trait Denoiser {
    /// The prediction [B, D].
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape of an input differs from the network's, and [`Error::Setting`] when a condition
    /// is given that the network does not take.
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var>;
}

/// Inputs of a network: noisy data, the step of each sample, and conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inputs {
    /// Noisy data [B, D].
    pub x_t: Var,
    /// The diffusion step of each sample \[B\], counted from 0.
    pub t: Var,
    /// A condition: the class of each sample \[B\], as u32 or as whole numbers in f32. The number of classes stands for an
    /// unknown class.
    pub class: Option<Var>,
    /// A condition: a vector for each sample [B, K].
    pub vector: Option<Var>,
    /// A condition: known values for each sample [B, G], channels of the size of the sample.
    pub given: Option<Var>,
}

impl Inputs {
    /// Noisy data and their steps, without a condition.
    pub fn new(x_t: Var, t: Var) -> Self {
        Self { x_t, t, class: None, vector: None, given: None }
    }

    /// Adds the class of each sample.
    pub fn with_class(self, class: Var) -> Self {
        Self { class: Some(class), ..self }
    }

    /// Adds the condition vector of each sample.
    pub fn with_vector(self, vector: Var) -> Self {
        Self { vector: Some(vector), ..self }
    }

    /// Adds the known values of each sample.
    pub fn with_given(self, given: Var) -> Self {
        Self { given: Some(given), ..self }
    }

    /// x_t and t, for a network that takes no condition.
    ///
    /// # Errors
    /// [`Error::Setting`] with the name of the condition if there is one.
    pub fn unconditional(self, network: &str) -> Result<(Var, Var)> {
        // Destructured without `..`, so that a condition added later cannot be forgotten here.
        let Self { x_t, t, class, vector, given } = self;
        let conditions = [("class", class), ("vector", vector), ("given", given)];
        match conditions.into_iter().find(|(_, condition)| condition.is_some()) {
            None => Ok((x_t, t)),
            Some((name, _)) => Err(conditions::not_taken(network, name)),
        }
    }
}

/// Checks that a size is between 1 and `most`.
fn check_size(what: &str, size: usize, most: usize) -> Result<()> {
    if size == 0 || size > most {
        return Err(Error::setting(format!("the model's {what} is {size}; use 1 to {most}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_a_network_was_not_built_with_are_refused() {
        for name in MODELS {
            let mut g = Graph::new();
            let network = Model::named(name).unwrap().build(&mut g, &[1, 8, 8]).unwrap();
            let (x_t, t) = (g.state("x_t", [3, 64]).unwrap(), g.state("t", [3]).unwrap());
            let (class, given) = (g.state_u32("class", [3]).unwrap(), g.state("given", [3, 64]).unwrap());
            let vector = g.state("vector", [3, 2]).unwrap();
            let plain = Inputs::new(x_t, t);
            for (condition, inputs) in [
                ("class", plain.with_class(class)),
                ("vector", plain.with_vector(vector)),
                ("given", plain.with_given(given)),
            ] {
                let refused = network.forward(&mut g, inputs).unwrap_err();
                let message = refused.to_string();
                assert!(matches!(refused, Error::Setting(_)), "{message}");
                assert!(message.contains(&format!("network {name}")) && message.contains(condition), "{message}");
            }
            network.forward(&mut g, plain).unwrap();
        }
    }
}
