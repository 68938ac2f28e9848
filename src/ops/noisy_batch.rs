//! Batch, noise and step encoding in one pass over the data: the inputs of a training step.

use super::case::{Case, ROWS, STEPS, Tolerance};
use super::gather::parts;
use super::noise::example_table;
use super::{Encode, Gather, Io, Layout, Noise, Op, Specs, TimeDraw, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{DType, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// [`Gather`], then [`Noise`], then optionally [`Encode`] concatenated to x_t: the same numbers as the three ops.
///
/// *Shapes*: data in parts, together [n, ...], table [T, 4], and with an encoding of width E its rates; outputs the
/// network's input [B, ...] or [B, D + E], the target [B, ...], and t \[B\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoisyBatch {
    /// Selects the rows.
    pub gather: Gather,
    /// The noise.
    pub noise: Noise,
    /// The encoding that follows x_t in each row; set by a fusion if the network concatenates both.
    pub encode: Option<Encode>,
}

impl NoisyBatch {
    /// The number of inputs that are not parts of the data.
    fn others(&self) -> usize {
        1 + self.encode.is_some() as usize
    }

    fn width(&self) -> usize {
        self.encode.map_or(0, |e| e.width)
    }

    /// The constants of the kernels that read `n` rows of `d` values in `count` parts, and a table of `t` rows.
    pub(super) fn constants(&self, kernel: Kernel, count: usize, n: usize, [d, t]: [usize; 2]) -> Kernel {
        let kernel = kernel
            .part("parts", parts(count))
            .flag("ENCODE", self.encode.is_some())
            .dim("BATCH", self.gather.batch)
            .dim("D", d)
            .dim("COUNT", n)
            .dim("ROWS", self.gather.rows_per_part)
            .dim("T", t)
            .hyper("ORDER", self.gather.stream as f64)
            .flag("ORDERED", self.gather.ordered)
            .hyper("STREAM", self.noise.stream as f64);
        let kernel = self.noise.times.constants(kernel, self.noise.last);
        match self.encode {
            Some(e) => kernel.dim("E", e.width).dim("F", e.frequencies()).hyper("LAYOUT", e.layout_number()),
            None => kernel,
        }
    }
}

impl Op for NoisyBatch {
    fn name(&self) -> &'static str {
        "noisy_batch"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        if inputs.len() <= self.others() {
            return Err(Error::shape("noisy_batch", "needs data, a table and the rates of an encoding"));
        }
        let parts = inputs.len() - self.others();
        let batch = self.gather.infer(&inputs[..parts])?.remove(0);
        expect_shape("noisy_batch", "table", &inputs[parts], &[inputs[parts].rows().0, Noise::ROW])?;
        if let Some(encode) = self.encode {
            expect_shape("noisy_batch", "rates", &inputs[parts + 1], &[encode.frequencies(), 2])?;
        }
        let (rows, d) = batch.rows();
        let input = if self.encode.is_some() { Spec::f32([rows, d + self.width()]) } else { batch.clone() };
        Ok(vec![input, batch, Spec::f32([rows])])
    }

    fn dtypes(&self, i: usize, count: usize) -> &'static [DType] {
        if self.encode.is_some() && i + 1 == count { &[DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let count = specs.inputs.len() - self.others();
        let (batch, d) = specs.outputs[1].rows();
        let n: usize = specs.inputs[..count].iter().map(|s| s.rows().0).sum();
        let lanes = Noise::lanes(d, target);
        let kernel = kernel!("noisy_batch.wgsl", "noisy_batch").dim("B", batch).tune("LANES", lanes as u32);
        self.constants(kernel, count, n, [d, specs.inputs[count].rows().0]).over(batch * lanes)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        // Of the data and the table only the rows of the batch are read.
        let rows = specs.outputs[1].len() + (1 + Noise::ROW) * specs.outputs[2].len();
        let written: usize = specs.outputs.iter().map(|s| s.len()).sum();
        Cost { flops: 3 * specs.outputs[1].len() as u64, bytes: 4 * (rows + written) as u64 }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let count = io.specs.inputs.len() - self.others();
        let (batch, d) = io.specs.outputs[1].rows();
        let (input, target, t) = (io.output(0), io.output(1), io.output(2));
        let io = &*io;
        let rates = self.encode.map(|_| io.input_u32(count + 1));
        let n: usize = io.specs.inputs[..count].iter().map(|s| s.rows().0).sum();
        let (clock, first, table) = (io.clock, io.first_row, io.input(count));
        t.iter_mut().enumerate().for_each(|(row, t)| *t = self.noise.draw_t(clock, first + row, table).t);
        debug_assert_eq!(t.len(), batch);
        parallel::rows2(
            input,
            d + self.width(),
            target,
            d,
            #[inline(always)]
            |row, input, target| {
                let at = self.gather.row(clock, n, first + row);
                let x0 = &io.input(at / self.gather.rows_per_part)[at % self.gather.rows_per_part * d..][..d];
                let t = self.noise.row(clock, first + row, x0, table, &mut input[..d], target);
                if let (Some(encode), Some(rates)) = (self.encode, rates) {
                    encode.row(t.f64(), rates, &mut input[d..]);
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let (table, noise) = (example_table(50), Noise::steps(5, 50));
    let gather = |batch, rows_per_part| Gather { batch, rows: batch, rows_per_part, stream: 2, ordered: false };
    let tolerance = Tolerance::absolute(40.0);
    let mut cases = Vec::new();
    let plain = NoisyBatch { gather: gather(9, 20), noise, encode: None };
    let case = Case::new(plain).input([20, 7]).values([50, Noise::ROW], table.clone());
    cases.push(case.clock(77, 3).tolerance(tolerance));
    let part = NoisyBatch { gather: Gather { rows: 4, ..gather(9, 20) }, ..plain };
    let ordered = NoisyBatch { gather: Gather { ordered: true, ..gather(5, 20) }, ..plain };
    let case = Case::new(ordered).input([19, 7]).values([50, Noise::ROW], table.clone());
    cases.push(case.clock(77, 5).tolerance(tolerance));
    let case = Case::new(part).input([20, 7]).values([50, Noise::ROW], table.clone());
    cases.push(case.clock(77, 3).first_row(5).tolerance(tolerance));
    // As many parts as bindings of small numbers leave no room for.
    let many = NoisyBatch { gather: gather(9, 2), ..plain };
    let case = (0..18).fold(Case::new(many), |case, _| case.input([2, 7]));
    cases.push(case.values([50, Noise::ROW], table.clone()).clock(77, 3).tolerance(tolerance));
    for (layout, width, d) in [
        (Layout::Interleaved, 9, 33),
        (Layout::Halves { flip: false, shift: 0.0 }, 16, 100),
        (Layout::Halves { flip: true, shift: 1.0 }, 7, 2),
    ] {
        let encode = Encode { width, layout };
        let op = NoisyBatch { gather: gather(29, 40), noise, encode: Some(encode) };
        let (shape, rates) = encode.rate_words();
        let case = Case::new(op).input([40, d]).input([40, d]).input([7, d]).values([50, Noise::ROW], table.clone());
        cases.push(case.integers(shape, rates.clone()).clock(9, 7).tolerance(tolerance));
        let times = TimeDraw::LogitNormal { mean: 0.2, deviation: 1.0 };
        let op = NoisyBatch { noise: Noise { times, last: 4.0, ..noise }, ..op };
        let case = Case::new(op).input([40, d]).values([7, Noise::ROW], example_table(7));
        cases.push(case.integers(shape, rates).clock(9, 7).tolerance(Tolerance::absolute(80.0)));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let gather = Gather { batch: 256, rows: 256, rows_per_part: ROWS, stream: 2, ordered: false };
    let encode = Encode { width: 128, layout: Layout::Interleaved };
    let (shape, rates) = encode.rate_words();
    let case = Case::new(NoisyBatch { gather, noise: Noise::steps(5, STEPS), encode: Some(encode) }).input([ROWS, 784]);
    vec![case.table([STEPS, Noise::ROW]).integers(shape, rates)]
}
