//! From a graph to a plan for an executor: the nodes to run, and the memory of each tensor.
//!
//! Tensors of one step share buffers if their lifetimes do not overlap; persistent tensors have their own buffers. An
//! output is never placed in a buffer that the same node reads, because a dispatch must not read and write one
//! buffer. This module does not depend on a device.

use std::ops::Range;

use super::{DType, Form, Graph, Init, Node, Parameter, Parts, Specs, Storage, Var};
use crate::error::{Error, Result};

/// The number of guard elements at each end of a guarded buffer: 256 bytes, a binding offset that every adapter
/// supports.
const GUARD: usize = 64;

/// A range of a buffer, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub buffer: usize,
    pub offset: usize,
    pub len: usize,
}

/// One buffer, in elements of four bytes (eight on the reference).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Buffer {
    pub len: usize,
    pub dtype: DType,
    pub label: String,
    /// Whether its size is independent of the batch size.
    pub fixed: bool,
}

/// One node with the memory of its tensors.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub node: Node,
    pub specs: Specs,
    pub inputs: Vec<Place>,
    /// `None` for an unstored tensor.
    pub outputs: Vec<Option<Place>>,
    pub updates: Vec<Place>,
}

/// Consecutive calls on the same rows of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    pub calls: Range<usize>,
    /// The index in the batch of row 0 of the tensors, for random numbers per row.
    pub first_row: usize,
    /// The index of the micro-batch.
    pub part: usize,
    /// Whether it processes a micro-batch, and not the whole batch.
    pub of_part: bool,
}

/// A program for an executor.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub buffers: Vec<Buffer>,
    pub places: Vec<Option<Place>>,
    pub calls: Vec<Call>,
    /// The passes of a step: each call is in one pass per micro-batch.
    pub passes: Vec<Pass>,
    /// The initial values of persistent tensors.
    pub inits: Vec<(Place, Init)>,
}

impl Plan {
    pub fn new(graph: &Graph) -> Result<Self> {
        let live = live_nodes(graph);
        let nodes: Vec<&Node> = graph.nodes.iter().zip(&live).filter(|(_, l)| **l).map(|(n, _)| n).collect();
        let mut memory = Memory::new(graph, &nodes);
        for (i, node) in nodes.iter().enumerate() {
            memory.begin(node);
            memory.end(i, node);
        }
        let (places, buffers) = (memory.places, memory.buffers);
        let calls = nodes.iter().map(|node| call(graph, node, &places)).collect::<Result<Vec<_>>>()?;
        let inits = graph
            .tensors
            .iter()
            .zip(&places)
            .filter_map(|(t, place)| Some(((*place)?, &t.init)))
            .flat_map(|(place, init)| match init {
                Init::Zero => Vec::new(),
                Init::Parameters => parts(graph, place),
                _ => vec![(place, init.clone())],
            })
            .collect();
        let passes = passes(&nodes);
        Ok(Self { buffers, places, calls, passes, inits })
    }

    /// Adds guard elements around the content of each buffer, so that bindings start and end inside of buffers;
    /// returns the places of the guards.
    pub fn guarded(mut self) -> (Self, Vec<(Place, DType)>) {
        let mut guards = Vec::new();
        for (buffer, b) in self.buffers.iter_mut().enumerate() {
            let guard = |offset| (Place { buffer, offset, len: GUARD }, b.dtype);
            guards.extend([guard(0), guard(GUARD + b.len)]);
            b.len += 2 * GUARD;
        }
        let calls = self.calls.iter_mut();
        let of_calls =
            calls.flat_map(|c| c.inputs.iter_mut().chain(c.outputs.iter_mut().flatten()).chain(&mut c.updates));
        let all = self.places.iter_mut().flatten().chain(of_calls).chain(self.inits.iter_mut().map(|(place, _)| place));
        all.for_each(|place| place.offset += GUARD);
        (self, guards)
    }

    /// The number of elements of all buffers.
    pub fn elements(&self) -> usize {
        self.buffers.iter().map(|b| b.len).sum()
    }

    /// The number of elements that do not depend on the batch size.
    pub fn fixed_elements(&self) -> usize {
        self.buffers.iter().filter(|b| b.fixed).map(|b| b.len).sum()
    }
}

/// The initial values of the parameters in another slab.
fn parts(graph: &Graph, slab: Place) -> Vec<(Place, Init)> {
    let part = |p: &Parameter| {
        let place = Place { offset: slab.offset + p.offset, len: p.shape.iter().product(), ..slab };
        (place, graph.tensors[p.var].init.clone())
    };
    graph.parameters().iter().map(part).collect()
}

/// Groups consecutive nodes with the same micro-batches into passes.
fn passes(nodes: &[&Node]) -> Vec<Pass> {
    let (mut passes, mut start) = (Vec::new(), 0);
    for group in nodes.chunk_by(|a, b| a.parts == b.parts) {
        let calls = start..start + group.len();
        start = calls.end;
        let parts = group[0].parts.unwrap_or(Parts { first: 0, rows: 0, count: 1 });
        let of_part = group[0].parts.is_some();
        let pass = |part| Pass { calls: calls.clone(), first_row: parts.first + part * parts.rows, part, of_part };
        passes.extend((0..parts.count).map(pass));
    }
    passes
}

/// The nodes with an effect, and their dependencies: an effect is an update, a history, or a kept or persistent output.
fn live_nodes(graph: &Graph) -> Vec<bool> {
    let mut wanted: Vec<bool> =
        graph.tensors.iter().map(|t| t.kept || t.spec.form == Form::History || t.storage != Storage::Step).collect();
    let mut live = vec![false; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        live[i] = !node.updates.is_empty() || node.outputs.iter().any(|v| wanted[v.index()]);
        if live[i] {
            node.inputs.iter().for_each(|v| wanted[graph.root(*v).index()] = true);
        }
    }
    live
}

struct Memory<'a> {
    graph: &'a Graph,
    places: Vec<Option<Place>>,
    buffers: Vec<Buffer>,
    /// Buffers that are currently unused.
    free: Vec<usize>,
    /// For each tensor, the last node that reads or writes it.
    last: Vec<usize>,
}

impl<'a> Memory<'a> {
    fn new(graph: &'a Graph, nodes: &[&Node]) -> Self {
        let mut last = vec![0; graph.tensors.len()];
        for (i, node) in nodes.iter().enumerate() {
            node.inputs.iter().chain(&node.outputs).for_each(|v| last[graph.root(*v).index()] = i);
        }
        keep_for_micro_batches(graph, nodes, &mut last);
        let places = vec![None; graph.tensors.len()];
        let mut memory = Self { graph, places, buffers: Vec::new(), free: Vec::new(), last };
        for (i, t) in graph.tensors.iter().enumerate() {
            if t.storage == Storage::State && t.spec.stored() > 0 {
                let (len, dtype) = (t.spec.stored(), t.spec.dtype);
                let label = format!("langevin.{}", t.name);
                memory.buffers.push(Buffer { len, dtype, label, fixed: t.fixed });
                memory.places[i] = Some(Place { buffer: memory.buffers.len() - 1, offset: 0, len });
            }
        }
        for (i, t) in graph.tensors.iter().enumerate() {
            if let Storage::Part { of, offset } = t.storage {
                let whole = memory.places[of.index()].expect("the whole tensor is persistent");
                memory.places[i] = Some(Place { buffer: whole.buffer, offset, len: t.spec.len() });
            }
        }
        memory
    }

    /// Allocates the outputs of a node.
    fn begin(&mut self, node: &Node) {
        for &v in &node.outputs {
            let spec = &self.graph.tensors[v].spec;
            if self.places[v.index()].is_none() && spec.form != Form::Unstored {
                let (len, dtype) = (spec.stored(), spec.dtype);
                let buffer = self.take(len, dtype);
                self.places[v.index()] = Some(Place { buffer, offset: 0, len });
            }
        }
    }

    /// Frees the tensors for which node `i` is the last use.
    fn end(&mut self, i: usize, node: &Node) {
        let mut seen: Vec<Var> = Vec::new();
        for v in node.inputs.iter().chain(&node.outputs).map(|v| self.graph.root(*v)) {
            let t = &self.graph.tensors[v];
            if t.storage == Storage::Step && !t.kept && self.last[v.index()] == i && !seen.contains(&v) {
                seen.push(v);
                self.free.extend(self.places[v.index()].map(|p| p.buffer));
            }
        }
    }

    /// Allocates the smallest free buffer that is large enough, otherwise enlarges the largest free one, otherwise
    /// adds one.
    fn take(&mut self, len: usize, dtype: DType) -> usize {
        let fits = |b: &Buffer| (b.len < len, b.len.abs_diff(len));
        let best = (0..self.free.len())
            .filter(|&i| self.buffers[self.free[i]].dtype == dtype)
            .min_by_key(|&i| fits(&self.buffers[self.free[i]]));
        match best {
            Some(i) => {
                let buffer = self.free.swap_remove(i);
                self.buffers[buffer].len = self.buffers[buffer].len.max(len);
                buffer
            }
            None => {
                let label = format!("langevin.activation.{}", self.buffers.len());
                self.buffers.push(Buffer { len, dtype, label, fixed: false });
                self.buffers.len() - 1
            }
        }
    }
}

/// A tensor that is computed once and read by nodes that run for each micro-batch keeps its memory until the end of the
/// step.
fn keep_for_micro_batches(graph: &Graph, nodes: &[&Node], last: &mut [usize]) {
    let mut computed_for: Vec<Option<Parts>> = vec![None; graph.tensors.len()];
    for node in nodes {
        for v in node.inputs.iter().map(|v| graph.root(*v)) {
            if node.parts.is_some() && computed_for[v.index()] != node.parts {
                last[v.index()] = usize::MAX;
            }
        }
        node.outputs.iter().for_each(|v| computed_for[v.index()] = node.parts);
    }
}

fn call(graph: &Graph, node: &Node, places: &[Option<Place>]) -> Result<Call> {
    let specs = |vars: &[Var]| vars.iter().map(|&v| graph.spec(v).clone()).collect::<Vec<_>>();
    let place = |v: &Var| {
        let name = &graph.tensors[*v].name;
        places[graph.root(*v).index()].ok_or_else(|| Error::shape(node.op.name(), format!("{name} is not computed")))
    };
    let call = Call {
        specs: Specs { inputs: specs(&node.inputs), outputs: specs(&node.outputs), updates: specs(&node.updates) },
        inputs: node.inputs.iter().map(place).collect::<Result<_>>()?,
        outputs: node.outputs.iter().map(|v| places[v.index()]).collect(),
        updates: node.updates.iter().map(place).collect::<Result<_>>()?,
        node: node.clone(),
    };
    check_hazards(&call)?;
    Ok(call)
}

/// Checks that no buffer is both read and written by the node, and that written ranges do not overlap.
fn check_hazards(call: &Call) -> Result<()> {
    let written: Vec<Place> = call.outputs.iter().flatten().chain(&call.updates).copied().collect();
    let fail = |what: &str| Err(Error::shape(call.node.op.name(), format!("{what}; copy one of them first")));
    if call.inputs.iter().any(|i| written.iter().any(|w| w.buffer == i.buffer)) {
        return fail("reads and writes the same tensor or slab");
    }
    for (i, a) in written.iter().enumerate() {
        for b in &written[i + 1..] {
            if a.buffer == b.buffer && a.offset < b.offset + b.len && b.offset < a.offset + a.len {
                return fail("writes two overlapping tensors");
            }
        }
    }
    Ok(())
}
