//! Small ops of one kind that are computed in one dispatch.

use std::sync::Arc;

use super::activation::Slope;
use super::dense::{Dense, DenseInput, DenseWeight};
use super::dense_group::{DenseGroup, Layer, Pass};
use super::fusion::as_op;
use super::part_sum::{PartSum, PartSums, SlabSum};
use super::upsample::Narrow;
use super::{Activation, Add};
use crate::graph::{Graph, Node, Slab, Storage, Var};

/// The elements of parts that are kept until they are summed: 16 MiB.
const MOST_PARTS: usize = 1 << 22;

/// The largest product, in multiply-adds, whose dispatch takes longer than its arithmetic.
const SMALL: usize = 1 << 22;

impl Graph {
    /// Computes small dense layers of one input in one dispatch, and each of their backward products. A kernel accesses at
    /// most `bindings` tensors. Values are bit-identical.
    pub(super) fn with_grouped_layers(mut self, bindings: usize) -> Self {
        let most = DenseGroup::MOST.min(bindings.saturating_sub(3));
        for at in 0..self.nodes.len() {
            let group = if most > 1 { self.layers_like(at, most) } else { Vec::new() };
            let grouped = self.layers_of(&group).filter(|node| group.len() > 1 && self.fits(node, bindings));
            if let Some(node) = grouped {
                // They run where the first one was.
                self.nodes[at] = node;
                self.remove(group[1..].to_vec());
            }
        }
        for at in 0..self.nodes.len() {
            let group = if most > 1 { self.weights_like(at, most) } else { Vec::new() };
            let (Some(&last), true) = (group.last(), group.len() > 1) else { continue };
            let node = self.weights(&group);
            // Views of x in other shapes are other inputs.
            if self.fits(&node, bindings) {
                // They run where the last one was.
                self.nodes[last] = node;
                self.remove(group.into_iter().filter(|i| *i != last).collect());
            }
        }
        for at in (0..self.nodes.len()).rev() {
            self.group_input_gradients(at, most, bindings);
        }
        self
    }

    /// The layers from node `at` on that can be computed together with it.
    fn layers_like(&self, at: usize, most: usize) -> Vec<usize> {
        let Some(first) = self.nodes.get(at) else { return Vec::new() };
        let mut group: Vec<usize> = Vec::new();
        for (i, node) in self.nodes.iter().enumerate().skip(at) {
            if group.len() == most || node.parts != first.parts || !node.updates.is_empty() {
                break;
            }
            let same = || node.inputs[0] == first.inputs[0] && node.trusted == first.trusted;
            // A copy for the backward pass has the same weight.
            let other = || group.iter().all(|of| self.nodes[*of].inputs[1] != node.inputs[1]);
            if self.layer_of_output(node).is_some() && same() && other() {
                group.push(i);
            } else if i == at {
                break;
            }
        }
        group
    }

    /// The parameters of a small [`Dense`] layer without activation.
    fn layer_of_output(&self, node: &Node) -> Option<Layer> {
        as_op::<Dense>(node).filter(|dense| dense.activation == Activation::None)?;
        let (slab, [x, w, b]) = (self.slab_if_used(Slab::Params)?, node.inputs[..].try_into().ok()?);
        let (width, inputs) = self.spec(w).rows();
        let layer = Layer { width, weight: self.offset_in(slab, w)?, bias: self.offset_in(slab, b)? };
        (self.spec(x).rows().0 * width * inputs <= SMALL).then_some(layer)
    }

    /// The node of layers of one input.
    fn layers_of(&self, group: &[usize]) -> Option<Node> {
        let nodes: Vec<&Node> = group.iter().map(|i| &self.nodes[*i]).collect();
        let layers = nodes.iter().filter_map(|node| self.layer_of_output(node)).collect();
        let first: &Node = nodes.first()?;
        Some(Node {
            op: Arc::new(DenseGroup { layers, pass: Pass::Forward }),
            inputs: vec![first.inputs[0], self.slab_if_used(Slab::Params)?],
            outputs: nodes.iter().map(|node| node.outputs[0]).collect(),
            ..first.clone()
        })
    }

    /// The weight gradients from node `at` on that can be computed together with it.
    fn weights_like(&self, at: usize, most: usize) -> Vec<usize> {
        let first = self.nodes.get(at).filter(|node| self.layer(node).is_some());
        let Some((first, slab)) = first.zip(self.slab_if_used(Slab::Grads)) else { return Vec::new() };
        let mut group = Vec::new();
        for (i, node) in self.nodes.iter().enumerate().skip(at) {
            if group.len() == most || node.parts != first.parts || !node.updates.is_empty() || self.accesses(node, slab)
            {
                break;
            }
            if self.layer(node).is_some() && self.root(node.inputs[1]) == self.root(first.inputs[1]) {
                group.push(i);
            }
        }
        if group.first() == Some(&at) { group } else { Vec::new() }
    }

    /// The place of the gradients of a small layer.
    fn layer(&self, node: &Node) -> Option<Layer> {
        as_op::<DenseWeight>(node).filter(|d| d.per.is_none())?;
        let (w, b, slab) = (node.outputs[0], node.outputs[1], self.slab_if_used(Slab::Grads)?);
        let (width, inputs) = self.spec(w).rows();
        let layer = Layer { width, weight: self.offset_in(slab, w)?, bias: self.offset_in(slab, b)? };
        (width * inputs * self.spec(node.inputs[1]).rows().0 <= SMALL).then_some(layer)
    }

    fn weights(&self, group: &[usize]) -> Node {
        let nodes: Vec<&Node> = group.iter().map(|i| &self.nodes[*i]).collect();
        let layers = nodes.iter().filter_map(|node| self.layer(node)).collect();
        let slab = self.slab_if_used(Slab::Grads).expect("the layers have it");
        Node {
            op: Arc::new(DenseGroup { layers, pass: Pass::Weight }),
            inputs: nodes.iter().map(|node| node.inputs[0]).chain([nodes[0].inputs[1]]).collect(),
            outputs: Vec::new(),
            updates: vec![slab],
            parts: nodes[0].parts,
            trusted: nodes[0].trusted,
            block: None,
        }
    }

    /// The sum of the gradients of one input, of which `at` is the last addition, followed by the derivative of the
    /// activation before it.
    fn group_input_gradients(&mut self, at: usize, most: usize, bindings: usize) {
        let Some(node) = self.nodes.get(at).cloned() else { return };
        let (mut leaves, mut gone) = (Vec::new(), Vec::new());
        if as_op::<Add>(&node).is_none() || !self.terms(at, &mut leaves, &mut gone) || leaves.len() > most {
            return;
        }
        let Some(layers) = leaves.iter().map(|i| self.layer_of_input(*i)).collect::<Option<Vec<_>>>() else { return };
        let Some(slab) = self.slab_if_used(Slab::Params) else { return };
        let (sum, width) = (node.outputs[0], self.spec(node.outputs[0]).rows().1);
        let slope = self.nodes.iter().position(|n| n.inputs.first().is_some_and(|v| self.root(*v) == sum));
        let slope =
            slope.filter(|i| self.readers(sum) == 1 && self.is_transient(sum) && self.nodes[*i].parts == node.parts);
        let slope = slope.and_then(|i| Some((i, as_op::<Slope>(&self.nodes[i])?.0)));
        let (to, activation) = slope.unwrap_or((at, Activation::None));
        let dz = leaves.iter().map(|i| self.nodes[*i].inputs[0]);
        let saved = slope.map(|(i, _)| self.nodes[i].inputs[1]);
        let grouped = Node {
            op: Arc::new(DenseGroup { layers, pass: Pass::Input { width, activation } }),
            inputs: dz.chain([slab]).chain(saved).collect(),
            outputs: self.nodes[to].outputs.clone(),
            ..node
        };
        if !self.fits(&grouped, bindings) {
            return;
        }
        self.nodes[to] = grouped;
        self.remove(gone.into_iter().filter(|i| *i != to).collect());
    }

    /// The products that a chain of additions sums up, from first to last, and all nodes of the chain.
    fn terms(&self, sum: usize, leaves: &mut Vec<usize>, gone: &mut Vec<usize>) -> bool {
        let node = &self.nodes[sum];
        gone.push(sum);
        let [a, b] = node.inputs[..] else { return false };
        let alone = |v: Var| {
            let maker = self.maker(v).filter(|_| self.is_transient(v) && self.readers(v) == 1);
            maker.filter(|maker| self.nodes[*maker].parts == node.parts)
        };
        let (Some(left), Some(right)) = (alone(a), alone(b)) else { return false };
        let product =
            |i: usize| matches!(as_op::<DenseInput>(&self.nodes[i]), Some(d) if d.activation == Activation::None);
        let all = match as_op::<Add>(&self.nodes[left]) {
            Some(_) => self.terms(left, leaves, gone),
            None => {
                leaves.push(left);
                gone.push(left);
                product(left)
            }
        };
        leaves.push(right);
        gone.push(right);
        all && product(right)
    }

    /// The layer of a [`DenseInput`].
    fn layer_of_input(&self, at: usize) -> Option<Layer> {
        let node = &self.nodes[at];
        let (w, (b, _)) = (node.inputs[1], self.spec(node.inputs[0]).rows());
        let (width, inputs) = self.spec(w).rows();
        let weight = self.offset_in(self.slab_if_used(Slab::Params)?, w)?;
        (b * width * inputs <= SMALL).then_some(Layer { width, weight, bias: 0 })
    }

    fn offset_in(&self, slab: Var, var: Var) -> Option<usize> {
        match self.tensors[self.root(var)].storage {
            Storage::Part { of, offset } if of == slab => Some(offset),
            _ => None,
        }
    }

    fn remove(&mut self, gone: Vec<usize>) {
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        self.number_makers();
    }

    /// Sums the parts of several gradients in one dispatch, which accesses at most `bindings` tensors. Values are
    /// bit-identical.
    pub(super) fn with_grouped_sums(mut self, bindings: usize) -> Self {
        let Some(slab) = self.slab_if_used(Slab::Grads) else { return self };
        let most = PartSums::MOST.min(bindings.saturating_sub(1));
        let sums: Vec<_> = self.nodes.iter().map(|node| self.sum_to(node, slab)).collect();
        let narrowing: Vec<usize> = sums.iter().flatten().filter_map(|(_, narrowing)| *narrowing).collect();
        let (mut nodes, mut group): (Vec<Node>, Vec<(Node, SlabSum)>) = Default::default();
        for (i, (node, sum)) in std::mem::take(&mut self.nodes).into_iter().zip(sums).enumerate() {
            if narrowing.contains(&i) {
                continue;
            }
            let of_group = group.iter().map(|(node, _)| node).chain([&node]);
            let parts: usize = of_group.filter_map(|n| n.inputs.first()).map(|parts| self.spec(*parts).len()).sum();
            let full = sum.is_some() && (group.len() == most || parts > MOST_PARTS);
            let other = group.first().is_some_and(|(first, _)| first.parts != node.parts);
            if full || other || self.accesses(&node, slab) {
                nodes.extend(grouped(std::mem::take(&mut group), slab));
            }
            match sum {
                Some((sum, _)) => group.push((node, sum)),
                None => nodes.push(node),
            }
        }
        nodes.extend(grouped(group, slab));
        self.nodes = nodes;
        self.number_makers();
        self
    }

    /// The sum of parts that a node writes to a slab, itself or by the narrowing node that follows.
    fn sum_to(&self, node: &Node, slab: Var) -> Option<(SlabSum, Option<usize>)> {
        let sum = as_op::<PartSum>(node)?.clone();
        let offsets: Option<Vec<usize>> = node.outputs.iter().map(|v| self.offset_in(slab, *v)).collect();
        if let Some(offsets) = offsets {
            return Some((SlabSum { sum, at: [offsets[0], *offsets.last()?], narrow: None }, None));
        }
        let &[wide] = &node.outputs[..] else { return None };
        let reads = |n: &Node| as_op::<Narrow>(n).is_some() && self.root(n.inputs[0]) == wide;
        let next = self.nodes.iter().position(reads).filter(|_| self.readers(wide) == 1 && self.is_transient(wide))?;
        let narrowing = &self.nodes[next];
        let at = self.offset_in(slab, narrowing.outputs[0]).filter(|_| narrowing.parts == node.parts)?;
        Some((SlabSum { sum, at: [at; 2], narrow: as_op::<Narrow>(narrowing).cloned() }, Some(next)))
    }

    /// Whether a node reads or updates a slab or a part of it.
    fn accesses(&self, node: &Node, slab: Var) -> bool {
        node.inputs
            .iter()
            .chain(&node.updates)
            .map(|v| self.root(*v))
            .any(|v| v == slab || matches!(self.tensors[v].storage, Storage::Part { of, .. } if of == slab))
    }
}

/// One node for a group of sums, unless it is a single one that has a kernel of its own.
fn grouped(group: Vec<(Node, SlabSum)>, slab: Var) -> Option<Node> {
    let (first, sum) = group.first()?.clone();
    if group.len() == 1 && sum.narrow.is_none() {
        return Some(first);
    }
    let (inputs, sums) = group.into_iter().map(|(node, sum)| (node.inputs[0], sum)).unzip();
    let (op, outputs, updates) = (Arc::new(PartSums { sums }), Vec::new(), vec![slab]);
    Some(Node { op, inputs, outputs, updates, ..first })
}
