//! Regularisation in training: dropout, and noise on activations. Both use the counter-based random numbers, so a
//! resumed run draws the same.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::{Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{each_word, fill_normals_from};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y = x / (1 - p) with probability 1 - p, else 0.
///
/// *Shapes*: x and y have the same shape. *Gradient*: dx is dropout of dy with the same mask, which is regenerated.
/// *Source*: Srivastava et al. 2014, scaled in training as in PyTorch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    /// p, the probability of 0.
    pub p: f32,
    /// The random stream of the mask.
    pub stream: u32,
}

/// y = x + scale eps, eps standard normal.
///
/// *Shapes*: x and y have the same shape. *Units*: scale in those of x. *Gradient*: dx = dy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActivationNoise {
    /// The noise's standard deviation.
    pub scale: f32,
    /// Its random stream.
    pub stream: u32,
}

impl Graph {
    /// y = x / (1 - p) with probability 1 - p, else 0. Outside of training mode ([`Graph::train`]), or if p is 0, y
    /// is x.
    ///
    /// *Shapes*: x and y have the same shape. *Source*: Srivastava et al. 2014, scaled in training as in PyTorch.
    ///
    /// # Errors
    /// If p is not in [0, 1).
    pub fn dropout(&mut self, x: Var, p: f32) -> Result<Var> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::setting(format!("a dropout of {p}; use a probability from 0 to below 1, such as 0.1")));
        }
        if p == 0.0 || !self.trains_with() {
            return Ok(x);
        }
        let stream = self.stream();
        self.apply1(Dropout { p, stream }, &[x])
    }

    /// y = x + scale eps, eps standard normal. Outside of training mode ([`Graph::train`]), or if the scale is 0, y
    /// is x.
    ///
    /// *Shapes*: x and y have the same shape. *Units*: scale in those of x.
    ///
    /// # Errors
    /// If the scale is negative or not finite.
    pub fn activation_noise(&mut self, x: Var, scale: f32) -> Result<Var> {
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::setting(format!("noise of scale {scale} on activations; use 0 or more, such as 0.1")));
        }
        if scale == 0.0 || !self.trains_with() {
            return Ok(x);
        }
        let stream = self.stream();
        self.apply1(ActivationNoise { scale, stream }, &[x])
    }
}

/// One invocation for four elements, which share a block of random words, and one more where a part begins within a
/// block.
fn kernel(entry: &'static str, specs: &Specs, stream: u32) -> Kernel {
    let n = specs.inputs[0].len();
    kernel!("dropout.wgsl", entry)
        .dim("N", n)
        .dim("W", specs.inputs[0].rows().1)
        .hyper("STREAM", stream as f64)
        .over((n + 3).div_ceil(4))
}

/// The element of the batch that element 0 of the first input is.
pub(super) fn first_element<S>(io: &Io<S>) -> usize {
    io.first_row * io.specs.inputs[0].rows().1
}

/// Elements processed at a time on the CPU: a multiple of four.
const PART: usize = 1 << 10;

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("dropout", inputs, 1)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        kernel("dropout", specs, self.stream).hyper("P", self.p as f64)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, y, clock) = (io.input(0), io.output(0), io.clock);
        let first = first_element(io);
        // A word below it drops the element; exact in f64 and in f32.
        let threshold = (self.p as f64 * 4_294_967_296.0) as u32;
        let scale = S::of((1.0 / (1.0 - self.p)) as f64);
        parallel::chunks(
            y,
            #[inline(always)]
            |start, y| {
                let x = &x[start..];
                each_word(
                    clock,
                    self.stream,
                    first + start,
                    y.len(),
                    #[inline(always)]
                    |i, word| y[i] = if word < threshold { S::ZERO } else { x[i] * scale },
                );
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let dx = r.graph.apply1(*self, &[dy])?;
            r.add_gradient(0, dx);
        }
        Ok(())
    }
}

impl Op for ActivationNoise {
    fn name(&self) -> &'static str {
        "activation_noise"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("activation_noise", inputs, 1)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        kernel("add_noise", specs, self.stream).hyper("SCALE", self.scale as f64)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, y, clock) = (io.input(0), io.output(0), io.clock);
        let first = first_element(io);
        let scale = S::of(self.scale as f64);
        parallel::chunks(
            y,
            #[inline(always)]
            |start, y| {
                for (i, (y, x)) in y.chunks_mut(PART).zip(x[start..].chunks(PART)).enumerate() {
                    fill_normals_from(clock, self.stream, first + start + i * PART, y);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = *x + scale * *y);
                }
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            r.add_gradient(0, dy);
        }
        Ok(())
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [vec![1], vec![7, 5], vec![3, 2, 33, 101]] {
        let dropout = Dropout { p: 0.3, stream: 4 };
        cases.push(Case::new(dropout).input(shape.clone()).clock(3, 9).first_row(2).tolerance(Tolerance::value(4.0)));
        let noise = ActivationNoise { scale: 0.2, stream: 3 };
        // As in the noise layer, times the scale.
        cases.push(Case::new(noise).input(shape).clock(3, 9).first_row(3).tolerance(Tolerance::absolute(10.0)));
    }
    let case = Case::new(Dropout { p: 0.5, stream: 1 }).input([5, 4]);
    cases.push(case.tolerance(Tolerance::value(4.0)).gradient());
    let case = Case::new(ActivationNoise { scale: 0.5, stream: 1 }).input([5, 4]);
    cases.push(case.tolerance(Tolerance::absolute(24.0)).gradient());
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Dropout { p: 0.1, stream: 4 }).input([1024, 1024])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_keeps_its_share_and_the_mean() {
        let mut g = Graph::new();
        let n = 100_000;
        let x = g.constant([n], vec![1.0; n]).unwrap();
        assert_eq!(g.dropout(x, 0.25).unwrap(), x, "off unless the graph trains");
        assert_eq!(g.activation_noise(x, 0.25).unwrap(), x);
        g.train();
        let y = g.dropout(x, 0.25).unwrap();
        g.keep(y);
        let mut run = crate::Device::cpu().compile(&g).unwrap();
        run.steps(1).unwrap();
        let first = run.read(y).unwrap();
        let kept = first.iter().filter(|v| **v > 0.0).count() as f64 / n as f64;
        // Five standard deviations of a binomial.
        assert!((kept - 0.75).abs() < 5.0 * (0.25f64 * 0.75 / n as f64).sqrt(), "{kept}");
        assert!(first.iter().all(|v| *v == 0.0 || *v == 1.0 / 0.75));
        run.steps(1).unwrap();
        assert!(run.read(y).unwrap() != first, "another step, another mask");
        assert!(g.dropout(x, 1.0).is_err() && g.dropout(x, f32::NAN).is_err() && g.activation_noise(x, -1.0).is_err());
    }

    #[test]
    fn an_optimizer_refuses_a_network_whose_dropout_was_left_out() {
        for noise in [false, true] {
            for trains in [false, true] {
                let mut g = Graph::new();
                if trains {
                    g.train();
                }
                let w = g.parameter("w", [3, 4], vec![1.0; 12]).unwrap();
                let y = if noise { g.activation_noise(w, 0.1) } else { g.dropout(w, 0.1) }.unwrap();
                let goal = g.constant([3, 4], vec![0.0; 12]).unwrap();
                let loss = g.mse(y, goal).unwrap();
                let added = g.minimize(loss, crate::ops::Optimizer::adam(1e-3));
                assert_eq!(added.is_ok(), trains);
                assert!(added.map_or_else(|e| e.to_string().contains("Graph::train"), |_| true));
            }
        }
    }
}
