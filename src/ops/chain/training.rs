//! The forward and backward pass of a training step in one dispatch.

use super::{Chain, Step, example, run, tensor};
use crate::error::{Error, Result};
use crate::graph::{Cost, DType, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::ops::case::{Case, ROWS, STEPS, Tolerance};
use crate::ops::dense::DenseInput;
use crate::ops::noise::example_table;
use crate::ops::{
    Activation, Encode, Gather, Io, Layout, Measure, Noise, NoisyBatch, Op, PointLoss, Specs, TimeDraw, expect_shape,
};

/// [`NoisyBatch`], the layers, [`PointLoss`], and the gradient before each layer's activation: the same numbers as these
/// ops, except that the partial sums of the loss are those of the rows.
///
/// *Shapes*: the inputs of [`NoisyBatch`], the slab of all parameters, and with `by_step` the table of the loss; outputs
/// what the gradients of the parameters need ([`Kept`]), and partials \[B\].
#[derive(Clone, Debug)]
pub(super) struct ChainGradient {
    pub chain: Chain,
    pub batch: NoisyBatch,
    pub loss: PointLoss,
}

/// Offsets of the tensors of all layers in one: inputs [B, I], the values before activations that their derivatives need
/// [B, O], and gradients before activations [B, O].
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub inputs: Vec<usize>,
    /// The offsets of the inputs of the next layers where derivatives follow from the output.
    before: Vec<usize>,
    pub gradients: Vec<usize>,
    pub len: usize,
}

impl Kept {
    pub fn new(chain: &Chain, batch: usize) -> Self {
        let mut len = 0;
        let mut take = |width: usize| {
            len += batch * width;
            len - batch * width
        };
        let hidden = &chain.layers[1..];
        let inputs: Vec<usize> = chain.layers.iter().map(|layer| take(layer.inputs)).collect();
        let before = match chain.keeps_sums() {
            true => hidden.iter().map(|layer| take(layer.inputs)).collect(),
            false => inputs[1..].to_vec(),
        };
        let gradients = chain.layers.iter().map(|layer| take(layer.outputs)).collect();
        Self { inputs, before, gradients, len }
    }
}

impl Chain {
    /// Whether the derivative of the activation follows from its input only.
    fn keeps_sums(&self) -> bool {
        self.activation != Activation::None && !self.activation.saves_output()
    }

    /// The forward steps, and the backward steps.
    fn training_steps(&self, kept: &Kept) -> Vec<Step> {
        let mut steps = self.forward_steps();
        for (i, step) in steps.iter_mut().enumerate().take(self.layers.len() - 1) {
            [step.0[6], step.0[7]] = [kept.inputs[i + 1], kept.before[i]];
        }
        for (i, l) in self.layers.iter().enumerate().skip(1).rev() {
            steps.push(Step([
                l.outputs,
                l.inputs,
                l.weight,
                l.inputs,
                1,
                0,
                kept.gradients[i - 1],
                kept.before[i - 1],
            ]));
        }
        steps
    }
}

impl ChainGradient {
    /// The parts of the data.
    fn parts(&self, inputs: usize) -> usize {
        inputs - 2 - self.batch.encode.is_some() as usize - self.loss.by_step as usize
    }

    /// The index of the slab.
    fn slab(&self, inputs: usize) -> usize {
        inputs - 1 - self.loss.by_step as usize
    }

    /// Whether a target should run it, with `inputs` inputs.
    pub fn suits(&self, inputs: usize, target: &Target) -> bool {
        let fits = self.chain.tile(self.batch.gather.rows, target, true).1;
        fits && inputs + 2 <= target.buffers as usize
    }
}

impl Op for ChainGradient {
    fn name(&self) -> &'static str {
        "chain_gradient"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let least = 3 + self.batch.encode.is_some() as usize + self.loss.by_step as usize;
        if inputs.len() < least || self.loss.mask {
            return Err(Error::shape("chain_gradient", "needs data, a table, the slab of parameters, and no mask"));
        }
        let slab = self.slab(inputs.len());
        let made = self.batch.infer(&inputs[..slab])?;
        let (rows, width) = made[0].rows();
        expect_shape("chain_gradient", "x", &made[0], &[rows, self.chain.inputs()])?;
        expect_shape("chain_gradient", "target", &made[1], &[rows, self.chain.outputs()])?;
        expect_shape("chain_gradient", "parameters", &inputs[slab], &[inputs[slab].len()])?;
        debug_assert_eq!(width, self.chain.inputs());
        Ok(vec![Spec::f32([Kept::new(&self.chain, rows).len]), Spec::f32([rows])])
    }

    fn dtypes(&self, i: usize, count: usize) -> &'static [DType] {
        if self.batch.encode.is_some() && i + 1 == self.slab(count) { &[DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (rows, d, count) = (specs.outputs[1].len(), self.chain.outputs(), self.parts(specs.inputs.len()));
        let n: usize = specs.inputs[..count].iter().map(|s| s.rows().0).sum();
        let kept = Kept::new(&self.chain, rows);
        let tile = self.chain.tile(rows, target, true).0;
        let kernel = kernel!("chain_gradient.wgsl", "chain_gradient")
            .flag("KEEP_Z", self.chain.keeps_sums())
            .flag("FACTORS", self.loss.by_step)
            .part("kept_places", format!("const TARGET = {}u;\n", kept.gradients[self.chain.layers.len() - 1]));
        let kernel = self.chain.constants(kernel, rows, tile, &self.chain.training_steps(&kept));
        let kernel = self.batch.constants(kernel, count, n, [d, specs.inputs[count].rows().0]);
        let kernel = self.loss.constants(kernel, &[rows, d]);
        match self.loss.by_step {
            true => kernel.dim("TF", specs.inputs[specs.inputs.len() - 1].len()),
            false => kernel,
        }
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (rows, count) = (specs.outputs[1].len(), self.parts(specs.inputs.len()));
        let backward: usize = self.chain.layers[1..].iter().map(|l| rows * l.inputs * (2 * l.outputs + 2)).sum();
        // Of the data only the rows of the batch are read.
        let data: usize = specs.inputs[..count].iter().map(Spec::len).sum();
        let all = Cost::of(specs);
        let bytes = all.bytes - 4 * data as u64 + 4 * (rows * self.chain.outputs()) as u64;
        Cost { flops: self.chain.flops(rows) + backward as u64, bytes }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (out, partials) = (io.output(0), io.output(1));
        let io = &*io;
        let slab = self.slab(io.specs.inputs.len());
        let input = |i: usize| (io.specs.inputs[i].clone(), io.inputs[i]);
        let (rows, d, weights) = (partials.len(), self.chain.outputs(), io.input(slab));
        let noisy = run(&self.batch, io, &(0..slab).map(input).collect::<Vec<_>>(), vec![]);
        let layers = self.chain.forward(io, &noisy[0], weights);
        let loss = |first: usize, rows: usize| {
            let part = |values| tensor([rows, d], &<[S]>::split_at(values, first * d).1[..rows * d]);
            let mut inputs = vec![part(&layers[layers.len() - 1][0]), part(&noisy[1])];
            if self.loss.by_step {
                inputs.extend([tensor([rows], &noisy[2][first..][..rows]), input(slab + 1)]);
            }
            run(&self.loss, io, &inputs, vec![])
        };
        partials.iter_mut().enumerate().for_each(|(row, sum)| *sum = loss(row, 1)[0].iter().copied().sum());
        let kept = Kept::new(&self.chain, rows);
        let mut keep = |at: usize, values: &[S]| out[at..][..values.len()].copy_from_slice(values);
        keep(0, &noisy[0]);
        let mut dz = loss(0, rows).remove(1);
        for (i, layer) in self.chain.layers.iter().enumerate().rev() {
            keep(kept.gradients[i], &dz);
            if i > 0 {
                let before = &layers[i - 1][self.chain.keeps_sums() as usize];
                keep(kept.inputs[i], &layers[i - 1][0]);
                keep(kept.before[i - 1], before);
                let activation = self.chain.activation;
                let saved = (activation != Activation::None).then(|| tensor([rows, layer.inputs], before));
                let inputs = [tensor([rows, layer.outputs], &dz), layer.parameters(weights).0];
                let inputs: Vec<_> = inputs.into_iter().chain(saved).collect();
                dz = run(&DenseInput { activation }, io, &inputs, vec![]).remove(0);
            }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let interleaved = Encode { width: 9, layout: Layout::Interleaved };
    let [even, odd] = [8, 7].map(|width| Encode { width, layout: Layout::Halves { flip: true, shift: 1.0 } });
    let case = |rows: usize, widths: &[usize], encode: Option<Encode>, activation: Activation, loss: PointLoss| {
        let (chain, len) = example(widths, activation);
        let d = chain.outputs();
        let gather = Gather { batch: rows + 4, rows, rows_per_part: 90, stream: 2, ordered: false };
        let noise = Noise::steps(5, 50);
        let noise = if loss.by_step { Noise { times: TimeDraw::Uniform, last: 7.0, ..noise } } else { noise };
        let op = ChainGradient { chain, batch: NoisyBatch { gather, noise, encode }, loss };
        let case = Case::new(op).input([90, d]).input([39, d]).values([50, Noise::ROW], example_table(50));
        let case = match encode.map(Encode::rate_words) {
            Some((shape, rates)) => case.integers(shape, rates),
            None => case,
        };
        let case = case.values([len], (0..len).map(|i| 0.2 * (i as f32 * 0.71).sin()).collect());
        let case = if loss.by_step { case.values([8], (0..8).map(|i| 0.4 + 0.2 * i as f32).collect()) } else { case };
        // Sums of up to 90 terms of magnitude 0.2 in the layers, and of 33 squares in the loss.
        case.clock(9, 7).first_row(4).tolerance(Tolerance::value(400.0))
    };
    let squared = PointLoss::new(Measure::Squared);
    let weighted = PointLoss { by_step: true, weight: 0.5, ..PointLoss::new(Measure::Huber { delta: 0.4 }) };
    vec![
        case(21, &[7 + 9, 24, 7], Some(interleaved), Activation::Relu, squared),
        case(70, &[33 + 8, 65, 19, 33], Some(even), Activation::Silu, weighted),
        case(5, &[2, 3, 2], None, Activation::Tanh, squared),
        case(9, &[90 + 7, 90], Some(odd), Activation::None, PointLoss::new(Measure::Absolute)),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let encode = Encode { width: 128, layout: Layout::Interleaved };
    let (chain, len) = example(&[228, 128, 100], Activation::Relu);
    let gather = Gather { batch: 256, rows: 256, rows_per_part: ROWS, stream: 2, ordered: false };
    let batch = NoisyBatch { gather, noise: Noise::steps(5, STEPS), encode: Some(encode) };
    let (shape, rates) = encode.rate_words();
    let op = ChainGradient { chain, batch, loss: PointLoss::new(Measure::Squared) };
    vec![Case::new(op).input([ROWS, 100]).table([STEPS, Noise::ROW]).integers(shape, rates).input([len])]
}
