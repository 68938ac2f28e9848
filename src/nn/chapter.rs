//! The textbook chapter's full model.

use super::{Denoiser, Linear};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{Activation, Concat, Encode, Layout};

/// [x_t | enc(t)] -> Dense ReLU -> Dense: `fc1` and `fc2`, the encoding interleaved.
///
/// With 100 data values, width 128 and encoding 128 it has 42 212 parameters.
#[derive(Clone, Debug)]
pub struct Chapter {
    encode: Encode,
    fc1: Linear,
    fc2: Linear,
}

impl Chapter {
    /// Adds its parameters for `data` values a sample.
    pub fn new(g: &mut Graph, data: usize, width: usize, encoding: usize) -> Result<Self> {
        Ok(Self {
            encode: Encode::new(encoding, Layout::Interleaved)?,
            fc1: Linear::new(g, "fc1", data + encoding, width)?,
            fc2: Linear::new(g, "fc2", width, data)?,
        })
    }
}

impl Denoiser for Chapter {
    fn forward(&self, g: &mut Graph, x_t: Var, t: Var) -> Result<Var> {
        let encoding = self.encode.add_to(g, t)?;
        let joined = g.apply(Concat, &[x_t, encoding])?[0];
        self.forward_joined(g, joined)
    }

    fn joined_encoding(&self) -> Option<Encode> {
        Some(self.encode)
    }

    fn forward_joined(&self, g: &mut Graph, input: Var) -> Result<Var> {
        let hidden = self.fc1.forward(g, input, Activation::Relu)?;
        self.fc2.forward(g, hidden, Activation::None)
    }
}
