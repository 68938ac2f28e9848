//! A small U-Net without step encoding and without biases of convolutions, whose forward and backward pass other projects
//! publish for many GPUs.

use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::GroupNorm;
use crate::numeric::random::{Distribution, Draw};
use crate::ops::{self, Activation, Add, Concat, Upsample};

/// Channels of the sample and its height and width.
pub(super) const SAMPLE: [usize; 3] = [4, 32, 32];
/// Channels of the levels.
const LEVELS: [usize; 3] = [64, 128, 256];
/// Groups of all normalisations.
const GROUPS: usize = 16;

/// Adds the network to a graph; layers are numbered in their order.
pub(super) struct SmallUNet<'a> {
    g: &'a mut Graph,
    /// Stands for the bias of all convolutions.
    zero: Vec<(usize, Var)>,
    layers: usize,
}

impl<'a> SmallUNet<'a> {
    /// The network applied to x [B, 4, 32, 32].
    ///
    /// # Errors
    /// The errors of building.
    pub fn add_to(g: &'a mut Graph, x: Var) -> Result<Var> {
        let mut net = Self { g, zero: Vec::new(), layers: 0 };
        let (mut h, mut skips) = (net.conv(x, LEVELS[0], 3, 1)?, Vec::new());
        for (level, &channels) in LEVELS.iter().enumerate() {
            if level > 0 {
                h = net.conv(h, LEVELS[level - 1], 3, 2)?;
            }
            h = net.residual(h, channels)?;
            skips.push(h);
        }
        h = net.residual(h, LEVELS[2])?;
        for (level, &channels) in LEVELS.iter().enumerate().rev() {
            let both = net.concat(h, skips[level])?;
            h = net.residual(both, channels)?;
            if level > 0 {
                h = net.g.apply1(Upsample::by(2, 2), &[h])?;
            }
        }
        h = net.norm_silu(h)?;
        net.conv(h, SAMPLE[0], 3, 1)
    }

    fn channels(&self, x: Var) -> usize {
        self.g.shape(x)[1]
    }

    fn name(&mut self) -> String {
        self.layers += 1;
        format!("layer{}", self.layers)
    }

    fn conv(&mut self, x: Var, outputs: usize, kernel: usize, stride: usize) -> Result<Var> {
        let shape = [outputs, self.channels(x), kernel, kernel];
        let limit = 1.0 / (shape[1..].iter().product::<usize>() as f32).sqrt();
        let name = self.name();
        let place = [self.layers as u32, 2];
        let draw = Draw { distribution: Distribution::Uniform { limit }, seed: self.g.seed(), place };
        let weight = self.g.drawn_parameter(&name, shape, draw)?;
        let op = ops::Conv { stride, padding: kernel / 2, activation: Activation::None };
        let zero = self.zeros(outputs)?;
        self.g.apply1(op, &[x, weight, zero])
    }

    fn zeros(&mut self, n: usize) -> Result<Var> {
        if let Some((_, zero)) = self.zero.iter().find(|(len, _)| *len == n) {
            return Ok(*zero);
        }
        let zero = self.g.state(&format!("zero{n}"), [n])?;
        self.zero.push((n, zero));
        Ok(zero)
    }

    fn norm_silu(&mut self, x: Var) -> Result<Var> {
        let (name, channels) = (self.name(), self.channels(x));
        GroupNorm::new(self.g, &name, channels, GROUPS)?.forward(self.g, x, Activation::Silu)
    }

    fn residual(&mut self, x: Var, outputs: usize) -> Result<Var> {
        let h = self.norm_silu(x)?;
        let h = self.conv(h, outputs, 3, 1)?;
        let h = self.norm_silu(h)?;
        let h = self.conv(h, outputs, 3, 1)?;
        let x = if self.channels(x) == outputs { x } else { self.conv(x, outputs, 1, 1)? };
        self.g.apply1(Add, &[x, h])
    }

    /// [a | b] along the channels.
    fn concat(&mut self, a: Var, b: Var) -> Result<Var> {
        let shape = self.g.shape(a).to_vec();
        let channels = self.channels(a) + self.channels(b);
        let [a, b] = [a, b].map(|v| {
            let (rows, rest) = self.g.spec(v).rows();
            self.g.reshape(v, [rows, rest])
        });
        let both = self.g.apply1(Concat, &[a?, b?])?;
        self.g.reshape(both, [&[shape[0], channels], &shape[2..]].concat())
    }
}
