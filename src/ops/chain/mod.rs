//! Networks that are chains of dense layers, with what comes before and after them in one dispatch: a workgroup has a
//! tile of samples, whose activations stay in its memory from layer to layer (a fully fused MLP: Müller et al. 2021,
//! "Real-time neural radiance caching for path tracing", section 3.2). On the CPU, the ops run one by one.

mod fusion;
mod sampling;
mod training;
mod weights;

use sampling::ChainStep;
use training::ChainGradient;
use weights::{ChainSum, ChainWeight};

use super::case::Case;
use super::{Activation, Dense, Io, Op, Specs};
use crate::graph::{Spec, View, ViewMut};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;

/// A dense layer whose parameters are in the slab.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layer {
    inputs: usize,
    outputs: usize,
    /// The offset of the weight [outputs, inputs] in the slab.
    weight: usize,
    /// The offset of the bias \[outputs\].
    bias: usize,
}

/// Dense layers, with an activation after each but the last.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    activation: Activation,
    layers: Vec<Layer>,
}

/// The work of a workgroup: rows of the batch, its lanes, and the columns of a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tile {
    rows: usize,
    lanes: usize,
    columns: usize,
    /// Inputs that are multiplied between two barriers, or the lanes of a subgroup.
    step: usize,
    /// Whether the lanes of a subgroup share inputs.
    broadcast: bool,
    /// Whether weights are loaded by fours, which saves loads on a software rasterizer.
    fours: bool,
}

/// Widest layer of a chain: a workgroup multiplies by all of its weights, which for wide layers costs more than storing
/// the activations between dispatches saves.
const MOST_OUTPUTS: usize = 128;

/// Most multiply-adds in the text of a kernel: software adapters take about a second to compile that many.
const MOST_UNROLLED: usize = 5 << 10;

impl Chain {
    fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    /// The widest output, and the widest input or output.
    fn widths(&self) -> [usize; 2] {
        let outputs = self.layers.iter().map(|layer| layer.outputs).max().expect("a chain has layers");
        [outputs, outputs.max(self.inputs())]
    }

    /// Floating-point operations of a forward pass.
    fn flops(&self, batch: usize) -> u64 {
        self.layers.iter().map(|l| batch * l.outputs * (2 * l.inputs + 2)).sum::<usize>() as u64
    }

    /// The tile for `batch` rows, and whether the chain should run on it rather than as separate ops: the rule, from measurements on llvmpipe, and to be tuned on hardware.
    ///
    /// Weights are loaded once per tile, so tiles are as large as memory and the number of workgroups allow: on a
    /// software rasterizer a few for each of its cores, on hardware enough for its many small ones.
    fn tile(&self, batch: usize, target: &Target, trains: bool) -> (Tile, bool) {
        let broadcast = target.software && super::GemmVariant::Broadcast16.runs_on(target);
        let [outputs, width] = self.widths();
        let fours = self.layers.iter().all(|l| [l.inputs, l.outputs, l.weight].iter().all(|n| n % 4 == 0));
        let shape = |rows: usize| match (broadcast, target.subgroup) {
            (true, Some(lanes)) => {
                let (columns, step) = (4, lanes as usize);
                Tile { rows, lanes: outputs.div_ceil(columns * step) * step, columns, step, broadcast, fours }
            }
            _ => {
                Tile { rows, lanes: outputs.next_multiple_of(32), columns: 1, step: 16, broadcast: false, fours: false }
            }
        };
        let bytes = |tile: Tile| {
            let stage = if tile.broadcast { 0 } else { 4 * tile.step * (tile.lanes + 2) };
            // A training step has the draws of each row, and sums of the loss of each lane.
            let more = if trains { 32 * tile.rows + 16 * tile.lanes.max(tile.rows / 4) } else { 0 };
            4 * tile.rows * tile.width(width) + stage + more
        };
        let (sizes, busy): (&[usize], usize) = if broadcast { (&[32, 16, 8], 2) } else { (&[16, 8, 4], 64) };
        let steps = if trains { 2 * self.layers.len() - 1 } else { self.layers.len() };
        let fits = |tile: &Tile| {
            let unrolled = tile.rows * tile.columns * tile.step * steps;
            bytes(*tile) <= target.workgroup_bytes as usize && unrolled <= MOST_UNROLLED
        };
        let fitting = || sizes.iter().map(|rows| shape(*rows)).filter(fits);
        let possible = fitting().next().is_some() && outputs <= MOST_OUTPUTS;
        let tile = fitting().find(|tile| batch.div_ceil(tile.rows) >= busy).or(fitting().next_back());
        let separate = target.half.is_some() || target.software && !broadcast;
        (tile.unwrap_or(shape(sizes[sizes.len() - 1])), possible && !separate)
    }

    /// The constants of a kernel on a tile, and the table of its steps; a workgroup for each tile.
    fn constants(&self, kernel: Kernel, batch: usize, tile: Tile, steps: &[Step]) -> Kernel {
        let sizes = [
            ("QUADS", tile.rows / 4),
            ("WIDTH", tile.width(self.widths()[1])),
            ("LANES", tile.lanes),
            ("COLUMNS", tile.columns),
            ("STEP", tile.step),
            ("LAYERS", self.layers.len()),
            ("INPUTS", self.inputs()),
        ];
        let mut text: String = sizes.iter().map(|(name, value)| format!("const {name} = {value}u;\n")).collect();
        text += "fn layer(s: u32) -> Layer {\n  switch s {\n";
        for (i, step) in steps.iter().enumerate() {
            let label = if i == 0 { "default".into() } else { format!("case {i}u") };
            text += &format!("    {label}: {{ return Layer({}); }}\n", step.0.map(|n| format!("{n}u")).join(", "));
        }
        text += "  }\n}\n";
        self.activation
            .choose(kernel)
            .dim("B", batch)
            .flag("BROADCAST", tile.broadcast)
            .flag("FOURS", tile.fours)
            .part("chain_sizes", text)
            .repeat("S", steps.len())
            .repeat("Q", tile.rows / 4)
            .repeat("J", tile.columns)
            .repeat("K", tile.step)
            .repeat("H", tile.step / 4)
            .repeat("I", 4)
            .groups(batch.div_ceil(tile.rows))
    }

    /// The forward steps.
    fn forward_steps(&self) -> Vec<Step> {
        self.layers.iter().map(|l| Step([l.inputs, l.outputs, l.weight, 1, l.inputs, l.bias, 0, 0])).collect()
    }

    /// The CPU implementation of the layers: the stored outputs of each.
    fn forward<S: Scalar>(&self, io: &Io<S>, x: &[S], weights: &[S]) -> Vec<Vec<Vec<S>>> {
        let batch = x.len() / self.inputs();
        let mut all: Vec<Vec<Vec<S>>> = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            let op = Dense { activation: if last { Activation::None } else { self.activation } };
            let x = all.last().map_or(x, |outputs| &outputs[0]);
            let (w, b) = layer.parameters(weights);
            let outputs = run(&op, io, &[tensor([batch, layer.inputs], x), w, b], vec![]);
            all.push(outputs);
        }
        all
    }
}

impl Layer {
    /// Weight and bias.
    fn parameters<'a, S>(&self, slab: &'a [S]) -> ((Spec, View<'a, S>), (Spec, View<'a, S>)) {
        let Self { inputs, outputs, weight, bias } = *self;
        let w = tensor([outputs, inputs], &slab[weight..][..outputs * inputs]);
        (w, tensor([outputs], &slab[bias..][..outputs]))
    }
}

impl Tile {
    /// Columns of the activations in workgroup memory.
    fn width(self, width: usize) -> usize {
        width.next_multiple_of(self.step)
    }
}

/// A product of the kernel: the fields of `Layer` in `shaders/shared/chain.wgsl`.
#[derive(Clone, Copy, Debug)]
struct Step([usize; 8]);

fn tensor<S>(shape: impl Into<Vec<usize>>, values: &[S]) -> (Spec, View<'_, S>) {
    (Spec::f32(shape), View::Float(values))
}

fn written<S>(values: &mut [S]) -> ViewMut<'_, S> {
    if values.is_empty() { ViewMut::Nothing } else { ViewMut::Float(values) }
}

/// Runs the CPU implementation of one of the ops of a fused op, at the position of `io`; returns its outputs.
fn run<S: Scalar>(op: &impl Op, io: &Io<S>, inputs: &[(Spec, View<S>)], updates: Vec<(Spec, &mut [S])>) -> Vec<Vec<S>> {
    let inputs_of = inputs.iter().map(|(spec, _)| spec.clone());
    let updates_of: Vec<Spec> = updates.iter().map(|(spec, _)| spec.clone()).collect();
    let all: Vec<Spec> = inputs_of.clone().chain(updates_of.clone()).collect();
    let outputs = op.infer(&all).expect("the parts of a fused op fit");
    let mut memory: Vec<Vec<S>> = outputs.iter().map(|spec| vec![S::ZERO; spec.stored()]).collect();
    let specs = Specs { inputs: inputs_of.collect(), outputs, updates: updates_of, overwritten: vec![] };
    op.cpu(&mut Io {
        specs: &specs,
        clock: io.clock,
        first_row: io.first_row,
        part: io.part,
        inputs: inputs.iter().map(|(_, view)| *view).collect(),
        outputs: memory.iter_mut().map(|values| written(values)).collect(),
        updates: updates.into_iter().map(|(_, values)| ViewMut::Float(values)).collect(),
    });
    memory
}

pub(super) fn cases() -> Vec<Case> {
    [sampling::cases(), training::cases(), weights::cases()].concat()
}

pub(super) fn timed() -> Vec<Case> {
    [sampling::timed(), training::timed(), weights::timed()].concat()
}

/// A chain of layers of these widths whose parameters follow each other, and their number.
fn example(widths: &[usize], activation: Activation) -> (Chain, usize) {
    let mut end = 0;
    let mut place = |len: usize| {
        let at = end;
        end = (at + len).next_multiple_of(64);
        at
    };
    let layers =
        widths.windows(2).map(|w| Layer { inputs: w[0], outputs: w[1], weight: place(w[0] * w[1]), bias: place(w[1]) });
    let layers = layers.collect();
    (Chain { activation, layers }, end)
}
