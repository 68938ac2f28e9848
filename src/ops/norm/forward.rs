//! Group and layer normalisation.

use super::backward::reverse;
use super::{Runs, affine, runs_of};
use crate::error::{Error, Result};
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::ops::{Activation, Io, Op, Specs, expect_count, expect_shape};
use crate::parallel;

/// y = act((x - mean) rstd gamma + beta) over each group of channels, rstd = 1 / sqrt(variance + epsilon).
///
/// *Shapes*: x and y [B, C, ...], gamma and beta \[C\]; stats [B G, 2] holds (mean, rstd) for the reverse pass.
/// *Gradient*: below, in one pass that recomputes what is not saved. *Accuracy*: group sums are reduced as trees.
/// *Source*: Wu and He 2018, eq. 7; epsilon 1e-5 and the population variance as in PyTorch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GroupNorm {
    /// The number of groups G, which divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// The fused activation.
    pub activation: Activation,
    /// Whether x is given as two tensors of channels [a | b], and is an output too: added when a graph is compiled.
    pub(crate) joined: bool,
}

setters!(GroupNorm { epsilon: f64, activation: Activation });

impl GroupNorm {
    /// G groups with PyTorch's epsilon, 1e-5, and no activation.
    pub fn new(groups: usize) -> Self {
        Self { groups, epsilon: 1e-5, activation: Activation::None, joined: false }
    }
}

/// y = act((x - mean) rstd gamma + beta) over the last dimension, rstd = 1 / sqrt(variance + epsilon).
///
/// *Shapes*: x and y [..., D], gamma and beta \[D\]; stats [rows, 2] holds (mean, rstd) for the reverse pass.
/// *Gradient*: as for [`GroupNorm`]. *Source*: Ba et al. 2016, eq. 4; epsilon 1e-5 and population variance as in
/// PyTorch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// The fused activation.
    pub activation: Activation,
}

setters!(LayerNorm { epsilon: f64, activation: Activation });

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5, activation: Activation::None }
    }
}

/// From x, with gamma and beta from input `at` on.
fn forward<S: Scalar>(io: &mut Io<S>, x: &[S], at: usize, runs: Runs, epsilon: f64, activation: Activation) {
    let (gamma, beta) = (io.input(at), io.input(at + 1));
    let (y, stats) = (io.output(0), io.output(1));
    let (d, n) = (runs.run, S::of(runs.run as f64));
    parallel::rows2(
        y,
        d,
        stats,
        2,
        #[inline(always)]
        |row, y, stats| {
            let x = &x[row * d..][..d];
            let mean = parallel::sum(d, |i| x[i]) / n;
            let variance = parallel::sum(d, |i| (x[i] - mean) * (x[i] - mean)) / n;
            let rstd = S::ONE / (variance + S::of(epsilon)).sqrt();
            y.iter_mut().zip(x).for_each(|(y, x)| *y = (*x - mean) * rstd);
            affine(runs, row, y, gamma, beta);
            activation.apply_all(y);
            stats.copy_from_slice(&[mean, rstd]);
        },
    );
}

impl GroupNorm {
    /// x, which may be given as [a | b].
    fn x(&self, inputs: &[Spec]) -> Spec {
        let mut x = Spec::f32(inputs[0].shape.clone());
        if self.joined && x.shape.len() > 1 {
            x.shape[1] += inputs[1].shape.get(1).copied().unwrap_or(0);
        }
        x
    }
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("group_norm", inputs, 3 + self.joined as usize)?;
        let (x, inputs) = (&self.x(inputs), &inputs[self.joined as usize..]);
        if x.shape.len() < 2 {
            return Err(Error::shape("group_norm", format!("expected x [B, C, ...], got {:?}", x.shape)));
        }
        let channels = x.shape[1];
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let divisors: Vec<usize> = (1..=channels.min(64)).filter(|g| channels.is_multiple_of(*g)).collect();
            let text = format!("{} groups do not divide {channels} channels; use one of {divisors:?}", self.groups);
            return Err(Error::shape("group_norm", text));
        }
        expect_shape("group_norm", "gamma", &inputs[1], &[channels])?;
        expect_shape("group_norm", "beta", &inputs[2], &[channels])?;
        let joined = self.joined.then(|| x.clone());
        let outputs = [Spec::f32(x.shape.clone()), Spec::f32([x.shape[0] * self.groups, 2])];
        Ok(outputs.into_iter().chain(joined).collect())
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let kernel = runs_of(&self.x(&specs.inputs), Some(self.groups)).by_run("forward", target);
        let kernel = match self.joined {
            true => kernel.flag("JOINED", true).dim("FIRST", specs.inputs[0].rows().1),
            false => kernel,
        };
        self.activation.choose(kernel.hyper("EPSILON", self.epsilon))
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        if self.joined { [vec![0, 1], vec![0, 2]] } else { [vec![0], vec![0]] }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        if self.joined {
            let [(_, p), (_, q)] = [0, 1].map(|i| io.specs.inputs[i].rows());
            let (a, b, x) = (io.input(0), io.input(1), io.output(2));
            parallel::rows(
                x,
                p + q,
                #[inline(always)]
                |row, x| {
                    x[..p].copy_from_slice(&a[row * p..][..p]);
                    x[p..].copy_from_slice(&b[row * q..][..q]);
                },
            );
            forward(io, x, 2, runs_of(&self.x(&io.specs.inputs), Some(self.groups)), self.epsilon, self.activation);
        } else {
            let runs = runs_of(&io.specs.inputs[0], Some(self.groups));
            forward(io, io.input(0), 1, runs, self.epsilon, self.activation);
        }
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        reverse(r, Some(self.groups), self.activation)
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("layer_norm", inputs, 3)?;
        let x = &inputs[0];
        let runs = runs_of(x, None);
        expect_shape("layer_norm", "gamma", &inputs[1], &[runs.run])?;
        expect_shape("layer_norm", "beta", &inputs[2], &[runs.run])?;
        Ok(vec![Spec::f32(x.shape.clone()), Spec::f32([runs.rows, 2])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let kernel = runs_of(&specs.inputs[0], None).by_run("forward", target);
        self.activation.choose(kernel.hyper("EPSILON", self.epsilon))
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        forward(io, io.input(0), 1, runs_of(&io.specs.inputs[0], None), self.epsilon, self.activation);
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        reverse(r, None, self.activation)
    }
}
