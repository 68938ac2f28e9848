//! Group and layer normalisation with a fused activation, and their backward passes.
//!
//! Both normalise runs of consecutive elements: a group of channels, or a row. A layer norm is a group norm with one
//! group whose every element is a channel, so they share kernels and CPU implementations.

use super::case::{Case, Tolerance};
use super::{Activation, Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{Reverse, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y = act((x - mean) rstd gamma + beta) over each group of channels, rstd = 1 / sqrt(variance + epsilon).
///
/// *Shapes*: x and y [B, C, ...], gamma and beta \[C\]; stats [B G, 2] holds (mean, rstd) for the reverse pass.
/// *Gradient*: below, in two dispatches that recompute what is not saved. *Accuracy*: group sums are reduced as trees.
/// *Source*: Wu and He 2018, eq. 7; epsilon 1e-5 and the population variance as in PyTorch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GroupNorm {
    /// The number of groups G, which divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// The fused activation.
    pub activation: Activation,
}

setters!(GroupNorm { epsilon: f64, activation: Activation });

impl GroupNorm {
    /// G groups with PyTorch's epsilon, 1e-5, and no activation.
    pub fn new(groups: usize) -> Self {
        Self { groups, epsilon: 1e-5, activation: Activation::None }
    }
}

/// y = act((x - mean) rstd gamma + beta) over the last dimension, rstd = 1 / sqrt(variance + epsilon).
///
/// *Shapes*: x and y [..., D], gamma and beta \[D\]; stats [rows, 2] holds (mean, rstd) for the reverse pass.
/// *Gradient*: as for [`GroupNorm`]. *Source*: Ba et al. 2016, eq. 4; epsilon 1e-5 and population variance as in
/// PyTorch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// The fused activation.
    pub activation: Activation,
}

setters!(LayerNorm { epsilon: f64, activation: Activation });

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5, activation: Activation::None }
    }
}

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

fn forward<S: Scalar>(io: &mut Io<S>, runs: Runs, epsilon: f64, activation: Activation) {
    let (x, gamma, beta) = (io.input(0), io.input(1), io.input(2));
    let (y, stats) = (io.output(0), io.output(1));
    let (d, n) = (runs.run, S::of(runs.run as f64));
    parallel::rows2(
        y,
        d,
        stats,
        2,
        #[inline(always)]
        |row, y, stats| {
            let x = &x[row * d..][..d];
            let mean = parallel::sum(d, |i| x[i]) / n;
            let variance = parallel::sum(d, |i| (x[i] - mean) * (x[i] - mean)) / n;
            let rstd = S::ONE / (variance + S::of(epsilon)).sqrt();
            y.iter_mut().zip(x).for_each(|(y, x)| *y = (*x - mean) * rstd);
            affine(runs, row, y, gamma, beta);
            activation.apply_all(y);
            stats.copy_from_slice(&[mean, rstd]);
        },
    );
}

/// y = y gamma + beta.
#[inline(always)]
fn affine<S: Scalar>(runs: Runs, row: usize, y: &mut [S], gamma: &[S], beta: &[S]) {
    let channels = runs.of(row, gamma).iter().zip(runs.of(row, beta));
    by_channel(y, channels, |y, (gamma, beta)| *y = *y * **gamma + **beta);
}

/// The backward pass of both: the gradient of x, and of gamma and beta if requested.
fn reverse(r: &mut Reverse, op: NormInput, weight: NormWeight) -> Result<()> {
    let Some(dy) = r.d(0) else { return Ok(()) };
    let (x, gamma, beta, stats) = (r.input(0), r.input(1), r.input(2), r.output(1));
    let mut dz = dy;
    if r.needs_gradient(0) || op.activation != Activation::None {
        let mut inputs: Vec<Var> = vec![dy, x, stats, gamma];
        inputs.extend((op.activation != Activation::None).then_some(beta));
        let d = r.graph.apply(op, &inputs)?;
        dz = d.get(1).copied().unwrap_or(dy);
        r.add_gradient(0, d[0]);
    }
    if r.needs_gradient(1) || r.needs_gradient(2) {
        let d = r.graph.apply(weight, &[dz, x, stats])?;
        r.add_gradient(1, d[0]);
        r.add_gradient(2, d[1]);
    }
    Ok(())
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

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("group_norm", inputs, 3)?;
        let x = &inputs[0];
        if x.shape.len() < 2 {
            return Err(Error::shape("group_norm", format!("expected x [B, C, ...], got {:?}", x.shape)));
        }
        let channels = x.shape[1];
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let divisors: Vec<usize> = (1..=channels.min(64)).filter(|g| channels.is_multiple_of(*g)).collect();
            let text = format!("{} groups do not divide {channels} channels; use one of {divisors:?}", self.groups);
            return Err(Error::shape("group_norm", text));
        }
        expect_shape("group_norm", "gamma", &inputs[1], &[channels])?;
        expect_shape("group_norm", "beta", &inputs[2], &[channels])?;
        Ok(vec![Spec::f32(x.shape.clone()), Spec::f32([x.shape[0] * self.groups, 2])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let kernel = runs_of(&specs.inputs[0], Some(self.groups)).by_run("forward", target);
        self.activation.choose(kernel.hyper("EPSILON", self.epsilon))
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        forward(io, runs_of(&io.specs.inputs[0], Some(self.groups)), self.epsilon, self.activation);
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let groups = Some(self.groups);
        reverse(r, NormInput { groups, activation: self.activation }, NormWeight { groups })
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("layer_norm", inputs, 3)?;
        let x = &inputs[0];
        let runs = runs_of(x, None);
        expect_shape("layer_norm", "gamma", &inputs[1], &[runs.run])?;
        expect_shape("layer_norm", "beta", &inputs[2], &[runs.run])?;
        Ok(vec![Spec::f32(x.shape.clone()), Spec::f32([runs.rows, 2])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let kernel = runs_of(&specs.inputs[0], None).by_run("forward", target);
        self.activation.choose(kernel.hyper("EPSILON", self.epsilon))
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        forward(io, runs_of(&io.specs.inputs[0], None), self.epsilon, self.activation);
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let groups = None;
        reverse(r, NormInput { groups, activation: self.activation }, NormWeight { groups })
    }
}

/// dx = rstd (g - mean(g) - n mean(g n)) with n = (x - mean) rstd, g = dz gamma, dz = dy act'(n gamma + beta).
///
/// *Shapes*: dy, x like each other, stats [rows, 2], gamma, and with an activation beta \[C\]; dx, and then dz too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormInput {
    /// None for a layer norm.
    pub groups: Option<usize>,
    pub activation: Activation,
}

impl Op for NormInput {
    fn name(&self) -> &'static str {
        "norm_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let active = self.activation != Activation::None;
        expect_count("norm_input", inputs, if active { 5 } else { 4 })?;
        expect_shape("norm_input", "x", &inputs[1], &inputs[0].shape)?;
        let like = Spec::f32(inputs[0].shape.clone());
        Ok(if active { vec![like.clone(), like] } else { vec![like] })
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let kernel = runs_of(&specs.inputs[0], self.groups).by_run("input", target);
        if self.activation == Activation::None { kernel } else { self.activation.choose(kernel.flag("ACTIVE", true)) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let runs = runs_of(&io.specs.inputs[0], self.groups);
        let (dy, x, stats, gamma) = (io.input(0), io.input(1), io.input(2), io.input(3));
        let (d, n) = (runs.run, S::of(runs.run as f64));
        let part = |row: usize| row * d..row * d + d;
        // From dz in dx to dx itself.
        let finish = |row: usize, dx: &mut [S]| {
            let (x, mean, rstd) = (&x[part(row)], stats[2 * row], stats[2 * row + 1]);
            by_channel(dx, runs.of(row, gamma).iter(), |g, gamma| *g *= **gamma);
            let sum = parallel::sum(d, |i| dx[i]) / n;
            let dot = parallel::sum(d, |i| dx[i] * (x[i] - mean) * rstd) / n;
            dx.iter_mut().zip(x).for_each(|(g, x)| *g = rstd * (*g - sum - (*x - mean) * rstd * dot));
        };
        if self.activation == Activation::None {
            return parallel::rows(
                io.output(0),
                d,
                #[inline(always)]
                |row, dx| {
                    dx.copy_from_slice(&dy[part(row)]);
                    finish(row, dx);
                },
            );
        }
        let beta = io.input(4);
        parallel::rows2(
            io.output(0),
            d,
            io.output(1),
            d,
            #[inline(always)]
            |row, dx, dz| {
                let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
                // dx temporarily holds z.
                dx.iter_mut().zip(&x[part(row)]).for_each(|(z, x)| *z = (*x - mean) * rstd);
                affine(runs, row, dx, gamma, beta);
                if self.activation.saves_output() {
                    self.activation.apply_all(dx);
                }
                dz.copy_from_slice(&dy[part(row)]);
                self.activation.slope_all(dz, dx);
                dx.copy_from_slice(dz);
                finish(row, dx);
            },
        );
    }
}

/// dgamma = sum of dz n over all but the channels, dbeta = sum of dz.
///
/// *Shapes*: dz and x like each other, stats [rows, 2]; dgamma and dbeta \[C\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormWeight {
    /// None for a layer norm.
    pub groups: Option<usize>,
}

impl Op for NormWeight {
    fn name(&self) -> &'static str {
        "norm_weight"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("norm_weight", inputs, 3)?;
        let runs = runs_of(&inputs[0], self.groups);
        let channels = runs.channels() * runs.groups;
        Ok(vec![Spec::f32([channels]), Spec::f32([channels])])
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let runs = runs_of(&specs.inputs[0], self.groups);
        let channels = runs.channels() * runs.groups;
        if runs.spatial == 1 {
            // Neighbouring invocations read neighbouring channels.
            return runs.kernel("columns").over(channels);
        }
        let each = runs.rows / runs.groups * runs.spatial;
        runs.kernel("channels").tune("WG", lanes(each, target)).groups(channels)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let runs = runs_of(&io.specs.inputs[0], self.groups);
        let (dz, x, stats) = (io.input(0), io.input(1), io.input(2));
        let (dgamma, dbeta) = (io.output(0), io.output(1));
        let (n, s) = (runs.channels(), runs.spatial);
        if s == 1 {
            dgamma.fill(S::ZERO);
            dbeta.fill(S::ZERO);
            return parallel::with_simd(|| {
                for (row, (dz, x)) in dz.chunks(runs.run).zip(x.chunks(runs.run)).enumerate() {
                    let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
                    let start = row % runs.groups * n;
                    let (dgamma, dbeta) = (&mut dgamma[start..][..n], &mut dbeta[start..][..n]);
                    for i in 0..n {
                        dgamma[i] += dz[i] * (x[i] - mean) * rstd;
                        dbeta[i] += dz[i];
                    }
                }
            });
        }
        let mut sums = vec![(S::ZERO, S::ZERO); dgamma.len()];
        parallel::each(
            &mut sums,
            x.len(),
            #[inline(always)]
            |channel| {
                let (mut dot, mut sum) = (S::ZERO, S::ZERO);
                for row in (channel / n..runs.rows).step_by(runs.groups) {
                    let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
                    let start = row * runs.run + channel % n * s;
                    let (dz, x) = (&dz[start..][..s], &x[start..][..s]);
                    dot += parallel::sum(s, |i| dz[i] * (x[i] - mean) * rstd);
                    sum += parallel::sum(s, |i| dz[i]);
                }
                (dot, sum)
            },
        );
        dgamma.iter_mut().zip(dbeta).zip(sums).for_each(|((g, b), sums)| (*g, *b) = sums);
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
        for activation in [Activation::None, silu] {
            let case = match groups {
                Some(groups) => Case::new(GroupNorm { activation, ..GroupNorm::new(groups) }),
                None => Case::new(LayerNorm { activation, ..LayerNorm::default() }),
            };
            cases.push(case.input(x.clone()).input([c]).input([c]).tolerance(sum(runs.run)));
            let case = Case::new(NormInput { groups, activation }).input(x.clone()).input(x.clone());
            let case = case.values([runs.rows, 2], stats(runs.rows)).input([c]).tolerance(sum(runs.run));
            cases.push(if activation == silu { case.input([c]) } else { case });
        }
        let case = Case::new(NormWeight { groups }).input(x.clone()).input(x.clone());
        let terms = runs.rows / runs.groups * runs.spatial;
        cases.push(case.values([runs.rows, 2], stats(runs.rows)).tolerance(column(terms)));
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
    let reverse = NormInput { groups: Some(8), activation: Activation::None };
    vec![
        Case::new(GroupNorm::new(8)).input(x).input([64]).input([64]),
        Case::new(reverse).input(x).input(x).table([256, 2]).input([64]),
        Case::new(LayerNorm::default()).input([1024, 1024]).input([1024]).input([1024]),
    ]
}
