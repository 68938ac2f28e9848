//! The gradients of all parameters of a chain in one dispatch, or in two if the batch is split.

use super::training::Kept;
use super::{Chain, example, run, tensor};
use crate::error::Result;
use crate::graph::{Cost, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::ops::case::{Case, Tolerance};
use crate::ops::dense::DenseWeight;
use crate::ops::gemm::{Member, Operand, gemm_of};
use crate::ops::{Activation, Io, Op, Specs, expect_count, expect_shape};

/// dW = dz^T x and db = sum over B of dz of each layer.
///
/// *Shapes*: what [`ChainGradient`](super::ChainGradient) keeps; updates the slab of gradients, or if the batch is split
/// outputs parts [S, all parameters without gaps], which [`ChainSum`] adds.
#[derive(Clone, Debug)]
pub(super) struct ChainWeight {
    pub chain: Chain,
    pub batch: usize,
    /// Samples in each part but the last, which may have fewer; `None` for one part.
    pub per: Option<usize>,
}

impl Chain {
    /// Places of the weight and of the bias of each layer in a tensor of all parameters without gaps, and its length.
    fn compact(&self) -> (Vec<[usize; 2]>, usize) {
        let mut len = 0;
        let mut take = |n: usize| {
            len += n;
            len - n
        };
        let places = self.layers.iter().map(|l| [take(l.outputs * l.inputs), take(l.outputs)]).collect();
        (places, len)
    }

    /// The samples of a part of the batch, if it should be split.
    pub(super) fn part_of(&self, batch: usize) -> Option<usize> {
        DenseWeight::part_of(batch, self.layers.iter().map(|l| DenseWeight::tiles(l.outputs, l.inputs)).sum())
    }
}

impl ChainWeight {
    fn parts(&self) -> usize {
        self.per.map_or(1, |per| self.batch.div_ceil(per))
    }

    /// The shape of the output if the batch is split.
    pub fn parts_shape(&self) -> [usize; 2] {
        [self.parts(), self.chain.compact().1]
    }
}

impl Op for ChainWeight {
    fn name(&self) -> &'static str {
        "chain_weight"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("chain_weight", inputs, 1 + self.updates())?;
        expect_shape("chain_weight", "kept", &inputs[0], &[Kept::new(&self.chain, self.batch).len])?;
        Ok(self.per.map(|_| Spec::f32(self.parts_shape())).into_iter().collect())
    }

    fn updates(&self) -> usize {
        self.per.is_none() as usize
    }

    fn kernel(&self, _: &Specs, target: &Target) -> Kernel {
        let (kept, (places, len)) = (Kept::new(&self.chain, self.batch), self.chain.compact());
        let member = |(i, l): (usize, &super::Layer)| {
            let (x, dz, rows, cols) = (kept.inputs[i], kept.gradients[i], l.outputs, l.inputs + 1);
            let [w, b] = if self.per.is_some() { places[i] } else { [l.weight, l.bias] };
            let select = format!("M = {rows}u; N = {cols}u; x_at = {x}u; dz_at = {dz}u; w_at = {w}u; b_at = {b}u;");
            Member { shape: [rows, cols], select }
        };
        let members: Vec<Member> = self.chain.layers.iter().enumerate().map(member).collect();
        let fours = self.chain.layers.iter().all(|l| l.inputs % 4 == 0 && l.outputs % 4 == 0);
        let operand = Operand::OUTER.rows_of(if fours { 4 } else { 1 });
        let kernel = kernel!("chain_weight.wgsl", "gemm").flag("SPLIT", self.per.is_some());
        let kernel = if self.per.is_some() { kernel.dim("BATCH", self.batch).dim("TOTAL", len) } else { kernel };
        let sizes = [self.per.unwrap_or(self.batch), self.parts()];
        gemm_of(kernel, sizes, [operand.gradient(self.batch), operand], &members, target)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let flops = self.chain.layers.iter().map(|l| self.batch * l.outputs * (2 * l.inputs + 1)).sum::<usize>();
        let (read, written) = (specs.inputs[0].len(), self.parts() * self.chain.compact().1);
        Cost { flops: flops as u64, bytes: 4 * (read + written) as u64 }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let kept = Kept::new(&self.chain, self.batch);
        let (places, len) = self.chain.compact();
        let out = if self.per.is_some() { io.output(0) } else { io.update(0) };
        let io = &*io;
        for (i, l) in self.chain.layers.iter().enumerate() {
            let of = |at: usize, width: usize| tensor([self.batch, width], &io.input(0)[at..][..self.batch * width]);
            let inputs = [of(kept.gradients[i], l.outputs), of(kept.inputs[i], l.inputs)];
            let made = run(&DenseWeight { per: self.per }, io, &inputs, vec![]);
            let mut write = |at: usize, values: &[S]| out[at..][..values.len()].copy_from_slice(values);
            if self.per.is_none() {
                write(l.weight, &made[0]);
                write(l.bias, &made[1]);
                continue;
            }
            for (part, values) in made[0].chunks(l.outputs * (l.inputs + 1)).enumerate() {
                write(part * len + places[i][0], values);
            }
        }
    }
}

/// The slab of gradients from parts: the sum over s of parts\[s\], in the order of s.
///
/// *Shapes*: parts [S, all parameters without gaps]; updates the slab.
#[derive(Clone, Debug)]
pub(super) struct ChainSum {
    pub chain: Chain,
}

impl ChainSum {
    /// The WGSL function from the index of a parameter to its place in the slab.
    fn places(&self) -> String {
        let mut text = String::from("fn place(i: u32) -> u32 {\n");
        for (l, [w, b]) in self.chain.layers.iter().zip(self.chain.compact().0) {
            for (slab, start, len) in [(l.weight, w, l.outputs * l.inputs), (l.bias, b, l.outputs)] {
                text += &format!("  if (i < {}u) {{ return i - {start}u + {slab}u; }}\n", start + len);
            }
        }
        text + "  return 0u;\n}\n"
    }
}

impl Op for ChainSum {
    fn name(&self) -> &'static str {
        "chain_sum"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("chain_sum", inputs, 2)?;
        expect_shape("chain_sum", "parts", &inputs[0], &[inputs[0].rows().0, self.chain.compact().1])?;
        Ok(vec![])
    }

    fn updates(&self) -> usize {
        1
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (parts, len) = specs.inputs[0].rows();
        kernel!("chain_sum.wgsl", "chain_sum").part("places", self.places()).dim("S", parts).dim("TOTAL", len).over(len)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let (parts, len) = specs.inputs[0].rows();
        Cost { flops: (parts * len) as u64, bytes: 4 * ((parts + 1) * len) as u64 }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (parts, slab) = (io.input(0), io.update(0));
        let (places, len) = self.chain.compact();
        let sum = |at: usize| parts.chunks(len).fold(S::ZERO, |sum, part| sum + part[at]);
        for (l, [w, b]) in self.chain.layers.iter().zip(places) {
            (0..l.outputs * l.inputs).for_each(|i| slab[l.weight + i] = sum(w + i));
            (0..l.outputs).for_each(|i| slab[l.bias + i] = sum(b + i));
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, widths) in [(21, &[16, 24, 8][..]), (70, &[40, 65, 19, 33]), (1, &[3, 5])] {
        let (chain, len) = example(widths, Activation::Relu);
        let kept = Kept::new(&chain, batch).len;
        let tolerance = Tolerance::terms(2.0, batch);
        for per in [None, Some(batch.div_ceil(3))] {
            let case = Case::new(ChainWeight { chain: chain.clone(), batch, per }).input([kept]);
            cases.push(if per.is_none() { case.zeros(len) } else { case }.tolerance(tolerance));
        }
        let case = Case::new(ChainSum { chain: chain.clone() }).input([3, chain.compact().1]);
        cases.push(case.zeros(len).tolerance(Tolerance::terms(1.0, 3)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let (chain, len) = example(&[228, 128, 100], Activation::Relu);
    let kept = |batch: usize| Kept::new(&chain, batch).len;
    vec![
        Case::new(ChainWeight { chain: chain.clone(), batch: 256, per: None }).input([kept(256)]).zeros(len),
        Case::new(ChainSum { chain: chain.clone() }).input([9, chain.compact().1]).zeros(len),
    ]
}
