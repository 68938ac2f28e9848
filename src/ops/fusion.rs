//! Fusions: patterns of several ops that are replaced by one op when a graph is compiled.

use std::any::Any;
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
            let most = unsplit.planned_elements();
            if split.planned_elements() <= most + most / 64 {
                return split;
            }
            sizes.retain(|size| *size < largest);
        }
        unsplit
    }

    /// The memory of the plan; any number for a graph that has none.
    fn planned_elements(&self) -> usize {
        Plan::new(self).map_or(0, |plan| plan.elements())
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
        let specs = |vars: &[Var]| vars.iter().map(|v| self.spec(*v).clone()).collect::<Vec<Spec>>();
        let read = [specs(&node.inputs), specs(&node.updates)].concat();
        node.op.infer(&read).is_ok_and(|outputs| outputs == specs(&node.outputs))
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
    use crate::ops::{Activation, Add, Dense, Layout};
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
}
