//! Which tensors are stored in f16.
//!
//! Activations and their gradients are, where the op that computes them and all ops that read them allow it
//! ([`Op::halves`](super::Op::halves)). Everything else stays in f32: data, parameters and their gradients, statistics, sums,
//! losses, and tensors that are read after the step.
//!
//! The gradient of a mean over n elements is about 1/n of the error, so gradients are multiplied by n, rounded to a power
//! of two, when they are stored, and divided by it when they are read: a static loss scaling (Micikevicius et al. 2018, "Mixed
//! precision training", section 3.2) that no other tensor sees.

use super::{DType, Form, Graph, Storage, Var};

impl Graph {
    /// The graph with its activations and their gradients in f16.
    pub(crate) fn in_half(mut self) -> Self {
        let gradient = self.gradient_exponent;
        for var in self.halvable() {
            let exponent = if self.tensors[var].gradient { gradient } else { 0 };
            self.store_in_half(var, exponent);
        }
        self
    }

    /// Stores a tensor and its views in f16, multiplied by a power of two.
    pub(crate) fn store_in_half(&mut self, var: Var, exponent: i32) {
        for index in 0..self.tensors.len() {
            let view = self.tensors.var(index);
            if self.root(view) == var {
                let spec = &mut self.tensors[view].spec;
                (spec.dtype, spec.exponent) = (DType::F16, exponent);
            }
        }
    }

    /// The tensors of a step that may be stored in f16.
    fn halvable(&self) -> Vec<Var> {
        let mut allowed = vec![false; self.tensors.len()];
        for node in &self.nodes {
            let [_, outputs] = node.op.halves(node.inputs.len());
            outputs.iter().filter_map(|i| node.outputs.get(*i)).for_each(|v| allowed[v.index()] = true);
        }
        for node in &self.nodes {
            let [inputs, _] = node.op.halves(node.inputs.len());
            let others = node.inputs.iter().enumerate().filter(|(i, _)| !inputs.contains(i));
            others.for_each(|(_, v)| allowed[self.root(*v).index()] = false);
            node.updates.iter().for_each(|v| allowed[self.root(*v).index()] = false);
        }
        let all = (0..self.tensors.len()).map(|index| self.tensors.var(index));
        let of_step = |v: &Var| {
            let tensor = &self.tensors[*v];
            let dense = tensor.spec.dtype == DType::F32 && tensor.spec.form == Form::Dense;
            tensor.storage == Storage::Step && dense && !tensor.kept && allowed[v.index()]
        };
        all.filter(of_step).collect()
    }
}
