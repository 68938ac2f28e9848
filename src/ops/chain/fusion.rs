//! Finds chains of dense layers in a graph, and replaces them by one op.

use std::sync::Arc;

use super::{Chain, ChainStep, Layer};
use crate::graph::{Graph, Node, Slab, Storage, Var};
use crate::kernel::Target;
use crate::ops::fusion::as_op;
use crate::ops::{Activation, Dense, SamplerStep, StepInput};

/// The layers that compute a tensor from another one.
struct Found {
    chain: Chain,
    /// The input of the first layer.
    x: Var,
    /// The nodes of the layers.
    nodes: Vec<usize>,
}

impl Graph {
    /// Reduces dispatches on a GPU: a sampling step whose network is a chain of dense layers is one dispatch, where
    /// the chain and the adapter allow it.
    pub(crate) fn fused_chains(mut self, target: &Target) -> Self {
        for at in 0..self.nodes.len() {
            // What it replaces besides is no longer read, so the plan leaves it out.
            if let Some(node) = self.chain_step(at, target) {
                self.nodes[at] = node;
            }
        }
        self
    }

    /// The op that does a whole sampling step whose update is node `at`.
    fn chain_step(&self, at: usize, target: &Target) -> Option<Node> {
        let update = &self.nodes[at];
        let step = *as_op::<SamplerStep>(update)?;
        let x = update.updates[0];
        let mut found = self.chain_to(update.inputs[0])?;
        let (batch, slab) = (self.spec(x).rows().0, self.slab_if_used(Slab::Params)?);
        let mut encode = None;
        let mut inputs = update.inputs[1..].to_vec();
        if found.x != x {
            let maker = self.maker(found.x)?;
            let input = &self.nodes[maker];
            encode = Some(as_op::<StepInput>(input)?.encode);
            if input.inputs[..2] != [x, update.inputs[1]] || !self.is_only_read_once(found.x) {
                return None;
            }
            inputs.push(input.inputs[2]);
            found.nodes.push(maker);
        }
        inputs.push(slab);
        let op = ChainStep { chain: found.chain, encode, step };
        let together = found.nodes.iter().all(|&i| self.nodes[i].parts == update.parts);
        let node = Node { trusted: true, inputs, outputs: vec![], op: Arc::new(op.clone()), ..update.clone() };
        (together && op.suits(batch, target) && self.is_sound(&node)).then_some(node)
    }

    /// The dense layers before `y`, as many as follow each other without other readers in between.
    fn chain_to(&self, y: Var) -> Option<Found> {
        let (mut layers, mut nodes, mut activation, mut x) = (Vec::new(), Vec::new(), Activation::None, y);
        while let Some((at, dense)) = self.dense_at(x) {
            // The last layer has no activation, and the others have the same one.
            let expected = if nodes.is_empty() { Activation::None } else { activation };
            if nodes.len() == 1 {
                activation = dense.activation;
            } else if dense.activation != expected {
                break;
            }
            layers.push(self.layer(&self.nodes[at])?);
            nodes.push(at);
            x = self.nodes[at].inputs[0];
        }
        layers.reverse();
        (!layers.is_empty()).then_some(Found { chain: Chain { activation, layers }, x, nodes })
    }

    /// The dense layer that computes `y`, if nothing else needs its outputs.
    fn dense_at(&self, y: Var) -> Option<(usize, Dense)> {
        let at = self.maker(y)?;
        let node = &self.nodes[at];
        let dense = *as_op::<Dense>(node)?;
        let same = self.root(y) == node.outputs[0] && self.shape(y) == self.shape(node.outputs[0]);
        let unread = node.outputs[1..].iter().all(|v| self.is_transient(*v) && self.readers(*v) == 0);
        (same && unread && self.is_only_read_once(y)).then_some((at, dense))
    }

    /// A layer whose parameters are in the slab.
    fn layer(&self, node: &Node) -> Option<Layer> {
        let slab = self.slab_if_used(Slab::Params)?;
        let offset = |v: Var| match self.tensors[v].storage {
            Storage::Part { of, offset } if of == slab => Some(offset),
            _ => None,
        };
        let (outputs, inputs) = self.spec(node.inputs[1]).rows();
        Some(Layer { inputs, outputs, weight: offset(node.inputs[1])?, bias: offset(node.inputs[2])? })
    }

    /// Whether one node reads `var` within the step and nothing after it.
    fn is_only_read_once(&self, var: Var) -> bool {
        self.is_transient(var) && self.readers(var) == 1
    }
}
