//! Augmentation: windows of the samples of a batch at random places, mirrored at random.

use super::case::{Case, Tolerance};
use super::{Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::random::{Clock, below};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// What stands beyond the edges of a sample that is shifted.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Edge {
    /// The value at the edge.
    #[default]
    Repeat,
    /// The values at the opposite edge, for samples that are periodic.
    Wrap,
}

named!(Edge, "edge", Repeat = "repeat", Wrap = "wrap");

/// y[b, c, i, j] = x[b, c, e(r + s + i), e(q + u + m(j))] for each row b of the batch, with the place of the window
/// r in 0..=H - H', q in 0..=W - W', the shift s, u in -S..=S, m(j) = j or W' - 1 - j with equal probability, and the edge
/// e(k) = k clamped to the sample, or k mod its size. All are drawn uniformly for each row.
///
/// Without random numbers, the window is in the middle, and is neither shifted nor mirrored.
///
/// *Shapes*: x [B, ...] with rows of C H W values; y [B, C H' W']. Signals have H = H' = 1. Ops with the same stream and sizes
/// choose the same windows. *Gradient*: none; data are not trained. *Accuracy*: exact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Augment {
    /// H and W.
    pub size: [usize; 2],
    /// H' and W'.
    pub window: [usize; 2],
    /// S for both axes.
    pub shift: [usize; 2],
    /// Whether rows are mirrored.
    pub flip: bool,
    /// What stands beyond the edges.
    pub edge: Edge,
    /// The random stream; `None` for the windows in the middle.
    pub stream: Option<u32>,
}

/// The window of a row.
struct Window {
    start: [i64; 2],
    mirrored: bool,
}

impl Augment {
    fn channels(&self, row: usize) -> usize {
        row / (self.size[0] * self.size[1])
    }

    /// The window of row `row` of the batch.
    fn draw(&self, clock: Clock, row: usize) -> Window {
        let spare = [0, 1].map(|axis| (self.size[axis] - self.window[axis]) as u32);
        let Some(stream) = self.stream else {
            return Window { start: spare.map(|spare| i64::from(spare / 2)), mirrored: false };
        };
        let place = clock.words(stream, 2 * row as u32);
        let shift = |axis: usize| {
            let most = self.shift[axis] as u32;
            i64::from(below(place[2 + axis], 2 * most + 1)) - i64::from(most)
        };
        let start = [0, 1].map(|axis| i64::from(below(place[axis], spare[axis] + 1)) + shift(axis));
        let mirrored = self.flip && clock.words(stream, 2 * row as u32 + 1)[0] < 1 << 31;
        Window { start, mirrored }
    }

    /// The index in an axis of `size` of the value that stands at `at`.
    fn inside(&self, at: i64, size: usize) -> usize {
        match self.edge {
            Edge::Repeat => at.clamp(0, size as i64 - 1) as usize,
            Edge::Wrap => at.rem_euclid(size as i64) as usize,
        }
    }
}

impl Op for Augment {
    fn name(&self) -> &'static str {
        "augment"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("augment", inputs, 1)?;
        let ([h, w], [height, width], (rows, row)) = (self.size, self.window, inputs[0].rows());
        if h * w == 0 || !row.is_multiple_of(h * w) {
            return Err(Error::shape("augment", format!("rows of {row} values do not contain samples of {h} x {w}")));
        }
        if height == 0 || width == 0 || height > h || width > w {
            return Err(Error::shape("augment", format!("a window of {height} x {width} in samples of {h} x {w}")));
        }
        Ok(vec![Spec::f32([rows, self.channels(row) * height * width])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (rows, d) = specs.outputs[0].rows();
        let lanes = d.next_power_of_two().min(64);
        let kernel = kernel!("augment.wgsl", "augment")
            .flag("RANDOM", self.stream.is_some())
            .flag("FLIP", self.stream.is_some() && self.flip)
            .flag("WRAP", self.edge == Edge::Wrap)
            .dim("B", rows)
            .dim("C", self.channels(specs.inputs[0].rows().1))
            .dim("H", self.size[0])
            .dim("W", self.size[1])
            .dim("OUT_H", self.window[0])
            .dim("OUT_W", self.window[1])
            .tune("LANES", lanes as u32)
            .over(rows * lanes);
        match self.stream {
            None => kernel,
            Some(stream) => kernel
                .hyper("STREAM", stream as f64)
                .hyper("SHIFT_H", self.shift[0] as f64)
                .hyper("SHIFT_W", self.shift[1] as f64),
        }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let ([h, w], [height, width]) = (self.size, self.window);
        let (row, d) = (io.specs.inputs[0].rows().1, io.specs.outputs[0].rows().1);
        let (x, y, clock, first) = (io.input(0), io.output(0), io.clock, io.first_row);
        parallel::rows(
            y,
            d,
            #[inline(always)]
            |b, y| {
                let Window { start: [top, left], mirrored } = self.draw(clock, first + b);
                let columns: Vec<usize> = (0..width)
                    .map(|j| if mirrored { width - 1 - j } else { j })
                    .map(|j| self.inside(left + j as i64, w))
                    .collect();
                for (line, y) in y.chunks_exact_mut(width).enumerate() {
                    let (c, i) = (line / height, line % height);
                    let from = &x[b * row + (c * h + self.inside(top + i as i64, h)) * w..][..w];
                    y.iter_mut().zip(&columns).for_each(|(y, &column)| *y = from[column]);
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let all = Augment { size: [9, 7], window: [6, 5], shift: [2, 3], flip: true, edge: Edge::Repeat, stream: Some(4) };
    let signal = Augment { size: [1, 21], window: [1, 21], shift: [0, 8], edge: Edge::Wrap, ..all };
    let case =
        |op: Augment, shape: &[usize]| Case::new(op).input(shape.to_vec()).clock(3, 9).tolerance(Tolerance::exact());
    vec![
        case(all, &[17, 3, 9, 7]),
        case(all, &[5, 63]).first_row(11),
        case(Augment { edge: Edge::Wrap, flip: false, ..all }, &[8, 2, 9, 7]),
        case(Augment { stream: None, ..all }, &[4, 3, 9, 7]),
        case(signal, &[13, 2, 21]),
        case(Augment { shift: [0, 0], window: [1, 16], ..signal }, &[13, 21]).first_row(2),
        case(Augment { size: [1, 1], window: [1, 1], shift: [0, 0], ..all }, &[3, 1]),
    ]
}

pub(super) fn timed() -> Vec<Case> {
    let op =
        Augment { size: [32, 32], window: [28, 28], shift: [2; 2], flip: true, edge: Edge::Repeat, stream: Some(4) };
    vec![Case::new(op).input([1024, 1024])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    /// The results for samples that count their places, 0, 1, 2 and so on.
    fn counted(op: Augment, rows: usize) -> Vec<Vec<f32>> {
        let d = op.size[0] * op.size[1];
        let mut g = Graph::new();
        let x = g.constant([rows, d], (0..rows * d).map(|i| (i % d) as f32).collect()).unwrap();
        let y = g.apply1(op, &[x]).unwrap();
        g.keep(y);
        let mut run = crate::Device::cpu().compile(&g).unwrap();
        run.steps(1).unwrap();
        run.read(y).unwrap().chunks(op.window[0] * op.window[1]).map(<[f32]>::to_vec).collect()
    }

    /// The share of the rows, within five standard deviations of a binomial.
    fn assert_share(found: usize, n: usize, p: f64) {
        let share = found as f64 / n as f64;
        assert!((share - p).abs() < 5.0 * (p * (1.0 - p) / n as f64).sqrt(), "{share} instead of {p}");
    }

    #[test]
    fn windows_are_uniform_and_half_of_them_are_mirrored() {
        let n = 20_000;
        let op =
            Augment { size: [1, 6], window: [1, 4], shift: [0; 2], flip: true, edge: Edge::Repeat, stream: Some(0) };
        let rows = counted(op, n);
        for (start, mirrored) in [0, 1, 2].into_iter().flat_map(|start| [(start, false), (start, true)]) {
            let mut expected: Vec<f32> = (start..start + 4).map(|i| i as f32).collect();
            if mirrored {
                expected.reverse();
            }
            assert_share(rows.iter().filter(|row| **row == expected).count(), n, 1.0 / 6.0);
        }
    }

    #[test]
    fn shifts_repeat_the_edge_or_wrap_around() {
        let op =
            Augment { size: [1, 4], window: [1, 4], shift: [0, 1], flip: false, edge: Edge::Repeat, stream: Some(0) };
        let rows = counted(op, 3_000);
        for expected in [[0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 3.0]] {
            assert_share(rows.iter().filter(|row| row[..] == expected).count(), 3_000, 1.0 / 3.0);
        }
        let wrapped = counted(Augment { edge: Edge::Wrap, ..op }, 3_000);
        for expected in [[3.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 0.0]] {
            assert_share(wrapped.iter().filter(|row| row[..] == expected).count(), 3_000, 1.0 / 3.0);
        }
    }

    #[test]
    fn without_random_numbers_the_window_is_in_the_middle() {
        let op = Augment { size: [4, 3], window: [2, 1], shift: [1; 2], flip: true, edge: Edge::Repeat, stream: None };
        assert_eq!(counted(op, 2), [[4.0, 7.0], [4.0, 7.0]]);
        let mut g = Graph::new();
        let x = g.constant([1, 12], vec![0.0; 12]).unwrap();
        assert!(g.apply1(Augment { window: [5, 1], ..op }, &[x]).is_err());
        assert!(g.apply1(Augment { size: [5, 3], ..op }, &[x]).is_err());
    }
}
