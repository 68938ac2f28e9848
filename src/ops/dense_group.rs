//! The products of several small dense layers of one input, in one dispatch each.
//!
//! Conditions of a network on the step are such layers. [`Graph::with_grouped_layers`] finds them when a graph is
//! compiled.

use super::case::{Case, Tolerance};
use super::dense::column_sums;
use super::gemm::{Operand, Product, gemm};
use super::{Activation, Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::{Cost, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel::matmul::{Initial, Matrix, matmul, matmul_with};

/// A layer: its width, and the offsets of weight [width, I] and bias in a slab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub width: usize,
    pub weight: usize,
    pub bias: usize,
}

impl Layer {
    /// Its weight, for an input of `inputs` elements.
    fn matrix<S: Scalar>(self, slab: &[S], inputs: usize) -> Matrix<'_, S> {
        Matrix::new(&slab[self.weight..][..self.width * inputs], self.width, inputs)
    }
}

/// The product that a [`DenseGroup`] computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pass {
    /// y\[i\] = x W\[i\]^T + b\[i\]: inputs x [B, I] and the slab of the parameters; outputs y\[i\] [B, O\[i\]].
    Forward,
    /// dx = (sum of dz\[i\] W\[i\]) act'(saved): inputs dz\[i\] [B, O\[i\]], the slab of the parameters, and saved [B, I]
    /// with an activation; output dx [B, I], with I as given.
    Input { width: usize, activation: Activation },
    /// dW\[i\] = dz\[i\]^T x, db\[i\] = sum of dz\[i\]: inputs dz\[i\] [B, O\[i\]] and x [B, I]; the slab of the gradients
    /// is updated.
    Weight,
}

/// A product of dense layers of one input x [B, I], without activations.
#[derive(Clone, Debug)]
pub(crate) struct DenseGroup {
    pub layers: Vec<Layer>,
    pub pass: Pass,
}

impl DenseGroup {
    /// The most layers of a group, which have bindings 0 to 5.
    pub const MOST: usize = 6;

    /// The sum of the widths.
    fn outputs(&self) -> usize {
        self.layers.iter().map(|layer| layer.width).sum()
    }

    /// B and I.
    fn sizes(&self, inputs: &[Spec]) -> (usize, usize) {
        match self.pass {
            Pass::Forward => inputs[0].rows(),
            Pass::Input { width, .. } => (inputs[0].rows().0, width),
            Pass::Weight => inputs[self.layers.len()].rows(),
        }
    }

    /// The functions of the shader that find the layer of an output o, with the bindings of dz or of y. They select and do
    /// not branch, except to store: compilers of some drivers follow each path through the unrolled loops of a product.
    fn text(&self) -> String {
        let (mut text, mut start) = (String::new(), 0);
        let (mut weight, mut bias, mut value, mut put) = (String::new(), String::new(), String::new(), String::new());
        let forward = self.pass == Pass::Forward;
        for (i, Layer { width, weight: w, bias: b }) in self.layers.iter().enumerate() {
            let (access, name) = if forward { ("read_write", "y") } else { ("read", "dz") };
            text += &format!("@group(0) @binding({i}) var<storage, {access}> {name}{i}: array<f32>;\n");
            let end = start + width;
            put += &format!("  if (({start}u <= o) & (o < {end}u)) {{ y{i}[row * {width}u + o - {start}u] = v; }}\n");
            let at = format!("dz{i}[row * {width}u + clamp(o, {start}u, {}u) - {start}u]", end - 1);
            let of = [format!("{w}u + (o - {start}u) * inputs"), format!("{b}u + o - {start}u"), at];
            for (text, of) in [&mut weight, &mut bias, &mut value].into_iter().zip(of) {
                *text = if i == 0 { of } else { format!("select({text}, {of}, o >= {start}u)") };
            }
            start = end;
        }
        text += &format!("fn weight_at(o: u32, inputs: u32) -> u32 {{ return {weight}; }}\n");
        if self.pass == Pass::Weight || forward {
            text += &format!("fn bias_at(o: u32) -> u32 {{ return {bias}; }}\n");
        }
        text + &match forward {
            true => format!("fn put(row: u32, o: u32, v: f32) {{\n{put}}}\n"),
            false => format!("fn gradient(row: u32, o: u32) -> f32 {{ return {value}; }}\n"),
        }
    }
}

impl Op for DenseGroup {
    fn name(&self) -> &'static str {
        match self.pass {
            Pass::Forward => "dense",
            Pass::Input { .. } => "dense_input",
            Pass::Weight => "dense_weight",
        }
    }

    trusted!();

    fn updates(&self) -> usize {
        (self.pass == Pass::Weight) as usize
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let n = self.layers.len();
        let slope = matches!(self.pass, Pass::Input { activation, .. } if activation != Activation::None);
        let forward = self.pass == Pass::Forward;
        expect_count(self.name(), inputs, if forward { 2 } else { n + 1 + self.updates() + slope as usize })?;
        let (b, i) = self.sizes(inputs);
        let slab = match self.pass {
            Pass::Forward => &inputs[1],
            Pass::Input { .. } => &inputs[n],
            Pass::Weight => &inputs[n + 1],
        };
        let dz = if forward { &[] } else { &inputs[..n] };
        let inside = |layer: &Layer| (layer.weight + layer.width * i).max(layer.bias + layer.width) <= slab.len();
        let fits = dz.iter().zip(&self.layers).all(|(dz, layer)| dz.rows() == (b, layer.width));
        if !fits || !self.layers.iter().all(inside) || slope && inputs[n + 1].rows() != (b, i) {
            return Err(Error::shape(self.name(), format!("{:?} do not fit {inputs:?}", self.layers)));
        }
        Ok(match self.pass {
            Pass::Forward => self.layers.iter().map(|layer| Spec::f32([b, layer.width])).collect(),
            Pass::Input { .. } => vec![Spec::f32([b, i])],
            Pass::Weight => Vec::new(),
        })
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let ((b, i), o) = (self.sizes(&specs.inputs), self.outputs());
        let name = match self.pass {
            Pass::Forward => "FORWARD",
            Pass::Input { .. } => "INPUT",
            Pass::Weight => "WEIGHT",
        };
        let kernel = kernel!("dense_group.wgsl", "gemm").one_of(&["FORWARD", "INPUT", "WEIGHT"], name);
        let kernel = kernel.part("layers", self.text());
        let (kernel, shape, a, b) = match self.pass {
            Pass::Forward => (kernel, [b, o, i], Operand::INNER, Operand::INNER),
            Pass::Input { activation, .. } => {
                let kernel = activation.choose(kernel.flag("SLOPE", activation != Activation::None));
                (kernel, [b, i, o], Operand::INNER.gradient(b), Operand::OUTER)
            }
            Pass::Weight => (kernel, [o, i + 1, b], Operand::OUTER.gradient(b), Operand::OUTER),
        };
        gemm(kernel, Product { shape, slices: 1, a, b }, target)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let ((b, i), o) = (self.sizes(&specs.inputs), self.outputs());
        Cost { flops: (2 * b * i * o) as u64, bytes: 4 * (b * i + b * o + i * o) as u64 }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        let n = self.layers.len();
        match self.pass {
            Pass::Forward => [vec![0], (0..n).collect()],
            Pass::Input { .. } => [(0..n).chain([n + 1]).collect(), vec![0]],
            Pass::Weight => [(0..=n).collect(), vec![]],
        }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ((b, i), n) = (self.sizes(&io.specs.inputs), self.layers.len());
        match self.pass {
            Pass::Forward => {
                let (x, params) = (Matrix::new(io.input(0), b, i), io.input(1));
                for (k, layer) in self.layers.iter().enumerate() {
                    let bias = Initial::Row(&params[layer.bias..][..layer.width]);
                    matmul_with(io.output(k), x, layer.matrix(params, i).t(), bias, |_, _| {});
                }
            }
            Pass::Input { activation, .. } => {
                let (params, dx) = (io.input(n), io.output(0));
                S::with_scratch(b * i, |one| {
                    for (k, layer) in self.layers.iter().enumerate() {
                        let dz = Matrix::new(io.input(k), b, layer.width);
                        if k == 0 {
                            matmul(dx, dz, layer.matrix(params, i), false);
                        } else {
                            matmul(one, dz, layer.matrix(params, i), false);
                            dx.iter_mut().zip(one.iter()).for_each(|(dx, d)| *dx += *d);
                        }
                    }
                });
                if activation != Activation::None {
                    activation.slope_all(dx, io.input(n + 1));
                }
            }
            Pass::Weight => {
                let (x, grads) = (Matrix::new(io.input(n), b, i), io.update(0));
                for (k, layer) in self.layers.iter().enumerate() {
                    let dz = io.input(k);
                    let dw = &mut grads[layer.weight..][..layer.width * i];
                    matmul(dw, Matrix::new(dz, b, layer.width).t(), x, false);
                    column_sums(dz, layer.width, &mut grads[layer.bias..][..layer.width]);
                }
            }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let (b, i) = (13, 17);
    let layers: Vec<Layer> =
        [(5, 0, 128), (33, 192, 800), (8, 896, 1100)].map(|(width, weight, bias)| Layer { width, weight, bias }).into();
    let group = |pass| Case::new(DenseGroup { layers: layers.clone(), pass });
    let with_dz = |pass| layers.iter().fold(group(pass), |case, layer| case.input([b, layer.width]));
    let forward = group(Pass::Forward).input([b, i]).input([1200]).tolerance(Tolerance::terms(3.0, i));
    let input = |activation| with_dz(Pass::Input { width: i, activation }).input([1200]);
    vec![
        forward,
        input(Activation::None).tolerance(Tolerance::terms(2.0, 46)),
        input(Activation::Silu).input([b, i]).tolerance(Tolerance::terms(24.0, 46)),
        with_dz(Pass::Weight).input([b, i]).update([1200], vec![0.5; 1200]).tolerance(Tolerance::terms(2.0, b)),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let layers = [0, 8448].map(|at| Layer { width: 64, weight: at, bias: at + 8192 }).into();
    let group = Case::new(DenseGroup { layers, pass: Pass::Weight });
    vec![group.input([64, 64]).input([64, 64]).input([64, 128]).zeros(16_896)]
}
