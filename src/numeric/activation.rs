//! Activation functions: names, values and derivatives.

use std::fmt;
use std::str::FromStr;

use super::scalar::Scalar;
use crate::error::{Error, Result};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
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
    /// x if positive, else slope x
    LeakyRelu {
        /// 0.01 by default, as in PyTorch.
        slope: f32,
    },
}

/// Expands the body once per activation, each with a constant `$a`, so that the loop has no branch and vectorizes.
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

    /// Parses a name; a leaky ReLU with a custom slope is `leaky_relu:0.2`.
    ///
    /// # Errors
    /// When the name is unknown; the message lists the available names.
    pub fn named(name: &str) -> Result<Self> {
        let slope = |text: &str| text.parse().ok().filter(|slope: &f32| slope.is_finite());
        if let Some(slope) = name.strip_prefix("leaky_relu:").and_then(slope) {
            return Ok(Activation::LeakyRelu { slope });
        }
        let found = Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, a)| *a);
        found.ok_or_else(|| Error::unknown("activation", name, &Self::ALL.map(|(n, _)| n)))
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

    /// d = d act'(z) and z = act(z), elementwise, of an activation that does not save its output.
    #[inline(always)]
    pub(crate) fn slope_and_apply_all<S: Scalar>(self, d: &mut [S], z: &mut [S]) {
        specialise!(self, A => for (d, z) in d.iter_mut().zip(z) {
            *d *= A.slope(*z);
            *z = A.apply(*z);
        });
    }

    /// Whether the derivative is computed from the output y instead of the input.
    pub(crate) fn saves_output(self) -> bool {
        match self {
            Activation::None | Activation::Relu | Activation::Tanh | Activation::Sigmoid => true,
            // A negative slope flips the sign.
            Activation::LeakyRelu { slope } => slope >= 0.0,
            Activation::Silu | Activation::GeluTanh | Activation::GeluErf => false,
        }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Scalar>(self, x: S) -> S {
        match self {
            Activation::None => x,
            // Written so that NaN propagates.
            Activation::Relu if x < S::ZERO => S::ZERO,
            Activation::Relu => x,
            Activation::Silu => x * sigmoid(x),
            Activation::GeluTanh => x * sigmoid(gelu_inner(x)),
            Activation::GeluErf => x * x.normal().0,
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => sigmoid(x),
            Activation::LeakyRelu { .. } if x > S::ZERO => x,
            Activation::LeakyRelu { slope } => S::of(slope as f64) * x,
        }
    }

    /// The derivative, from the value selected by [`Activation::saves_output`].
    #[inline(always)]
    pub(crate) fn slope<S: Scalar>(self, saved: S) -> S {
        match self {
            Activation::None => S::ONE,
            Activation::Relu if saved > S::ZERO => S::ONE,
            Activation::Relu => S::ZERO,
            Activation::Silu => {
                let (s, rest) = sigmoids(saved);
                s * (S::ONE + saved * rest)
            }
            Activation::GeluTanh => {
                let (s, rest) = sigmoids(gelu_inner(saved));
                let inner = S::of(GELU_SCALE) + S::of(3.0 * GELU_SCALE * GELU_CUBE) * (saved * saved);
                s * (S::ONE + saved * inner * rest)
            }
            Activation::GeluErf => {
                let (cdf, density) = saved.normal();
                cdf + saved * density
            }
            Activation::Tanh => (S::ONE - saved) * (S::ONE + saved),
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

/// 2 sqrt(2 / pi): the tanh form of GELU is x sigmoid(u) with u = GELU_SCALE (x + GELU_CUBE x^3).
const GELU_SCALE: f64 = 1.595_769_121_605_730_7;
const GELU_CUBE: f64 = 0.044_715;

#[inline(always)]
fn gelu_inner<S: Scalar>(x: S) -> S {
    x * (S::of(GELU_SCALE) + S::of(GELU_SCALE * GELU_CUBE) * (x * x))
}

#[inline(always)]
fn sigmoid<S: Scalar>(x: S) -> S {
    sigmoids(x).0
}

/// sigmoid(x) and sigmoid(-x), without the cancellation of 1 - sigmoid(x).
#[inline(always)]
fn sigmoids<S: Scalar>(x: S) -> (S, S) {
    let e = (-x.abs()).exp();
    let large = S::ONE / (S::ONE + e);
    let small = e * large;
    if x < S::ZERO { (small, large) } else { (large, small) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
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
