//! Test cases of the ops, as data: `verify` runs them.
//!
//! They are part of the library, not of its tests, because `langevin selftest` runs them on the user's adapter.

use std::sync::Arc;

use half::f16;

use super::{Activation, GemmVariant, Io, Op, Specs};
use crate::error::Result;
use crate::graph::{AnyOp, Cost, DType, DynOp, Form, Graph, Parts, Reverse, Spec, Term, Var};
use crate::kernel::{Constant, Kernel, Target};

/// The tolerance of a kernel against the reference, derived from its arithmetic; each op sets its constant c.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Tolerance {
    /// Equal bits.
    Exact,
    /// c eps.
    Absolute(f64),
    /// c eps max(1, |want|).
    Value(f64),
    /// c eps |want|.
    Relative(f64),
    /// c eps (|want| + s), with s the sum of |x dwant/dx| over the inputs: the effect of rounded arguments.
    Conditioned(f64),
    /// (c + sqrt k) eps s: a sum of k terms, with s the sum of their absolute values.
    Terms(f64, usize),
}

/// Sizes of benchmark cases: the elements of a large tensor, the rows of a data set, and the steps of a schedule.
pub(crate) const MANY: usize = 1 << 20;
pub(crate) const ROWS: usize = 8192;
pub(crate) const STEPS: usize = 1000;

/// The smallest normal number of f32. Subnormal numbers may be flushed to zero.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

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

    /// c eps |want|, and the smallest normal number, below which a result may be zero.
    pub fn relative(c: f64) -> Self {
        Tolerance::Relative(c)
    }

    /// c eps (|want| + s), s = |x dwant/dx| summed over the inputs: for functions of rounded arguments, such as an
    /// exponent in a tail, and near zeros. Where an exponential below the smallest normal number may be flushed to
    /// zero, that number times the condition number 1 + s / |want| is also allowed.
    pub fn conditioned(c: f64) -> Self {
        Tolerance::Conditioned(c)
    }

    /// (c + sqrt k) eps times the sum of absolute terms, computed as the CPU result on the inputs' absolute values, or
    /// on those of [`Case::for_terms`].
    pub fn terms(c: f64, k: usize) -> Self {
        Tolerance::Terms(c, k)
    }

    pub(crate) fn at(self, want: f64, scale: f64, eps: f64) -> f64 {
        let want = want.abs();
        match self {
            Tolerance::Exact => 0.0,
            Tolerance::Absolute(c) => c * eps,
            Tolerance::Value(c) => c * eps * want.max(1.0),
            Tolerance::Relative(c) => c * eps * want + SMALLEST,
            Tolerance::Conditioned(c) => {
                let condition = if want > 0.0 { 1.0 + scale / want } else { 1.0 };
                c * eps * (want + scale) + SMALLEST * condition
            }
            Tolerance::Terms(c, k) => (c + (k as f64).sqrt()) * eps * scale.abs(),
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
    /// The values used in the run that sums absolute terms.
    pub for_terms: Vec<f32>,
}

impl Argument {
    fn floats(shape: Vec<usize>, values: Vec<f32>) -> Self {
        let for_terms = values.iter().map(|x| x.abs()).collect();
        Self { shape, content: Content::Floats(values), for_terms }
    }
}

/// An op with test inputs.
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
    /// Whether a GPU stores the tensors of [`Op::halves`] in f16.
    pub(crate) half: bool,
    /// The number of leading inputs whose gradient is checked.
    pub(crate) gradient: usize,
    /// The number of leading outputs that carry a gradient in that check.
    pub(crate) carriers: usize,
}

impl Case {
    /// A case of `op` without inputs yet.
    pub fn new(op: impl Op) -> Self {
        let (inputs, updates) = (Vec::new(), Vec::new());
        let (op, tolerance, first, half) = (Arc::new(op), Tolerance::Exact, None, false);
        Self { op, inputs, updates, seed: 0, step: 0, first_row: 0, tolerance, first, half, gradient: 0, carriers: 1 }
    }

    /// Adds an input of both signs, in (-1, 1) and away from 0, where some functions have a kink.
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

    /// Adds an input with given values.
    pub fn values(mut self, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        self.inputs.push(Argument::floats(shape.into(), values));
        self
    }

    /// Uses `f(i, x)` instead of |x| for the last input or update in the run that [`Tolerance::terms`] is relative to:
    /// with suitable signs a difference becomes a sum of absolute terms.
    pub fn for_terms(mut self, f: impl Fn(usize, f32) -> f32) -> Self {
        let last = self.updates.last_mut().or(self.inputs.last_mut());
        if let Some(Argument { content: Content::Floats(values), for_terms, .. }) = last {
            *for_terms = values.iter().enumerate().map(|(i, &x)| f(i, x)).collect();
        }
        self
    }

    /// Adds an input of integers.
    pub fn integers(mut self, shape: impl Into<Vec<usize>>, values: Vec<u32>) -> Self {
        let content = Content::Integers(values);
        self.inputs.push(Argument { shape: shape.into(), content, for_terms: Vec::new() });
        self
    }

    /// Adds a tensor that is updated in place.
    pub fn update(mut self, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        self.updates.push(Argument::floats(shape.into(), values));
        self
    }

    /// Adds a table with positive values below 1.
    pub(crate) fn table(self, [rows, cols]: [usize; 2]) -> Self {
        self.values([rows, cols], (0..rows * cols).map(|i| 0.1 + 0.8 * (i % 97) as f32 / 97.0).collect())
    }

    /// Adds `n` diffusion steps, as floats.
    pub(crate) fn steps(self, n: usize) -> Self {
        self.values([n], (0..n).map(|i| (i * 7 % STEPS) as f32).collect())
    }

    /// Adds `n` indices below `end`.
    pub(crate) fn indices(self, n: usize, end: usize) -> Self {
        self.integers([n], (0..n).map(|i| (i * 7 % end) as u32).collect())
    }

    /// Adds `n` zeros that are updated in place.
    pub(crate) fn zeros(self, n: usize) -> Self {
        self.update([n], vec![0.0; n])
    }

    /// Sets seed and step.
    pub fn clock(mut self, seed: u64, step: u32) -> Self {
        (self.seed, self.step) = (seed, step);
        self
    }

    /// Sets the index in the batch of row 0.
    pub fn first_row(mut self, first_row: usize) -> Self {
        self.first_row = first_row;
        self
    }

    /// Sets the tolerance of all outputs.
    pub fn tolerance(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets another tolerance for the first output.
    pub fn first_tolerance(mut self, tolerance: Tolerance) -> Self {
        self.first = Some(tolerance);
        self
    }

    /// Also checks the gradient by central differences.
    pub fn gradient(self) -> Self {
        self.gradient_by(usize::MAX)
    }

    /// [`Case::gradient`] for the first `inputs` only: the others are tables and the like.
    pub fn gradient_by(mut self, inputs: usize) -> Self {
        self.gradient = inputs;
        self
    }

    /// Only the first `outputs` carry gradients together; the others are by-products such as statistics.
    pub fn gradient_from(mut self, outputs: usize) -> Self {
        self.carriers = outputs;
        self
    }

    /// The constants of the case's kernel.
    pub fn constants(&self, target: &Target) -> Result<Vec<Constant>> {
        Ok(self.kernel(target)?.constants)
    }

    /// The product variant of the kernel, if it computes a matrix product.
    pub fn gemm_variant(&self, target: &Target) -> Result<Option<GemmVariant>> {
        Ok(self.kernel(target)?.gemm_variant())
    }

    /// Whether a target is worth testing: one that forces a variant is, for products only.
    pub fn concerns(&self, target: &Target) -> Result<bool> {
        Ok(target.gemm.is_none() || self.gemm_variant(target)?.is_some())
    }

    /// Whether two targets get different kernels.
    pub fn differs(&self, a: &Target, b: &Target) -> Result<bool> {
        let (a, b) = (self.kernel(a)?, self.kernel(b)?);
        Ok(a.source()? != b.source()? || a.constants != b.constants || a.groups != b.groups)
    }

    /// The kernel for an adapter: for tests.
    #[doc(hidden)]
    pub fn kernel(&self, target: &Target) -> Result<Kernel> {
        let (mut g, inputs, _) = self.graph()?;
        self.store_in_half(&mut g);
        let specs = |vars: &[Var]| vars.iter().map(|&v| g.spec(v).clone()).collect();
        let node = &g.nodes[0];
        let (outputs, updates) = (specs(&node.outputs), specs(&node.updates));
        let specs = Specs { inputs: specs(&inputs), outputs, updates, overwritten: Vec::new() };
        Ok(self.op.kernel(&specs, target))
    }

    /// The case with one constant of its kernel changed and the CPU implementation unchanged: to test the checker.
    pub fn with_constant(&self, name: &'static str, value: f64) -> Case {
        Case { op: Arc::new(Tampered { op: self.op.clone(), name, value }), ..self.clone() }
    }

    /// The case with a NaN in the middle of the first input, if that holds floats: to test that NaN propagates.
    #[doc(hidden)]
    pub fn with_nan(&self) -> Option<Case> {
        let mut case = self.clone();
        let Content::Floats(values) = &mut case.inputs.first_mut()?.content else { return None };
        let middle = values.len() / 2;
        values[middle] = f32::NAN;
        Some(case)
    }

    /// The case with activations in f16 on a GPU, and with inputs that are numbers of f16; `None` if the op has none.
    pub fn in_half(&self) -> Option<Case> {
        let [inputs, outputs] = self.op.halves(self.inputs.len());
        let mut case = Case { half: true, ..self.clone() };
        let stored = case.inputs.iter_mut().enumerate().filter(|(i, _)| inputs.contains(i));
        for (_, argument) in stored {
            if let Content::Floats(values) = &mut argument.content {
                values.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
            }
        }
        (!inputs.is_empty() || !outputs.is_empty()).then_some(case)
    }

    /// The exponents ([`Spec`]) of inputs and outputs in f16: different ones, so that a test tells them apart.
    pub(crate) fn exponents(&self) -> [Vec<(usize, i32)>; 2] {
        let halves = if self.half { self.op.halves(self.inputs.len()) } else { Default::default() };
        let [inputs, outputs] = halves;
        let with = |of: Vec<usize>, first: i32| of.into_iter().map(|i| (i, first + 2 * i as i32)).collect();
        [with(inputs, 1), with(outputs, 4)]
    }

    /// Stores the tensors of its graph in f16 that a GPU stores so.
    pub(crate) fn store_in_half(&self, g: &mut Graph) {
        let ([inputs, outputs], node) = (self.exponents(), g.nodes[0].clone());
        let inputs = inputs.iter().filter_map(|(i, exponent)| Some((node.inputs.get(*i)?, *exponent)));
        let outputs = outputs.iter().filter_map(|(i, exponent)| Some((node.outputs.get(*i)?, *exponent)));
        for (var, exponent) in inputs.chain(outputs) {
            if g.spec(*var).dtype == DType::F32 && g.spec(*var).stored() > 0 {
                g.store_in_half(*var, exponent);
            }
        }
    }

    /// The op's name.
    pub fn op(&self) -> &'static str {
        self.op.name()
    }

    /// The op's name and the shapes.
    pub fn name(&self) -> String {
        let shapes: Vec<_> = self.inputs.iter().chain(&self.updates).map(|a| format!("{:?}", a.shape)).collect();
        format!("{:?} {}{}", self.op, shapes.join(" "), if self.half { " in f16" } else { "" })
    }

    /// Whether its reverse rule is checked too.
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

/// An op whose kernel has a modified constant.
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
    fn cpu_f32(&self, io: &mut Io<f32>) {
        self.op.cpu_f32(io);
    }
    fn cpu_f64(&self, io: &mut Io<f64>) {
        self.op.cpu_f64(io);
    }
    fn activation(&self) -> Option<Activation> {
        self.op.activation()
    }
    fn overwrites(&self) -> Vec<[usize; 2]> {
        Vec::new()
    }
    fn halves(&self, count: usize) -> [Vec<usize>; 2] {
        self.op.halves(count)
    }
    fn plus(&self, _: Term) -> Option<DynOp> {
        None
    }
    fn piece(&self) -> Option<usize> {
        self.op.piece()
    }
    fn accumulates(&self) -> Option<f64> {
        self.op.accumulates()
    }
    fn is_trusted(&self) -> bool {
        // Its constants differ from those that the op derives from the shapes.
        false
    }
    fn reverse(&self, reverse: &mut Reverse) -> Result<()> {
        self.op.reverse(reverse)
    }
}
