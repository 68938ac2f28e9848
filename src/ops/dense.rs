//! The dense layer y = act(x W^T + b), and its two backward products.

use super::activation::{activated, activation_before, gradient_before, stored_outputs};
use super::case::{Case, Tolerance};
use super::gemm::{Operand, Product, gemm};
use super::part_sum::{PartSum, Second};
use super::{Activation, Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{Graph, Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::parallel::matmul::{Initial, Matrix, matmul, matmul_with};

/// y = act(z), z = x W^T + b.
///
/// *Shapes*: x [B, I], w [O, I], b \[O\], y and z [B, O]; z is stored only when the derivative needs it.
/// *Gradient*: dW = dz^T x, db = sum over B of dz, dx = dz W. When x is the output of an activation without other
/// consumers, its derivative is fused into the product for dx.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// The fused activation.
    pub activation: Activation,
}

/// One of the three products of `dense.wgsl`.
fn shader(product: &str) -> Kernel {
    kernel!("dense.wgsl", "gemm").one_of(&["FORWARD", "INPUT", "WEIGHT"], product).flag("SPLIT", false)
}

impl Op for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("dense", inputs, 3)?;
        let (x, w, b) = (&inputs[0].shape, &inputs[1].shape, &inputs[2].shape);
        if x.len() != 2 || w.len() != 2 || x[1] != w[1] || *b != [w[0]] {
            let text = format!("expected x [B, I], w [O, I], b [O]; got x {x:?}, w {w:?}, b {b:?}");
            return Err(Error::shape("dense", text));
        }
        Ok(activated(Spec::f32([x[0], w[0]]), self.activation))
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let ((b, i), (o, _)) = (specs.inputs[0].rows(), specs.inputs[1].rows());
        let kernel = shader("FORWARD").flag("SAVE", specs.stores(1));
        let kernel = self.activation.choose(kernel);
        let rows = Operand::INNER.rows_of(i);
        gemm(kernel, Product { shape: [b, o, i], slices: 1, a: rows, b: rows }, target)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let ((b, i), (o, _)) = (specs.inputs[0].rows(), specs.inputs[1].rows());
        Cost::gemm(specs, [b, o, i], 1 + (self.activation != Activation::None) as usize)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0, 1]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ((b, i), (o, _)) = (io.specs.inputs[0].rows(), io.specs.inputs[1].rows());
        let (x, w, bias, y) = (io.input(0), io.input(1), io.input(2), io.output(0));
        let (x, w, bias) = (Matrix::new(x, b, i), Matrix::new(w, o, i).t(), Initial::Row(bias));
        if io.specs.stores(1) {
            let z = io.output(1);
            matmul_with(z, x, w, bias, |_, _| {});
            return parallel::chunks(
                y,
                #[inline(always)]
                |start, y| {
                    y.copy_from_slice(&z[start..][..y.len()]);
                    self.activation.apply_all(y);
                },
            );
        }
        matmul_with(
            y,
            x,
            w,
            bias,
            #[inline(always)]
            |_, y| self.activation.apply_all(y),
        );
    }

    fn activation(&self) -> Option<Activation> {
        Some(self.activation)
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dz) = gradient_before(r, self.activation)? else { return Ok(()) };
        let (x, w) = (r.input(0), r.input(1));
        if r.needs_gradient(1) || r.needs_gradient(2) {
            let d = DenseWeight::add_to(r.graph, dz, x)?;
            r.add_gradient(1, d[0]);
            r.add_gradient(2, d[1]);
        }
        if r.needs_gradient(0) {
            match activation_before(r.graph, x).filter(|_| r.sole_use(x)) {
                Some((activation, saved, before)) => {
                    let d = r.graph.apply1(DenseInput { activation }, &[dz, w, saved])?;
                    r.add_gradient_to(before, d);
                }
                None => {
                    let dx = r.graph.apply1(DenseInput { activation: Activation::None }, &[dz, w])?;
                    r.add_gradient(0, dx);
                }
            }
        }
        Ok(())
    }
}

/// dx = (dz W) act'(saved): dz [B, O], w [O, I], saved [B, I] (absent without activation), dx [B, I].
#[derive(Clone, Copy, Debug)]
pub(crate) struct DenseInput {
    pub activation: Activation,
}

impl Op for DenseInput {
    fn name(&self) -> &'static str {
        "dense_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let count = if self.activation == Activation::None { 2 } else { 3 };
        expect_count("dense_input", inputs, count)?;
        let ((b, o), (_, i)) = (inputs[0].rows(), inputs[1].rows());
        expect_shape("dense_input", "w", &inputs[1], &[o, i])?;
        if count == 3 {
            expect_shape("dense_input", "saved", &inputs[2], &[b, i])?;
        }
        Ok(vec![Spec::f32([b, i])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let ((b, o), (_, i)) = (specs.inputs[0].rows(), specs.inputs[1].rows());
        let kernel = shader("INPUT").flag("SLOPE", self.activation != Activation::None);
        let kernel = self.activation.choose(kernel);
        let (a, w) = (Operand::INNER.rows_of(o).gradient(b), Operand::OUTER.rows_of(i));
        gemm(kernel, Product { shape: [b, i, o], slices: 1, a, b: w }, target)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let ((b, o), (_, i)) = (specs.inputs[0].rows(), specs.inputs[1].rows());
        Cost::gemm(specs, [b, i, o], 2 * (self.activation != Activation::None) as usize)
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 2], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ((b, o), (_, i)) = (io.specs.inputs[0].rows(), io.specs.inputs[1].rows());
        let (dx, dz, w) = (io.output(0), Matrix::new(io.input(0), b, o), Matrix::new(io.input(1), o, i));
        if self.activation == Activation::None {
            return matmul(dx, dz, w, false);
        }
        let saved = io.input(2);
        matmul_with(
            dx,
            dz,
            w,
            Initial::Zero,
            #[inline(always)]
            |start, dx| self.activation.slope_all(dx, &saved[start..]),
        );
    }
}

/// dW = dz^T x and db = sum over B of dz: dz [B, O], x [B, I], dw [O, I], db \[O\].
///
/// On the GPU both come from one product, with a column of ones added to x. A small product of long sums is split into
/// parts of the batch (split-K), so that it occupies a large adapter: the output is then parts [S, O I + O], and
/// [`PartSum`] follows. Their number depends on the shapes only, so the order of summation does not depend on the
/// machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DenseWeight {
    /// Samples in each part but the last, which may have fewer; `None` for one part.
    pub per: Option<usize>,
}

impl DenseWeight {
    /// Fewest samples in a part: shorter sums would not be worth the addition of the parts.
    const LEAST: usize = 256;

    /// dw and db, from one product or from parts.
    fn add_to(g: &mut Graph, dz: Var, x: Var) -> Result<Vec<Var>> {
        let ((b, o), (_, i)) = (g.spec(dz).rows(), g.spec(x).rows());
        let per = Self::part_of(b, Self::tiles(o, i));
        if per.is_none() {
            return g.apply(Self { per }, &[dz, x]);
        }
        let parts = g.apply1(Self { per }, &[dz, x])?;
        g.apply(PartSum { shape: vec![o, i], second: Second::After }, &[parts])
    }

    /// Tiles of the product.
    pub fn tiles(o: usize, i: usize) -> usize {
        o.div_ceil(64) * (i + 1).div_ceil(64)
    }

    /// The samples of a part of the batch for a grid of `tiles`, if it should be split: enough workgroups for a large
    /// adapter, and several parts per core.
    pub fn part_of(batch: usize, tiles: usize) -> Option<usize> {
        let parts = 128 / tiles;
        let per = batch.div_ceil(parts.clamp(1, 64)).max(Self::LEAST);
        (2 * per <= batch).then_some(per)
    }

    /// B, O and I, and the samples of a part.
    fn sizes(&self, inputs: &[Spec]) -> ([usize; 3], usize) {
        let ((b, o), (_, i)) = (inputs[0].rows(), inputs[1].rows());
        ([b, o, i], self.per.unwrap_or(b))
    }
}

impl Op for DenseWeight {
    fn name(&self) -> &'static str {
        "dense_weight"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("dense_weight", inputs, 2)?;
        let ([b, o, i], per) = self.sizes(inputs);
        expect_shape("dense_weight", "x", &inputs[1], &[b, i])?;
        Ok(match self.per {
            Some(_) => vec![Spec::f32([b.div_ceil(per), o * i + o])],
            None => vec![Spec::f32([o, i]), Spec::f32([o])],
        })
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let ([b, o, i], per) = self.sizes(&specs.inputs);
        let kernel = shader("WEIGHT").flag("SPLIT", self.per.is_some());
        let kernel = if self.per.is_some() { kernel.dim("BATCH", b) } else { kernel };
        let (a, x) = (Operand::OUTER.rows_of(o).gradient(b), Operand::OUTER.rows_of(i));
        gemm(kernel, Product { shape: [o, i + 1, per], slices: b.div_ceil(per), a, b: x }, target)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let ([b, o, i], _) = self.sizes(&specs.inputs);
        let sums = Cost { flops: (b * o) as u64, bytes: 0 };
        Cost::gemm(specs, [o, i, b], 0) + sums
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1], vec![]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ([b, o, i], per) = self.sizes(&io.specs.inputs);
        let (dz, x) = (io.input(0), io.input(1));
        if self.per.is_none() {
            matmul(io.output(0), Matrix::new(dz, b, o).t(), Matrix::new(x, b, i), false);
            return column_sums(dz, o, io.output(1));
        }
        parallel::blocks(
            io.output(0),
            o * i + o,
            None,
            #[inline(always)]
            |part, out, _| {
                let rows = part * per..((part + 1) * per).min(b);
                let (dw, db) = out.split_at_mut(o * i);
                let dz = &dz[rows.start * o..rows.end * o];
                let x = Matrix::new(&x[rows.start * i..rows.end * i], rows.len(), i);
                matmul(dw, Matrix::new(dz, rows.len(), o).t(), x, false);
                column_sums(dz, o, db);
            },
        );
    }
}

/// The sum of each column of rows of `o`, a few columns at a time, each from the first row to the last.
pub(super) fn column_sums<S: Scalar>(rows: &[S], o: usize, out: &mut [S]) {
    const COLUMNS: usize = 32;
    parallel::pieces(
        parallel::cut(out, COLUMNS),
        #[inline(always)]
        |i, out| {
            let mut sums = [S::ZERO; COLUMNS];
            for row in rows.chunks(o) {
                let row = &row[COLUMNS * i..][..out.len()];
                for (sum, v) in sums.iter_mut().zip(row) {
                    *sum += *v;
                }
            }
            out.copy_from_slice(&sums[..out.len()]);
        },
    );
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Ragged sizes around the tiles of 16, 32 and 64, tall, wide and single.
    for (b, i, o) in [(1, 1, 1), (7, 3, 5), (64, 16, 64), (65, 33, 63), (3, 129, 17), (130, 20, 31)] {
        let terms = Tolerance::terms(3.0, i);
        for activation in [Activation::None, Activation::Relu] {
            cases.push(Case::new(Dense { activation }).input([b, i]).input([o, i]).input([o]).tolerance(terms));
        }
        cases.push(
            Case::new(DenseInput { activation: Activation::None })
                .input([b, o])
                .input([o, i])
                .tolerance(Tolerance::terms(2.0, o)),
        );
        for per in [None, Some(b.div_ceil(3))] {
            let case = Case::new(DenseWeight { per }).input([b, o]).input([b, i]);
            cases.push(case.tolerance(Tolerance::terms(2.0, b)));
        }
    }
    // A product large enough for the largest tiles, ragged in every direction.
    let (b, i, o) = (331, 322, 317);
    assert!(b * i * o >= super::gemm::LARGE);
    let case = Case::new(Dense { activation: Activation::None }).input([b, i]).input([o, i]).input([o]);
    cases.push(case.tolerance(Tolerance::terms(3.0, i)));
    let case = Case::new(DenseInput { activation: Activation::None }).input([b, o]).input([o, i]);
    cases.push(case.tolerance(Tolerance::terms(2.0, o)));
    cases.push(Case::new(DenseWeight { per: None }).input([b, o]).input([b, i]).tolerance(Tolerance::terms(2.0, b)));
    for (_, activation) in Activation::ALL {
        let case = Case::new(Dense { activation }).input([5, 6]).input([7, 6]).input([7]);
        cases.push(case.tolerance(Tolerance::terms(24.0, 6)).gradient().gradient_from(stored_outputs(activation)));
        if activation != Activation::None {
            let case = Case::new(DenseInput { activation }).input([4, 7]).input([7, 9]);
            let case = match activation {
                // A sigmoid saves its output.
                Activation::Sigmoid => case.values([4, 9], (1..=36).map(|i| i as f32 / 37.0).collect()),
                _ => case.input([4, 9]),
            };
            cases.push(case.tolerance(Tolerance::terms(24.0, 7)));
        }
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let (x, w) = ([256, 1024], [1024, 1024]);
    vec![
        Case::new(Dense { activation: Activation::Relu }).input(x).input(w).input([1024]),
        Case::new(DenseInput { activation: Activation::None }).input(x).input(w),
        Case::new(DenseWeight { per: None }).input(x).input(x),
        Case::new(DenseWeight { per: Some(256) }).input([4096, 128]).input([4096, 228]),
    ]
}
