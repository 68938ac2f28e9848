//! Test cases of the ops, and the checkers that run them.
//!
//! They are part of the library, not of its tests, because `langevin selftest` runs them on the user's adapter.

use std::sync::Arc;

use super::{Activation, AnyOp, Family, Io, Op, Specs};
use crate::cost::Cost;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{DType, Form, Graph, HISTORY, Reverse, Spec, Var, Window};
use crate::kernel::{Constant, Kernel, Target};
use crate::run::Run;

/// 2^-24: half a unit in the last place of an f32 near 1.
const EPS: f64 = 5.960_464_477_539_063e-8;

/// 2^-11: the same of an f16. Both factors of a term are rounded to it, which c covers, being 2 or more for products; the
/// sum itself is made in f32.
const EPS_HALF: f64 = 4.882_812_5e-4;

/// How far a kernel may be from the reference; it follows from the arithmetic, and each op says its constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Equal bits.
    Exact,
    /// c eps.
    Absolute(f64),
    /// c eps max(1, |want|).
    Value(f64),
    /// (c + sqrt k) eps s: a sum of k terms, with s the sum of their absolute values.
    Terms(f64, usize),
}

impl Tolerance {
    /// Equal bits.
    pub fn exact() -> Self {
        Tolerance::Exact
    }

    /// c eps.
    pub fn absolute(c: f64) -> Self {
        Tolerance::Absolute(c)
    }

    /// c eps max(1, |want|).
    pub fn value(c: f64) -> Self {
        Tolerance::Value(c)
    }

    /// (c + sqrt k) eps times the sum of absolute terms: the twin's result on the inputs' absolute values.
    pub fn terms(c: f64, k: usize) -> Self {
        Tolerance::Terms(c, k)
    }

    fn at(self, want: f64, terms: f64, eps: f64) -> f64 {
        match self {
            Tolerance::Exact => 0.0,
            Tolerance::Absolute(c) => c * eps,
            Tolerance::Value(c) => c * eps * want.abs().max(1.0),
            Tolerance::Terms(c, k) => (c + (k as f64).sqrt()) * eps * terms.abs(),
        }
    }
}

#[derive(Clone, Debug)]
enum Content {
    Floats(Vec<f32>),
    Integers(Vec<u32>),
}

#[derive(Clone, Debug)]
struct Argument {
    shape: Vec<usize>,
    content: Content,
}

/// An op with inputs to try it on.
#[derive(Clone, Debug)]
pub struct Case {
    op: Arc<dyn AnyOp>,
    inputs: Vec<Argument>,
    updates: Vec<Argument>,
    seed: u64,
    step: u32,
    first_row: usize,
    tolerance: Tolerance,
    first: Option<Tolerance>,
    /// Inputs from the first on by which its reverse rule is checked.
    gradient: usize,
}

impl Case {
    /// A case of `op` without inputs yet.
    pub fn new(op: impl Op) -> Self {
        let (inputs, updates) = (Vec::new(), Vec::new());
        let tolerance = Tolerance::Exact;
        Self { op: Arc::new(op), inputs, updates, seed: 0, step: 0, first_row: 0, tolerance, first: None, gradient: 0 }
    }

    /// An input of both signs, in (-1, 1) and away from 0, where kinks are.
    pub fn input(self, shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let salt = self.inputs.len() as u32 + 1;
        let n: usize = shape.iter().product();
        let value = |i: usize| {
            let word = crate::random::philox([i as u32, salt, 0, 0], [17, 0])[0];
            let unit = word as f32 / u32::MAX as f32 * 2.0 - 1.0;
            unit + 0.01f32.copysign(unit)
        };
        let values = (0..n).map(value).collect();
        self.values(shape, values)
    }

    /// An input with given values.
    pub fn values(mut self, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        self.inputs.push(Argument { shape: shape.into(), content: Content::Floats(values) });
        self
    }

    /// An input of integers.
    pub fn integers(mut self, shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Self {
        self.inputs.push(Argument { shape: shape.into(), content: Content::Integers(values) });
        self
    }

    /// A tensor that is read and written.
    pub fn update(mut self, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        self.updates.push(Argument { shape: shape.into(), content: Content::Floats(values) });
        self
    }

    /// Seed and step.
    pub fn clock(mut self, seed: u64, step: u32) -> Self {
        (self.seed, self.step) = (seed, step);
        self
    }

    /// The row of the batch that row 0 is.
    pub fn first_row(mut self, first_row: usize) -> Self {
        self.first_row = first_row;
        self
    }

    /// The tolerance of all outputs.
    pub fn tolerance(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Another tolerance for the first output.
    pub fn first_tolerance(mut self, tolerance: Tolerance) -> Self {
        self.first = Some(tolerance);
        self
    }

    /// Its reverse rule is checked by central differences too.
    pub fn gradient(self) -> Self {
        self.gradient_by(usize::MAX)
    }

    /// [`Case::gradient`], by the first `inputs` only: the others are tables and the like.
    pub fn gradient_by(mut self, inputs: usize) -> Self {
        self.gradient = inputs;
        self
    }

    /// The constants of the case's kernel.
    pub fn constants(&self, target: &Target) -> Result<Vec<Constant>> {
        Ok(self.kernel(target)?.constants)
    }

    /// How its product is computed, if it is one.
    pub fn family(&self, target: &Target) -> Result<Option<Family>> {
        Ok(self.kernel(target)?.family())
    }

    /// Whether a target is worth trying: one that forces a family, on products alone.
    pub fn concerns(&self, target: &Target) -> Result<bool> {
        Ok(target.family.is_none() || self.family(target)?.is_some())
    }

    /// Whether two targets get different kernels.
    pub fn differs(&self, a: &Target, b: &Target) -> Result<bool> {
        let (a, b) = (self.kernel(a)?, self.kernel(b)?);
        Ok(a.source()? != b.source()? || a.constants != b.constants || a.groups != b.groups)
    }

    fn kernel(&self, target: &Target) -> Result<Kernel> {
        let (g, inputs, _) = self.graph()?;
        let specs = |vars: &[Var]| vars.iter().map(|&v| g.spec(v).clone()).collect();
        let node = &g.nodes[0];
        let specs = Specs { inputs: specs(&inputs), outputs: specs(&node.outputs), updates: specs(&node.updates) };
        Ok(self.op.kernel(&specs, target))
    }

    /// The case with another value in one constant of its kernel; the twin stays. For tests of the checker.
    pub fn with_constant(&self, name: &'static str, value: f64) -> Case {
        Case { op: Arc::new(Tampered { op: self.op.clone(), name, value }), ..self.clone() }
    }

    /// The op's name.
    pub fn op(&self) -> &'static str {
        self.op.name()
    }

    /// Op and shapes.
    pub fn name(&self) -> String {
        let shapes: Vec<_> = self.inputs.iter().chain(&self.updates).map(|a| format!("{:?}", a.shape)).collect();
        format!("{:?} {}", self.op, shapes.join(" "))
    }

    /// Whether [`check_gradient`] applies.
    pub fn has_gradient(&self) -> bool {
        self.gradient > 0
    }

    fn graph(&self) -> Result<(Graph, Vec<Var>, Vec<Var>)> {
        let mut g = Graph::new();
        let mut declare = |prefix: &str, list: &[Argument]| -> Result<Vec<Var>> {
            list.iter()
                .enumerate()
                .map(|(i, a)| match a.content {
                    Content::Floats(_) => g.state(&format!("{prefix}{i}"), a.shape.clone()),
                    Content::Integers(_) => g.state_u32(&format!("{prefix}{i}"), a.shape.clone()),
                })
                .collect()
        };
        let inputs = declare("input", &self.inputs)?;
        let updates = declare("update", &self.updates)?;
        g.set_window(Some(Window { first: self.first_row, rows: 0 }));
        let mut outputs = g.apply_any(self.op.clone(), &inputs, &updates)?;
        outputs.retain(|&v| g.spec(v).form != Form::Phantom);
        for &v in &outputs {
            g.keep(v);
        }
        outputs.extend(updates);
        Ok((g, inputs, outputs))
    }

    fn fill(&self, run: &mut Run, absolute: bool) -> Result<()> {
        for (prefix, list) in [("input", &self.inputs), ("update", &self.updates)] {
            for (i, a) in list.iter().enumerate() {
                let name = format!("{prefix}{i}");
                match &a.content {
                    Content::Floats(v) if absolute => {
                        run.write(&name, &v.iter().map(|x| x.abs()).collect::<Vec<_>>())?;
                    }
                    Content::Floats(v) => run.write(&name, v)?,
                    Content::Integers(v) => run.write_u32(&name, v)?,
                }
            }
        }
        Ok(())
    }

    /// The written elements of every output and updated tensor after one step on a device.
    ///
    /// # Errors
    /// All of compiling and running.
    pub fn run(&self, device: &Device) -> Result<Vec<Vec<f64>>> {
        self.outcome(device, false)
    }

    /// The case on a device, its inputs filled: for benchmarks.
    ///
    /// # Errors
    /// Those of compiling.
    pub fn compile(&self, device: &Device) -> Result<Run> {
        let mut run = device.compile(&self.graph()?.0)?;
        run.seed(self.seed);
        run.set_step(self.step);
        self.fill(&mut run, false)?;
        Ok(run)
    }

    fn outcome(&self, device: &Device, absolute: bool) -> Result<Vec<Vec<f64>>> {
        let (g, _, outputs) = self.graph()?;
        let mut run = device.compile(&g)?;
        run.seed(self.seed);
        run.set_step(self.step);
        for &v in outputs.iter().filter(|v| !self.is_update(&g, **v)) {
            run.poison(v)?;
        }
        self.fill(&mut run, absolute)?;
        run.steps(1)?;
        outputs
            .iter()
            .map(|&v| {
                let all = run.read_f64(v)?;
                let entry = self.step as usize % HISTORY;
                Ok(if g.spec(v).form == Form::History { vec![all[entry]] } else { all })
            })
            .collect()
    }

    fn is_update(&self, g: &Graph, v: Var) -> bool {
        g.tensors[v.0].name.starts_with("update")
    }
}

/// An op whose kernel got another constant.
#[derive(Debug)]
struct Tampered {
    op: Arc<dyn AnyOp>,
    name: &'static str,
    value: f64,
}

impl AnyOp for Tampered {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        self.op.infer(inputs)
    }
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let mut kernel = self.op.kernel(specs, target);
        let constant = kernel.constants.iter_mut().find(|c| c.name == self.name);
        constant.into_iter().for_each(|c| c.value = self.value);
        kernel
    }
    fn cost(&self, specs: &Specs) -> Cost {
        self.op.cost(specs)
    }
    fn twin_f32(&self, io: &mut Io<f32>) {
        self.op.twin_f32(io);
    }
    fn twin_f64(&self, io: &mut Io<f64>) {
        self.op.twin_f64(io);
    }
    fn activation(&self) -> Option<Activation> {
        self.op.activation()
    }
    fn reverse(&self, reverse: &mut Reverse) -> Result<()> {
        self.op.reverse(reverse)
    }
}

/// What a passed comparison saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// The largest error as a share of its tolerance.
    pub worst: f64,
    /// The largest absolute error.
    pub error: f64,
    /// Elements compared.
    pub elements: usize,
}

impl Report {
    /// Combines two reports.
    pub fn and(self, other: Report) -> Report {
        Report {
            worst: self.worst.max(other.worst),
            error: self.error.max(other.error),
            elements: self.elements + other.elements,
        }
    }
}

/// Runs a case on `device` and on the reference, and compares every element of every output.
///
/// # Errors
/// [`Error::Shader`] that names the first element out of tolerance; all other errors of compiling and running.
pub fn check(case: &Case, device: &Device) -> Result<Report> {
    let want = case.outcome(&Device::reference(), false)?;
    let got = case.outcome(device, false)?;
    let terms = case.outcome(&Device::reference(), true)?;
    let half = device.is_gpu() && case.family(&device.target())? == Some(Family::Cooperative);
    let eps = if half { EPS_HALF } else { EPS };
    let mut report = Report::default();
    for (i, ((got, want), terms)) in got.iter().zip(&want).zip(&terms).enumerate() {
        let tolerance = case.first.filter(|_| i == 0).unwrap_or(case.tolerance);
        let compared = compare(got, want, |e| tolerance.at(want[e], terms[e], eps));
        let compared = compared.map_err(|e| Error::Shader(format!("{}, output {i}: {e}", case.name())))?;
        report = report.and(compared);
    }
    Ok(report)
}

/// Compares element by element; NaN on either side fails.
///
/// # Errors
/// The first element that differs by more than its tolerance, or a difference in length.
pub fn compare(got: &[f64], want: &[f64], tolerance: impl Fn(usize) -> f64) -> std::result::Result<Report, String> {
    if got.len() != want.len() {
        return Err(format!("{} elements, expected {}", got.len(), want.len()));
    }
    let mut report = Report { elements: got.len(), ..Report::default() };
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

/// Compares a case's reverse rule with central differences of its twin, both in f64.
///
/// # Errors
/// [`Error::Shader`] with the input and element that differ.
pub fn check_gradient(case: &Case) -> Result<Report> {
    let (mut g, inputs, outputs) = case.graph()?;
    let weights = |n: usize| (0..n).map(|i| ((i * 37 % 11) as f32 - 4.5) / 8.0).collect::<Vec<f32>>();
    // Only the first output carries the loss: others are by-products such as saved statistics.
    let y = outputs[0];
    let d = g.constant(g.shape(y).to_vec(), weights(g.spec(y).len()))?;
    let floats = inputs.iter().copied().take(case.gradient).filter(|v| g.spec(*v).dtype == DType::F32);
    let floats: Vec<Var> = floats.collect();
    let gradients = g.backward_from(&[(y, d)], &floats)?;
    let device = Device::reference();
    for &x in &floats {
        gradients.of(x).map(|d| g.keep(d));
    }
    let mut run = device.compile(&g)?;
    case.fill(&mut run, false)?;
    run.steps(1)?;
    let mut report = Report::default();
    for &x in &floats {
        let Some(d) = gradients.of(x) else {
            return Err(Error::Shader(format!("{}: no gradient for an input", case.name())));
        };
        let analytic = run.read_f64(d)?;
        let numeric = central_differences(&mut run, x, y, &weights(g.spec(y).len()))?;
        let compared = compare(&analytic, &numeric, |i| 2e-7 * (1.0 + numeric[i].abs()));
        report = report.and(compared.map_err(|e| Error::Shader(format!("{}, gradient: {e}", case.name())))?);
    }
    Ok(report)
}

/// Compares the gradient of a weighted sum of losses with central differences of their values, both in f64. `build` adds
/// them for a prediction and a goal of `shape`, and gives each with the weight that its gradient has.
///
/// # Errors
/// [`Error::Shader`] with the element that differs; what `build` refuses.
pub fn check_losses(
    shape: &[usize],
    build: impl FnOnce(&mut Graph, Var, Var) -> Result<Vec<(Var, f64)>>,
) -> Result<Report> {
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
        let slopes = central_differences(&mut run, prediction, loss, &[1.0])?;
        numeric.iter_mut().zip(slopes).for_each(|(n, slope)| *n += weight * slope);
    }
    let largest = numeric.iter().fold(0.0f64, |most, n| most.max(n.abs()));
    compare(&analytic, &numeric, |_| 1e-9 + 2e-7 * largest).map_err(|e| Error::Shader(format!("gradient: {e}")))
}

fn central_differences(run: &mut Run, x: Var, y: Var, weights: &[f32]) -> Result<Vec<f64>> {
    const H: f64 = 1e-5;
    let at = run.read_f64(x)?;
    let mut loss_at = |values: &[f64]| -> Result<f64> {
        run.write_f64(x, values)?;
        run.set_step(0);
        run.steps(1)?;
        Ok(run.read_f64(y)?.iter().zip(weights).map(|(y, w)| y * *w as f64).sum())
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

/// What to try on an adapter: its own kernels, and those that hardware without subgroups would get.
pub fn targets(device: &Device) -> Vec<Target> {
    let own = device.target();
    let mut all = vec![own, Target::default()];
    all.dedup();
    all
}

/// An adapter's own kernels, and for the cases with a product each family that it chooses for some shape.
pub fn own_targets(device: &Device) -> Vec<Target> {
    let own = device.target();
    let families = forced(device).into_iter().filter(|t| t.family.is_some_and(|f| f.suits(&own)));
    [own].into_iter().chain(families).collect()
}

/// Each family of products that an adapter can run, forced: for the cases with a product.
pub fn forced(device: &Device) -> Vec<Target> {
    let own = device.target();
    let families = Family::ALL.into_iter().filter(|f| f.runs_on(&own));
    families.map(|family| Target { family: Some(family), ..own }).collect()
}
