//! What a network is conditioned on: the diffusion step, and optionally a class, a vector, and known values.

use serde::{Deserialize, Serialize};

use super::{Inputs, Linear, StepEncoderOptions, TimeMlp, check_size};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::numeric::random::{Distribution, Draw};
use crate::ops::{Activation, Add, Concat, Embedding};

/// The sizes of the conditions of a network, 0 for those that it does not have: the table `[model.conditions]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ConditionOptions {
    /// The number of classes. A further class, with this number, stands for an unknown one.
    pub classes: usize,
    /// The length of the condition vector.
    pub vector: usize,
    /// The number of channels of the known values, which have the other dimensions of a sample.
    pub given: usize,
}

setters!(ConditionOptions { classes: usize, vector: usize, given: usize });

/// The largest number of classes, of entries of a condition vector, and of channels of known values.
const MOST: usize = 1 << 15;

impl ConditionOptions {
    /// Whether there is no condition.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The shape of the known values for samples of a shape \[L\], [C, L] or [C, H, W]; `None` without known values.
    pub fn given_shape(&self, sample: &[usize]) -> Option<Vec<usize>> {
        let places = if sample.len() > 1 { &sample[1..] } else { sample };
        (self.given > 0).then(|| [&[self.given], places].concat())
    }

    /// `inputs` with a state for each condition: `class` \[B\], `vector` [B, K] and `given` [B, G], for a batch of samples of a
    /// shape.
    ///
    /// # Errors
    /// When the graph has a tensor with this name.
    pub fn add_states(&self, g: &mut Graph, inputs: Inputs, sample: &[usize]) -> Result<Inputs> {
        let rows = g.spec(inputs.x_t).rows().0;
        let mut state =
            |name: &str, width: usize, shape: &[usize]| (width > 0).then(|| g.state(name, shape)).transpose();
        let (width, known) = (self.vector, self.given_len(sample));
        let class = state("class", self.classes, &[rows])?;
        let (vector, given) = (state("vector", width, &[rows, width])?, state("given", known, &[rows, known])?);
        Ok(Inputs { class, vector, given, ..inputs })
    }

    /// The number of known values for samples of a shape.
    pub(crate) fn given_len(&self, sample: &[usize]) -> usize {
        self.given_shape(sample).map_or(0, |shape| shape.iter().product())
    }
}

/// Joins the conditions of a network to its other inputs: known values are concatenated to x_t, and the embedding of the
/// step is the sum
/// ```text
/// time(t) + class[c] + vector.2(silu(vector.0(v)))
/// ```
/// *Source*: the class embedding as in Dhariwal and Nichol 2021, section 3; concatenation as in Saharia et al. 2022,
/// "Palette", section 3.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    options: ConditionOptions,
    time: TimeMlp,
    class: Option<Var>,
    vector: Option<[Linear; 2]>,
}

/// The positions of the draws of the class table in the stream of the seed.
const CLASSES: [u32; 2] = [0, 5];

impl Conditions {
    /// Adds the parameters: those of the [`TimeMlp`], `class.weight` [classes + 1, width] as `nn.Embedding`, and `vector.0`
    /// and `vector.2` as `nn.Linear`.
    ///
    /// # Errors
    /// When a size is out of range.
    pub fn new(g: &mut Graph, step: &StepEncoderOptions, options: ConditionOptions, width: usize) -> Result<Self> {
        let ConditionOptions { classes, vector, given } = options;
        for (what, size) in
            [("conditions.classes", classes), ("conditions.vector", vector), ("conditions.given", given)]
        {
            check_size(what, size.max(1), MOST)?;
        }
        let time = TimeMlp::new(g, step, width)?;
        let table = |g: &mut Graph| {
            let draw = Draw { distribution: Distribution::Normal, seed: g.seed(), place: CLASSES };
            g.drawn_parameter("class.weight", [classes + 1, width], draw)
        };
        let class = (classes > 0).then(|| table(g)).transpose()?;
        let layers = |g: &mut Graph| {
            Ok::<_, Error>([Linear::new(g, "vector.0", vector, width)?, Linear::new(g, "vector.2", width, width)?])
        };
        let vector = (vector > 0).then(|| layers(g)).transpose()?;
        Ok(Self { options, time, class, vector })
    }

    /// x_t joined with the known values [B, D + G], and the embedding of the step and of the other conditions [B, width],
    /// with an activation at its end.
    ///
    /// # Errors
    /// [`Error::Setting`] when a condition of the network is missing, or it does not have one of the inputs; `network` is its
    /// name.
    pub fn forward(&self, g: &mut Graph, inputs: Inputs, network: &str, last: Activation) -> Result<(Var, Var)> {
        // Destructured without `..`, so that a condition added later cannot be forgotten here.
        let Inputs { x_t, t, class, vector, given } = inputs;
        let ConditionOptions { classes, vector: entries, given: channels } = self.options;
        for (name, size, input) in [("class", classes, class), ("vector", entries, vector), ("given", channels, given)]
        {
            check_presence(network, name, size > 0, input.is_some())?;
        }
        let x = match given {
            Some(given) => g.apply1(Concat, &[x_t, given])?,
            None => x_t,
        };
        let (class, vector) = (self.class.zip(class), self.vector.as_ref().zip(vector));
        if class.is_none() && vector.is_none() {
            return Ok((x, self.time.forward(g, t, last)?));
        }
        let mut sum = self.time.forward(g, t, Activation::None)?;
        if let Some((table, class)) = class {
            let embedded = g.apply1(Embedding, &[table, class])?;
            sum = g.apply1(Add, &[sum, embedded])?;
        }
        if let Some(([first, second], vector)) = vector {
            let hidden = first.forward(g, vector, Activation::Silu)?;
            let embedded = second.forward(g, hidden, Activation::None)?;
            sum = g.apply1(Add, &[sum, embedded])?;
        }
        Ok((x, g.activate(sum, last)?))
    }

    /// The embedding of a step encoding [B, E], for a network without conditions.
    ///
    /// # Errors
    /// When the encoding has another width.
    pub fn forward_encoded(&self, g: &mut Graph, encoding: Var, last: Activation) -> Result<Var> {
        self.time.forward_encoded(g, encoding, last)
    }
}

/// Checks that a condition is given exactly if the network has it.
fn check_presence(network: &str, name: &str, wanted: bool, given: bool) -> Result<()> {
    match (wanted, given) {
        (false, true) => Err(not_taken(network, name)),
        (true, false) => Err(Error::setting(format!(
            "the network {network} was built with the condition `{name}`, which is missing; add it to the inputs"
        ))),
        _ => Ok(()),
    }
}

/// The error for a condition that a network does not take.
pub(super) fn not_taken(network: &str, name: &str) -> Error {
    Error::setting(format!(
        "the network {network} does not take the condition `{name}`; leave it out of the inputs, or use a network that was \
         built with it (mlp or unet, see ConditionOptions)"
    ))
}
