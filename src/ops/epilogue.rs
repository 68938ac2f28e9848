//! Sums that are computed in the epilogue of the op before them.

use super::fusion::as_op;
use super::{Add, ChannelBias};
use crate::graph::{Graph, Node, Storage, Term, Var};

/// A node that computes a sum with one of its terms, in place of the nodes at two positions.
struct Fused {
    node: Node,
    /// The node of the term.
    maker: usize,
    /// The node of the sum.
    sum: usize,
    /// One of both, where the new node is placed.
    to: usize,
}

impl Graph {
    /// Adds residuals, gradients and biases by channel in the epilogue of the op that computes the other term, unless it
    /// then accesses more than `bindings` tensors. On the CPU, values are bit-identical.
    pub(super) fn with_epilogues(mut self, bindings: usize) -> Self {
        let mut at = 0;
        while at < self.nodes.len() {
            let Some(Fused { node, maker, sum, to }) = self.epilogue(at, bindings) else {
                at += 1;
                continue;
            };
            if as_op::<Add>(&self.nodes[sum]).is_some() {
                let total = self.nodes[sum].outputs[0];
                self.rename(total, node.outputs[0]);
            }
            self.nodes[to] = node;
            self.nodes.remove(if to == sum { maker } else { sum });
            self.number_makers();
        }
        self
    }

    fn epilogue(&self, sum: usize, bindings: usize) -> Option<Fused> {
        let node = &self.nodes[sum];
        let fused = match as_op::<ChannelBias>(node) {
            Some(ChannelBias { activation }) => {
                let fused = self.extended(sum, node.inputs[0], node.inputs[1], Term::Planes(*activation))?;
                Some(Fused { node: Node { outputs: node.outputs.clone(), ..fused.node }, ..fused })
            }
            None => {
                as_op::<Add>(node)?;
                let [a, b] = node.inputs[..] else { return None };
                let either = [(a, b), (b, a)].map(|(of, term)| self.extended(sum, of, term, Term::Tensor));
                // At its own place an op does not keep its inputs longer.
                either.into_iter().flatten().min_by_key(|fused| fused.to == sum)
            }
        };
        fused.filter(|fused| self.fits(&fused.node, bindings))
    }

    /// The op that computes `of`, extended by `term`.
    fn extended(&self, sum: usize, of: Var, term: Var, kind: Term) -> Option<Fused> {
        let maker = self.maker(of)?;
        let node = &self.nodes[maker];
        let alone = self.root(of) == node.outputs[0] && self.is_transient(of) && self.readers(of) == 1;
        if !alone || !self.is_movable(maker..=sum) {
            return None;
        }
        let ready = self.maker(term).is_none_or(|term| term < maker);
        let later = || {
            let mut between = self.nodes[maker + 1..sum].iter().flat_map(|n| &n.inputs);
            !between.any(|v| node.outputs.contains(&self.root(*v)))
        };
        if !ready && !later() {
            return None;
        }
        let inputs = [&node.inputs[..], &[term]].concat();
        let node = Node { op: node.op.plus(kind)?, inputs, ..node.clone() };
        Some(Fused { node, maker, sum, to: if ready { maker } else { sum } })
    }

    /// Makes `old` a view of `new`, which then has its memory.
    fn rename(&mut self, old: Var, new: Var) {
        for index in 0..self.tensors.len() {
            let var = self.tensors.var(index);
            if self.tensors[var].storage == (Storage::Alias { of: old }) {
                self.tensors[var].storage = Storage::Alias { of: new };
            }
        }
        self.tensors[new].kept |= self.tensors[old].kept;
        self.tensors[new].storage = self.tensors[old].storage;
        self.tensors[old].storage = Storage::Alias { of: new };
    }
}
