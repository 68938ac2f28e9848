//! Adds ops to a graph, with their checks.

use std::sync::Arc;

use super::{AnyOp, DType, Form, Graph, Init, Node, OTHER_GRAPH, Op, Spec, Storage, Tensor, Var, check_size};
use crate::error::{Error, Result};

impl Graph {
    /// Applies `op` to `inputs`; returns its outputs.
    ///
    /// # Errors
    /// [`Error::Shape`] if the op does not accept the shapes or element types; [`Error::Setting`] if a tensor belongs
    /// to another graph.
    pub fn apply(&mut self, op: impl Op, inputs: &[Var]) -> Result<Vec<Var>> {
        self.apply_to(op, inputs, &[])
    }

    /// [`Graph::apply`] that returns only the first output. Further outputs are usually values for the reverse rule,
    /// such as those before an activation.
    ///
    /// # Errors
    /// Those of [`Graph::apply`]; [`Error::Shape`] if the op has no output.
    pub fn apply1(&mut self, op: impl Op, inputs: &[Var]) -> Result<Var> {
        let name = op.name();
        let first = self.apply(op, inputs)?.first().copied();
        first.ok_or_else(|| Error::shape(name, "has no output; use Graph::apply_to"))
    }

    /// [`Graph::apply`] for an op that updates persistent tensors in place: it reads and writes `updates`.
    ///
    /// # Errors
    /// Those of [`Graph::apply`]; [`Error::Shape`] if a tensor of `updates` is not persistent, or if their number
    /// differs from [`Op::updates`].
    pub fn apply_to(&mut self, op: impl Op, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        self.apply_any(Arc::new(op), inputs, updates)
    }

    /// [`Graph::apply_to`] that disables the runtime checks of the shader in release builds, as for the ops of the
    /// crate: indices are not bounded, loops are not limited, and workgroup memory is not zeroed.
    ///
    /// # Errors
    /// Those of [`Graph::apply_to`].
    ///
    /// # Safety
    /// For the shapes of these tensors and any values, all accesses of the kernel are within its bindings and arrays,
    /// its loops terminate, and it does not read workgroup memory before writing it.
    #[allow(unsafe_code)]
    pub unsafe fn apply_unchecked(&mut self, op: impl Op, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        let outputs = self.apply_to(op, inputs, updates)?;
        self.nodes.last_mut().expect("the node was added above").trusted = true;
        Ok(outputs)
    }

    pub(crate) fn apply_any(&mut self, op: Arc<dyn AnyOp>, inputs: &[Var], updates: &[Var]) -> Result<Vec<Var>> {
        let name = op.name();
        self.check(inputs)?;
        self.check(updates)?;
        self.check_updates(&*op, updates)?;
        let specs = self.inputs_of(&*op, inputs, updates)?;
        let outputs = op.infer(&specs)?;
        outputs.iter().try_for_each(|spec| check_size(name, spec))?;
        let node = self.nodes.len();
        let outputs: Vec<Var> = outputs
            .into_iter()
            .enumerate()
            .map(|(i, spec)| {
                let storage = if spec.form == Form::History { Storage::State } else { Storage::Step };
                let var = self.tensor(format!("{name}.{node}.{i}"), spec, storage, Init::Zero);
                self.tensors[var].maker = Some(node);
                var
            })
            .collect();
        self.nodes.push(Node {
            trusted: op.is_trusted(),
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            updates: updates.to_vec(),
            parts: self.parts,
            block: self.block,
        });
        Ok(outputs)
    }

    fn check_updates(&self, op: &dyn AnyOp, updates: &[Var]) -> Result<()> {
        let refuse = |text| Err(Error::shape(op.name(), text));
        if updates.len() != op.updates() {
            return refuse(format!("updates {} tensors in place, got {}", op.updates(), updates.len()));
        }
        match updates.iter().find(|&&v| self.tensors[self.root(v)].storage == Storage::Step) {
            Some(&v) => refuse(format!("{} is not persistent, so it cannot be updated in place", self.tensors[v].name)),
            None => Ok(()),
        }
    }

    /// The specs of the inputs and then of the updated tensors, with their element types checked.
    fn inputs_of(&self, op: &dyn AnyOp, inputs: &[Var], updates: &[Var]) -> Result<Vec<Spec>> {
        let spec = |(i, &var): (usize, &Var)| {
            let Tensor { name, spec, .. } = &self.tensors[var];
            let refuse = |text| Err(Error::shape(op.name(), format!("tensor {i}, {name}, {text}")));
            if spec.form == Form::History {
                return refuse("is a scalar with a history, which only `Run::history` can read".into());
            }
            let takes = op.dtypes(i, inputs.len() + updates.len());
            if takes.contains(&spec.dtype) {
                return Ok(spec.clone());
            }
            let takes: Vec<String> = takes.iter().map(DType::to_string).collect();
            refuse(format!("is {spec}, expected {}", takes.join(" or ")))
        };
        inputs.iter().chain(updates).enumerate().map(spec).collect()
    }

    /// Checks that all tensors belong to this graph.
    pub(super) fn check(&self, vars: &[Var]) -> Result<()> {
        match vars.iter().all(|&var| self.tensors.get(var).is_some()) {
            true => Ok(()),
            false => Err(Error::setting(OTHER_GRAPH)),
        }
    }
}
