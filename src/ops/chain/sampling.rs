//! A whole sampling step in one dispatch.

use super::{Chain, example, run, tensor};
use crate::error::Result;
use crate::graph::{Cost, DType, Spec, View};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::ops::case::{Case, STEPS, Tolerance};
use crate::ops::{Activation, Encode, Io, Layout, Op, SamplerStep, Specs, StepInput, expect_count, expect_shape};

/// [`StepInput`] (or x itself), the layers, and [`SamplerStep`]: the same numbers as these ops.
///
/// *Shapes*: table [K, 21], z and limits as in [`SamplerStep`], rates as in [`StepInput`], and the slab of all
/// parameters; updates x [B, D] and the histories.
#[derive(Clone, Debug)]
pub(crate) struct ChainStep {
    pub chain: Chain,
    /// The step encoding that follows x in the input of the network.
    pub encode: Option<Encode>,
    /// The update of x.
    pub step: SamplerStep,
}

impl ChainStep {
    /// The index of the rates, if there is an encoding, or else of the slab.
    fn rates(&self) -> usize {
        1 + self.step.given as usize + self.step.limited as usize
    }

    /// The number of inputs.
    fn count(&self) -> usize {
        self.rates() + 1 + self.encode.is_some() as usize
    }

    /// Whether a target should run it, for `batch` rows.
    pub fn suits(&self, batch: usize, target: &Target) -> bool {
        let buffers = self.count() + self.updates();
        self.chain.tile(batch, target, false).1 && buffers <= target.buffers as usize
    }
}

impl Op for ChainStep {
    fn name(&self) -> &'static str {
        "chain_step"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("chain_step", inputs, self.count() + self.updates())?;
        let (d, steps) = (self.chain.outputs(), inputs[0].rows().0);
        let x = &inputs[self.count()];
        expect_shape("chain_step", "x", x, &[x.rows().0, d])?;
        expect_shape("chain_step", "table", &inputs[0], &[steps, SamplerStep::ROW])?;
        if let Some(encode) = self.encode {
            expect_shape("chain_step", "rates", &inputs[self.rates()], &[encode.frequencies(), 2])?;
        }
        // The rest is checked by the update.
        let m = std::iter::once(x).chain(&inputs[..self.rates()]).chain(&inputs[self.count()..]);
        self.step.infer(&m.cloned().collect::<Vec<_>>())
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if self.encode.is_some() && i == self.rates() { &[DType::U32] } else { &[DType::F32] }
    }

    fn updates(&self) -> usize {
        self.step.updates()
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let (batch, d) = specs.updates[0].rows();
        let tile = self.chain.tile(batch, target, false).0;
        let kernel = kernel!("chain_step.wgsl", "chain_step").flag("ENCODE", self.encode.is_some());
        let kernel = self.chain.constants(kernel, batch, tile, &self.chain.forward_steps());
        let kernel = self.step.constants(kernel, [batch, d], specs.inputs[0].rows().0);
        match self.encode {
            Some(e) => kernel.dim("E", e.width).dim("F", e.frequencies()).hyper("LAYOUT", e.layout_number()),
            None => kernel,
        }
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (batch, d) = specs.updates[0].rows();
        let cost = Cost::of(specs).reading(specs, 0, SamplerStep::ROW);
        let cost = if self.step.given { cost.reading(specs, 1, batch * d) } else { cost };
        Cost { flops: self.chain.flops(batch), ..cost }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let updates = io.specs.updates.clone();
        let mut states: Vec<&mut [S]> = (0..self.updates()).map(|i| io.update(i)).collect();
        let io = &*io;
        let input = |i: usize| (io.specs.inputs[i].clone(), io.inputs[i]);
        let x = (updates[0].clone(), View::Float(&*states[0]));
        let network_input = match self.encode {
            Some(encode) => run(&StepInput { encode }, io, &[x, input(0), input(self.rates())], vec![]).remove(0),
            None => states[0].to_vec(),
        };
        let m = self.chain.forward(io, &network_input, io.input(self.count() - 1)).pop().expect("there are layers");
        let m = tensor(updates[0].shape.clone(), &m[0]);
        let inputs: Vec<_> = [m].into_iter().chain((0..self.rates()).map(input)).collect();
        let states = updates.into_iter().zip(states.iter_mut().map(|state| &mut **state)).collect();
        run(&self.step, io, &inputs, states);
    }
}

pub(super) fn cases() -> Vec<Case> {
    let halves = Layout::Halves { flip: true, shift: 1.0 };
    let plain = SamplerStep { stream: 3, given: false, histories: 0, limited: false };
    let two = SamplerStep { given: true, histories: 2, limited: true, ..plain };
    let row = |bound: f32| {
        let next = [0.6, 0.3, 0.2, -0.5, 0.25, 0.1];
        let histories = [0.7, -0.2, 0.4, 0.15, -0.35, -0.1, 0.45, 0.05, -0.3, 0.2];
        [&[9.0, 1.0, 0.1, -0.4, bound], &next[..], &histories].concat()
    };
    let case = |batch: usize, widths: &[usize], encode: Option<Encode>, step: SamplerStep, activation: Activation| {
        let (chain, len) = example(widths, activation);
        let d = chain.outputs();
        let mut case =
            Case::new(ChainStep { chain, encode, step }).values([2, SamplerStep::ROW], [row(0.5), row(3.0)].concat());
        if step.given {
            case = case.input([2, batch * d]);
        }
        if step.limited {
            let ends = |sign: f32| (0..d).map(move |i| sign * (0.1 + 0.01 * i as f32));
            case = case.values([2, d], ends(-1.0).chain(ends(2.0)).collect::<Vec<f32>>());
        }
        if let Some((shape, rates)) = encode.map(Encode::rate_words) {
            case = case.integers(shape, rates);
        }
        let wave = |n: usize, by: f32| (0..n).map(move |i| (i as f32 * by).sin()).collect::<Vec<f32>>();
        case = case
            .values([len], wave(len, 0.71).iter().map(|w| 0.3 * w).collect())
            .update([batch, d], wave(batch * d, 0.37));
        if step.histories > 0 {
            case = case.update([step.histories * batch, d], wave(step.histories * batch * d, 0.53));
        }
        // Sums of up to 90 terms of magnitude 0.3, in three layers.
        case.clock(1, 1).tolerance(Tolerance::absolute(400.0))
    };
    let interleaved = Encode { width: 9, layout: Layout::Interleaved };
    let [even, odd] = [8, 7].map(|width| Encode { width, layout: halves });
    vec![
        case(21, &[7 + 9, 24, 7], Some(interleaved), plain, Activation::Relu).first_row(5),
        case(70, &[33 + 8, 65, 19, 33], Some(even), two, Activation::Silu),
        case(5, &[2, 3, 2], None, SamplerStep { histories: 1, ..plain }, Activation::Tanh),
        case(9, &[90 + 7, 128, 90], Some(odd), plain, Activation::Relu),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let encode = Encode { width: 128, layout: Layout::Interleaved };
    let (chain, len) = example(&[228, 128, 100], Activation::Relu);
    let step = SamplerStep { stream: 3, given: false, histories: 0, limited: false };
    let (shape, rates) = encode.rate_words();
    let case = Case::new(ChainStep { chain, encode: Some(encode), step }).table([STEPS, SamplerStep::ROW]);
    vec![case.integers(shape, rates).table([len / 64, 64]).update([1024, 100], vec![0.5; 1024 * 100])]
}
