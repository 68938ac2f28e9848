//! From a graph to a plan for an executor: the nodes to run, and the memory of each tensor.
//!
//! Tensors of one step share buffers if their lifetimes do not overlap; persistent tensors have their own buffers. A
//! dispatch must not read and write one buffer by two bindings: an output is placed in a buffer that the same node reads
//! only where the op overwrites that input ([`Op::overwrites`](super::Op::overwrites)). This module does not depend on a device.

use std::ops::{Range, RangeInclusive};

use super::{DType, Form, Graph, Init, Node, Parameter, Parts, Specs, Storage, Tensor, Var};
use crate::error::{Error, Result};

/// A binding offset in bytes that every adapter supports.
const ALIGNMENT: usize = 256;

/// The elements of [`ALIGNMENT`].
fn aligned(dtype: DType) -> usize {
    ALIGNMENT / dtype.bytes()
}

/// A range of a buffer, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub buffer: usize,
    pub offset: usize,
    pub len: usize,
}

/// One buffer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Buffer {
    pub len: usize,
    pub dtype: DType,
    pub label: String,
    /// Whether its size is independent of the batch size.
    pub fixed: bool,
}

impl Buffer {
    /// The size; that of floats of 32 bits on the reference, too, which has 64. Copies take multiples of four bytes.
    pub fn bytes(&self) -> usize {
        (self.len * self.dtype.bytes()).next_multiple_of(4)
    }
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
        let nodes = ordered(graph, nodes);
        let (chains, overwritten) = chains(graph, &nodes);
        let mut memory = Memory::new(graph);
        memory.place(&chains, Packing::best(&chains));
        let Memory { places, buffers } = memory;
        let calls = nodes.iter().zip(overwritten).map(|(node, over)| call(graph, node, &places, over));
        let calls = calls.collect::<Result<Vec<_>>>()?;
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
        let elements: Vec<usize> = self.buffers.iter().map(|b| aligned(b.dtype)).collect();
        for (buffer, b) in self.buffers.iter_mut().enumerate() {
            // Copies between host and device start at multiples of four bytes.
            let (len, content) = (elements[buffer], b.bytes() / b.dtype.bytes());
            let guard = |offset| (Place { buffer, offset, len }, b.dtype);
            guards.extend([guard(0), guard(len + content)]);
            b.len = content + 2 * len;
        }
        let calls = self.calls.iter_mut();
        let of_calls =
            calls.flat_map(|c| c.inputs.iter_mut().chain(c.outputs.iter_mut().flatten()).chain(&mut c.updates));
        let all = self.places.iter_mut().flatten().chain(of_calls).chain(self.inits.iter_mut().map(|(place, _)| place));
        all.for_each(|place| place.offset += elements[place.buffer]);
        (self, guards)
    }

    /// The size of all buffers.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(Buffer::bytes).sum()
    }

    /// The size of those that do not depend on the batch size.
    pub fn fixed_bytes(&self) -> usize {
        self.buffers.iter().filter(|b| b.fixed).map(Buffer::bytes).sum()
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
pub(crate) fn live_nodes(graph: &Graph) -> Vec<bool> {
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

/// Tensors of a step that have the same memory one after the other, each written over the one before.
#[derive(Clone, Debug)]
struct Chain {
    tensors: Vec<usize>,
    len: usize,
    dtype: DType,
    /// From the node that writes the first to the last node that reads the last.
    life: RangeInclusive<usize>,
    /// The nodes that read and that write it.
    reads: Vec<usize>,
    writes: Vec<usize>,
}

impl Chain {
    fn bytes(&self) -> usize {
        self.len * self.dtype.bytes()
    }

    fn lives_with(&self, other: &Self) -> bool {
        self.life.start() <= other.life.end() && other.life.start() <= self.life.end()
    }

    /// Whether both can be in one buffer at the same time: no node reads one and writes the other.
    fn may_share(&self, other: &Self) -> bool {
        let apart = |writes: &[usize], reads: &[usize]| !writes.iter().any(|node| reads.contains(node));
        apart(&self.writes, &other.reads) && apart(&other.writes, &self.reads)
    }
}

/// The chains of a step, and for each node the inputs that it overwrites, each with the output.
fn chains(graph: &Graph, nodes: &[&Node]) -> (Vec<Chain>, Vec<Vec<[usize; 2]>>) {
    let last = last_uses(graph, nodes);
    let (mut chains, mut overwritten): (Vec<Chain>, _) = (Vec::new(), Vec::new());
    let mut of: Vec<Option<usize>> = vec![None; last.len()];
    for (i, node) in nodes.iter().enumerate() {
        let inputs: Vec<usize> = node.inputs.iter().map(|v| graph.root(*v).index()).collect();
        let mut pairs = Vec::new();
        for [input, output] in node.op.overwrites() {
            let (from, to) = (inputs[input], node.outputs[output]);
            let once = inputs.iter().filter(|other| **other == from).count() == 1;
            let (old, new) = (graph.spec(node.inputs[input]), &graph.tensors[to]);
            let alike = old.len() == new.spec.stored() && old.dtype == new.spec.dtype && new.storage == Storage::Step;
            if let Some(chain) = of[from].filter(|_| last[from] == i && once && alike && of[to.index()].is_none()) {
                chains[chain].tensors.push(to.index());
                chains[chain].life = *chains[chain].life.start()..=last[to.index()];
                of[to.index()] = Some(chain);
                pairs.push([input, output]);
            }
        }
        overwritten.push(pairs);
        for v in &node.outputs {
            let Tensor { spec, storage, .. } = &graph.tensors[*v];
            if *storage == Storage::Step && spec.form != Form::Unstored && of[v.index()].is_none() {
                of[v.index()] = Some(chains.len());
                let (tensors, life) = (vec![v.index()], i..=last[v.index()]);
                let (len, dtype) = (spec.stored(), spec.dtype);
                chains.push(Chain { tensors, len, dtype, life, reads: Vec::new(), writes: Vec::new() });
            }
        }
        inputs.iter().filter_map(|v| of[*v]).for_each(|chain| chains[chain].reads.push(i));
        node.outputs.iter().filter_map(|v| of[v.index()]).for_each(|chain| chains[chain].writes.push(i));
    }
    (chains, overwritten)
}

/// What an order of nodes costs: the most bytes that are live at a node, and the sum over all nodes.
type Cost = (usize, usize);

/// The cost, and the node of the peak.
fn cost(graph: &Graph, nodes: &[&Node]) -> (Cost, usize) {
    let mut change = vec![0isize; nodes.len() + 1];
    for chain in chains(graph, nodes).0 {
        let (bytes, life) = (chain.bytes() as isize, &chain.life);
        change[*life.start()] += bytes;
        change[life.end().saturating_add(1).min(nodes.len())] -= bytes;
    }
    let (mut live, mut most, mut sum, mut at) = (0, 0, 0, 0);
    for (i, change) in change.into_iter().enumerate() {
        live += change;
        sum += live as usize;
        if live > most {
            (most, at) = (live, i);
        }
    }
    ((most as usize, sum), at)
}

/// The nodes in an order that needs less memory: a large tensor that is only read after the peak is computed after it.
fn ordered<'a>(graph: &Graph, mut nodes: Vec<&'a Node>) -> Vec<&'a Node> {
    const TRIES: usize = 16;
    let (mut best, mut at) = cost(graph, &nodes);
    for _ in 0..TRIES {
        let waiting = (0..at).filter(|&k| waits(graph, &nodes, k, at, best.0 / 64));
        let places = waiting.flat_map(|k| (at..nodes.len()).map(move |to| (k, to)));
        let moves = places.filter(|&(k, to)| to == at || waits(graph, &nodes, k, to, 0)).map(|(k, to)| {
            let mut moved = nodes.clone();
            moved[k..=to].rotate_left(1);
            (cost(graph, &moved), moved)
        });
        let Some(((less, peak), moved)) = moves.min_by_key(|((cost, _), _)| *cost) else { break };
        if less.0 >= best.0 {
            break;
        }
        (nodes, best, at) = (moved, less, peak);
    }
    nodes
}

/// Whether node `k` computes more than `least` bytes that are not read up to node `end`, and can run after that.
fn waits(graph: &Graph, nodes: &[&Node], k: usize, end: usize, least: usize) -> bool {
    let node = nodes[k];
    let temporary = |v: &Var| graph.tensors[*v].storage == Storage::Step;
    let bytes = |v: &Var| graph.spec(*v).stored() * graph.spec(*v).dtype.bytes();
    let bytes: usize = node.outputs.iter().map(bytes).sum();
    let read = |n: &&Node| n.inputs.iter().any(|v| node.outputs.contains(&graph.root(*v)));
    let fixed = |n: &&Node| n.parts != node.parts || !n.updates.is_empty();
    let between = &nodes[k..=end];
    bytes > least && node.outputs.iter().all(temporary) && !between.iter().any(fixed) && !between[1..].iter().any(read)
}

struct Memory {
    places: Vec<Option<Place>>,
    buffers: Vec<Buffer>,
}

impl Memory {
    /// Buffers of the persistent tensors.
    fn new(graph: &Graph) -> Self {
        let mut memory = Self { places: vec![None; graph.tensors.len()], buffers: Vec::new() };
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

    /// Adds the buffers of a packing.
    fn place(&mut self, chains: &[Chain], packing: Packing) {
        let first = self.buffers.len();
        for Bin { len, dtype, .. } in packing.bins {
            let label = format!("langevin.activation.{}", self.buffers.len());
            self.buffers.push(Buffer { len, dtype, label, fixed: false });
        }
        for (chain, (bin, offset)) in chains.iter().zip(packing.places) {
            let place = Place { buffer: first + bin, offset, len: chain.len };
            chain.tensors.iter().for_each(|t| self.places[*t] = Some(place));
        }
    }
}

/// A buffer with chains at their offsets.
#[derive(Clone, Debug)]
struct Bin {
    len: usize,
    dtype: DType,
    chains: Vec<(usize, usize)>,
}

/// The bins of all chains, and for each chain its bin and offset.
#[derive(Clone, Debug)]
struct Packing {
    bins: Vec<Bin>,
    places: Vec<(usize, usize)>,
}

/// The distance of tensors in one buffer, in bytes: a binding offset that every adapter supports. Tensors whose distance is a
/// multiple of the page size would map to the same sets of the cache.
const STAGGER: usize = 3 * ALIGNMENT;

impl Packing {
    /// The longest chains are packed first ("greedy by size" of Pisarchyk and Lee 2020); of equal ones, those that start
    /// first or those that end last, whichever needs less.
    fn best(chains: &[Chain]) -> Self {
        let total = |packing: &Self| packing.bins.iter().map(|bin| bin.len * bin.dtype.bytes()).sum::<usize>();
        let packed = |key: &dyn Fn(&Chain) -> usize| {
            let mut order: Vec<usize> = (0..chains.len()).collect();
            order.sort_by_key(|i| (std::cmp::Reverse(chains[*i].bytes()), key(&chains[*i])));
            Self::new(chains, &order)
        };
        let (by_start, by_end) = (packed(&|c| *c.life.start()), packed(&|c| usize::MAX - c.life.end()));
        if total(&by_end) < total(&by_start) { by_end } else { by_start }
    }

    /// Packs the chains in an order, each where the buffers grow least.
    fn new(chains: &[Chain], order: &[usize]) -> Self {
        let longest = chains.iter().map(Chain::bytes).max().unwrap_or(0);
        let (mut bins, mut places): (Vec<Bin>, _) = (Vec::new(), vec![(0, 0); chains.len()]);
        for &i in order {
            let chain = &chains[i];
            let growth = |(bin, b): (usize, &Bin)| {
                let offset = b.room(chain, chains)?;
                let grown = (offset + chain.len).max(b.len);
                (grown * chain.dtype.bytes() <= longest + 2 * STAGGER).then_some((grown - b.len, b.len, bin, offset))
            };
            let (grown, _, bin, offset) = bins
                .iter()
                .enumerate()
                .filter_map(growth)
                .min()
                .filter(|(growth, ..)| *growth < chain.len)
                .unwrap_or((chain.len, 0, bins.len(), 0));
            if bin == bins.len() {
                bins.push(Bin { len: 0, dtype: chain.dtype, chains: Vec::new() });
            }
            bins[bin].len += grown;
            bins[bin].chains.push((i, offset));
            places[i] = (bin, offset);
        }
        Self { bins, places }
    }
}

impl Bin {
    /// The first offset where a chain fits among those that are there.
    fn room(&self, chain: &Chain, chains: &[Chain]) -> Option<usize> {
        let others: Vec<(usize, &Chain)> =
            self.chains.iter().map(|(i, at)| (*at, &chains[*i])).filter(|(_, other)| other.lives_with(chain)).collect();
        if self.dtype != chain.dtype || !others.iter().all(|(_, other)| other.may_share(chain)) {
            return None;
        }
        let free = |at: usize| others.iter().all(|(start, other)| at + chain.len <= *start || start + other.len <= at);
        let (alignment, stagger) = (aligned(self.dtype), STAGGER / self.dtype.bytes());
        let ends = others.iter().map(|(start, other)| (start + other.len).next_multiple_of(alignment) + stagger);
        [0].into_iter().chain(ends).filter(|at| free(*at)).min()
    }
}

/// For each tensor, the last node that reads or writes it.
fn last_uses(graph: &Graph, nodes: &[&Node]) -> Vec<usize> {
    let mut last = vec![0; graph.tensors.len()];
    for (i, node) in nodes.iter().enumerate() {
        node.inputs.iter().chain(&node.outputs).for_each(|v| last[graph.root(*v).index()] = i);
    }
    for (last, tensor) in last.iter_mut().zip(graph.tensors.iter()) {
        if tensor.kept {
            *last = usize::MAX;
        }
    }
    keep_for_micro_batches(graph, nodes, &mut last);
    last
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

fn call(graph: &Graph, node: &Node, places: &[Option<Place>], overwritten: Vec<[usize; 2]>) -> Result<Call> {
    let specs = |vars: &[Var]| vars.iter().map(|&v| graph.spec(v).clone()).collect::<Vec<_>>();
    let place = |v: &Var| {
        let name = &graph.tensors[*v].name;
        places[graph.root(*v).index()].ok_or_else(|| Error::shape(node.op.name(), format!("{name} is not computed")))
    };
    let call = Call {
        specs: Specs {
            inputs: specs(&node.inputs),
            outputs: specs(&node.outputs),
            updates: specs(&node.updates),
            overwritten,
        },
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
    let mut read = call.inputs.iter().enumerate().filter(|(i, _)| !call.specs.is_overwritten(*i));
    if read.any(|(_, i)| written.iter().any(|w| w.buffer == i.buffer)) {
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
