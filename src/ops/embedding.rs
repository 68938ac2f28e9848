//! Table lookup by index, and the gradient of the table.

use super::case::{Case, STEPS, Tolerance};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{DType, Reverse, Spec, View};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[n\] = table[index\[n\]].
///
/// *Shapes*: table [V, E], index \[N\] as integers or as whole numbers in f32 such as steps t; y [N, E]. A fraction is
/// rounded to the nearest row, an index beyond the table is clamped to its last row. *Gradient*: each row of the table
/// sums the rows of dy with its index, in the order of N; none for the index.
#[derive(Clone, Copy, Debug)]
pub struct Embedding;

/// Maximum total number of loop iterations of an invocation.
const TRIPS: usize = 24_000;

/// The row of index `i` in a table of `v` rows.
pub(super) fn row_of<S: Scalar>(index: View<S>, i: usize, v: usize) -> usize {
    let row = match index {
        View::Int(values) => values[i] as usize,
        View::Float(values) => (values[i].f64() + 0.5).floor().max(0.0) as usize,
    };
    row.min(v - 1)
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("embedding", inputs, 2)?;
        let (table, index) = (&inputs[0].shape, &inputs[1].shape);
        if table.len() != 2 || index.len() != 1 {
            return Err(Error::shape(
                "embedding",
                format!("expected table [V, E], index [N]; got {table:?}, {index:?}"),
            ));
        }
        if index[0] > TRIPS {
            let text = format!("{} indices at once; the table's gradient takes at most {TRIPS}", index[0]);
            return Err(Error::limit(format!("embedding: {text}; use a smaller batch"), true));
        }
        Ok(vec![Spec::f32([index[0], table[1]])])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if i == 1 { &[DType::F32, DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let ((v, e), (n, _)) = (specs.inputs[0].rows(), specs.inputs[1].rows());
        kernel!("embedding.wgsl", "embed")
            .flag("INTEGERS", specs.inputs[1].dtype == DType::U32)
            .dim("V", v)
            .dim("E", e)
            .dim("N", n)
            .over(n * e)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: 0, ..Cost::of(specs).reading(specs, 0, specs.outputs[0].len()) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (v, e) = io.specs.inputs[0].rows();
        let (table, index) = (io.input(0), io.inputs[1]);
        parallel::rows(
            io.output(0),
            e,
            #[inline(always)]
            |n, y| y.copy_from_slice(&table[row_of(index, n, v) * e..][..e]),
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let index = r.input(1);
            let rows = r.graph.shape(r.input(0))[0];
            let d = r.graph.apply1(EmbeddingTable { rows }, &[dy, index])?;
            r.add_gradient(0, d);
        }
        Ok(())
    }
}

/// dtable\[v\] = sum of dy\[n\] over the n with index\[n\] = v: dy [N, E], index \[N\], dtable [V, E].
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmbeddingTable {
    /// V.
    pub rows: usize,
}

impl Op for EmbeddingTable {
    fn name(&self) -> &'static str {
        "embedding_table"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("embedding_table", inputs, 2)?;
        let (n, e) = inputs[0].rows();
        expect_shape("embedding_table", "index", &inputs[1], &[n])?;
        Ok(vec![Spec::f32([self.rows, e])])
    }

    fn dtypes(&self, i: usize, _: usize) -> &'static [DType] {
        if i == 1 { &[DType::F32, DType::U32] } else { &[DType::F32] }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (n, e) = specs.inputs[0].rows();
        // Fewer invocations per row search the indices less often; but all of dy may belong to one row.
        let share = (TRIPS / n).saturating_sub(1).clamp(1, 32);
        let blocks = e.div_ceil(share).next_power_of_two();
        kernel!("embedding.wgsl", "table_gradient")
            .flag("INTEGERS", specs.inputs[1].dtype == DType::U32)
            .dim("V", self.rows)
            .dim("E", e)
            .dim("N", n)
            .tune("BLOCKS", blocks as u32)
            .over(self.rows * blocks)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (n, e) = io.specs.inputs[0].rows();
        let (dy, index, d) = (io.input(0), io.inputs[1], io.output(0));
        d.fill(S::ZERO);
        for i in 0..n {
            let row = row_of(index, i, self.rows);
            d[row * e..][..e].iter_mut().zip(&dy[i * e..][..e]).for_each(|(d, dy)| *d += *dy);
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (v, e, n) in [(1, 1, 1), (10, 6, 7), (50, 33, 130)] {
        let index: Vec<u32> = (0..n as u32).map(|i| i * i * 7 % v as u32).collect();
        let steps: Vec<f32> = index.iter().map(|i| *i as f32).collect();
        let case = Case::new(Embedding).input([v, e]).integers([n], index.clone());
        cases.push(case.tolerance(Tolerance::exact()));
        cases.push(Case::new(Embedding).input([v, e]).values([n], steps.clone()).tolerance(Tolerance::exact()));
        let terms = Tolerance::terms(2.0, n);
        let op = EmbeddingTable { rows: v };
        cases.push(Case::new(op).input([n, e]).integers([n], index).tolerance(terms));
        cases.push(Case::new(op).input([n, e]).values([n], steps).tolerance(terms));
    }
    // Fractions, and indices out of range.
    let case = Case::new(Embedding).input([10, 3]).values([4], vec![2.4, 2.5, 9.0, 30.0]);
    cases.push(case.tolerance(Tolerance::exact()));
    // All rows of dy in one row of the table.
    let case = Case::new(EmbeddingTable { rows: 3 }).input([900, 40]).integers([900], vec![1; 900]);
    cases.push(case.tolerance(Tolerance::terms(2.0, 900)));
    let case = Case::new(Embedding).input([5, 3]).integers([4], vec![4, 0, 4, 2]);
    cases.push(case.tolerance(Tolerance::exact()).gradient());
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![
        Case::new(Embedding).input([STEPS, 128]).indices(4096, STEPS),
        Case::new(EmbeddingTable { rows: STEPS }).input([4096, 128]).indices(4096, STEPS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_indices_than_a_loop_may_take_are_a_limit_that_a_smaller_batch_helps() {
        let infer = |n: usize| Embedding.infer(&[Spec::f32([10, 4]), Spec::f32([n])]);
        infer(TRIPS).unwrap();
        let e = infer(TRIPS + 1).unwrap_err();
        assert!(matches!(e, Error::Limit { smaller_batch_helps: true, .. }), "{e:?}");
    }
}
