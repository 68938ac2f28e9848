//! The rows of the current batch, from data resident on the device.

use std::fmt::Write;

use super::case::{Case, ROWS, Tolerance};
use super::{Io, Op, Specs};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{Data, Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, permuted};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[b\] = data[p(b)], where p is a permutation of the n samples that changes with each epoch.
///
/// Sampling is without replacement: an epoch is floor(n / B) steps, and the n mod B unused samples differ between
/// epochs.
/// *Shapes*: data in one or more parts, together [n, ...]; y [B, ...].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather {
    /// The batch size B.
    pub batch: usize,
    /// The rows of this op: fewer than B in a micro-batch.
    pub rows: usize,
    /// Samples in every part but the last.
    pub rows_per_part: usize,
    /// The random stream of the permutation.
    pub stream: u32,
    /// Whether the data are batches in order, those of one step after the other, which start again after the last.
    pub ordered: bool,
}

impl Data {
    /// The batch of `batch` samples of the current step, shuffled without replacement.
    ///
    /// # Errors
    /// When the batch is empty or larger than the data.
    pub fn batch(&self, g: &mut Graph, batch: usize) -> Result<Var> {
        Gather::new(g, self, batch)?.of(g, self)
    }

    /// [`Data::batch`], and the rows of `other` for the same samples, such as their labels.
    ///
    /// # Errors
    /// As [`Data::batch`], and when the numbers of samples differ.
    pub fn batch_with(&self, g: &mut Graph, other: &Data, batch: usize) -> Result<[Var; 2]> {
        let (n, m) = (self.shape[0], other.shape[0]);
        if n != m {
            return Err(Error::setting(format!("{m} entries for {n} samples; there should be one per sample")));
        }
        let rows = Gather::new(g, self, batch)?;
        Ok([rows.of(g, self)?, rows.of(g, other)?])
    }
}

impl Gather {
    /// The op for batches of `data`, with its own random stream.
    pub(crate) fn new(g: &mut Graph, data: &Data, batch: usize) -> Result<Self> {
        let n = data.shape[0];
        if batch == 0 || batch > n {
            return Err(Error::setting(format!("a batch of {batch} from {n} samples; use a batch of 1 to {n}")));
        }
        Ok(Gather {
            batch,
            rows: g.rows_of(batch),
            rows_per_part: data.rows_per_chunk,
            stream: g.stream(),
            ordered: false,
        })
    }

    /// The rows of `data`, which has one entry for each sample.
    ///
    /// # Errors
    /// When there are fewer entries than the batch has rows.
    pub(crate) fn of(self, g: &mut Graph, data: &Data) -> Result<Var> {
        g.apply1(Self { rows_per_part: data.rows_per_chunk, ..self }, &data.chunks)
    }

    /// The index among `n` samples of row `b` of the current batch.
    pub(crate) fn row(&self, clock: Clock, n: usize, b: usize) -> usize {
        match self.ordered {
            true => self.position(clock, n, b),
            false => self.shuffled(clock, n, b),
        }
    }

    /// The place of row `b` of the current batch in an epoch.
    fn position(&self, clock: Clock, n: usize, b: usize) -> usize {
        clock.step as usize % (n / self.batch) * self.batch + b.min(self.batch - 1)
    }

    /// The index of a row among `n` samples that are not ordered.
    pub(crate) fn shuffled(&self, clock: Clock, n: usize, b: usize) -> usize {
        let epoch = clock.step / (n / self.batch) as u32;
        permuted(self.position(clock, n, b) as u32, n as u32, epoch, self.stream, clock.seed) as usize
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let refuse = |text: String| Err(Error::shape("gather", text));
        let Some((last, parts)) = inputs.split_last() else { return refuse("needs data".into()) };
        let sample = last.shape.get(1..).unwrap_or_default();
        let whole = |part: &Spec| part.shape == [&[self.rows_per_part], sample].concat();
        if last.shape.is_empty() || last.rows().0 > self.rows_per_part || !parts.iter().all(whole) {
            let shapes: Vec<_> = inputs.iter().map(|part| &part.shape).collect();
            return refuse(format!("data in parts of {} samples, got {shapes:?}", self.rows_per_part));
        }
        let n: usize = inputs.iter().map(|part| part.rows().0).sum();
        if self.rows == 0 || self.rows > self.batch || self.batch > n {
            return refuse(format!("{} rows of a batch of {} from {n} samples", self.rows, self.batch));
        }
        Ok(vec![Spec::f32([&[self.rows], sample].concat())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let d = specs.inputs[0].rows().1;
        let lanes = d.next_power_of_two().min(64);
        let n: usize = specs.inputs.iter().map(|s| s.rows().0).sum();
        kernel!("gather.wgsl", "gather")
            .part("parts", parts(specs.inputs.len()))
            .dim("B", self.rows)
            .dim("BATCH", self.batch)
            .dim("D", d)
            .dim("COUNT", n)
            .dim("ROWS", self.rows_per_part)
            .hyper("ORDER", self.stream as f64)
            .flag("ORDERED", self.ordered)
            .tune("LANES", lanes as u32)
            .over(self.rows * lanes)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        // Only the rows of the batch are read, whichever part contains them.
        Cost { flops: 0, bytes: 2 * 4 * specs.outputs[0].len() as u64 }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let d = io.specs.inputs[0].rows().1;
        let n: usize = io.specs.inputs.iter().map(|s| s.rows().0).sum();
        let y = io.output(0);
        let io = &*io;
        parallel::rows(
            y,
            d,
            #[inline(always)]
            |b, y| {
                let row = self.row(io.clock, n, io.first_row + b);
                let part = io.input(row / self.rows_per_part);
                y.copy_from_slice(&part[row % self.rows_per_part * d..][..d]);
            },
        );
    }
}

/// The bindings of the parts, and the function that reads element `i` of row `row`.
pub(super) fn parts(count: usize) -> String {
    let mut s = String::new();
    for p in 0..count {
        writeln!(s, "@group(0) @binding({}) var<storage, read> data_{p}: array<f32>;", p + 1).expect("to a string");
    }
    s.push_str("fn element(row: u32, i: u32) -> f32 {\n  let at = (row % ROWS) * D + i;\n  switch row / ROWS {\n");
    for p in 1..count {
        writeln!(s, "    case {p}u: {{ return data_{p}[at]; }}").expect("to a string");
    }
    s.push_str("    default: { return data_0[at]; }\n  }\n}\n");
    s
}

pub(super) fn cases() -> Vec<Case> {
    let op = |batch, rows_per_part| Gather { batch, rows: batch, rows_per_part, stream: 2, ordered: false };
    let part = Gather { rows: 9, ..op(29, 40) };
    vec![
        Case::new(op(1, 1)).input([1, 3]).tolerance(Tolerance::exact()),
        Case::new(op(5, 17)).input([17, 2]).clock(3, 1).tolerance(Tolerance::exact()),
        Case::new(op(32, 100)).input([100, 129]).clock(3, 10).tolerance(Tolerance::exact()),
        Case::new(part).input([40, 5]).input([40, 5]).clock(9, 7).first_row(20).tolerance(Tolerance::exact()),
        Case::new(Gather { ordered: true, ..op(6, 20) }).input([19, 5]).clock(3, 11).tolerance(Tolerance::exact()),
        // Three parts of 40, 40 and 7 rows.
        Case::new(op(29, 40)).input([40, 5]).input([40, 5]).input([7, 5]).clock(9, 7).tolerance(Tolerance::exact()),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Gather { batch: 256, rows: 256, rows_per_part: ROWS, stream: 2, ordered: false }).input([ROWS, 784])]
}
