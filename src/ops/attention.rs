//! The core of multi-head self-attention and its backward pass, without storing the score matrix.

use super::case::{Case, Tolerance};
use super::softmax::softmax_row;
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::parallel::matmul::{Matrix, matmul};

/// y_i = sum_j softmax_j(q_i k_j / sqrt d) v_j in each of H heads of d = C / H channels.
///
/// *Shapes*: qkv [B, N, 3 C] or [B, 3 C, N], q before k before v, head h has the d channels from h d on in each;
/// y [B, N, C] or [B, C, N]; stats [B, H, N, 2] holds each row's largest score and 1 / sum of exp(score - largest).
/// *Memory*: softmax is computed online, rescaling the sums when the largest score changes; scores are not stored. The
/// backward pass recomputes them. *Gradient*: by rows for q, by columns for k and v, each in the order of N.
/// *Accuracy*: relative to the sum of p |v|. The relative error of a weight p is the absolute error of its score, a
/// rounded sum of d terms, so it grows with the size of the scores.
/// *Source*: Vaswani et al. 2017, section 3.2; online softmax: Rabe and Staats 2021, Dao et al. 2022, algorithm 1.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// The number of heads H, which divides C.
    pub heads: usize,
    /// The position of the channels.
    pub channels: Channels,
}

/// The position of the channels among the dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// [B, C, N], the layout of images.
    First,
    /// [B, N, C], the layout of text.
    Last,
}

/// The kernel unrolls over a head's channels, each of which takes registers.
const WIDEST: usize = 128;
/// The backward pass loops twice over the places in one invocation.
const LONGEST: usize = 15_000;
/// Rows of scores computed at a time on the CPU.
const BLOCK: usize = 64;

/// The sizes: B samples, N places, C channels, H heads of D channels.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    b: usize,
    n: usize,
    c: usize,
    heads: usize,
    d: usize,
    channels: Channels,
}

impl Attention {
    fn sizes(&self, qkv: &Spec) -> Sizes {
        let (n, width) = match self.channels {
            Channels::First => (qkv.shape[2], qkv.shape[1]),
            Channels::Last => (qkv.shape[1], qkv.shape[2]),
        };
        let (c, heads, channels) = (width / 3, self.heads, self.channels);
        Sizes { b: qkv.shape[0], n, c, heads, d: c / heads, channels }
    }

    fn check(&self, qkv: &Spec) -> Result<Sizes> {
        let refuse = |text: String| Err(Error::shape("attention", text));
        if qkv.shape.len() != 3 {
            let order = if self.channels == Channels::First { "[B, 3 C, N]" } else { "[B, N, 3 C]" };
            return refuse(format!("expected qkv {order}, got {:?}", qkv.shape));
        }
        let width = qkv.shape[if self.channels == Channels::First { 1 } else { 2 }];
        if !width.is_multiple_of(3) {
            return refuse(format!("{width} channels are not those of q, k and v together: 3 does not divide them"));
        }
        let c = width / 3;
        if self.heads == 0 || !c.is_multiple_of(self.heads) {
            let divisors: Vec<usize> = (1..=c.min(64)).filter(|h| c.is_multiple_of(*h)).collect();
            return refuse(format!("{} heads do not divide {c} channels; use one of {divisors:?}", self.heads));
        }
        let sizes = self.sizes(qkv);
        if sizes.d > WIDEST {
            let least = c.div_ceil(WIDEST);
            return refuse(format!("{} channels a head, at most {WIDEST}; use {least} heads or more", sizes.d));
        }
        if sizes.n > LONGEST {
            return refuse(format!("{} places, at most {LONGEST}; attend at a coarser level", sizes.n));
        }
        Ok(sizes)
    }

    fn kernel(&self, entry: &'static str, specs: &Specs, qkv: usize) -> Kernel {
        let Sizes { b, n, heads, d, channels, .. } = self.sizes(&specs.inputs[qkv]);
        let lanes = n.next_power_of_two().clamp(8, 64);
        kernel!("attention.wgsl", entry)
            .flag("LAST", channels == Channels::Last)
            .repeat("E", d)
            .dim("B", b)
            .dim("N", n)
            .dim("HEADS", heads)
            .dim("D", d)
            .hyper("SCALE", 1.0 / (d as f64).sqrt())
            .tune("WG", lanes as u32)
            .groups(b * heads * n.div_ceil(lanes))
    }
}

impl Sizes {
    /// The offset of a head in one sample of a tensor of `width` channels, and the strides of place and channel.
    fn strides(self, width: usize, channel: usize) -> (usize, [usize; 2]) {
        match self.channels {
            Channels::First => (channel * self.n, [1, self.n]),
            Channels::Last => (channel, [width, 1]),
        }
    }

    /// q, k and v [N, D] of a head.
    fn qkv<'a, S>(self, sample: &'a [S], head: usize) -> [Matrix<'a, S>; 3] {
        std::array::from_fn(|part| self.head(sample, 3 * self.c, part * self.c + head * self.d))
    }

    /// A head [N, D] in a tensor of `width` channels.
    fn head<S>(self, sample: &[S], width: usize, channel: usize) -> Matrix<'_, S> {
        let (start, strides) = self.strides(width, channel);
        Matrix::strided(&sample[start..], [self.n, self.d], strides)
    }

    /// Writes the rows [.., D] of a head starting at place `first`.
    fn put<S: Copy>(self, sample: &mut [S], width: usize, channel: usize, first: usize, rows: &[S]) {
        let (start, [by_place, by_channel]) = self.strides(width, channel);
        for (i, row) in rows.chunks(self.d).enumerate() {
            let at = start + (first + i) * by_place;
            row.iter().enumerate().for_each(|(e, v)| sample[at + e * by_channel] = *v);
        }
    }

    /// The blocks of rows: first row and count.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.n).step_by(BLOCK).map(move |first| (first, BLOCK.min(self.n - first)))
    }

    fn scale<S: Scalar>(self) -> S {
        S::of(1.0 / (self.d as f64).sqrt())
    }

    /// One sample of y and stats.
    fn forward<S: Scalar>(self, qkv: &[S], y: &mut [S], stats: &mut [S]) {
        let (mut scores, mut out) = (vec![S::ZERO; BLOCK * self.n], vec![S::ZERO; BLOCK * self.d]);
        for head in 0..self.heads {
            let [q, k, v] = self.qkv(qkv, head);
            for (first, count) in self.blocks() {
                let (scores, out) = (&mut scores[..count * self.n], &mut out[..count * self.d]);
                matmul(scores, q.rows(first, count), k.t(), false);
                scores.iter_mut().for_each(|s| *s *= self.scale());
                let stats = &mut stats[(head * self.n + first) * 2..];
                for (row, stats) in scores.chunks_mut(self.n).zip(stats.chunks_mut(2)) {
                    let (largest, sum) = softmax_row(row);
                    stats.copy_from_slice(&[largest, S::ONE / sum]);
                }
                matmul(out, Matrix::new(scores, count, self.n), v, false);
                self.put(y, self.c, head * self.d, first, out);
            }
        }
    }

    /// One sample of dqkv.
    fn backward<S: Scalar>(self, [dy, qkv, y, stats]: [&[S]; 4], dqkv: &mut [S]) {
        let (n, d) = (self.n, self.d);
        let (mut p, mut ds) = (vec![S::ZERO; BLOCK * n], vec![S::ZERO; BLOCK * n]);
        let (mut dq, mut dk, mut dv) = (vec![S::ZERO; BLOCK * d], vec![S::ZERO; n * d], vec![S::ZERO; n * d]);
        for head in 0..self.heads {
            let [q, k, v] = self.qkv(qkv, head);
            let [dy, y] = [dy, y].map(|t| self.head(t, self.c, head * d));
            for (first, count) in self.blocks() {
                let (p, ds, dq) = (&mut p[..count * n], &mut ds[..count * n], &mut dq[..count * d]);
                let (q, dy, y) = (q.rows(first, count), dy.rows(first, count), y.rows(first, count));
                matmul(p, q, k.t(), false);
                matmul(ds, dy, v.t(), false);
                for (i, (p, ds)) in p.chunks_mut(n).zip(ds.chunks_mut(n)).enumerate() {
                    let row = (head * n + first + i) * 2;
                    let (largest, share) = (stats[row], stats[row + 1]);
                    let mean = (0..d).map(|e| dy.at(i, e) * y.at(i, e)).sum::<S>();
                    for (p, ds) in p.iter_mut().zip(ds) {
                        *p = (*p * self.scale() - largest).exp() * share;
                        *ds = *p * (*ds - mean) * self.scale();
                    }
                }
                let (p, ds) = (Matrix::new(p, count, n), Matrix::new(ds, count, n));
                matmul(dq, ds, k, false);
                self.put(dqkv, 3 * self.c, head * d, first, dq);
                matmul(&mut dk, ds.t(), q, first > 0);
                matmul(&mut dv, p.t(), dy, first > 0);
            }
            self.put(dqkv, 3 * self.c, self.c + head * d, 0, &dk);
            self.put(dqkv, 3 * self.c, 2 * self.c + head * d, 0, &dv);
        }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("attention", inputs, 1)?;
        let Sizes { b, n, c, .. } = self.check(&inputs[0])?;
        let y = if self.channels == Channels::First { [b, c, n] } else { [b, n, c] };
        Ok(vec![Spec::f32(y), Spec::f32([b, self.heads, n, 2])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        self.kernel("forward", specs, 0)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let Sizes { b, n, c, .. } = self.sizes(&specs.inputs[0]);
        Cost { flops: 4 * (b * n * n * c) as u64, ..Cost::of(specs) }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let sizes = self.sizes(&io.specs.inputs[0]);
        let (qkv, y, stats) = (io.input(0), io.output(0), io.output(1));
        let each = sizes.n * sizes.c;
        parallel::rows2(
            y,
            each,
            stats,
            2 * sizes.heads * sizes.n,
            #[inline(always)]
            |b, y, stats| {
                sizes.forward(&qkv[b * 3 * each..][..3 * each], y, stats);
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let (qkv, y, stats) = (r.input(0), r.output(0), r.output(1));
            let d = r.graph.apply1(AttentionInput(*self), &[dy, qkv, y, stats])?;
            r.add_gradient(0, d);
        }
        Ok(())
    }
}

/// dqkv from dy, qkv, y and stats. With p the softmax and m_i = dy_i y_i: ds_ij = p_ij (dy_i v_j - m_i),
/// dq_i = sum_j ds_ij k_j / sqrt d, dk_j = sum_i ds_ij q_i / sqrt d, dv_j = sum_i p_ij dy_i.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionInput(pub Attention);

impl Op for AttentionInput {
    fn name(&self) -> &'static str {
        "attention_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("attention_input", inputs, 4)?;
        let outputs = self.0.infer(&inputs[1..2])?;
        for (i, (name, like)) in [(0, ("dy", &outputs[0])), (2, ("y", &outputs[0])), (3, ("stats", &outputs[1]))] {
            expect_shape("attention_input", name, &inputs[i], &like.shape)?;
        }
        Ok(vec![Spec::f32(inputs[1].shape.clone())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        self.0.kernel("input", specs, 1)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let Sizes { b, n, c, .. } = self.0.sizes(&specs.inputs[1]);
        Cost { flops: 10 * (b * n * n * c) as u64, ..Cost::of(specs) }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1, 2], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let sizes = self.0.sizes(&io.specs.inputs[1]);
        let [dy, qkv, y, stats] = [0, 1, 2, 3].map(|i| io.input(i));
        let (each, rows) = (sizes.n * sizes.c, 2 * sizes.heads * sizes.n);
        parallel::rows(
            io.output(0),
            3 * each,
            #[inline(always)]
            |b, dqkv| {
                let [dy, y] = [dy, y].map(|t| &t[b * each..][..each]);
                sizes.backward([dy, &qkv[b * 3 * each..][..3 * each], y, &stats[b * rows..][..rows]], dqkv);
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    use Channels::{First, Last};
    let mut cases = Vec::new();
    // With positive v the terms p v have one sign, and the weights p are unchanged.
    let positive_v = |op: Attention, shape: [usize; 3]| {
        let Sizes { n, c, .. } = op.sizes(&Spec::f32(shape));
        let step = if op.channels == First { n } else { 1 };
        move |i: usize, x: f32| if i / step % (3 * c) < 2 * c { x } else { x.abs() }
    };
    // The relative error of a weight in units of eps: two exponentials, a division, products, and the error of a score
    // of d terms: 2 + sqrt d for each, by `sum`, that of their absolute values.
    let score = |d: usize, sum: f64| (2.0 + (d as f64).sqrt()) * sum;
    let weight = |d: usize, sum: f64| 24.0 + score(d, sum);
    // The statistics are a score, with its absolute error, and a sum of weights.
    let forward = |case: Case, n: usize, d: usize, sum: f64| {
        case.first_tolerance(Tolerance::terms(weight(d, sum), n)).tolerance(Tolerance::absolute(weight(d, sum)))
    };
    for (b, n, d, heads, channels) in [
        (1, 1, 1, 1, Last),
        (2, 9, 2, 4, Last),
        (3, 17, 5, 3, First),
        (2, 65, 8, 2, First),
        // Two blocks of rows, long heads.
        (1, 131, 33, 1, Last),
    ] {
        let (c, op) = (d * heads, Attention { heads, channels });
        let shape = |width| if channels == First { [b, width, n] } else { [b, n, width] };
        // The mean of |q k| is 1/4 for each of d channels, over sqrt d; twice that is ample.
        let sum = 0.5 * (d as f64).sqrt();
        let case = Case::new(op).input(shape(3 * c)).for_terms(positive_v(op, shape(3 * c)));
        cases.push(forward(case, n, d, sum));
        // p (dy v - dy y): with negative y the difference becomes a sum. Positive q and k make p somewhat larger.
        let case = Case::new(AttentionInput(op)).input(shape(c)).input(shape(3 * c));
        let case = case.input(shape(c)).for_terms(|_, y| -y.abs());
        let stats = (0..b * heads * n).flat_map(|i| [0.5 + 0.1 * (i % 3) as f32, 1.0 / n as f32]).collect();
        let terms = Tolerance::terms(weight(d, sum) + 2.0 * (d as f64).sqrt(), n);
        cases.push(case.values([b, heads, n, 2], stats).tolerance(terms));
    }
    // Scores that differ by up to 180: the sums are rescaled.
    let far: Vec<f32> = (0..6 * 12).map(|i| (i * 29 % 17) as f32 - 8.0).collect();
    let (op, shape) = (Attention { heads: 2, channels: Last }, [1, 6, 12]);
    let case = Case::new(op).values(shape, far).for_terms(positive_v(op, shape));
    cases.push(forward(case, 6, 2, 64.0 * 2f64.sqrt()));
    for channels in [First, Last] {
        let shape = if channels == First { [2, 12, 5] } else { [2, 5, 12] };
        let op = Attention { heads: 2, channels };
        let case = Case::new(op).input(shape).for_terms(positive_v(op, shape));
        cases.push(forward(case, 5, 2, 0.7).gradient());
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Attention { heads: 4, channels: Channels::First }).input([8, 384, 256])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_do_not_divide_are_refused_with_numbers() {
        let refuse = |heads, shape: [usize; 3]| {
            let op = Attention { heads, channels: Channels::Last };
            op.infer(&[Spec::f32(shape)]).unwrap_err().to_string()
        };
        assert!(refuse(5, [1, 4, 24]).contains("5 heads do not divide 8 channels; use one of [1, 2, 4, 8]"));
        assert!(refuse(1, [1, 4, 600]).contains("200 channels a head, at most 128; use 2 heads"));
        assert!(refuse(1, [1, 20_000, 24]).contains("20000"));
        assert!(refuse(1, [1, 4, 25]).contains("25"));
    }
}
