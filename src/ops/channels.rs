//! y = act(x + bias) with a bias per sample and channel: conditions images and signals on a step encoding.

use super::activation::{activated, gradient_before, stored_outputs};
use super::case::{Case, Tolerance};
use super::conv::window::planes;
use super::{Activation, Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y = act(z), z\[b, c, ...\] = x\[b, c, ...\] + bias\[b, c\].
///
/// *Shapes*: x, y and z [B, C, L] or [B, C, H, W], bias [B, C]; z is stored only when the derivative needs it.
/// *Gradient*: dx = dz, dbias = sum of dz over places, in a fixed order.
/// *Accuracy*: z has one rounding. To nearest, its error is up to half a unit in the last place, 2^-24 |z|, attained by
/// sums just above a power of two; WGSL allows either neighbour, so an error of up to one unit, 2^-23 |z|, is correct.
#[derive(Clone, Copy, Debug)]
pub struct ChannelBias {
    /// The fused activation.
    pub activation: Activation,
}

impl Op for ChannelBias {
    fn name(&self) -> &'static str {
        "channel_bias"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("channel_bias", inputs, 2)?;
        let (b, c, _) = planes("channel_bias", "x", &inputs[0])?;
        expect_shape("channel_bias", "bias", &inputs[1], &[b, c])?;
        Ok(activated(Spec::f32(inputs[0].shape.clone()), self.activation))
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (n, planes) = (specs.inputs[0].len(), specs.inputs[1].len());
        let kernel = kernel!("channels.wgsl", "add_bias")
            .flag("BIAS", true)
            .flag("SAVE", specs.stores(1))
            .dim("N", n)
            .dim("P", n / planes);
        self.activation.choose(kernel).over(n)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0, 1]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, bias, y) = (io.input(0), io.input(1), io.output(0));
        let places = x.len() / bias.len();
        let saves = io.specs.stores(1);
        let add = |row: usize, y: &mut [S]| {
            y.iter_mut().zip(&x[row * places..]).for_each(|(y, x)| *y = *x + bias[row]);
        };
        if saves {
            parallel::rows2(
                y,
                places,
                io.output(1),
                places,
                #[inline(always)]
                |row, y, z| {
                    add(row, z);
                    y.copy_from_slice(z);
                    self.activation.apply_all(y);
                },
            );
        } else {
            parallel::rows(
                y,
                places,
                #[inline(always)]
                |row, y| {
                    add(row, y);
                    self.activation.apply_all(y);
                },
            );
        }
    }

    fn activation(&self) -> Option<Activation> {
        Some(self.activation)
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dz) = gradient_before(r, self.activation)? else { return Ok(()) };
        r.add_gradient(0, dz);
        if r.needs_gradient(1) {
            let shape = r.graph.shape(r.input(1)).to_vec();
            // Every plane is a channel of one sample.
            let rows = [&[1, shape[0] * shape[1]], &r.graph.shape(dz)[2..]].concat();
            let rows = r.graph.reshape(dz, rows)?;
            let d = r.graph.apply1(ChannelSum, &[rows])?;
            let d = r.graph.reshape(d, shape)?;
            r.add_gradient(1, d);
        }
        Ok(())
    }
}

/// sums\[c\] = sum of x\[b, c, ...\] over samples and places, in a fixed order.
///
/// *Shapes*: x [B, C, L] or [B, C, H, W], sums \[C\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelSum;

impl Op for ChannelSum {
    fn name(&self) -> &'static str {
        "channel_sum"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("channel_sum", inputs, 1)?;
        let (_, c, _) = planes("channel_sum", "x", &inputs[0])?;
        Ok(vec![Spec::f32([c])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (n, (b, _), c) = (specs.inputs[0].len(), specs.inputs[0].rows(), specs.outputs[0].len());
        // Short sums are not worth a workgroup with barriers.
        let short = n / c <= 256;
        let kernel = kernel!("channels.wgsl", if short { "sum_short" } else { "sum_planes" }).flag("BIAS", false);
        let kernel = kernel.dim("N", n).dim("P", n / b / c).dim("C", c);
        if short { kernel.over(c) } else { kernel.tune("WG", 128).groups(c) }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ((b, _), x, sums) = (io.specs.inputs[0].rows(), io.input(0), io.output(0));
        let c = sums.len();
        let places = x.len() / b / c;
        parallel::each(
            sums,
            x.len(),
            #[inline(always)]
            |channel| {
                (0..b)
                    .map(|b| &x[(b * c + channel) * places..][..places])
                    .map(|p| parallel::sum(places, |i| p[i]))
                    .sum()
            },
        );
    }
}

impl Graph {
    /// [a | b] along the channels: a [B, P, ...] and b [B, Q, ...] with equal places give [B, P + Q, ...].
    ///
    /// # Errors
    /// When batch size or places differ.
    pub fn concat_channels(&mut self, a: Var, b: Var) -> Result<Var> {
        let (left, right) = (self.spec(a).clone(), self.spec(b).clone());
        let (batch, p, places) = planes("concat_channels", "a", &left)?;
        let (other, q, same) = planes("concat_channels", "b", &right)?;
        if batch != other || places != same {
            let text = format!("batch size and places should be equal; got a {:?}, b {:?}", left.shape, right.shape);
            return Err(Error::shape("concat_channels", text));
        }
        let size: usize = places.iter().product();
        let (a, b) = (self.reshape(a, [batch, p * size])?, self.reshape(b, [batch, q * size])?);
        let joined = self.apply1(super::Concat, &[a, b])?;
        self.reshape(joined, [&[batch, p + q], places].concat())
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [vec![1, 1, 1], vec![3, 5, 7], vec![2, 3, 4, 5], vec![9, 33, 5, 13]] {
        let bias = shape[..2].to_vec();
        let case = Case::new(ChannelBias { activation: Activation::None }).input(shape.clone()).input(bias);
        cases.push(case.tolerance(Tolerance::relative(2.0)));
        let terms = Tolerance::terms(1.0, shape[0] * shape[2..].iter().product::<usize>());
        cases.push(Case::new(ChannelSum).input(shape).tolerance(terms));
    }
    for (_, activation) in Activation::ALL {
        let case = Case::new(ChannelBias { activation }).input([2, 3, 5]).input([2, 3]);
        cases.push(case.tolerance(Tolerance::value(24.0)).gradient().gradient_from(stored_outputs(activation)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let x = [32, 64, 14, 14];
    vec![
        Case::new(ChannelBias { activation: Activation::Relu }).input(x).input([32, 64]),
        Case::new(ChannelSum).input(x),
    ]
}
