//! The mean squared error: partial sums and gradient in one pass.

use super::case::{Case, Tolerance};
use super::reduce::Split;
use super::{Io, Op, Reduce, Reduction, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::par;
use crate::scalar::Scalar;

/// Partial sums of (prediction - goal)^2, and d = 2 weight (prediction - goal) / N, the gradient of the mean.
///
/// *Shapes*: prediction, goal and d alike, N elements; partials \[G\], G fixed by N.
/// *Accuracy*: a fixed order of summation, the same on every run.
#[derive(Clone, Copy, Debug)]
pub struct Mse {
    /// Weight of this loss in the sum of losses.
    pub weight: f64,
}

impl Graph {
    /// The loss mean((prediction - goal)^2) over all elements.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn mse(&mut self, prediction: Var, goal: Var) -> Result<Var> {
        let n = self.spec(prediction).len() as f64;
        let out = self.apply(Mse { weight: 1.0 }, &[prediction, goal])?;
        let loss = self.apply(Reduce(Reduction::Sum { scale: 1.0 / n }), &[out[0]])?[0];
        self.define_loss(loss, prediction, out[1])?;
        Ok(loss)
    }
}

impl Op for Mse {
    fn name(&self) -> &'static str {
        "mse"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("mse", inputs, 2)?;
        expect_shape("mse", "goal", &inputs[1], &inputs[0].shape)?;
        Ok(vec![Spec::f32([Split::new(inputs[0].len()).groups]), Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Split::new(n)
            .kernel(Kernel::new("reduce.wgsl", include_str!("../../shaders/reduce.wgsl"), "squared_error"))
            .hyper("SCALE", 2.0 * self.weight / n as f64)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (prediction, goal) = (io.input(0), io.input(1));
        let (partials, d) = (io.output(0), io.output(1));
        let scale = S::of(2.0 * self.weight / prediction.len() as f64);
        par::chunks(d, |start, d| {
            for i in 0..d.len() {
                d[i] = scale * (prediction[start + i] - goal[start + i]);
            }
        });
        Split::new(prediction.len()).sums(partials, |i| {
            let e = prediction[i] - goal[i];
            e * e
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    [vec![1], vec![63], vec![33, 65], vec![70, 1000]]
        .into_iter()
        .map(|shape| {
            let n: usize = shape.iter().product();
            // The gradient's terms are of size 2/N; a partial sum has only positive terms.
            Case::new(Mse { weight: 0.5 })
                .input(shape.clone())
                .input(shape)
                .tolerance(Tolerance::absolute(8.0 / n as f64))
                .first_tolerance(Tolerance::value(12.0 + (Split::new(n).chunk as f64).sqrt()))
        })
        .collect()
}
