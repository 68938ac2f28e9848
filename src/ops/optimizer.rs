//! The optimizers: one dispatch over the slabs performs clipping, the step, and the moving average.

use serde::{Deserialize, Serialize};

use super::case::{Case, MANY, Tolerance};
use super::{Io, Op, PowerEma, Reduce, Reduction, Specs, SquaredNorm, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{Graph, Slab, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// b = momentum b + g, p -= lr b; with Nesterov p -= lr (g + momentum b). PyTorch's convention.
    Sgd {
        /// 0 for plain gradient descent.
        momentum: f64,
        /// Nesterov momentum.
        nesterov: bool,
    },
    /// m = b1 m + (1-b1) g, v = b2 v + (1-b2) g^2, p -= lr m' / (sqrt(v') + eps), m' and v' bias-corrected.
    /// Kingma and Ba 2015, algorithm 1; decoupled decay: Loshchilov and Hutter 2019, algorithm 2.
    Adam {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
        /// Epsilon is added before the bias correction (Keras; "epsilon hat" in the paper).
        keras: bool,
        /// p is first multiplied by 1 - lr * this (AdamW).
        weight_decay: f64,
    },
}

/// The learning rate schedule over the steps k = 0, 1, ...
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Decay {
    /// Constant.
    Constant,
    /// k / warmup, then half a cosine down to 0 at `total`: Loshchilov and Hutter 2017 (SGDR), eq. 5.
    Cosine {
        /// Steps of linear warm-up from 0.
        warmup: u32,
        /// The step at which 0 is reached.
        total: u32,
    },
    /// 1 for `hold` steps, then sqrt(hold / k); independent of the length of the training.
    /// Karras et al. 2024 (EDM2), eq. 67.
    InverseSqrt {
        /// Steps at the full rate.
        hold: u32,
    },
}

impl Decay {
    /// The factor of the learning rate at step k.
    pub fn factor(self, k: u32) -> f64 {
        match self {
            Decay::Constant => 1.0,
            Decay::InverseSqrt { hold } => (hold.max(1) as f64 / k.max(hold.max(1)) as f64).sqrt(),
            Decay::Cosine { warmup, .. } if k < warmup => k as f64 / warmup as f64,
            Decay::Cosine { warmup, total } => {
                let progress = ((k - warmup) as f64 / (total.saturating_sub(warmup).max(1)) as f64).min(1.0);
                0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }
}

/// The name of an optimizer, for [`Optimizer::named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum OptimizerKind {
    /// [`Optimizer::sgd`] without momentum.
    Sgd,
    /// [`Optimizer::sgd`] with momentum.
    SgdMomentum,
    /// [`Optimizer::sgd`] with Nesterov's momentum.
    SgdNesterov,
    /// [`Optimizer::adam`].
    Adam,
    /// [`Optimizer::adam_keras`].
    AdamKeras,
    /// [`Optimizer::adamw`].
    AdamW,
}

named!(
    OptimizerKind,
    "optimizer",
    Sgd = "sgd",
    SgdMomentum = "sgd_momentum",
    SgdNesterov = "sgd_nesterov",
    Adam = "adam",
    AdamKeras = "adam_keras",
    AdamW = "adamw",
);

/// An optimizer and its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Optimizer {
    /// The update rule.
    pub rule: Rule,
    /// The learning rate.
    pub lr: f64,
    /// The learning rate schedule.
    pub decay: Decay,
    /// Clips the gradient's global norm to this value.
    pub clip: Option<f64>,
    /// Keeps an exponential moving average of the weights: average = d average + (1 - d) p.
    pub ema: Option<f64>,
    /// Warm-up of the average: d is at most (1 + k) / (10 + k) at step k.
    pub ema_warmup: bool,
}

setters!(Optimizer { decay: Decay, clip: Option<f64>, ema: Option<f64>, ema_warmup: bool });

impl Optimizer {
    /// Adam with the usual decays 0.9 and 0.999, epsilon 1e-8.
    pub fn adam(lr: f64) -> Self {
        Self::new(Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, keras: false, weight_decay: 0.0 }, lr)
    }

    /// Adam with Keras' epsilon: 1e-7, before the bias correction.
    pub fn adam_keras(lr: f64) -> Self {
        Self::new(Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, keras: true, weight_decay: 0.0 }, lr)
    }

    /// Adam with decoupled weight decay.
    pub fn adamw(lr: f64, weight_decay: f64) -> Self {
        Self::new(Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, keras: false, weight_decay }, lr)
    }

    /// Gradient descent, with momentum when it is not 0.
    pub fn sgd(lr: f64, momentum: f64, nesterov: bool) -> Self {
        Self::new(Rule::Sgd { momentum, nesterov }, lr)
    }

    /// A rule with a constant learning rate, without clipping and moving average.
    pub fn new(rule: Rule, lr: f64) -> Self {
        Self { rule, lr, decay: Decay::Constant, clip: None, ema: None, ema_warmup: false }
    }

    /// Creates an optimizer by name, with the settings used by golden values and papers.
    pub fn named(kind: OptimizerKind, lr: f64, momentum: f64, weight_decay: f64) -> Self {
        match kind {
            OptimizerKind::Sgd => Self::sgd(lr, 0.0, false),
            OptimizerKind::SgdMomentum => Self::sgd(lr, momentum, false),
            OptimizerKind::SgdNesterov => Self::sgd(lr, momentum, true),
            OptimizerKind::Adam => Self::adam(lr),
            OptimizerKind::AdamKeras => Self::adam_keras(lr),
            OptimizerKind::AdamW => Self::adamw(lr, weight_decay),
        }
    }

    /// Checks that the settings are in range.
    pub(crate) fn check(&self) -> Result<()> {
        let o = self;
        let unit = |x: f64| (0.0..1.0).contains(&x);
        if !(o.lr.is_finite() && o.lr >= 0.0) {
            return Err(Error::setting(format!("a learning rate of {}; use a positive number such as 0.001", o.lr)));
        }
        if o.clip.is_some_and(|c| !(c.is_finite() && c > 0.0)) {
            return Err(Error::setting("the clip norm of the gradient must be a positive number, such as 1"));
        }
        if o.ema.is_some_and(|d| !unit(d)) {
            return Err(Error::setting("the decay of the moving average must be in [0, 1), such as 0.999"));
        }
        let part = |name, value: f64, usual| (name, value, unit(value), "a number from 0 to below 1", usual);
        let numbers = match o.rule {
            Rule::Sgd { momentum, .. } => vec![part("momentum", momentum, 0.9)],
            Rule::Adam { beta1, beta2, epsilon, weight_decay, .. } => vec![
                part("beta1", beta1, 0.9),
                part("beta2", beta2, 0.999),
                ("epsilon", epsilon, epsilon > 0.0 && epsilon.is_finite(), "a positive number", 1e-8),
                ("weight_decay", weight_decay, (0.0..1e6).contains(&weight_decay), "0 or a positive number", 0.01),
            ],
        };
        match numbers.into_iter().find(|(_, _, fine, ..)| !fine) {
            None => Ok(()),
            Some((name, value, _, range, usual)) => {
                Err(Error::setting(format!("the optimizer's {name} is {value}; use {range}, such as {usual}")))
            }
        }
    }

    /// The moments of the rule.
    pub fn moments(&self) -> &'static [Slab] {
        match self.rule {
            Rule::Sgd { momentum: 0.0, .. } => &[],
            Rule::Sgd { .. } => &[Slab::First],
            Rule::Adam { .. } => &[Slab::First, Slab::Second],
        }
    }
}

impl Graph {
    /// Adds the backward pass of `loss` and the optimizer's step.
    ///
    /// # Errors
    /// When `loss` is not a loss, an op has no gradient, or a setting is out of range.
    pub fn minimize(&mut self, loss: Var, optimizer: Optimizer) -> Result<Option<Var>> {
        self.backward(&[loss], &[])?;
        self.optimize(optimizer)
    }

    /// Adds the optimizer's step for gradients in their slab, or accumulated in [`Slab::Sum`]; returns the gradient
    /// norm if clipped.
    ///
    /// # Errors
    /// When a setting is out of range, an optimizer was already added, or the graph was not in training mode where a
    /// network has dropout or noise on activations ([`Graph::train`]).
    pub fn optimize(&mut self, optimizer: Optimizer) -> Result<Option<Var>> {
        optimizer.check()?;
        self.check_training()?;
        self.mark_optimized()?;
        let sum = self.slab_if_used(Slab::Sum);
        let mut inputs = vec![sum.unwrap_or_else(|| self.slab(Slab::Grads))];
        let mut norm = None;
        if let Some(max) = optimizer.clip {
            let partials = self.apply1(SquaredNorm::of(self.spec(inputs[0]).len()), &inputs)?;
            let out = self.apply(Reduce(Reduction::Clip { max }), &[partials])?;
            inputs.push(out[1]);
            norm = Some(out[0]);
        }
        let mut updates = vec![self.slab(Slab::Params)];
        updates.extend(optimizer.moments().iter().map(|&m| self.slab(m)));
        if optimizer.ema.is_some() {
            updates.push(self.start_ema());
        }
        self.apply_to(optimizer, &inputs, &updates)?;
        Ok(norm)
    }
}

impl Graph {
    /// Adds a power-function average of the weights in `slab`, after the optimizer's step.
    ///
    /// # Errors
    /// When the graph has no optimizer yet, or `gamma` is below 0.
    pub fn average(&mut self, gamma: f64, slab: Slab) -> Result<Var> {
        if !self.is_optimized() {
            return Err(Error::setting(
                "an average of the weights needs an optimizer before it; call `minimize` first",
            ));
        }
        let (params, average) = (self.slab(Slab::Params), self.slab(slab));
        self.apply_to(PowerEma { gamma }, &[params], &[average])?;
        Ok(average)
    }
}

impl Op for Optimizer {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let reads = 1 + self.clip.is_some() as usize;
        expect_count("optimizer", inputs, reads + Op::updates(self))?;
        for slab in &inputs[reads..] {
            expect_shape("optimizer", "a slab", slab, &inputs[0].shape)?;
        }
        Ok(vec![])
    }

    fn updates(&self) -> usize {
        1 + self.moments().len() + self.ema.is_some() as usize
    }

    fn piece(&self) -> Option<usize> {
        Some(1)
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        let (adam, decay) = (matches!(self.rule, Rule::Adam { .. }), self.decay);
        let kernel = kernel!("optimizer.wgsl", "update")
            .dim("N", n)
            .hyper("LR", self.lr)
            .flag("CLIP", self.clip.is_some())
            .flag("EMA", self.ema.is_some())
            .flag("EMA_WARMUP", self.ema_warmup)
            .flag("COSINE", matches!(decay, Decay::Cosine { .. }))
            .flag("INVERSE_SQRT", matches!(decay, Decay::InverseSqrt { .. }))
            .flag("ADAM", adam)
            .flag("MOMENTUM", !adam && self.moments().len() == 1);
        let kernel = self.ema.iter().fold(kernel, |kernel, keep| kernel.hyper("EMA_TAKE", 1.0 - keep));
        let kernel = match decay {
            Decay::Constant => kernel,
            Decay::Cosine { warmup, total } => kernel.hyper("WARMUP", warmup as f64).hyper("TOTAL", total as f64),
            Decay::InverseSqrt { hold } => kernel.hyper("HOLD", hold.max(1) as f64),
        };
        match self.rule {
            Rule::Sgd { momentum, nesterov } => kernel.flag("NESTEROV", nesterov).hyper("BETA1", momentum),
            Rule::Adam { beta1, beta2, epsilon, keras, weight_decay } => kernel
                .flag("KERAS", keras)
                .hyper("BETA1", beta1)
                .hyper("TAKE1", 1.0 - beta1)
                .hyper("LOG_BETA1", beta1.ln().max(-100.0))
                .hyper("BETA2", beta2)
                .hyper("TAKE2", 1.0 - beta2)
                .hyper("LOG_BETA2", beta2.ln().max(-100.0))
                .hyper("EPSILON", epsilon)
                .hyper("WEIGHT_DECAY", weight_decay),
        }
        .over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let grads = io.input(0);
        let factor = if self.clip.is_some() { io.input(1)[0] } else { S::ONE };
        let lr = self.lr * self.decay.factor(io.clock.step);
        let moments = self.moments().len();
        let params = io.update(0);
        match self.rule {
            Rule::Sgd { nesterov, momentum } => {
                let mut none = [];
                let buffer = if moments == 1 { io.update(1) } else { &mut none[..] };
                sgd(params, buffer, grads, factor, S::of(lr), S::of(momentum), nesterov);
            }
            Rule::Adam { .. } => self.adam_step(params, io.update(1), io.update(2), grads, factor, lr, io.clock.step),
        }
        if let Some(decay) = self.ema {
            // The weight of the new parameters: 1 - d.
            let k = io.clock.step as f64;
            let take = S::of(if self.ema_warmup { (1.0 - decay).max(9.0 / (10.0 + k)) } else { 1.0 - decay });
            let params = &*params;
            parallel::chunks(
                io.update(1 + moments),
                #[inline(always)]
                |start, ema| {
                    ema.iter_mut().zip(&params[start..]).for_each(|(ema, p)| *ema += take * (*p - *ema));
                },
            );
        }
    }
}

fn sgd<S: Scalar>(p: &mut [S], buffer: &mut [S], g: &[S], factor: S, lr: S, momentum: S, nesterov: bool) {
    if buffer.is_empty() {
        return parallel::chunks(
            p,
            #[inline(always)]
            |start, p| {
                p.iter_mut().zip(&g[start..]).for_each(|(p, g)| *p -= lr * (factor * *g));
            },
        );
    }
    parallel::chunks2(
        p,
        buffer,
        #[inline(always)]
        |start, p, b| {
            let n = p.len();
            let (b, g) = (&mut b[..n], &g[start..][..n]);
            for i in 0..n {
                let g = factor * g[i];
                b[i] = momentum * b[i] + g;
                p[i] -= lr * if nesterov { g + momentum * b[i] } else { b[i] };
            }
        },
    );
}

impl Optimizer {
    #[allow(clippy::too_many_arguments)] // three slabs, the gradient and three numbers: grouping them would hide them
    fn adam_step<S: Scalar>(&self, p: &mut [S], m: &mut [S], v: &mut [S], g: &[S], factor: S, lr: f64, step: u32) {
        let Rule::Adam { beta1, beta2, epsilon, keras, weight_decay } = self.rule else { return };
        let t = (step + 1) as f64;
        let (correct1, correct2) = (1.0 - beta1.powf(t), 1.0 - beta2.powf(t));
        let (keep1, take1, keep2, take2) = (S::of(beta1), S::of(1.0 - beta1), S::of(beta2), S::of(1.0 - beta2));
        let shrink = S::of(1.0 - lr * weight_decay);
        let rate = S::of(lr / correct1);
        let root = S::of(1.0 / correct2.sqrt());
        // Keras adds epsilon to sqrt(v) before the correction, equivalent to a larger epsilon after it.
        let epsilon = S::of(if keras { epsilon / correct2.sqrt() } else { epsilon });
        parallel::chunks3(
            p,
            m,
            v,
            #[inline(always)]
            |start, p, m, v| {
                let n = p.len();
                let (m, v, g) = (&mut m[..n], &mut v[..n], &g[start..][..n]);
                for i in 0..n {
                    let g = factor * g[i];
                    m[i] = keep1 * m[i] + take1 * g;
                    v[i] = keep2 * v[i] + take2 * (g * g);
                    p[i] = shrink * p[i] - rate * (m[i] / (v[i].sqrt() * root + epsilon));
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let decays = [Decay::Constant, Decay::Cosine { warmup: 3, total: 10 }, Decay::InverseSqrt { hold: 3 }];
    let kinds = OptimizerKind::NAMES.iter().map(|name| name.parse().expect("its own name"));
    for (i, kind) in kinds.enumerate() {
        for (step, n) in [(0, 65), (1, 1), (4, 300), (20_000, 7)] {
            let mut op = Optimizer::named(kind, 0.01, 0.9, 0.1);
            op.decay = decays[(i + step as usize) % 3];
            op.ema = (i % 2 == 0).then_some(0.9);
            op.ema_warmup = step > 0;
            op.clip = (i % 3 == 0).then_some(1.0);
            cases.push(case(op, step, n, 1.0));
        }
        // Gradients of the magnitude of Adam's epsilon, so that its value and position matter.
        let op = Optimizer::named(kind, 0.01, 0.9, 0.1);
        cases.extend([3, 20_000].map(|step| case(op, step, 33, 1e-8)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Optimizer::adam(1e-3)).input([MANY]).zeros(MANY).zeros(MANY).zeros(MANY)]
}

/// A step on gradients and moments of a given size. In units of eps an update has four divisions of 5 and two roots of
/// 4, the moments' own roundings, and that of the learning rate. With negative gradient and first moment all terms have
/// one sign.
fn case(op: Optimizer, step: u32, n: usize, size: f32) -> Case {
    let some = |size: f32| (0..n).map(|i| size * (0.02 + (i % 7) as f32 * 0.1)).collect::<Vec<f32>>();
    let gradients = some(size).into_iter().enumerate().map(|(i, g)| if i % 3 == 0 { g } else { -1.5 * g });
    let mut case = Case::new(op).values([n], gradients.collect()).for_terms(|_, g| -g.abs());
    if op.clip.is_some() {
        case = case.values([1], vec![0.5]);
    }
    case = case.update([n], some(1.0));
    for (moment, size) in op.moments().iter().zip([size, size * size]) {
        let sign = if *moment == Slab::First { -1.0 } else { 1.0 };
        case = case.update([n], some(size)).for_terms(|_, m| sign * m.abs());
    }
    if op.ema.is_some() {
        case = case.update([n], some(1.0));
    }
    case.clock(1, step).tolerance(Tolerance::terms(32.0, 0))
}
