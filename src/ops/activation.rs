//! y = act(x), elementwise, and its derivative.

use std::fmt;
use std::str::FromStr;

use super::case::{Case, Tolerance};
use super::{Add, Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::par;
use crate::scalar::Scalar;

/// A nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Activation {
    /// x
    None,
    /// max(x, 0), with derivative 0 at 0
    Relu,
    /// x sigmoid(x)
    Silu,
    /// x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
    GeluTanh,
    /// x (1 + erf(x / sqrt 2)) / 2
    GeluErf,
    /// tanh(x)
    Tanh,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// x where it is positive, else slope x
    LeakyRelu {
        /// 0.01 by default, as in PyTorch.
        slope: f32,
    },
}

/// The body once per activation, each with a constant `$a`: its loop then has no branch and vectorizes.
macro_rules! specialise {
    ($activation:expr, $a:ident => $body:expr) => {
        specialise!(@ $activation, $a => $body; None Relu Silu GeluTanh GeluErf Tanh Sigmoid)
    };
    (@ $activation:expr, $a:ident => $body:expr; $($name:ident)*) => {
        match $activation {
            $(Activation::$name => {
                const $a: Activation = Activation::$name;
                $body
            })*
            leaky => {
                #[allow(non_snake_case)] // in place of the constant
                let $a = leaky;
                $body
            }
        }
    };
}

impl Activation {
    /// All of them, by name.
    pub const ALL: [(&'static str, Activation); 8] = [
        ("none", Activation::None),
        ("relu", Activation::Relu),
        ("silu", Activation::Silu),
        ("gelu_tanh", Activation::GeluTanh),
        ("gelu_erf", Activation::GeluErf),
        ("tanh", Activation::Tanh),
        ("sigmoid", Activation::Sigmoid),
        ("leaky_relu", Activation::LeakyRelu { slope: 0.01 }),
    ];

    /// By name; a leaky ReLU of another slope is `leaky_relu:0.2`.
    ///
    /// # Errors
    /// With the names there are.
    pub fn named(name: &str) -> Result<Self> {
        let slope = |text: &str| text.parse().ok().filter(|slope: &f32| slope.is_finite());
        if let Some(slope) = name.strip_prefix("leaky_relu:").and_then(slope) {
            return Ok(Activation::LeakyRelu { slope });
        }
        let found = Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, a)| *a);
        found.ok_or_else(|| Error::unknown("activation", name, &Self::ALL.map(|(n, _)| n)))
    }

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

    /// y = act(y), elementwise.
    #[inline(always)]
    pub(crate) fn apply_all<S: Scalar>(self, y: &mut [S]) {
        specialise!(self, A => for v in y {
            *v = A.apply(*v);
        });
    }

    /// d = d act'(saved), elementwise.
    #[inline(always)]
    pub(crate) fn slope_all<S: Scalar>(self, d: &mut [S], saved: &[S]) {
        specialise!(self, A => for (d, s) in d.iter_mut().zip(saved) {
            *d *= A.slope(*s);
        });
    }

    /// Whether the derivative is computed from the output y instead of the input.
    pub(crate) fn saves_output(self) -> bool {
        match self {
            Activation::None | Activation::Relu | Activation::Tanh | Activation::Sigmoid => true,
            // A negative slope turns the sign around.
            Activation::LeakyRelu { slope } => slope >= 0.0,
            Activation::Silu | Activation::GeluTanh | Activation::GeluErf => false,
        }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Scalar>(self, x: S) -> S {
        let half = S::of(0.5);
        match self {
            Activation::None => x,
            Activation::Relu => x.max(S::ZERO),
            Activation::Silu => x * sigmoid(x),
            Activation::GeluTanh => half * x * (S::ONE + gelu_inner(x).tanh()),
            Activation::GeluErf => half * x * (S::ONE + (x * S::of(0.5f64.sqrt())).erf()),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => sigmoid(x),
            Activation::LeakyRelu { .. } if x > S::ZERO => x,
            Activation::LeakyRelu { slope } => S::of(slope as f64) * x,
        }
    }

    /// The derivative, from what [`Activation::saves_output`] says.
    #[inline(always)]
    pub(crate) fn slope<S: Scalar>(self, saved: S) -> S {
        let half = S::of(0.5);
        match self {
            Activation::None => S::ONE,
            Activation::Relu if saved > S::ZERO => S::ONE,
            Activation::Relu => S::ZERO,
            Activation::Silu => {
                let s = sigmoid(saved);
                s * (S::ONE + saved * (S::ONE - s))
            }
            Activation::GeluTanh => {
                let th = gelu_inner(saved).tanh();
                let inner = S::of(GELU_SCALE) * (S::ONE + S::of(3.0 * GELU_CUBE) * saved * saved);
                half * (S::ONE + th) + half * saved * (S::ONE - th * th) * inner
            }
            Activation::GeluErf => {
                let density = S::of((0.5 / std::f64::consts::PI).sqrt()) * (-half * saved * saved).exp();
                half * (S::ONE + (saved * S::of(0.5f64.sqrt())).erf()) + saved * density
            }
            Activation::Tanh => S::ONE - saved * saved,
            Activation::Sigmoid => saved * (S::ONE - saved),
            Activation::LeakyRelu { .. } if saved > S::ZERO => S::ONE,
            Activation::LeakyRelu { slope } => S::of(slope as f64),
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (Self::ALL.iter().find(|(_, a)| a == self), self) {
            (Some((name, _)), _) => f.write_str(name),
            (None, Activation::LeakyRelu { slope }) => write!(f, "leaky_relu:{slope}"),
            (None, _) => unreachable!("every activation without a number is in the list"),
        }
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::named(name)
    }
}

stands_as_text!(Activation);

impl Graph {
    /// act(x), elementwise; x itself for no activation.
    pub fn activate(&mut self, x: Var, activation: Activation) -> Result<Var> {
        if activation == Activation::None { Ok(x) } else { Ok(self.apply(Activate(activation), &[x])?[0]) }
    }
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBE: f64 = 0.044_715;

#[inline(always)]
fn gelu_inner<S: Scalar>(x: S) -> S {
    S::of(GELU_SCALE) * (x + S::of(GELU_CUBE) * x * x * x)
}

#[inline(always)]
fn sigmoid<S: Scalar>(x: S) -> S {
    S::ONE / (S::ONE + (-x).exp())
}

/// y = act(x).
///
/// *Shapes*: x and y alike. *Gradient*: dx = dy act'(x).
#[derive(Clone, Copy, Debug)]
pub struct Activate(
    /// Which.
    pub Activation,
);

impl Op for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("activate", inputs, 1)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.outputs[0].len();
        let kernel = Kernel::new("activation.wgsl", include_str!("../../shaders/activation.wgsl"), "activate_all");
        self.0.choose(kernel.dim("N", n)).over(n)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, y) = (io.input(0), io.output(0));
        par::chunks(
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
            let dx = r.graph.apply(Slope(self.0), &[dy, saved])?[0];
            r.give(0, dx);
        }
        Ok(())
    }
}

/// dx = dy act'(saved): the reverse of an activation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope(pub Activation);

impl Op for Slope {
    fn name(&self) -> &'static str {
        "slope"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("slope", inputs, 2)?;
        expect_shape("slope", "saved", &inputs[1], &inputs[0].shape)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.outputs[0].len();
        let kernel = Kernel::new("activation.wgsl", include_str!("../../shaders/activation.wgsl"), "slope");
        self.0.choose(kernel.dim("N", n)).over(n)
    }

    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        let (dy, saved, dx) = (io.input(0), io.input(1), io.output(0));
        par::chunks(
            dx,
            #[inline(always)]
            |start, dx| {
                dx.copy_from_slice(&dy[start..][..dx.len()]);
                self.0.slope_all(dx, &saved[start..]);
            },
        );
    }
}

/// The activation that made `var`: which, what its derivative is computed from, and the tensor before it.
/// The second has the shape of `var`.
pub(crate) fn activation_before(graph: &mut Graph, var: Var) -> Option<(Activation, Var, Var)> {
    let node = graph.maker(var)?;
    let activation = node.op.activation().filter(|a| *a != Activation::None)?;
    if node.outputs[0] != graph.root(var) {
        return None;
    }
    let before = node.outputs.get(1).or(node.inputs.first()).copied()?;
    let saved = if activation.saves_output() { var } else { graph.reshape(before, graph.shape(var).to_vec()).ok()? };
    Some((activation, saved, before))
}

/// The gradient of the value before an op's fused activation, for ops whose outputs are that of the activation and, where
/// there is one, the value before it.
pub(crate) fn gradient_before(r: &mut Reverse, activation: Activation) -> Result<Option<Var>> {
    let Some(dy) = r.d(0) else { return Ok(if activation == Activation::None { None } else { r.d(1) }) };
    if activation == Activation::None {
        return Ok(Some(dy));
    }
    let saved = if activation.saves_output() { r.output(0) } else { r.output(1) };
    let dz = r.graph.apply(Slope(activation), &[dy, saved])?[0];
    Ok(Some(match r.d(1) {
        Some(after) => r.graph.apply(Add, &[dz, after])?[0],
        None => dz,
    }))
}

/// The outputs of an op with a fused activation: y, and the value before it where the derivative needs that.
pub(crate) fn activated(y: Spec, activation: Activation) -> Vec<Spec> {
    match activation {
        Activation::None => vec![y],
        a if a.saves_output() => vec![y.clone(), y.phantom()],
        _ => vec![y.clone(), y],
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let turned = Activation::LeakyRelu { slope: -0.25 };
    for a in Activation::ALL.map(|(_, a)| a).into_iter().chain([turned]) {
        // The accuracy of the driver's exp enters: WGSL grants it 3 + 2 |x| ulp.
        cases.push(Case::new(Activate(a)).input([13, 5]).tolerance(Tolerance::value(24.0)).gradient());
        let wide = (-200..=200).map(|i| i as f32 * 5.0 + 0.25).collect();
        cases.push(Case::new(Activate(a)).values([401], wide).tolerance(Tolerance::value(24.0)));
        cases.push(Case::new(Slope(a)).input([7, 9]).input([7, 9]).tolerance(Tolerance::value(24.0)));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (name, activation) in Activation::ALL {
            assert_eq!((activation.to_string().as_str(), Activation::named(name).unwrap()), (name, activation));
        }
        let leaky = Activation::LeakyRelu { slope: 0.2 };
        assert_eq!(Activation::named(&leaky.to_string()).unwrap(), leaky);
        for name in ["nope", "leaky_relu:", "leaky_relu:NaN"] {
            assert!(Activation::named(name).unwrap_err().to_string().contains("leaky_relu"));
        }
    }
}
