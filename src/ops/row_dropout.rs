//! Dropout of whole rows: removes the condition of some samples in training.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::{Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[b\] = fill in all elements with probability p, else x\[b\].
///
/// *Shapes*: x and y [B, ...]. Ops with the same stream drop the same rows. *Gradient*: none.
/// *Source*: Ho and Salimans 2022, "Classifier-free diffusion guidance", algorithm 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowDropout {
    /// p, the probability that a row is dropped.
    pub p: f32,
    /// The value of the elements of a dropped row.
    pub fill: f32,
    /// The random stream.
    pub stream: u32,
}

impl Graph {
    /// y\[b\] = fill in all elements with probability p, else x\[b\], with x and y [B, ...]. Calls with the same stream
    /// ([`Graph::stream`]) drop the same rows. Outside of training mode ([`Graph::train`]), or if p is 0, y is x.
    ///
    /// # Errors
    /// If p is not in [0, 1].
    pub fn row_dropout(&mut self, x: Var, p: f32, fill: f32, stream: u32) -> Result<Var> {
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::setting(format!("a dropout of {p}; use a probability from 0 to 1, such as 0.1")));
        }
        if p == 0.0 || !self.trains_with() {
            return Ok(x);
        }
        self.apply1(RowDropout { p, fill, stream }, &[x])
    }
}

/// A random word below it drops the row. p = 1 keeps one row in 16 million: the largest f32 below 2^32.
fn threshold(p: f32) -> u32 {
    (p * 4_294_967_296.0).min(4_294_967_040.0) as u32
}

impl Op for RowDropout {
    fn name(&self) -> &'static str {
        "row_dropout"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("row_dropout", inputs, 1)?;
        Ok(vec![Spec::f32(inputs[0].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (rows, d) = specs.inputs[0].rows();
        let lanes = d.next_power_of_two().min(64);
        kernel!("row_dropout.wgsl", "row_dropout")
            .dim("B", rows)
            .dim("D", d)
            .hyper("STREAM", self.stream as f64)
            .hyper("P", self.p as f64)
            .hyper("FILL", self.fill as f64)
            .tune("LANES", lanes as u32)
            .over(rows * lanes)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let d = io.specs.inputs[0].rows().1;
        let (x, y, clock, first) = (io.input(0), io.output(0), io.clock, io.first_row);
        let (threshold, fill) = (threshold(self.p), S::of(self.fill as f64));
        parallel::rows(
            y,
            d,
            #[inline(always)]
            |row, y| match clock.words(self.stream, (first + row) as u32)[0] < threshold {
                true => y.fill(fill),
                false => y.copy_from_slice(&x[row * d..][..d]),
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let op = RowDropout { p: 0.3, fill: 7.0, stream: 4 };
    let case = |op: RowDropout, shape: Vec<usize>| Case::new(op).input(shape).clock(3, 9).tolerance(Tolerance::exact());
    vec![
        case(op, vec![1]),
        case(op, vec![70]).first_row(5),
        case(RowDropout { p: 0.5, fill: 0.0, ..op }, vec![19, 3, 5]).first_row(2),
        case(RowDropout { p: 1.0, ..op }, vec![9, 2]),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(RowDropout { p: 0.1, fill: 0.0, stream: 4 }).input([1024, 1024])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dropped_together_at_the_given_rate() {
        let (n, d) = (40_000, 3);
        let mut g = Graph::new();
        let x = g.constant([n, d], vec![1.0; n * d]).unwrap();
        let label = g.constant([n], vec![2.0; n]).unwrap();
        let stream = g.stream();
        assert_eq!(g.row_dropout(x, 0.25, 0.0, stream).unwrap(), x, "off unless the graph trains");
        g.train();
        let (y, c) = (g.row_dropout(x, 0.25, 0.0, stream).unwrap(), g.row_dropout(label, 0.25, 9.0, stream).unwrap());
        g.keep(y);
        g.keep(c);
        let mut run = crate::Device::cpu().compile(&g).unwrap();
        run.steps(1).unwrap();
        let (y, c) = (run.read(y).unwrap(), run.read(c).unwrap());
        for (row, label) in y.chunks(d).zip(&c) {
            assert!(row.iter().all(|v| *v == if *label == 9.0 { 0.0 } else { 1.0 }));
        }
        let dropped = c.iter().filter(|v| **v == 9.0).count() as f64 / n as f64;
        // Five standard deviations of a binomial.
        assert!((dropped - 0.25).abs() < 5.0 * (0.25f64 * 0.75 / n as f64).sqrt(), "{dropped}");
        assert!(g.row_dropout(x, 1.1, 0.0, stream).is_err() && g.row_dropout(x, f32::NAN, 0.0, stream).is_err());
    }
}
