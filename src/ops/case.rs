//! Test cases of the ops, as data: `verify` runs them.
//!
//! They are part of the library, not of its tests, because `langevin selftest` runs them on the user's adapter.

use std::sync::Arc;

use super::{Activation, Family, Io, Op, Specs};
use crate::error::Result;
use crate::graph::{AnyOp, Cost, DType, Form, Graph, Parts, Reverse, Spec, Var};
use crate::kernel::{Constant, Kernel, Target};

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

    pub(crate) fn at(self, want: f64, terms: f64, eps: f64) -> f64 {
        match self {
            Tolerance::Exact => 0.0,
            Tolerance::Absolute(c) => c * eps,
            Tolerance::Value(c) => c * eps * want.abs().max(1.0),
            Tolerance::Terms(c, k) => (c + (k as f64).sqrt()) * eps * terms.abs(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Floats(Vec<f32>),
    Integers(Vec<u32>),
}

#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub shape: Vec<usize>,
    pub content: Content,
}

/// An op with inputs to try it on.
#[derive(Clone, Debug)]
pub struct Case {
    pub(crate) op: Arc<dyn AnyOp>,
    pub(crate) inputs: Vec<Argument>,
    pub(crate) updates: Vec<Argument>,
    pub(crate) seed: u64,
    pub(crate) step: u32,
    pub(crate) first_row: usize,
    pub(crate) tolerance: Tolerance,
    pub(crate) first: Option<Tolerance>,
    /// Inputs from the first on by which its reverse rule is checked.
    pub(crate) gradient: usize,
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
            let word = crate::numeric::random::philox([i as u32, salt, 0, 0], [17, 0])[0];
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

    /// Its kernel on such an adapter: for tests.
    #[doc(hidden)]
    pub fn kernel(&self, target: &Target) -> Result<Kernel> {
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

    pub(crate) fn graph(&self) -> Result<(Graph, Vec<Var>, Vec<Var>)> {
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
        g.set_parts(Some(Parts { first: self.first_row, rows: 0, count: 1 }));
        let mut outputs = g.apply_any(self.op.clone(), &inputs, &updates)?;
        outputs.retain(|&v| g.spec(v).form != Form::Unstored);
        for &v in &outputs {
            g.keep(v);
        }
        outputs.extend(updates);
        Ok((g, inputs, outputs))
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
    fn dtypes(&self, i: usize, count: usize) -> &'static [DType] {
        self.op.dtypes(i, count)
    }
    fn updates(&self) -> usize {
        self.op.updates()
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
    fn is_trusted(&self) -> bool {
        // Its constants are not what the op made of the shapes.
        false
    }
    fn reverse(&self, reverse: &mut Reverse) -> Result<()> {
        self.op.reverse(reverse)
    }
}
