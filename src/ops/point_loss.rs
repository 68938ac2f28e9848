//! Elementwise losses: partial sums and gradient in one pass.

use std::ops::Range;

use super::case::{Case, Tolerance};
use super::combine::at_time;
use super::reduce::Split;
use super::{Io, Op, Reduce, Reduction, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The loss f of an error e.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Measure {
    /// e^2.
    Squared,
    /// |e|.
    Absolute,
    /// e^2 / 2 up to |e| = delta, delta (|e| - delta / 2) beyond (Huber 1964; PyTorch's `huber_loss`).
    Huber {
        /// The transition from quadratic to linear, in the units of the data.
        delta: f64,
    },
}

/// The divisor of the sum over all elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Average {
    /// The number of elements.
    Elements,
    /// The number of positions N W H of images [N, C, H, W], channels not counted: the textbook's normalisation.
    Positions,
}

/// Partial sums of w f(e) and d = weight w f'(e) / count, with e = prediction - goal: d is the gradient of
/// weight / count times the sum.
///
/// *Shapes*: prediction, goal and d [B, ...] with N elements; with `by_step` t \[B\] and a table \[T\], whose
/// value at t, interpolated between its rows, is the factor of a sample; with `mask` a factor per element, shaped as the prediction. w is the
/// product of both. partials \[G\], G determined by N.
/// *Units*: t in rows of the table. The count ignores table and mask: a table of mean 1 preserves the scale, and a mask of zeros
/// and ones divided by its mean gives the mean over the unmasked elements.
/// *Gradient*: d; that of |e| is 0 at e = 0. None for goal, table and mask.
/// *Accuracy*: relative; the only cancellation in f and f' is the difference of prediction and goal. A fixed order of
/// summation, the same on every run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PointLoss {
    /// The function f.
    pub measure: Measure,
    /// Weight of this loss in a sum of losses.
    pub weight: f64,
    /// The divisor.
    pub average: Average,
    /// Whether each sample has a factor by its step.
    pub by_step: bool,
    /// Whether each element has a factor.
    pub mask: bool,
}

setters!(PointLoss { weight: f64, average: Average, by_step: bool, mask: bool });

/// Factors of a [`PointLoss`], given as tensors.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Factors {
    /// t \[B\] and the table \[T\] of a sample's factor.
    pub by_step: Option<(Var, Var)>,
    /// A factor for each element.
    pub mask: Option<Var>,
}

setters!(Factors { by_step: Option<(Var, Var)>, mask: Option<Var> });

impl Graph {
    /// The loss mean((prediction - goal)^2) over all elements.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn mse(&mut self, prediction: Var, goal: Var) -> Result<Var> {
        self.point_loss(PointLoss::new(Measure::Squared), prediction, goal, Factors::default())
    }

    /// Adds the loss of every element, weighted by `factors` and averaged. The recorded value excludes the weight in a
    /// sum of losses.
    ///
    /// # Errors
    /// When shapes differ, or a setting is out of range.
    pub fn point_loss(&mut self, op: PointLoss, prediction: Var, goal: Var, factors: Factors) -> Result<Var> {
        let op = PointLoss { by_step: factors.by_step.is_some(), mask: factors.mask.is_some(), ..op };
        let scale = 1.0 / op.count(&self.spec(prediction).shape);
        let mut inputs = vec![prediction, goal];
        inputs.extend(factors.by_step.into_iter().flat_map(|(t, table)| [t, table]));
        inputs.extend(factors.mask);
        let out = self.apply(op, &inputs)?;
        let loss = self.apply1(Reduce(Reduction::Sum { scale }), &[out[0]])?;
        self.define_loss(loss, prediction, out[1])?;
        Ok(loss)
    }
}

impl PointLoss {
    /// The mean over all elements, with weight 1.
    pub fn new(measure: Measure) -> Self {
        Self { measure, weight: 1.0, average: Average::Elements, by_step: false, mask: false }
    }

    /// Sets the divisor of the sum.
    fn count(&self, shape: &[usize]) -> f64 {
        let n: usize = shape.iter().product();
        match (self.average, shape) {
            (Average::Positions, [_, channels, _, ..]) => n as f64 / (*channels).max(1) as f64,
            _ => n as f64,
        }
    }

    /// The factor of d.
    fn scale(&self, specs: &Specs) -> f64 {
        self.scale_of(&specs.inputs[0].shape)
    }

    fn scale_of(&self, shape: &[usize]) -> f64 {
        self.weight / self.count(shape)
    }

    /// The constants of the kernels that compute it for predictions of `shape`.
    pub(super) fn constants(&self, kernel: Kernel, shape: &[usize]) -> Kernel {
        let kernel = kernel.hyper("KIND", self.number()).hyper("SCALE", self.scale_of(shape));
        match self.measure {
            Measure::Huber { delta } => kernel.hyper("DELTA", delta),
            _ => kernel,
        }
    }

    fn number(&self) -> f64 {
        match self.measure {
            Measure::Squared => 0.0,
            Measure::Absolute => 1.0,
            Measure::Huber { .. } => 2.0,
        }
    }

    /// The CPU implementation for one f, given as (f(e), f'(e)).
    #[inline(always)]
    fn pass<S: Scalar>(&self, io: &mut Io<S>, f: impl Fn(S) -> (S, S) + Sync) {
        let mask = self.mask.then(|| io.input(if self.by_step { 4 } else { 2 }));
        match mask {
            None => self.pass_masked(io, f, |_| S::ONE),
            Some(mask) => self.pass_masked(io, f, |i| mask[i]),
        }
    }

    #[inline(always)]
    fn pass_masked<S: Scalar>(&self, io: &mut Io<S>, f: impl Fn(S) -> (S, S) + Sync, mask: impl Fn(usize) -> S + Sync) {
        let scale = S::of(self.scale(io.specs));
        let (prediction, goal, partials, d) = (io.input(0), io.input(1), io.output(0), io.output(1));
        let (width, weights) = self.row_weights(io);
        parallel::chunks(
            d,
            #[inline(always)]
            |start, d| {
                for (row, span) in spans(start..start + d.len(), width) {
                    let w = scale * weights[row];
                    for i in span {
                        d[i - start] = w * mask(i) * f(prediction[i] - goal[i]).1;
                    }
                }
            },
        );
        Split::new(prediction.len()).ranges(partials, |range| {
            let sum = |(row, span): (usize, Range<usize>)| {
                let at = span.start;
                weights[row] * parallel::sum(span.len(), |i| mask(at + i) * f(prediction[at + i] - goal[at + i]).0)
            };
            spans(range, width).map(sum).sum()
        });
    }

    /// The number of elements per row, and each row's factor; without `by_step` all elements are one row.
    fn row_weights<S: Scalar>(&self, io: &Io<S>) -> (usize, Vec<S>) {
        let spec = &io.specs.inputs[0];
        if !self.by_step {
            return (spec.len(), vec![S::ONE]);
        }
        let (t, table) = (io.input(2), io.input(3));
        let weight = |t: &S| at_time::<S, 1>(table, *t, 0);
        (spec.rows().1, t.iter().map(weight).collect())
    }
}

/// `range` split at multiples of `width`, with the index of each row.
fn spans(range: Range<usize>, width: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let row = at / width;
        let span = at..((row + 1) * width).min(range.end);
        at = span.end;
        (!span.is_empty()).then_some((row, span))
    })
}

impl Op for PointLoss {
    fn name(&self) -> &'static str {
        match self.measure {
            Measure::Squared => "mse",
            Measure::Absolute => "l1",
            Measure::Huber { .. } => "huber",
        }
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let name = self.name();
        expect_count(name, inputs, 2 + 2 * self.by_step as usize + self.mask as usize)?;
        let shape = &inputs[0].shape;
        expect_shape(name, "goal", &inputs[1], shape)?;
        if self.by_step {
            expect_shape(name, "t", &inputs[2], &[inputs[0].rows().0])?;
            expect_shape(name, "table", &inputs[3], &[inputs[3].len()])?;
        }
        if self.mask {
            expect_shape(name, "mask", &inputs[inputs.len() - 1], shape)?;
        }
        if !(self.weight >= 0.0 && self.weight.is_finite()) {
            return Err(Error::setting(format!("{name}: a weight of {}; use 0 or a positive number", self.weight)));
        }
        match self.measure {
            Measure::Huber { delta } if !(delta > 0.0 && delta.is_finite()) => {
                return Err(Error::setting(format!("huber: delta is {delta}; use a positive number such as 1")));
            }
            _ => {}
        }
        if self.average == Average::Positions && shape.len() < 3 {
            let text = format!("averaging over positions needs images [N, C, H, W], got {shape:?}");
            return Err(Error::shape(name, text));
        }
        Ok(vec![Spec::f32([Split::new(inputs[0].len()).groups]), Spec::f32(shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        let kernel = kernel!("point_loss.wgsl", "point_loss").flag("STEPS", self.by_step).flag("MASK", self.mask);
        let kernel = self.constants(kernel, &specs.inputs[0].shape);
        let kernel = if self.by_step {
            kernel.dim("D", specs.inputs[0].rows().1).dim("T", specs.inputs[3].len())
        } else {
            kernel
        };
        Split::new(n).kernel(kernel)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: 5 * specs.inputs[0].len() as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (two, half) = (S::of(2.0), S::of(0.5));
        match self.measure {
            Measure::Squared => self.pass(io, |e| (e * e, two * e)),
            Measure::Absolute => self.pass(io, |e| (e.abs(), sign(e))),
            Measure::Huber { delta } => {
                let delta = S::of(delta);
                self.pass(io, |e| {
                    // min(|e|, delta) is |f'|, and f = |f'| (|e| - |f'| / 2).
                    let slope = e.abs().min(delta);
                    (slope * (e.abs() - half * slope), slope * sign(e))
                });
            }
        }
    }
}

#[inline(always)]
fn sign<S: Scalar>(e: S) -> S {
    if e > S::ZERO {
        S::ONE
    } else if e < S::ZERO {
        -S::ONE
    } else {
        // 0 or NaN.
        e + S::ZERO
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // d is a product of the rounded error and constants. The terms of a partial sum are largest where prediction and
    // goal have opposite signs; a mask and a table have both signs here.
    let case = |op: PointLoss, shape: &[usize]| {
        let case = Case::new(op).input(shape).input(shape).for_terms(|_, goal| -goal.abs());
        let chunk = Split::new(shape.iter().product()).chunk;
        case.first_tolerance(Tolerance::terms(6.0, chunk)).tolerance(Tolerance::relative(8.0))
    };
    let measures = [Measure::Squared, Measure::Absolute, Measure::Huber { delta: 0.4 }];
    for shape in [&[1][..], &[63], &[33, 65], &[70, 1000]] {
        for measure in measures {
            cases.push(case(PointLoss::new(measure).weight(0.5), shape));
        }
    }
    let steps = |rows: usize| (0..rows).map(|i| (i * 7 % 20) as f32 * 0.95).collect::<Vec<f32>>();
    for measure in measures {
        let op = PointLoss { by_step: true, ..PointLoss::new(measure) };
        cases.push(case(op, &[21, 130]).values([21], steps(21)).input([20]));
        cases.push(
            case(PointLoss { mask: true, ..op }, &[20, 3, 5, 7])
                .values([20], steps(20))
                .input([20])
                .input([20, 3, 5, 7]),
        );
    }
    let op = PointLoss { mask: true, average: Average::Positions, ..PointLoss::new(Measure::Squared) };
    cases.push(case(op, &[2, 3, 9, 11]).input([2, 3, 9, 11]));
    // Errors from 2^-60 to 2^60, whose squares are normal numbers.
    for measure in measures {
        for k in (-60..=60).step_by(12) {
            let errors =
                (0..32).map(|i| (1.0 + i as f32 / 32.0) * (k as f32).exp2() * if i % 3 == 0 { -1.0 } else { 1.0 });
            let case = Case::new(PointLoss::new(measure)).values([32], errors.collect()).values([32], vec![0.0; 32]);
            cases.push(case.first_tolerance(Tolerance::relative(12.0)).tolerance(Tolerance::relative(8.0)));
        }
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(PointLoss::new(Measure::Squared)).input([1024, 784]).input([1024, 784])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_split_at_row_ends() {
        let cut: Vec<_> = spans(3..9, 4).collect();
        assert_eq!(cut, [(0, 3..4), (1, 4..8), (2, 8..9)]);
        assert_eq!(spans(5..5, 4).count(), 0);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let mut g = Graph::new();
        let (x, y) = (g.state("x", [4, 6]).unwrap(), g.state("y", [4, 6]).unwrap());
        let mut message = |op: PointLoss, factors| g.point_loss(op, x, y, factors).unwrap_err().to_string();
        let huber = PointLoss::new(Measure::Huber { delta: -1.0 });
        assert!(message(huber, Factors::default()).contains("delta is -1"));
        let mse = PointLoss::new(Measure::Squared);
        assert!(message(mse.weight(-2.0), Factors::default()).contains("-2"));
        assert!(message(PointLoss { average: Average::Positions, ..mse }, Factors::default()).contains("[4, 6]"));
        assert!(message(mse, Factors { by_step: Some((x, y)), mask: None }).contains("t should have shape [4]"));
    }
}
