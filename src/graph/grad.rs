//! The reverse pass, which adds nodes to the same graph.
//!
//! If a tensor is used several times, its gradients are summed here and nowhere else.

use std::collections::HashMap;

use super::{Add, Graph, Init, Node, Slab, Spec, Storage, Var};
use crate::error::{Error, Result};

/// The gradients computed by a reverse pass.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    of: HashMap<Var, Var>,
}

impl Gradients {
    /// The gradient of the losses with respect to `var`, if they depend on it.
    pub fn of(&self, var: Var) -> Option<Var> {
        self.of.get(&var).copied()
    }
}

/// The context of [`Op::reverse`](super::Op::reverse): a node, the gradients of its outputs, and the graph to add
/// nodes to.
pub struct Reverse<'a> {
    /// The graph to which the rule adds nodes.
    pub graph: &'a mut Graph,
    inputs: Vec<Var>,
    outputs: Vec<Var>,
    d: Vec<Option<Var>>,
    needed: &'a [bool],
    uses: &'a [usize],
    contributions: Vec<(Var, Var)>,
}

impl Reverse<'_> {
    /// Input `i` of the node.
    pub fn input(&self, i: usize) -> Var {
        self.inputs[i]
    }

    /// Output `i` of the node.
    pub fn output(&self, i: usize) -> Var {
        self.outputs[i]
    }

    /// The gradient of output `i`, if the losses depend on it.
    pub fn d(&self, i: usize) -> Option<Var> {
        self.d[i]
    }

    /// Whether the gradient of input `i` is needed.
    pub fn needs_gradient(&self, i: usize) -> bool {
        self.needed[self.graph.root(self.inputs[i]).index()]
    }

    /// Whether this node is the only one that reads `var`, and the gradient of `var` was not requested. The rule may
    /// then compute the gradient of the input of the op that produced `var` instead.
    pub fn sole_use(&self, var: Var) -> bool {
        self.uses[self.graph.root(var).index()] == 1
    }

    /// Adds `gradient` to the gradient of input `i`.
    pub fn add_gradient(&mut self, i: usize, gradient: Var) {
        self.add_gradient_to(self.inputs[i], gradient);
    }

    /// Adds `gradient` to the gradient of any tensor computed before this node.
    pub fn add_gradient_to(&mut self, var: Var, gradient: Var) {
        self.contributions.push((var, gradient));
    }
}

impl Graph {
    /// Adds the nodes that compute the gradients of the sum of `losses` with respect to all parameters and to `also`.
    /// Parameter gradients are stored in [`Slab::Grads`].
    ///
    /// # Errors
    /// If a scalar is not a loss, an op in between has no reverse rule, or a tensor belongs to another graph.
    pub fn backward(&mut self, losses: &[Var], also: &[Var]) -> Result<Gradients> {
        self.check(losses)?;
        let seed = |loss: &Var| {
            self.losses.get(loss).copied().ok_or_else(|| {
                let name = &self.tensors[*loss].name;
                Error::setting(format!("{name} is not a loss: only scalars computed by a loss op can be minimized"))
            })
        };
        let seeds: Vec<(Var, Var)> = losses.iter().map(seed).collect::<Result<_>>()?;
        self.backward_from(&seeds, also)
    }

    /// [`Graph::backward`] from given gradients: pairs of a tensor and its gradient.
    ///
    /// # Errors
    /// If an op in between has no reverse rule, or a tensor belongs to another graph.
    pub fn backward_from(&mut self, seeds: &[(Var, Var)], also: &[Var]) -> Result<Gradients> {
        seeds.iter().try_for_each(|&(at, d)| self.check(&[at, d]))?;
        self.check(also)?;
        let mut pending: HashMap<Var, Vec<Var>> = HashMap::new();
        for &(at, d) in seeds {
            pending.entry(self.root(at)).or_default().push(d);
        }
        let (forward, first) = (self.nodes.len(), self.tensors.len());
        let needed = self.needing_gradients(also);
        let uses = self.uses(also);
        let mut gradients = Gradients::default();
        for index in (0..self.nodes.len()).rev() {
            let Node { op, inputs, outputs, .. } = &self.nodes[index];
            let wanted = inputs.iter().any(|v| needed[self.root(*v).index()]);
            if !wanted || !outputs.iter().any(|v| pending.contains_key(v)) {
                continue;
            }
            let (op, inputs, outputs) = (op.clone(), inputs.clone(), outputs.clone());
            let d: Vec<Option<Var>> =
                outputs.iter().map(|&v| self.sum_at(v, &mut pending, &mut gradients)).collect::<Result<_>>()?;
            let (needed, uses, contributions) = (&needed[..], &uses[..], Vec::new());
            let mut reverse = Reverse { inputs, outputs, d, needed, uses, contributions, graph: self };
            op.reverse(&mut reverse)?;
            for (var, gradient) in reverse.contributions {
                self.check(&[var, gradient])?;
                pending.entry(self.root(var)).or_default().push(gradient);
            }
        }
        let leaves: Vec<Var> = self.parameters.iter().map(|p| p.var).chain(also.iter().copied()).collect();
        for var in leaves {
            let d = self.sum_at(self.root(var), &mut pending, &mut gradients)?;
            d.map(|d| gradients.of.insert(var, d));
        }
        self.place_parameter_gradients(&mut gradients)?;
        for index in first..self.tensors.len() {
            let var = self.tensors.var(index);
            self.tensors[var].gradient = true;
        }
        let elements = seeds.iter().map(|(at, _)| self.spec(*at).len()).max().unwrap_or(1);
        self.gradient_exponent = self.gradient_exponent.max(elements.ilog2() as i32);
        if self.recomputes {
            self.insert_recomputed(forward)?;
        }
        Ok(gradients)
    }

    /// For each tensor, whether it is or depends on a parameter or one of `also`.
    fn needing_gradients(&self, also: &[Var]) -> Vec<bool> {
        let mut needed = vec![false; self.tensors.len()];
        self.parameters.iter().for_each(|p| needed[p.var.index()] = true);
        also.iter().for_each(|v| needed[self.root(*v).index()] = true);
        for node in &self.nodes {
            if node.inputs.iter().any(|v| needed[self.root(*v).index()]) {
                node.outputs.iter().for_each(|v| needed[v.index()] = true);
            }
        }
        needed
    }

    /// For each tensor, the number of nodes that read it, plus one if its own gradient was requested.
    fn uses(&self, also: &[Var]) -> Vec<usize> {
        let mut uses = vec![0; self.tensors.len()];
        let read = self.nodes.iter().flat_map(|node| &node.inputs);
        read.chain(also).for_each(|v| uses[self.root(*v).index()] += 1);
        uses
    }

    /// The gradient of `var`: the sum of all contributions.
    fn sum_at(
        &mut self,
        var: Var,
        pending: &mut HashMap<Var, Vec<Var>>,
        gradients: &mut Gradients,
    ) -> Result<Option<Var>> {
        let Some(parts) = pending.remove(&var) else { return Ok(gradients.of(var)) };
        let shape = self.shape(var).to_vec();
        let mut total = self.shaped(parts[0], &shape)?;
        for &part in &parts[1..] {
            let part = self.shaped(part, &shape)?;
            total = self.apply1(Add, &[total, part])?;
        }
        gradients.of.insert(var, total);
        Ok(Some(total))
    }

    /// The gradient of a reshaped tensor, in the shape of the original tensor.
    fn shaped(&mut self, d: Var, shape: &[usize]) -> Result<Var> {
        if self.shape(d) == shape { Ok(d) } else { self.reshape(d, shape) }
    }

    /// Places each parameter's gradient in the slab: the op that computes it writes there. A tensor that another op
    /// reads, or that is the gradient of several parameters, is copied, because an op cannot read the slab that it
    /// writes to.
    fn place_parameter_gradients(&mut self, gradients: &mut Gradients) -> Result<()> {
        let slab = self.slab(Slab::Grads);
        let mut uses = vec![0; self.tensors.len()];
        let read = self.nodes.iter().flat_map(|node| &node.inputs).copied();
        let owned = self.parameters.iter().filter_map(|p| gradients.of(p.var));
        for v in read.map(|v| (v, 2)).chain(owned.map(|v| (v, 1))).collect::<Vec<_>>() {
            uses[self.root(v.0).index()] += v.1;
        }
        for p in self.parameters.clone() {
            let Some(mut d) = gradients.of(p.var) else { continue };
            let root = self.root(d);
            if self.tensors[root].storage != Storage::Step || uses[root.index()] > 1 {
                let zero =
                    self.tensor(format!("{}.zero", p.name), Spec::f32(p.shape.clone()), Storage::State, Init::Zero);
                d = self.apply1(Add, &[d, zero])?;
                gradients.of.insert(p.var, d);
            }
            let root = self.root(d);
            self.tensors[root].storage = Storage::Part { of: slab, offset: p.offset };
            self.tensors[root].name = format!("{}.grad", p.name);
        }
        Ok(())
    }
}
