//! Group and layer normalisation with a fused activation, and their backward passes.
//!
//! Both normalise runs of consecutive elements: a group of channels, or a row. A layer norm is a group norm with one
//! group whose every element is a channel, so they share kernels and CPU implementations.

mod backward;
mod forward;
mod fusion;

pub(super) use backward::NormInput;
pub use forward::{GroupNorm, LayerNorm};

use super::Activation;
use super::case::{Case, Tolerance};
use crate::graph::Spec;
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use backward::NormWeight;

/// The division of x into runs: `rows` of `run` elements, in each of which every `spatial` elements share gamma and
/// beta. Run r holds the channels (r mod groups) run / spatial and following.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    rows: usize,
    run: usize,
    spatial: usize,
    groups: usize,
}

impl Runs {
    fn channels(self) -> usize {
        self.run / self.spatial
    }

    /// The run's part of a per-channel tensor.
    fn of<S>(self, row: usize, channels: &[S]) -> &[S] {
        let n = self.channels();
        &channels[row % self.groups * n..][..n]
    }

    fn kernel(self, entry: &'static str) -> Kernel {
        kernel!("norm.wgsl", entry)
            .flag("ACTIVE", false)
            .flag("JOINED", false)
            .flag("INPUT", false)
            .flag("OVER_DY", false)
            .dim("ROWS", self.rows)
            .dim("RUN", self.run)
            .dim("SPATIAL", self.spatial)
            .dim("GROUPS", self.groups)
    }

    /// A kernel with several lanes per run.
    fn by_run(self, entry: &'static str, target: &Target) -> Kernel {
        self.kernel(entry).tune("WG", lanes(self.run, target)).groups(self.rows)
    }
}

/// Lanes that share `work` elements: few on a software rasterizer, where barriers are expensive, and many on a GPU, where
/// a lane waits for each of its elements.
fn lanes(work: usize, target: &Target) -> u32 {
    let (per, least) = if target.software { (8_192, 8) } else { (8, 64) };
    (work / per).next_power_of_two().clamp(least, 256) as u32
}

/// Calls `f` with each element and the parameters of its channel.
#[inline(always)]
fn by_channel<T, P>(run: &mut [T], channels: impl ExactSizeIterator<Item = P>, f: impl Fn(&mut T, &P)) {
    let spatial = run.len() / channels.len();
    if spatial == 1 {
        return run.iter_mut().zip(channels).for_each(|(v, p)| f(v, &p));
    }
    run.chunks_mut(spatial).zip(channels).for_each(|(part, p)| part.iter_mut().for_each(|v| f(v, &p)));
}

/// y = y gamma + beta.
#[inline(always)]
fn affine<S: Scalar>(runs: Runs, row: usize, y: &mut [S], gamma: &[S], beta: &[S]) {
    let channels = runs.of(row, gamma).iter().zip(runs.of(row, beta));
    by_channel(y, channels, |y, (gamma, beta)| *y = *y * **gamma + **beta);
}

/// The runs of x for a number of groups, or over its last dimension.
fn runs_of(x: &Spec, groups: Option<usize>) -> Runs {
    match groups {
        Some(groups) => {
            let (batch, rest) = x.rows();
            let spatial = rest / x.shape[1];
            Runs { rows: batch * groups, run: rest / groups, spatial, groups }
        }
        None => {
            let run = x.shape.last().copied().unwrap_or(1);
            Runs { rows: x.len() / run, run, spatial: 1, groups: 1 }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let silu = Activation::Silu;
    // Inputs of size 1 and their deviations: sums of d terms, then a division by a deviation of at least about 0.3.
    let sum = |d: usize| Tolerance::absolute(16.0 + 4.0 * (d as f64).sqrt());
    let column = |b: usize| Tolerance::absolute(16.0 + 8.0 * (b as f64).sqrt());
    let stats = |rows: usize| (0..rows).flat_map(|i| [0.1 * i as f32 / rows as f32, 1.5]).collect::<Vec<f32>>();
    let mut add = |shape: &[usize], groups: Option<usize>| {
        let runs = runs_of(&Spec::f32(shape), groups);
        let (x, c) = (shape.to_vec(), runs.channels() * runs.groups);
        let terms = column(runs.rows / runs.groups);
        for activation in [Activation::None, silu] {
            let case = match groups {
                Some(groups) => Case::new(GroupNorm { activation, ..GroupNorm::new(groups) }),
                None => Case::new(LayerNorm { activation, ..LayerNorm::default() }),
            };
            cases.push(case.input(x.clone()).input([c]).input([c]).tolerance(sum(runs.run)));
            let backward = |op: NormInput, case: Case| {
                let case = case.input(x.clone()).input(x.clone()).values([runs.rows, 2], stats(runs.rows)).input([c]);
                if op.reads_beta() { case.input([c]) } else { case }
            };
            let plain = NormInput::new(groups, activation);
            cases.push(backward(plain, Case::new(plain)).tolerance(sum(runs.run)));
            if runs.spatial == 1 {
                let op = NormWeight { groups, activation };
                let case = Case::new(op).input(x.clone()).input(x.clone()).values([runs.rows, 2], stats(runs.rows));
                let case = if activation == silu { case.input([c]).input([c]) } else { case };
                cases.push(case.tolerance(terms));
                continue;
            }
            let first = (runs.groups > 1).then_some(runs.channels());
            for first in [None, first] {
                let all = NormInput { term: true, first, parts: true, again: true, sums: true, ..plain };
                cases.push(backward(all, Case::new(all)).input(x.clone()).tolerance(sum(runs.run)));
            }
            let parts = NormInput { parts: true, ..plain };
            cases.push(backward(parts, Case::new(parts)).tolerance(sum(runs.run)));
        }
    };
    for shape in [[1, 2], [7, 5], [3, 64], [65, 100], [2, 257]] {
        add(&shape, None);
    }
    add(&[3, 4, 9], None);
    for (shape, groups) in
        [(vec![2, 6, 5, 3], 2), (vec![3, 8, 17], 8), (vec![65, 4, 2, 2], 1), (vec![2, 6, 33, 7], 3), (vec![5, 12], 4)]
    {
        add(&shape, Some(groups));
    }
    // A variance of the magnitude of epsilon, which then matters.
    let small: Vec<f32> = (0..2 * 6 * 5).map(|i| ((i * 29 % 61) as f32 - 30.0) * 2e-4).collect();
    let layer = Case::new(LayerNorm::default()).values([12, 5], small.clone()).input([5]).input([5]);
    let group = Case::new(GroupNorm::new(2)).values([2, 6, 5], small).input([6]).input([6]);
    // The rounding of the mean is small compared with a deviation of 4e-3; rstd is about 200.
    cases.extend([layer, group].map(|case| case.tolerance(Tolerance::value(32.0))));
    for (_, activation) in Activation::ALL {
        let case = Case::new(LayerNorm { activation, ..LayerNorm::default() }).input([4, 6]).input([6]).input([6]);
        cases.push(case.tolerance(Tolerance::absolute(60.0)).gradient());
        let case = Case::new(GroupNorm { activation, ..GroupNorm::new(2) }).input([2, 4, 3]).input([4]).input([4]);
        cases.push(case.tolerance(Tolerance::absolute(60.0)).gradient());
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let x = [32, 64, 14, 14];
    let reverse = NormInput { parts: true, ..NormInput::new(Some(8), Activation::Silu) };
    vec![
        Case::new(GroupNorm::new(8)).input(x).input([64]).input([64]),
        Case::new(reverse).input(x).input(x).table([256, 2]).input([64]).input([64]),
        Case::new(LayerNorm::default()).input([1024, 1024]).input([1024]).input([1024]),
    ]
}
