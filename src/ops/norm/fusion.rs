//! What normalisations compute besides their results, in place of separate passes over the same tensors.

use std::sync::Arc;

use super::{GroupNorm, NormInput};
use crate::graph::{Graph, Init, Node, Spec, Storage, Var};
use crate::ops::channels::ChannelSum;
use crate::ops::concat::{Columns, Concat};
use crate::ops::fusion::as_op;
use crate::ops::part_sum::{PartSum, Second};

impl Graph {
    /// Fuses copies and sums into normalisations, and recomputes their outputs in the backward pass instead of keeping
    /// them, unless a kernel then accesses more than `bindings` tensors. Gradients of at most `split` elements are split.
    /// On the CPU, values are bit-identical.
    pub(in crate::ops) fn with_fused_norms(mut self, bindings: usize, split: usize) -> Self {
        let mut at = 0;
        while at < self.nodes.len() {
            let fused = self.join_channels(at, bindings)
                || self.split_gradient(at, bindings, split)
                || self.sum_gradient(at, bindings)
                || self.repeat_output(at, bindings);
            if fused {
                self.number_makers();
            } else {
                at += 1;
            }
        }
        self
    }

    /// A [`GroupNorm`] of joined channels joins them.
    fn join_channels(&mut self, concat: usize, bindings: usize) -> bool {
        let node = self.nodes[concat].clone();
        let (Some(Concat), &[a, b]) = (as_op(&node), &node.inputs[..]) else { return false };
        let x = node.outputs[0];
        let Some(norm) = self.first_reader(x, concat) else { return false };
        let by = self.nodes[norm].clone();
        let Some(op) = as_op::<GroupNorm>(&by).filter(|op| !op.joined && self.root(by.inputs[0]) == x) else {
            return false;
        };
        if !self.is_movable(concat..=norm) {
            return false;
        }
        let shape = self.shape(by.inputs[0]).to_vec();
        let places: usize = shape[2..].iter().product();
        let mut half = |of: Var| {
            let channels = self.shape(of)[1] / places;
            self.reshape(of, [&[shape[0], channels], &shape[2..]].concat())
        };
        let (Ok(a), Ok(b)) = (half(a), half(b)) else { return false };
        let joined = Node {
            op: Arc::new(GroupNorm { joined: true, ..*op }),
            inputs: [&[a, b], &by.inputs[1..]].concat(),
            outputs: [&by.outputs[..], &[x]].concat(),
            ..by
        };
        if !self.fits(&joined, bindings) {
            return false;
        }
        self.nodes[norm] = joined;
        self.nodes.remove(concat);
        true
    }

    /// A [`NormInput`] whose result is only split writes its two parts.
    fn split_gradient(&mut self, at: usize, bindings: usize, largest: usize) -> bool {
        let node = self.nodes[at].clone();
        let Some(op) = as_op::<NormInput>(&node).filter(|op| op.groups.is_some() && op.first.is_none()) else {
            return false;
        };
        let dx = node.outputs[0];
        if self.spec(dx).len() > largest {
            return false;
        }
        let readers = self.readers_of(dx);
        let columns = |i: &usize| as_op::<Columns>(&self.nodes[*i]).copied();
        let [Some(first), Some(second)] = [0, 1].map(|i| readers.get(i).and_then(columns)) else { return false };
        let (first, second, order) = if first.start == 0 { (first, second, [0, 1]) } else { (second, first, [1, 0]) };
        let (shape, (_, all)) = (self.shape(dx).to_vec(), self.spec(dx).rows());
        let whole = first.start == 0 && second.start == first.len && first.len + second.len == all;
        if readers.len() != 2 || !whole || !self.is_transient(dx) || shape.len() < 3 {
            return false;
        }
        let places: usize = shape[2..].iter().product();
        let op = NormInput { first: Some(first.len / places), ..*op };
        let parts = order.map(|i| self.nodes[readers[i]].outputs[0]);
        let outputs = [&parts[..], &node.outputs[1..]].concat();
        let split = Node { op: Arc::new(op), outputs, ..node };
        if !first.len.is_multiple_of(places) || !self.fits(&split, bindings) {
            return false;
        }
        self.nodes[at] = split;
        self.nodes.remove(readers[1]);
        self.nodes.remove(readers[0]);
        true
    }

    /// The sizes of the gradients that [`Graph::split_gradient`] could split.
    pub(in crate::ops) fn split_gradients(&self) -> Vec<usize> {
        let dx = self.nodes.iter().filter(|n| as_op::<NormInput>(n).is_some()).map(|n| n.outputs[0]);
        let splits = |dx: &Var| self.readers_of(*dx).iter().any(|i| as_op::<Columns>(&self.nodes[*i]).is_some());
        dx.filter(splits).map(|dx| self.spec(dx).len()).collect()
    }

    /// Sums over the places of the result of a [`NormInput`] are computed by it.
    fn sum_gradient(&mut self, sum: usize, bindings: usize) -> bool {
        let node = self.nodes[sum].clone();
        if as_op::<ChannelSum>(&node).is_none() {
            return false;
        }
        let dx = self.root(node.inputs[0]);
        let Some(at) = self.maker(dx) else { return false };
        let by = self.nodes[at].clone();
        let Some(op) = as_op::<NormInput>(&by).filter(|op| op.groups.is_some() && !op.sums) else { return false };
        if by.outputs[0] != dx || by.parts != node.parts {
            return false;
        }
        // The sum of each plane, or over the samples too.
        let ((planes, places), channels) = (self.spec(dx).rows(), self.spec(node.outputs[0]).len());
        let c = op.first.unwrap_or(self.shape(by.inputs[1])[1]);
        let (rows, by_sample) = (self.shape(node.inputs[0])[0], channels == planes * c);
        let whole = if by_sample { rows == 1 } else { channels == c && rows == planes };
        if places / c <= 1 || !whole {
            return false;
        }
        let sums = match by_sample {
            true => node.outputs[0],
            false => self.temporary("norm_input.sums", Spec::f32([planes, c])),
        };
        let outputs = [&by.outputs[..], &[sums]].concat();
        let with_sums = Node { op: Arc::new(NormInput { sums: true, ..*op }), outputs, ..by };
        if !self.fits(&with_sums, bindings) {
            return false;
        }
        self.nodes[at] = with_sums;
        if by_sample {
            self.nodes.remove(sum);
        } else {
            let op = PartSum { shape: vec![channels], second: Second::None };
            self.nodes[sum] = Node { op: Arc::new(op), inputs: vec![sums], ..node };
        }
        true
    }

    /// A [`NormInput`] computes the output of the normalisation again for the ops of the backward pass that read it, which
    /// then run after it.
    fn repeat_output(&mut self, at: usize, bindings: usize) -> bool {
        let node = self.nodes[at].clone();
        let Some(op) = as_op::<NormInput>(&node).filter(|op| !op.again) else { return false };
        let Some(norm) = self.maker(node.inputs[2]) else { return false };
        let y = self.nodes[norm].outputs[0];
        if !self.is_transient(y) {
            return false;
        }
        let readers = self.readers_of(y);
        let (before, mut late): (Vec<usize>, Vec<usize>) = readers.iter().partition(|i| **i < at);
        let mut moved: Vec<usize> = Vec::new();
        for reader in before {
            if let Some(dependents) = self.dependents(reader, at) {
                late.push(reader);
                moved.extend(dependents);
            }
        }
        if late.is_empty() {
            return false;
        }
        let again = self.temporary("norm.again", self.spec(y).clone());
        // The sums come last.
        let sums = node.outputs.len() - op.sums as usize;
        let outputs = [&node.outputs[..sums], &[again], &node.outputs[sums..]].concat();
        let mut inputs = node.inputs.clone();
        if !op.reads_beta() {
            inputs.insert(4, *self.nodes[norm].inputs.last().expect("beta is the last input"));
        }
        let repeated = Node { op: Arc::new(NormInput { again: true, ..*op }), inputs, outputs, ..node };
        if !self.fits(&repeated, bindings) {
            return false;
        }
        self.nodes[at] = repeated;
        for reader in late {
            for i in 0..self.nodes[reader].inputs.len() {
                let input = self.nodes[reader].inputs[i];
                if self.root(input) == y {
                    let shape = self.shape(input).to_vec();
                    let view = if self.shape(again) == shape { Ok(again) } else { self.reshape(again, shape) };
                    self.nodes[reader].inputs[i] = view.expect("the tensors have equal sizes");
                }
            }
        }
        moved.sort_unstable();
        moved.dedup();
        let (mut kept, mut after) = (Vec::new(), Vec::new());
        for (i, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if moved.contains(&i) {
                after.push(node)
            } else {
                kept.push(node)
            }
            if i == at {
                kept.append(&mut after);
            }
        }
        self.nodes = kept;
        true
    }

    /// `node` and the nodes up to `end` that depend on it, if they can all run after `end`.
    fn dependents(&self, node: usize, end: usize) -> Option<Vec<usize>> {
        if !self.is_movable(node..=end) {
            return None;
        }
        let mut found = vec![node];
        for i in node + 1..=end {
            let depends = |v: &Var| found.iter().any(|&of| self.nodes[of].outputs.contains(&self.root(*v)));
            if self.nodes[i].inputs.iter().any(depends) {
                found.push(i);
            }
        }
        (!found.contains(&end)).then_some(found)
    }

    /// The nodes that read a tensor, directly or reshaped.
    fn readers_of(&self, var: Var) -> Vec<usize> {
        let reads = |node: &Node| node.inputs.iter().any(|v| self.root(*v) == var);
        (0..self.nodes.len()).filter(|&i| reads(&self.nodes[i])).collect()
    }

    fn first_reader(&self, var: Var, after: usize) -> Option<usize> {
        self.readers_of(var).into_iter().find(|&i| i > after)
    }

    fn temporary(&mut self, name: &str, spec: Spec) -> Var {
        let name = format!("{name}.{}", self.tensors.len());
        self.tensor(name, spec, Storage::Step, Init::Zero)
    }
}
