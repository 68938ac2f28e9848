//! Fusions: patterns of several ops that are replaced by one op when a graph is compiled.

use std::any::Any;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Concat, Encode, FillRow, NoisyBatch, Op, StepInput};
use crate::graph::plan::Plan;
use crate::graph::{Graph, Node, Spec, Var};
use crate::kernel::Target;

/// Builds [x | enc(t)], the input of networks that take both in one tensor.
struct Joined {
    x: Var,
    encode: Encode,
    t: Var,
    rates: Var,
}

impl Graph {
    /// All fusions, for a device whose kernels access at most `bindings` tensors. A `target`, which a GPU has, also fuses
    /// chains of dense layers, and sums of parts.
    ///
    /// A normalisation that splits its gradient saves two dispatches, but cannot overwrite what it adds to it. So the
    /// largest gradients are not split if that takes clearly less memory.
    pub(crate) fn fused(self, bindings: usize, target: Option<&Target>) -> Self {
        let inputs = self.with_joined_inputs();
        let chains = match target {
            Some(target) => inputs.with_chains(target),
            None => inputs,
        };
        let inputs = chains.with_epilogues(bindings);
        let mut sizes = inputs.split_gradients();
        let later = |split| {
            let fused = inputs.clone().with_fused_norms(bindings, split).with_grouped_layers(bindings);
            // The CPU adds parts up while they are in its cache, which is worth more than a dispatch.
            if target.is_some() { fused.with_grouped_sums(bindings) } else { fused }
        };
        let unsplit = later(0);
        sizes.sort_unstable();
        while let Some(largest) = sizes.pop() {
            let split = later(largest);
            let most = unsplit.planned_bytes();
            if split.planned_bytes() <= most + most / 64 {
                return split;
            }
            sizes.retain(|size| *size < largest);
        }
        unsplit
    }

    /// The memory of the plan; any number for a graph that has none.
    fn planned_bytes(&self) -> usize {
        Plan::new(self).map_or(0, |plan| plan.bytes())
    }

    /// Reduces dispatches: [x | enc(t)] is written by the op that produces t, if that is a [`NoisyBatch`] or a
    /// [`FillRow`]. Values are bit-identical; outputs without other consumers are no longer computed.
    fn with_joined_inputs(mut self) -> Self {
        // From last to first, so that a removal does not move the remaining nodes.
        for at in (0..self.nodes.len()).rev() {
            let Some(joined) = self.joined(at) else { continue };
            if let Some(node) = self.step_input(at, &joined) {
                self.nodes[at] = node;
            } else if let Some((maker, node)) = self.encoded_batch(at, &joined) {
                self.nodes[maker] = node;
                self.nodes.remove(at);
            }
        }
        self.number_makers();
        self
    }

    fn joined(&self, at: usize) -> Option<Joined> {
        as_op::<Concat>(&self.nodes[at])?;
        let [x, encoding] = self.nodes[at].inputs[..] else { return None };
        let maker = &self.nodes[self.maker(encoding)?];
        let encode = *as_op::<Encode>(maker)?;
        Some(Joined { x, encode, t: maker.inputs[0], rates: maker.inputs[1] })
    }

    /// The [`StepInput`] for t from a table.
    fn step_input(&self, at: usize, joined: &Joined) -> Option<Node> {
        let fill = &self.nodes[self.maker(joined.t)?];
        as_op::<FillRow>(fill)?;
        let node = Node {
            op: Arc::new(StepInput { encode: joined.encode }),
            inputs: vec![joined.x, fill.inputs[0], joined.rates],
            ..self.nodes[at].clone()
        };
        self.is_sound(&node).then_some(node)
    }

    /// The [`NoisyBatch`] that produced x and t, with the encoding, and its index.
    fn encoded_batch(&self, at: usize, joined: &Joined) -> Option<(usize, Node)> {
        let maker = self.maker(joined.t)?;
        let node = &self.nodes[maker];
        let batch = as_op::<NoisyBatch>(node).filter(|batch| batch.encode.is_none())?;
        let made = [joined.x, joined.t].map(|v| self.root(v)) == [node.outputs[0], node.outputs[2]];
        // The fused op does not write x alone.
        if !made || !self.is_transient(joined.x) || self.readers(joined.x) > 1 {
            return None;
        }
        let node = Node {
            op: Arc::new(NoisyBatch { encode: Some(joined.encode), ..*batch }),
            inputs: [&node.inputs[..], &[joined.rates]].concat(),
            outputs: vec![self.nodes[at].outputs[0], node.outputs[1], node.outputs[2]],
            ..node.clone()
        };
        self.is_sound(&node).then_some((maker, node))
    }

    /// Whether the outputs have the shapes that the op gives them.
    pub(super) fn is_sound(&self, node: &Node) -> bool {
        self.inferred(node).is_some_and(|outputs| outputs == self.specs(&node.outputs))
    }

    /// Whether the op takes its inputs, the outputs have as many elements as it writes, and its kernel accesses at most
    /// `bindings` tensors. Outputs may have another shape: a tensor that a pass replaces was perhaps a view.
    pub(super) fn fits(&self, node: &Node, bindings: usize) -> bool {
        let sizes = |specs: &[Spec]| specs.iter().map(|s| (s.dtype, s.form, s.len())).collect::<Vec<_>>();
        let same = |outputs: Vec<Spec>| sizes(&outputs) == sizes(&self.specs(&node.outputs));
        self.inferred(node).is_some_and(same) && self.bound(node) <= bindings
    }

    fn specs(&self, vars: &[Var]) -> Vec<Spec> {
        vars.iter().map(|v| self.spec(*v).clone()).collect()
    }

    /// The outputs that the op gives the inputs of a node; `None` if it refuses them.
    fn inferred(&self, node: &Node) -> Option<Vec<Spec>> {
        node.op.infer(&[self.specs(&node.inputs), self.specs(&node.updates)].concat()).ok()
    }

    /// The number of tensors that a kernel of the node accesses.
    fn bound(&self, node: &Node) -> usize {
        let stored = node.outputs.iter().filter(|v| self.spec(**v).stored() > 0);
        node.inputs.len() + stored.count() + node.updates.len()
    }

    /// Whether the nodes of a range run together, and none of them changes a tensor that another one may read: then what
    /// reads can run earlier or later among them.
    pub(super) fn is_movable(&self, range: RangeInclusive<usize>) -> bool {
        let nodes = &self.nodes[range];
        nodes.iter().all(|node| node.parts == nodes[0].parts && node.updates.is_empty())
    }

    /// The number of nodes that read `var`, directly or reshaped.
    pub(super) fn readers(&self, var: Var) -> usize {
        let root = self.root(var);
        self.nodes.iter().flat_map(|node| &node.inputs).filter(|v| self.root(**v) == root).count()
    }
}

/// The op of a node, if it is of type `T`.
pub(super) fn as_op<T: Op>(node: &Node) -> Option<&T> {
    let op: &dyn Any = &*node.op;
    op.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Objective, Prediction, Schedule};
    use crate::graph::Parts;
    use crate::ops::{Activation, Add, ChannelBias, Conv, ConvTranspose, Dense, Layout};
    use crate::{Device, Result};

    const ROWS: usize = 36;
    const B: usize = 9;
    const D: usize = 5;

    fn objective() -> Objective {
        Objective::new(Schedule::linear(50, 1e-4, 0.02).unwrap(), Prediction::V)
    }

    /// A layer on [x | enc(t)].
    fn layer(g: &mut Graph, x: Var, t: Var) -> Result<Var> {
        let encoding = Encode::new(6, Layout::Interleaved)?.add_to(g, t)?;
        let joined = g.apply1(Concat, &[x, encoding])?;
        let weight = (0..3 * (D + 6)).map(|i| (i as f32 * 0.7).sin()).collect();
        let (w, b) = (g.parameter("w", [3, D + 6], weight)?, g.parameter("b", [3], vec![0.1; 3])?);
        g.apply1(Dense { activation: Activation::None }, &[joined, w, b])
    }

    /// The bits of tensors after two steps, and the number of dispatches.
    fn result(device: &Device, g: &mut Graph, write: &str, keep: &[Var]) -> (Vec<Vec<u32>>, usize) {
        for var in keep {
            g.keep(*var);
        }
        let mut run = device.compile(g).unwrap();
        let len = g.spec(g.find(write).unwrap()).len();
        run.write(write, &(0..len).map(|i| (i as f32 * 0.3).cos()).collect::<Vec<_>>()).unwrap();
        run.steps(2).unwrap();
        let bits = |v: &Var| run.read(*v).unwrap().into_iter().map(f32::to_bits).collect();
        (keep.iter().map(bits).collect(), run.dispatches())
    }

    #[test]
    fn a_training_step_writes_its_input_in_one_dispatch_with_the_same_bits() {
        for parts in [None, Some(Parts { first: 4, rows: 3, count: 1 })] {
            let build = || {
                let mut g = Graph::new();
                let data = g.dataset("data", [ROWS, D]).unwrap();
                g.set_parts(parts);
                let noised = g.noisy_batch(&data, B, &objective()).unwrap();
                let y = layer(&mut g, noised.x_t, noised.t).unwrap();
                (g, noised, y)
            };
            for device in [Device::cpu(), Device::reference()] {
                let (mut g, noised, y) = build();
                let (fused, dispatches) = result(&device, &mut g, "data", &[y, noised.target, noised.t]);
                assert_eq!(dispatches, 2);
                // If x_t is read after the step, it has to be stored separately.
                let (mut g, noised, y) = build();
                let (plain, dispatches) = result(&device, &mut g, "data", &[y, noised.target, noised.t, noised.x_t]);
                assert_eq!(dispatches, 4);
                assert_eq!(fused, plain[..3]);
            }
        }
    }

    #[test]
    fn noisy_data_with_other_consumers_are_not_fused() {
        let mut g = Graph::new();
        let data = g.dataset("data", [ROWS, D]).unwrap();
        let noised = g.noisy_batch(&data, B, &objective()).unwrap();
        let y = layer(&mut g, noised.x_t, noised.t).unwrap();
        let other = g.apply1(Add, &[noised.x_t, noised.target]).unwrap();
        assert_eq!(result(&Device::cpu(), &mut g, "data", &[y, other]).1, 5);
    }

    #[test]
    fn a_sampling_step_writes_its_input_in_one_dispatch_with_the_same_bits() {
        let build = || {
            let mut g = Graph::new();
            let x = g.state("x", [B, D]).unwrap();
            let table = g.constant([3, 2], vec![40.0, 0.0, 20.0, 0.0, 1.0, 0.0]).unwrap();
            let t = g.apply1(FillRow { batch: B }, &[table]).unwrap();
            let y = layer(&mut g, x, t).unwrap();
            (g, t, y)
        };
        for device in [Device::cpu(), Device::reference()] {
            let (mut g, _, y) = build();
            let (fused, dispatches) = result(&device, &mut g, "x", &[y]);
            assert_eq!(dispatches, 2);
            // t is computed only if it is read.
            let (mut g, t, y) = build();
            let (with_t, dispatches) = result(&device, &mut g, "x", &[y, t]);
            assert_eq!((&fused[0], dispatches), (&with_t[0], 3));
            let plain = Plan::new(&g).unwrap();
            assert_eq!(plain.calls.len(), 4);
        }
    }

    /// Adds the loss of a graph on x.
    type AddLoss = fn(&mut Graph) -> Result<Var>;

    fn parameter(g: &mut Graph, name: &str, shape: &[usize]) -> Result<Var> {
        let len: usize = shape.iter().product();
        g.parameter(name, shape, (0..len).map(|i| (i as f32 * 0.9 + shape[0] as f32).sin()).collect())
    }

    /// The loss of y against a constant.
    fn loss_of(g: &mut Graph, y: Var) -> Result<Var> {
        let shape = g.shape(y).to_vec();
        let goal = g.constant(shape.clone(), vec![0.3; shape.iter().product()])?;
        g.mse(y, goal)
    }

    fn dense(g: &mut Graph, name: &str, x: Var, outputs: usize) -> Result<Var> {
        let inputs = g.spec(x).rows().1;
        let w = parameter(g, &format!("{name}.weight"), &[outputs, inputs])?;
        let b = parameter(g, &format!("{name}.bias"), &[outputs])?;
        g.apply1(Dense { activation: Activation::None }, &[x, w, b])
    }

    /// Two layers of one tensor, which they view in other shapes.
    fn layers_of_views(g: &mut Graph) -> Result<Var> {
        let x = dense_input(g, [4, 8])?;
        let view = g.reshape(x, [8, 4])?;
        let (a, b) = (dense(g, "a", x, 2)?, dense(g, "b", view, 3)?);
        let b = g.reshape(b, [4, 6])?;
        let y = g.apply1(Concat, &[a, b])?;
        loss_of(g, y)
    }

    fn dense_input(g: &mut Graph, shape: [usize; 2]) -> Result<Var> {
        let x = g.state("x", [shape[0], 3])?;
        dense(g, "input", x, shape[1])
    }

    /// Joined tokens, normalised each by itself: as many tokens as features in the first tensor, or more.
    fn normalised_tokens(g: &mut Graph) -> Result<Var> {
        let (a, b) = (dense_input(g, [2, 32])?, g.state("other", [2, 8])?);
        let b = dense(g, "b", b, 8)?;
        let joined = g.apply1(Concat, &[a, b])?;
        let tokens = g.reshape(joined, [2, 10, 4])?;
        let (gamma, beta) = (parameter(g, "gamma", &[4])?, parameter(g, "beta", &[4])?);
        let y = g.apply(crate::ops::LayerNorm::default(), &[tokens, gamma, beta])?[0];
        loss_of(g, y)
    }

    /// A bias for channels of another shape than those of the convolution.
    fn bias_of_view(g: &mut Graph) -> Result<Var> {
        let x = dense_input(g, [2, 3 * 36])?;
        let x = g.reshape(x, [2, 3, 6, 6])?;
        let (w, b) = (parameter(g, "w", &[4, 3, 3, 3])?, parameter(g, "b", &[4])?);
        let y = g.apply(Conv { stride: 1, padding: 1, activation: Activation::None }, &[x, w, b])?[0];
        let view = g.reshape(y, [2, 8, 18])?;
        let bias = parameter(g, "bias", &[2, 8])?;
        let y = g.apply(ChannelBias { activation: Activation::None }, &[view, bias])?[0];
        loss_of(g, y)
    }

    /// A normalisation of other samples and channels than those of the transposed convolution.
    fn norm_of_view(g: &mut Graph) -> Result<Var> {
        let x = dense_input(g, [4, 4 * 4])?;
        let x = g.reshape(x, [4, 4, 4])?;
        let (w, b) = (parameter(g, "w", &[4, 4, 3])?, parameter(g, "b", &[4])?);
        let up = ConvTranspose { stride: 1, padding: 1, output_padding: 0, activation: Activation::None };
        let y = g.apply(up, &[x, w, b])?[0];
        let view = g.reshape(y, [2, 4, 8])?;
        let (gamma, beta) = (parameter(g, "gamma", &[4])?, parameter(g, "beta", &[4])?);
        let y = g.apply(crate::ops::GroupNorm::new(2), &[view, gamma, beta])?[0];
        loss_of(g, y)
    }

    #[test]
    fn views_in_other_shapes_are_not_what_they_view() {
        let graphs: [(&str, AddLoss); 4] = [
            ("layers", layers_of_views),
            ("tokens", normalised_tokens),
            ("bias", bias_of_view),
            ("norm", norm_of_view),
        ];
        for (name, add) in graphs {
            let gradients = |bindings: usize| {
                let mut g = Graph::new();
                let loss = add(&mut g).unwrap();
                g.minimize(loss, crate::ops::Optimizer::adam(0.1)).unwrap();
                let mut run = Device::cpu().compile_for(&g, bindings).unwrap();
                let x: Vec<f32> = (0..g.spec(g.find("x").unwrap()).len()).map(|i| (i as f32 * 0.7).cos()).collect();
                run.write("x", &x).unwrap();
                run.steps(1).unwrap();
                run.read_slab(crate::graph::Slab::Grads).unwrap()
            };
            let (plain, fused) = (gradients(0), gradients(usize::MAX));
            assert!(plain.iter().any(|d| *d != 0.0), "{name}");
            assert_eq!(fused, plain, "{name}");
        }
    }
}
