//! Checks of kernels and gradients: runs the cases of the ops on a device, and compares with the f64 reference and with
//! central differences.
//!
//! # Example
//!
//! ```
//! use langevin::Device;
//! use langevin::ops::catalog;
//! use langevin::verify::{check, check_gradient};
//!
//! let device = Device::cpu(); // or Device::gpu()?
//! let (_, cases) = catalog().into_iter().find(|(name, _)| *name == "softmax").unwrap();
//! for case in &cases {
//!     let found = check(case, &device)?;
//!     assert!(found.elements > 0);
//!     if case.has_gradient() {
//!         check_gradient(case)?;
//!     }
//! }
//! # Ok::<(), langevin::Error>(())
//! ```

use crate::device::{Device, Run};
use crate::error::{Error, Result};
use crate::graph::{DType, Form, Graph, HISTORY, Var};
use crate::kernel::{GemmVariant, Target};
use crate::ops::case::{Case, Content, Tolerance};

/// 2^-24: half a unit in the last place of an f32 near 1.
const EPS: f64 = 5.960_464_477_539_063e-8;

/// 2^-11: the same for an f16. Both factors of a term are rounded to it, which c covers, being 2 or more for products;
/// the sum itself is computed in f32.
const EPS_HALF: f64 = 4.882_812_5e-4;

/// 2^-10, a unit in the last place of an f16 near 1: WGSL leaves open in which direction a number is rounded to f16.
const STORED: f64 = 9.765_625e-4;

/// 2^-14, the smallest normal number of f16. Subnormal numbers may be flushed to zero.
const SMALLEST_STORED: f64 = 6.103_515_625e-5;

/// The values of a case's inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Values {
    /// The case's own values.
    Own,
    /// Values for which terms of both signs add up.
    ForTerms,
    /// The case's own, with one input (or update, counted after the inputs) multiplied by 1 + [`MOVE`].
    Moved(usize),
}

/// The relative change of an input used to measure a derivative in f64.
const MOVE: f64 = 1e-7;

impl Case {
    /// What rounding to f16 adds to the tolerance of an output.
    fn rounding(&self, output: usize, want: f64) -> f64 {
        let [_, outputs] = self.exponents();
        let stored = outputs.iter().find(|(i, _)| *i == output);
        stored.map_or(0.0, |(_, exponent)| STORED * want.abs() + SMALLEST_STORED * 2f64.powi(-exponent))
    }

    fn fill(&self, run: &mut Run, which: Values) -> Result<()> {
        let names = (0..self.inputs.len()).map(|i| format!("input{i}"));
        let names = names.chain((0..self.updates.len()).map(|i| format!("update{i}")));
        for (i, (a, name)) in self.inputs.iter().chain(&self.updates).zip(names).enumerate() {
            match (&a.content, which) {
                (Content::Integers(v), _) => run.write_u32(&name, v)?,
                (Content::Floats(_), Values::ForTerms) => run.write(&name, &a.for_terms)?,
                (Content::Floats(v), Values::Moved(moved)) if i == moved => {
                    let values: Vec<f64> = v.iter().map(|&x| x as f64 * (1.0 + MOVE)).collect();
                    run.write_f64(run.graph().vars_named(&name)?[0], &values)?;
                }
                (Content::Floats(v), _) => {
                    let exponent = run.graph().spec(run.graph().vars_named(&name)?[0]).exponent;
                    let stored: Vec<f32> = v.iter().map(|v| v * 2f32.powi(exponent)).collect();
                    run.write(&name, &stored)?;
                }
            }
        }
        Ok(())
    }

    /// The written elements of every output and updated tensor after one step on a device.
    ///
    /// # Errors
    /// The errors of compiling and running.
    pub fn run(&self, device: &Device) -> Result<Vec<Vec<f64>>> {
        self.outcome(device, Values::Own)
    }

    /// Compiles the case for a device and fills its inputs: for benchmarks.
    ///
    /// # Errors
    /// The errors of compiling.
    pub fn compile(&self, device: &Device) -> Result<Run> {
        let mut run = device.compile(&self.graph()?.0)?;
        run.seed(self.seed);
        run.set_step(self.step);
        self.fill(&mut run, Values::Own)?;
        Ok(run)
    }

    fn outcome(&self, device: &Device, which: Values) -> Result<Vec<Vec<f64>>> {
        let (mut g, _, outputs) = self.graph()?;
        if device.is_gpu() {
            self.store_in_half(&mut g);
        }
        let mut run = device.compile_guarded(&g)?;
        run.seed(self.seed);
        run.set_step(self.step);
        for &v in outputs.iter().filter(|v| !self.is_update(&g, **v)) {
            run.poison(v)?;
        }
        self.fill(&mut run, which)?;
        run.steps(1)?;
        run.check_guards().map_err(|e| match e {
            Error::Shader(text) => Error::Shader(format!("{}: {text}", self.name())),
            other => other,
        })?;
        outputs
            .iter()
            .map(|&v| {
                let scale = 2f64.powi(-g.spec(v).exponent);
                let all: Vec<f64> = run.read_f64(v)?.into_iter().map(|stored| stored * scale).collect();
                let entry = self.step as usize % HISTORY;
                Ok(if g.spec(v).form == Form::History { vec![all[entry]] } else { all })
            })
            .collect()
    }

    /// The quantity that a tolerance is relative to besides the expected values, per element.
    fn scale(&self, tolerance: Tolerance, want: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let reference = Device::reference();
        if let Tolerance::Terms(..) = tolerance {
            return self.outcome(&reference, Values::ForTerms);
        }
        let mut scale: Vec<Vec<f64>> = want.iter().map(|w| vec![0.0; w.len()]).collect();
        if let Tolerance::Conditioned(_) = tolerance {
            for i in 0..self.inputs.len() + self.updates.len() {
                let moved = self.outcome(&reference, Values::Moved(i))?;
                let changes = moved.iter().flatten().zip(want.iter().flatten());
                scale.iter_mut().flatten().zip(changes).for_each(|(s, (m, w))| *s += (m - w).abs() / MOVE);
            }
        }
        Ok(scale)
    }

    fn is_update(&self, g: &Graph, v: Var) -> bool {
        g.tensors[v].name.starts_with("update")
    }
}

/// The result of a successful comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The largest error as a share of its tolerance.
    pub worst: f64,
    /// The largest absolute error.
    pub error: f64,
    /// The number of elements compared.
    pub elements: usize,
}

impl Comparison {
    /// Combines two reports.
    pub fn and(self, other: Comparison) -> Comparison {
        Comparison {
            worst: self.worst.max(other.worst),
            error: self.error.max(other.error),
            elements: self.elements + other.elements,
        }
    }
}

/// Runs a case on `device` and on the reference, and compares every element of every output.
///
/// # Errors
/// [`Error::Shader`] with the first element out of tolerance; the errors of compiling and running.
pub fn check(case: &Case, device: &Device) -> Result<Comparison> {
    let want = case.outcome(&Device::reference(), Values::Own)?;
    let got = case.outcome(device, Values::Own)?;
    let half = device.is_gpu() && case.gemm_variant(&device.target())? == Some(GemmVariant::Cooperative);
    let eps = if half { EPS_HALF } else { EPS };
    let rest = (case.tolerance, case.scale(case.tolerance, &want)?);
    let first = case.first.map(|tolerance| Ok((tolerance, case.scale(tolerance, &want)?))).transpose()?;
    let mut report = Comparison::default();
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let (tolerance, scale) = first.as_ref().filter(|_| i == 0).unwrap_or(&rest);
        let compared = compare(got, want, |e| tolerance.at(want[e], scale[i][e], eps) + case.rounding(i, want[e]));
        let compared = compared.map_err(|e| Error::Shader(format!("{}, output {i}: {e}", case.name())))?;
        report = report.and(compared);
    }
    Ok(report)
}

/// Compares element by element; NaN on either side fails.
///
/// # Errors
/// The first element that differs by more than its tolerance, or a difference in length.
pub fn compare(got: &[f64], want: &[f64], tolerance: impl Fn(usize) -> f64) -> std::result::Result<Comparison, String> {
    if got.len() != want.len() {
        return Err(format!("{} elements, expected {}", got.len(), want.len()));
    }
    let mut report = Comparison { elements: got.len(), ..Comparison::default() };
    for i in 0..got.len() {
        let (error, allowed) = ((got[i] - want[i]).abs(), tolerance(i));
        // Written so that NaN fails.
        if !(error <= allowed) {
            let (g, w) = (got[i], want[i]);
            return Err(format!("element {i} is {g:e}, expected {w:e}: off by {error:.3e}, allowed {allowed:.3e}"));
        }
        report.error = report.error.max(error);
        report.worst = report.worst.max(if allowed > 0.0 { error / allowed } else { 0.0 });
    }
    Ok(report)
}

/// Compares a case's gradient with central differences of its CPU implementation, both in f64: for all outputs that
/// carry one together, and for the later ones without the first.
///
/// # Errors
/// [`Error::Shader`] with the input and element that differ.
pub fn check_gradient(case: &Case) -> Result<Comparison> {
    (0..case.carriers).try_fold(Comparison::default(), |all, first| Ok(all.and(check_gradient_from(case, first)?)))
}

/// The loss of the check is a weighted sum of the outputs from `first` on that carry a gradient.
fn check_gradient_from(case: &Case, first: usize) -> Result<Comparison> {
    let (mut g, inputs, outputs) = case.graph()?;
    let weights = |n: usize, o: usize| (0..n).map(|i| (((i + o) * 37 % 11) as f32 - 4.5) / 8.0).collect::<Vec<f32>>();
    let mut loss = Vec::new();
    let mut seeds = Vec::new();
    for (o, &y) in outputs[..case.carriers].iter().enumerate().skip(first) {
        let weights = weights(g.spec(y).len(), o);
        seeds.push((y, g.constant(g.shape(y).to_vec(), weights.clone())?));
        loss.push((y, weights));
    }
    let floats = inputs.iter().copied().take(case.gradient).filter(|v| g.spec(*v).dtype == DType::F32);
    let floats: Vec<Var> = floats.collect();
    let gradients = g.backward_from(&seeds, &floats)?;
    for &x in &floats {
        gradients.of(x).map(|d| g.keep(d));
    }
    let mut run = Device::reference().compile(&g)?;
    case.fill(&mut run, Values::Own)?;
    run.steps(1)?;
    let mut report = Comparison::default();
    for &x in &floats {
        let Some(d) = gradients.of(x) else {
            return Err(Error::Shader(format!("{}: no gradient for an input", case.name())));
        };
        let analytic = run.read_f64(d)?;
        let numeric = central_differences(&mut run, x, &loss)?;
        let compared = compare(&analytic, &numeric, |i| 2e-7 * (1.0 + numeric[i].abs()));
        report = report.and(compared.map_err(|e| Error::Shader(format!("{}, gradient: {e}", case.name())))?);
    }
    Ok(report)
}

/// Compares the gradient of a weighted sum of losses with central differences of their values, both in f64. `build`
/// adds them for a prediction and a goal of `shape`, and returns each with the weight of its gradient.
///
/// # Errors
/// [`Error::Shader`] with the element that differs; the errors of `build`.
pub fn check_losses(
    shape: &[usize],
    build: impl FnOnce(&mut Graph, Var, Var) -> Result<Vec<(Var, f64)>>,
) -> Result<Comparison> {
    let mut g = Graph::new();
    let (prediction, goal) = (g.state("prediction", shape)?, g.state("goal", shape)?);
    let losses = build(&mut g, prediction, goal)?;
    let vars: Vec<Var> = losses.iter().map(|(loss, _)| *loss).collect();
    let gradients = g.backward(&vars, &[prediction])?;
    let d = gradients.of(prediction).ok_or_else(|| Error::Shader("the losses have no gradient".into()))?;
    g.keep(d);
    let mut run = Device::reference().compile(&g)?;
    let data = Case::new(crate::ops::Add).input(shape).input(shape);
    for (argument, name) in data.inputs.iter().zip(["prediction", "goal"]) {
        if let Content::Floats(values) = &argument.content {
            run.write(name, values)?;
        }
    }
    run.steps(1)?;
    let analytic = run.read_f64(d)?;
    let mut numeric = vec![0.0; analytic.len()];
    for (loss, weight) in losses {
        // The loss of the first step is the first entry of its history.
        let slopes = central_differences(&mut run, prediction, &[(loss, vec![1.0])])?;
        numeric.iter_mut().zip(slopes).for_each(|(n, slope)| *n += weight * slope);
    }
    let largest = numeric.iter().fold(0.0f64, |most, n| most.max(n.abs()));
    compare(&analytic, &numeric, |_| 1e-9 + 2e-7 * largest).map_err(|e| Error::Shader(format!("gradient: {e}")))
}

/// The gradient with respect to x of the sum of weighted outputs.
fn central_differences(run: &mut Run, x: Var, loss: &[(Var, Vec<f32>)]) -> Result<Vec<f64>> {
    const H: f64 = 1e-5;
    let at = run.read_f64(x)?;
    let mut loss_at = |values: &[f64]| -> Result<f64> {
        run.write_f64(x, values)?;
        run.set_step(0);
        run.steps(1)?;
        let mut sum = 0.0;
        for (y, weights) in loss {
            sum += run.read_f64(*y)?.iter().zip(weights).map(|(y, w)| y * *w as f64).sum::<f64>();
        }
        Ok(sum)
    };
    let mut numeric = Vec::new();
    for i in 0..at.len() {
        let mut moved = at.clone();
        moved[i] = at[i] + H;
        let above = loss_at(&moved)?;
        moved[i] = at[i] - H;
        numeric.push((above - loss_at(&moved)?) / (2.0 * H));
    }
    loss_at(&at)?;
    Ok(numeric)
}

/// Targets to test on an adapter: its own, and that of hardware without subgroups.
pub fn targets(device: &Device) -> Vec<Target> {
    let own = device.target();
    let mut all = vec![own, Target::default()];
    all.dedup();
    all
}

/// An adapter's own target, and for the cases with a product each variant that the rule selects for some shape.
pub fn own_targets(device: &Device) -> Vec<Target> {
    let own = device.target();
    let variants = forced(device).into_iter().filter(|t| t.gemm.is_some_and(|f| f.suits(&own)));
    [own].into_iter().chain(variants).collect()
}

/// Each variant of the product that an adapter supports, forced: for the cases with a product.
pub fn forced(device: &Device) -> Vec<Target> {
    let own = device.target();
    let variants = GemmVariant::ALL.into_iter().filter(|f| f.runs_on(&own));
    variants.map(|variant| Target { gemm: Some(variant), ..own }).collect()
}
