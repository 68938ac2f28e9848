//! y = act(x), elementwise, and its derivative.

use super::case::{Case, MANY, Tolerance};
use super::{Activation, Add, Io, Op, Specs, expect_count, expect_shape};
use crate::error::Result;
use crate::graph::{Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

impl Activation {
    /// Sets the constants of `shaders/shared/activation.wgsl`.
    pub(crate) fn choose(self, kernel: Kernel) -> Kernel {
        let number = match self {
            Activation::None => 0.0,
            Activation::Relu => 1.0,
            Activation::Silu => 2.0,
            Activation::GeluTanh => 3.0,
            Activation::GeluErf => 4.0,
            Activation::Tanh => 5.0,
            Activation::Sigmoid => 6.0,
            Activation::LeakyRelu { slope } => return kernel.hyper("ACT", 7.0).hyper("LEAK", slope as f64),
        };
        kernel.hyper("ACT", number)
    }
}

impl Graph {
    /// act(x), elementwise; x itself without activation.
    ///
    /// # Errors
    /// When x is not a float tensor of this graph.
    pub fn activate(&mut self, x: Var, activation: Activation) -> Result<Var> {
        if activation == Activation::None { Ok(x) } else { self.apply1(Activate(activation), &[x]) }
    }
}

/// y = act(x).
///
/// *Shapes*: x and y have the same shape. *Gradient*: dx = dy act'(x).
/// *Accuracy*: a few units of 2^-24 relative to |f| + |x f'|, also in the tails: the relative error of an exponential
/// is the absolute error of its argument, and a derivative with zeros is a sum. Exponentials below the smallest normal
/// number (1.2e-38) may be flushed to zero. The derivatives of tanh and sigmoid are accurate functions of the output y,
/// which is itself rounded: where y is within 2^-24 of its limit they are 0.
#[derive(Clone, Copy, Debug)]
pub struct Activate(
    /// The activation.
    pub Activation,
);

impl Op for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("activate", inputs, 1)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.outputs[0].len();
        let kernel = kernel!("activation.wgsl", "activate_all");
        self.0.choose(kernel.dim("N", n)).over(n)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, y) = (io.input(0), io.output(0));
        parallel::chunks(
            y,
            #[inline(always)]
            |start, y| {
                y.copy_from_slice(&x[start..][..y.len()]);
                self.0.apply_all(y);
            },
        );
    }

    fn activation(&self) -> Option<Activation> {
        Some(self.0)
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let saved = if self.0.saves_output() { r.output(0) } else { r.input(0) };
            let dx = r.graph.apply1(Slope(self.0), &[dy, saved])?;
            r.add_gradient(0, dx);
        }
        Ok(())
    }
}

/// dx = dy act'(saved): the backward pass of an activation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope(pub Activation);

impl Op for Slope {
    fn name(&self) -> &'static str {
        "slope"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("slope", inputs, 2)?;
        expect_shape("slope", "saved", &inputs[1], &inputs[0].shape)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.outputs[0].len();
        let kernel = kernel!("activation.wgsl", "slope");
        self.0.choose(kernel.dim("N", n)).over(n)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (dy, saved, dx) = (io.input(0), io.input(1), io.output(0));
        parallel::chunks(
            dx,
            #[inline(always)]
            |start, dx| {
                dx.copy_from_slice(&dy[start..][..dx.len()]);
                self.0.slope_all(dx, &saved[start..]);
            },
        );
    }
}

/// The activation that produced `var`, the tensor from which its derivative is computed, and the tensor before it,
/// which has the shape of `var`.
pub(crate) fn activation_before(graph: &mut Graph, var: Var) -> Option<(Activation, Var, Var)> {
    let node = &graph.nodes[graph.maker(var)?];
    let activation = node.op.activation().filter(|a| *a != Activation::None)?;
    if node.outputs[0] != graph.root(var) {
        return None;
    }
    let before = node.outputs.get(1).or(node.inputs.first()).copied()?;
    let saved = if activation.saves_output() { var } else { graph.reshape(before, graph.shape(var).to_vec()).ok()? };
    Some((activation, saved, before))
}

/// The gradient of the value before an op's fused activation, for ops that output the activation and, if its derivative
/// needs it, the value before it.
pub(crate) fn gradient_before(r: &mut Reverse, activation: Activation) -> Result<Option<Var>> {
    let Some(dy) = r.d(0) else { return Ok(if activation == Activation::None { None } else { r.d(1) }) };
    if activation == Activation::None {
        return Ok(Some(dy));
    }
    let saved = if activation.saves_output() { r.output(0) } else { r.output(1) };
    let dz = r.graph.apply1(Slope(activation), &[dy, saved])?;
    Ok(Some(match r.d(1) {
        Some(after) => r.graph.apply1(Add, &[dz, after])?,
        None => dz,
    }))
}

/// How many of the outputs of [`activated`] are stored.
pub(crate) fn stored_outputs(activation: Activation) -> usize {
    if activation == Activation::None || activation.saves_output() { 1 } else { 2 }
}

/// The outputs of an op with a fused activation: y, and the value before it if the derivative needs it.
pub(crate) fn activated(y: Spec, activation: Activation) -> Vec<Spec> {
    match activation {
        Activation::None => vec![y],
        a if a.saves_output() => vec![y.clone(), y.unstored()],
        _ => vec![y.clone(), y],
    }
}

/// Test inputs of an activation: -30 to 30 in steps of 2^-6, powers of two around zero, and values of large magnitude.
fn sweep() -> Vec<f32> {
    let even = (-1920..=1920).map(|i| i as f32 / 64.0);
    let small = (1..126).flat_map(|k| [1.0, 1.25, 1.5].map(|m| m * (-k as f32).exp2())).flat_map(|x| [x, -x]);
    even.chain(small).chain([-1e3, -200.25, -104.5, -40.5, 40.5, 88.5, 200.25, 1e3]).collect()
}

/// Outputs of tanh, or of a sigmoid, up to the neighbours of 1.
fn saturating(activation: Activation) -> Vec<f32> {
    let near = |k: i32| 1.0 - (-k as f32).exp2();
    let positive: Vec<f32> = (1..126).map(|k| (-k as f32).exp2()).chain((2..=24).map(near)).chain([1.0]).collect();
    match activation {
        Activation::Tanh => positive.iter().flat_map(|&y| [y, -y]).collect(),
        _ => positive,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let turned = Activation::LeakyRelu { slope: -0.25 };
    for a in Activation::ALL.map(|(_, a)| a).into_iter().chain([turned]) {
        // In units of eps, half a unit in the last place: WGSL allows exp(x) 6 + 4 |x|, a division 5; products and sums
        // 1. In tanh the error of exp is amplified by e / (1 - e), 1.5 where the series ends. Slopes are similar.
        let smooth = Tolerance::conditioned(14.0);
        let piecewise = Tolerance::relative(2.0);
        let tolerance = match a {
            Activation::None | Activation::Relu | Activation::LeakyRelu { .. } => piecewise,
            _ => smooth,
        };
        cases.push(Case::new(Activate(a)).input([13, 5]).tolerance(tolerance).gradient());
        let x = sweep();
        cases.push(Case::new(Activate(a)).values([x.len()], x.clone()).tolerance(tolerance));
        let (saved, tolerance) = match a {
            Activation::Tanh | Activation::Sigmoid => (saturating(a), Tolerance::relative(4.0)),
            _ => (x, tolerance),
        };
        cases.push(Case::new(Slope(a)).input([7, 9]).input([7, 9]).tolerance(tolerance));
        let n = saved.len();
        cases.push(Case::new(Slope(a)).input([n]).values([n], saved).tolerance(tolerance));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let activation = Activation::Silu;
    vec![Case::new(Activate(activation)).input([MANY]), Case::new(Slope(activation)).input([MANY]).input([MANY])]
}
