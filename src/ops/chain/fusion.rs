//! Finds chains of dense layers in a graph, and replaces them and what surrounds them by fewer ops.

use std::sync::Arc;

use super::training::Kept;
use super::{Chain, ChainGradient, ChainStep, ChainSum, ChainWeight, Layer};
use crate::graph::plan::live_nodes;
use crate::graph::{AnyOp, Graph, Init, Node, Op, Slab, Spec, Storage, Var};
use crate::kernel::Target;
use crate::ops::dense::{DenseInput, DenseWeight};
use crate::ops::fusion::as_op;
use crate::ops::part_sum::PartSum;
use crate::ops::{Activation, Dense, NoisyBatch, PointLoss, Reduce, SamplerStep, StepInput};

/// The layers that compute a tensor from another one.
struct Found {
    chain: Chain,
    /// The input of the first layer.
    x: Var,
    /// The nodes of the layers, from first to last.
    nodes: Vec<usize>,
}

impl Graph {
    /// Reduces dispatches on a GPU where a network is a chain of dense layers, and the chain and the adapter allow it
    /// ([`Chain::tile`]): a sampling step is one dispatch; a training step is one for the forward and the backward pass,
    /// and one or two for the gradients of all parameters.
    pub(crate) fn with_chains(mut self, target: &Target) -> Self {
        let mut live = live_nodes(&self).into_iter();
        self.nodes.retain(|_| live.next().unwrap_or(false));
        self.number_makers();
        for at in (0..self.nodes.len()).rev() {
            // What it replaces besides is no longer read, so the plan leaves it out.
            if let Some(node) = self.chain_step(at, target) {
                self.nodes[at] = node;
            }
            if let Some((op, inputs, replaced)) = self.chain_gradient(at, target) {
                self.train_chain(at, op, inputs, &replaced);
                break;
            }
        }
        self
    }

    /// The op that does a whole sampling step whose update is node `at`.
    fn chain_step(&self, at: usize, target: &Target) -> Option<Node> {
        let update = &self.nodes[at];
        let step = *as_op::<SamplerStep>(update)?;
        let x = update.updates[0];
        let Found { chain, x: input, mut nodes } = self.chain_to(update.inputs[0])?;
        let (batch, slab) = (self.spec(x).rows().0, self.slab_if_used(Slab::Params)?);
        let (mut encode, mut inputs) = (None, update.inputs[1..].to_vec());
        if input != x {
            let maker = self.maker(input)?;
            let front = &self.nodes[maker];
            encode = Some(as_op::<StepInput>(front)?.encode);
            if front.inputs[..2] != [x, update.inputs[1]] {
                return None;
            }
            inputs.push(front.inputs[2]);
            nodes.push(maker);
        }
        inputs.push(slab);
        let op = ChainStep { chain, encode, step };
        let fits = op.suits(batch, target);
        let node = Node { inputs, trusted: true, op: Arc::new(op), ..update.clone() };
        nodes.push(at);
        (fits && self.is_closed(&nodes, &[]) && self.is_sound(&node)).then_some(node)
    }

    /// The op that does the forward and the backward pass up to the loss of node `at`, its inputs, and the nodes that it
    /// and the gradients of the parameters replace.
    fn chain_gradient(&self, at: usize, target: &Target) -> Option<(ChainGradient, Vec<Var>, Vec<usize>)> {
        let node = &self.nodes[at];
        let loss = *as_op::<PointLoss>(node)?;
        let Found { chain, x, nodes: layers } = self.chain_to(node.inputs[0])?;
        let front = self.maker(x)?;
        let batch = *as_op::<NoisyBatch>(&self.nodes[front])?;
        let [input, goal, t] = self.nodes[front].outputs[..] else { return None };
        if loss.mask || x != input || node.inputs[1] != goal || loss.by_step && node.inputs[2] != t {
            return None;
        }
        let mut replaced = [&layers[..], &[front, at]].concat();
        let mut dz = node.outputs[1];
        for (i, &layer) in layers.iter().enumerate().rev() {
            let (x, w) = (self.nodes[layer].inputs[0], self.nodes[layer].inputs[1]);
            replaced.extend(self.weight_gradient(dz, x, &chain.layers[i])?);
            if i > 0 {
                let at = self.reader::<DenseInput>(dz)?;
                if self.nodes[at].inputs[1] != w {
                    return None;
                }
                replaced.push(at);
                dz = self.nodes[at].outputs[0];
            }
        }
        let op = ChainGradient { chain, batch, loss };
        let slab = self.slab_if_used(Slab::Params)?;
        let factors = loss.by_step.then(|| node.inputs[3]);
        let inputs: Vec<Var> = self.nodes[front].inputs.iter().copied().chain([slab]).chain(factors).collect();
        // The partial sums of the loss are others then, which only their sum may read.
        let partials = node.outputs[0];
        let sums = |n: &&Node| n.inputs.iter().any(|v| self.root(*v) == partials);
        let summed = self.nodes.iter().filter(sums).all(|n| as_op::<Reduce>(n).is_some() && n.inputs == [partials]);
        let closed = summed && self.is_transient(partials) && self.is_closed(&replaced, &[partials]);
        (closed && op.suits(inputs.len(), target)).then_some((op, inputs, replaced))
    }

    /// The nodes that compute the gradients of the parameters of a layer from dz and x, in their places in the slab.
    fn weight_gradient(&self, dz: Var, x: Var, layer: &Layer) -> Option<Vec<usize>> {
        let mut nodes = vec![self.reader::<DenseWeight>(dz)?];
        if self.nodes[nodes[0]].inputs[1] != x {
            return None;
        }
        if as_op::<DenseWeight>(&self.nodes[nodes[0]])?.per.is_some() {
            nodes.push(self.reader::<PartSum>(self.nodes[nodes[0]].outputs[0])?);
        }
        let slab = self.slab_if_used(Slab::Grads)?;
        let gradients = &self.nodes[nodes[nodes.len() - 1]].outputs;
        let places: Vec<Storage> = gradients.iter().map(|v| self.tensors[*v].storage).collect();
        let wanted = [layer.weight, layer.bias].map(|offset| Storage::Part { of: slab, offset });
        (places == wanted).then_some(nodes)
    }

    /// Replaces nodes by the fused training step, whose loss is node `at`.
    fn train_chain(&mut self, at: usize, op: ChainGradient, inputs: Vec<Var>, replaced: &[usize]) {
        let (chain, batch, loss) = (op.chain.clone(), op.batch.gather.rows, self.nodes[at].clone());
        let kept = self.fused_tensor("kept", [Kept::new(&chain, batch).len]);
        let partials = self.fused_tensor("partials", [batch]);
        let slab = self.slab(Slab::Grads);
        let node = |op: Arc<dyn AnyOp>, inputs, outputs, updates| Node {
            op,
            inputs,
            outputs,
            updates,
            parts: loss.parts,
            block: loss.block,
            trusted: true,
        };
        let mut new = vec![node(Arc::new(op), inputs, vec![kept, partials], vec![])];
        let per = chain.part_of(batch);
        let weight = ChainWeight { chain: chain.clone(), batch, per };
        if per.is_none() {
            new.push(node(Arc::new(weight), vec![kept], vec![], vec![slab]));
        } else {
            let parts = self.fused_tensor("parts", weight.parts_shape());
            new.push(node(Arc::new(weight), vec![kept], vec![parts], vec![]));
            new.push(node(Arc::new(ChainSum { chain }), vec![parts], vec![], vec![slab]));
        }
        for (i, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            node.inputs.iter_mut().filter(|v| **v == loss.outputs[0]).for_each(|v| *v = partials);
            match replaced.contains(&i) {
                true if i == at => self.nodes.append(&mut new),
                true => {}
                false => self.nodes.push(node),
            }
        }
        self.number_makers();
    }

    fn fused_tensor(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> Var {
        self.tensor(format!("chain.{name}"), Spec::f32(shape), Storage::Step, Init::Zero)
    }

    /// The dense layers before `y`, as many as follow each other: without activation after the last, and with the same
    /// one after the others.
    fn chain_to(&self, y: Var) -> Option<Found> {
        let (mut layers, mut nodes, mut activation, mut x) = (Vec::new(), Vec::new(), Activation::None, y);
        while let Some((at, dense)) = self.dense_at(x) {
            if nodes.len() == 1 {
                activation = dense.activation;
            } else if dense.activation != activation {
                break;
            }
            layers.push(self.dense_layer(&self.nodes[at])?);
            nodes.push(at);
            x = self.nodes[at].inputs[0];
        }
        layers.reverse();
        nodes.reverse();
        (!layers.is_empty()).then_some(Found { chain: Chain { activation, layers }, x, nodes })
    }

    /// The dense layer that computes `y` in its shape.
    fn dense_at(&self, y: Var) -> Option<(usize, Dense)> {
        let at = self.maker(y)?;
        let dense = *as_op::<Dense>(&self.nodes[at])?;
        let output = self.nodes[at].outputs[0];
        (self.root(y) == output && self.shape(y) == self.shape(output)).then_some((at, dense))
    }

    /// A layer whose parameters are in the slab.
    fn dense_layer(&self, node: &Node) -> Option<Layer> {
        let slab = self.slab_if_used(Slab::Params)?;
        let offset = |v: Var| match self.tensors[v].storage {
            Storage::Part { of, offset } if of == slab => Some(offset),
            _ => None,
        };
        let (outputs, inputs) = self.spec(node.inputs[1]).rows();
        Some(Layer { inputs, outputs, weight: offset(node.inputs[1])?, bias: offset(node.inputs[2])? })
    }

    /// The first node with an op of type `T` whose first input is `var`.
    fn reader<T: Op>(&self, var: Var) -> Option<usize> {
        self.nodes.iter().position(|node| as_op::<T>(node).is_some() && node.inputs[0] == var)
    }

    /// Whether the nodes run together, no tensor is changed between them, and what they compute is read only by them; except for
    /// `known` outputs and those that are parts of a slab.
    fn is_closed(&self, nodes: &[usize], known: &[Var]) -> bool {
        let inside = |v: Var| {
            let readers = self.nodes.iter().enumerate().filter(|(_, n)| n.inputs.iter().any(|i| self.root(*i) == v));
            self.is_transient(v) && readers.map(|(i, _)| i).all(|i| nodes.contains(&i))
        };
        let is_part = |v: Var| matches!(self.tensors[v].storage, Storage::Part { .. });
        let outputs = nodes.iter().flat_map(|&i| &self.nodes[i].outputs).copied();
        let parts = self.nodes[nodes[0]].parts;
        let (first, last) = (nodes.iter().min(), nodes.iter().max());
        let between = self.nodes[*first.unwrap_or(&0)..*last.unwrap_or(&0)].iter();
        outputs.filter(|v| !known.contains(v) && !is_part(*v)).all(inside)
            && nodes.iter().all(|&i| self.nodes[i].parts == parts)
            && between.into_iter().all(|node| node.updates.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::diffusion::{Objective, Prediction, SamplerOptions, SamplerSettings, SamplerTable, Schedule, sampler};
    use crate::generate::reverse_process;
    use crate::graph::plan::Plan;
    use crate::nn::{Chapter, ChapterOptions, Denoiser, Inputs, StepEncoderOptions, StepEncoding};
    use crate::ops::{GemmVariant, Optimizer};

    const D: usize = 12;

    fn objective() -> Objective {
        Objective::new(Schedule::linear(50, 1e-4, 0.02).unwrap(), Prediction::Epsilon)
    }

    fn network(g: &mut Graph, width: usize) -> Chapter {
        let step = StepEncoderOptions { width: 8, kind: StepEncoding::Sinusoidal, ..Default::default() };
        Chapter::new(g, D, &ChapterOptions { width, step, ..Default::default() }).unwrap()
    }

    /// A training step of a network with a hidden layer of `width`, and its loss.
    fn training(batch: usize, width: usize) -> (Graph, Var, Var) {
        let mut g = Graph::seeded(1);
        let data = g.dataset("data", [2 * batch, D]).unwrap();
        let network = network(&mut g, width);
        let noised = g.noisy_batch(&data, batch, &objective()).unwrap();
        let prediction = network.forward(&mut g, Inputs::new(noised.x_t, noised.t)).unwrap();
        let loss = g.mse(prediction, noised.target).unwrap();
        g.minimize(loss, Optimizer::adam(1e-3)).unwrap();
        (g, loss, prediction)
    }

    fn sampling(width: usize) -> (Graph, Var) {
        let mut g = Graph::seeded(1);
        let ddpm = sampler("ddpm", SamplerSettings::default()).unwrap();
        let table = SamplerTable::new(&objective(), &SamplerOptions::shared(ddpm, 50)).unwrap();
        let network = network(&mut g, width);
        let x = reverse_process(&mut g, &network, &table, [9, D]).unwrap();
        (g, x)
    }

    fn calls(g: Graph, target: Target) -> usize {
        Plan::new(&g.fused(usize::MAX, Some(&target))).unwrap().calls.len()
    }

    #[test]
    fn a_chain_takes_one_dispatch_to_sample_and_four_or_five_to_train() {
        let software = Target { software: true, subgroup: Some(8), ..Target::default() };
        for target in [Target::default(), Target { subgroup: Some(32), ..Target::default() }, software] {
            assert_eq!(calls(sampling(16).0, target), 1, "{target:?}");
            assert_eq!(calls(training(20, 16).0, target), 4, "{target:?}");
            assert_eq!(calls(training(600, 16).0, target), 5, "{target:?}");
        }
    }

    #[test]
    fn what_does_not_fit_stays_apart() {
        let (fits, plain) =
            (Target::default(), [calls(sampling(16).0, no_buffers()), calls(training(20, 16).0, no_buffers())]);
        assert_eq!(plain, [4, 9]);
        let half = Target { subgroup: Some(32), half: Some(16), gemm: Some(GemmVariant::Cooperative), ..fits };
        let no_subgroups = Target { software: true, ..fits };
        for target in [half, no_subgroups, Target { workgroup_bytes: 1024, ..fits }] {
            assert_eq!([calls(sampling(16).0, target), calls(training(20, 16).0, target)], plain, "{target:?}");
        }
        assert_eq!([calls(sampling(129).0, fits), calls(training(20, 129).0, fits)], plain);
        // A prediction that is read after the step is an output of its own.
        let (mut g, _, prediction) = training(20, 16);
        g.keep(prediction);
        assert_eq!(calls(g, fits), 9);
    }

    fn no_buffers() -> Target {
        Target { buffers: 0, ..Target::default() }
    }

    #[test]
    fn fused_steps_compute_the_same() {
        let values: Vec<f32> = (0..1200 * D).map(|i| (i as f32 * 0.3).cos()).collect();
        let fused = |g: &Graph| g.clone().fused(usize::MAX, Some(&Target::default()));
        for batch in [20, 600] {
            let (g, loss, _) = training(batch, 16);
            let losses = |g: &Graph| {
                let mut run = Device::reference().compile(g).unwrap();
                run.write("data", &values[..2 * batch * D]).unwrap();
                (0..3).map(|_| run.steps(1).and_then(|()| run.scalar(loss)).unwrap()).collect::<Vec<_>>()
            };
            let (want, got) = (losses(&g), losses(&fused(&g)));
            assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-12 * a), "{want:?} {got:?}");
        }
        let (g, x) = sampling(16);
        let sample = |g: &Graph| {
            let mut run = Device::reference().compile(g).unwrap();
            run.write("x", &values[..9 * D]).unwrap();
            run.steps(3).unwrap();
            run.read_f64(x).unwrap()
        };
        assert_eq!(sample(&g), sample(&fused(&g)));
    }
}
