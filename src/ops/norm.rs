//! Group and layer normalisation with a fused activation, and their backward passes.
//!
//! Both normalise runs of consecutive elements: a group of channels, or a row. A layer norm is a group norm with one
//! group whose every element is a channel, so they share kernels and CPU implementations.

use super::case::{Case, Tolerance};
use super::part_sum::{PartSum, Second};
use super::{Activation, Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::{DynOp, Reverse, Spec, Term};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y = act((x - mean) rstd gamma + beta) over each group of channels, rstd = 1 / sqrt(variance + epsilon).
///
/// *Shapes*: x and y [B, C, ...], gamma and beta \[C\]; stats [B G, 2] holds (mean, rstd) for the reverse pass.
/// *Gradient*: below, in one pass that recomputes what is not saved. *Accuracy*: group sums are reduced as trees.
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
    /// Whether x is given as two tensors of channels [a | b], and is an output too: added when a graph is compiled.
    pub(crate) joined: bool,
}

setters!(GroupNorm { epsilon: f64, activation: Activation });

impl GroupNorm {
    /// G groups with PyTorch's epsilon, 1e-5, and no activation.
    pub fn new(groups: usize) -> Self {
        Self { groups, epsilon: 1e-5, activation: Activation::None, joined: false }
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

/// From x, with gamma and beta from input `at` on.
fn forward<S: Scalar>(io: &mut Io<S>, x: &[S], at: usize, runs: Runs, epsilon: f64, activation: Activation) {
    let (gamma, beta) = (io.input(at), io.input(at + 1));
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
fn reverse(r: &mut Reverse, groups: Option<usize>, activation: Activation) -> Result<()> {
    let Some(dy) = r.d(0) else { return Ok(()) };
    let mut inputs = vec![dy, r.input(0), r.output(1), r.input(1)];
    inputs.extend((activation != Activation::None).then_some(r.input(2)));
    let by_channel = runs_of(r.graph.spec(inputs[1]), groups).spatial > 1;
    let trained = r.needs_gradient(1) || r.needs_gradient(2);
    if r.needs_gradient(0) || by_channel && trained {
        let op = NormInput { parts: by_channel && trained, ..NormInput::new(groups, activation) };
        let d = r.graph.apply(op, &inputs)?;
        r.add_gradient(0, d[0]);
        if let Some(&parts) = d.get(1) {
            let channels = r.graph.shape(parts)[1];
            let sum = PartSum { shape: vec![channels], second: Second::Between };
            let d = r.graph.apply(sum, &[parts])?;
            r.add_gradient(1, d[0]);
            r.add_gradient(2, d[1]);
        }
    }
    if !by_channel && trained {
        let op = NormWeight { groups, activation };
        let d = r.graph.apply(op, &inputs[..op.inputs()])?;
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

impl GroupNorm {
    /// x, which may be given as [a | b].
    fn x(&self, inputs: &[Spec]) -> Spec {
        let mut x = Spec::f32(inputs[0].shape.clone());
        if self.joined && x.shape.len() > 1 {
            x.shape[1] += inputs[1].shape.get(1).copied().unwrap_or(0);
        }
        x
    }
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("group_norm", inputs, 3 + self.joined as usize)?;
        let (x, inputs) = (&self.x(inputs), &inputs[self.joined as usize..]);
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
        let joined = self.joined.then(|| x.clone());
        let outputs = [Spec::f32(x.shape.clone()), Spec::f32([x.shape[0] * self.groups, 2])];
        Ok(outputs.into_iter().chain(joined).collect())
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let kernel = runs_of(&self.x(&specs.inputs), Some(self.groups)).by_run("forward", target);
        let kernel = match self.joined {
            true => kernel.flag("JOINED", true).dim("FIRST", specs.inputs[0].rows().1),
            false => kernel,
        };
        self.activation.choose(kernel.hyper("EPSILON", self.epsilon))
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        if self.joined {
            let [(_, p), (_, q)] = [0, 1].map(|i| io.specs.inputs[i].rows());
            let (a, b, x) = (io.input(0), io.input(1), io.output(2));
            parallel::rows(
                x,
                p + q,
                #[inline(always)]
                |row, x| {
                    x[..p].copy_from_slice(&a[row * p..][..p]);
                    x[p..].copy_from_slice(&b[row * q..][..q]);
                },
            );
            forward(io, x, 2, runs_of(&self.x(&io.specs.inputs), Some(self.groups)), self.epsilon, self.activation);
        } else {
            let runs = runs_of(&io.specs.inputs[0], Some(self.groups));
            forward(io, io.input(0), 1, runs, self.epsilon, self.activation);
        }
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        reverse(r, Some(self.groups), self.activation)
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
        forward(io, io.input(0), 1, runs_of(&io.specs.inputs[0], None), self.epsilon, self.activation);
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        reverse(r, None, self.activation)
    }
}

/// dx = rstd (g - mean(g) - n mean(g n)) with n = (x - mean) rstd, g = dz gamma, dz = dy act'(n gamma + beta).
///
/// *Shapes*: dy, x like each other, stats [rows, 2], gamma and (with an activation or `again`) beta \[C\]; dx, and what else
/// is requested. The flags below other than `parts` are set when a graph is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormInput {
    /// None for a layer norm.
    pub groups: Option<usize>,
    pub activation: Activation,
    /// Whether a last input, with the elements of x, is added to dx.
    pub term: bool,
    /// The number of leading channels of which dx is a tensor of its own; those of the others follow.
    pub first: Option<usize>,
    /// Whether it returns [B, C, 2], the sums over places of dz n and dz, which [`PartSum`] sums over samples to the
    /// gradients of gamma and beta.
    pub parts: bool,
    /// Whether it returns the output y of the forward pass again, so that this need not be kept.
    pub again: bool,
    /// Whether it returns [B, C], the sums over places of dx, or of its first tensor.
    pub sums: bool,
}

impl NormInput {
    pub fn new(groups: Option<usize>, activation: Activation) -> Self {
        Self { groups, activation, term: false, first: None, parts: false, again: false, sums: false }
    }

    /// Whether beta is an input, after gamma.
    pub fn reads_beta(&self) -> bool {
        self.again || self.activation != Activation::None
    }

    /// The input that is added to dx.
    fn term_at(&self) -> usize {
        4 + self.reads_beta() as usize
    }

    /// Whether sums of channels are computed, rather than those of whole runs.
    fn by_channel(&self) -> bool {
        self.parts || self.sums
    }

    /// The runs of a sample of which dx is in the first tensor, and those of the others.
    fn turns(&self, runs: Runs) -> [usize; 2] {
        let first = self.first.map_or(runs.groups, |channels| channels / runs.channels());
        [first, runs.groups - first]
    }
}

impl Op for NormInput {
    fn name(&self) -> &'static str {
        "norm_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("norm_input", inputs, self.term_at() + self.term as usize)?;
        let x = &inputs[1];
        expect_shape("norm_input", "x", &inputs[0], &x.shape)?;
        if self.term && inputs[self.term_at()].len() != x.len() {
            return Err(Error::shape(
                "norm_input",
                format!("the term {} should have the elements of {x}", inputs[self.term_at()]),
            ));
        }
        let runs = runs_of(x, self.groups);
        let (b, c) = (runs.rows / runs.groups, runs.channels() * runs.groups);
        let whole =
            |first: usize| self.groups.is_some() && first.is_multiple_of(runs.channels()) && (1..c).contains(&first);
        if self.by_channel() && runs.spatial == 1 || self.first.is_some_and(|first| !whole(first)) {
            return Err(Error::shape("norm_input", format!("{self:?} of {x} is not a sum of whole groups")));
        }
        let channels = |c: usize| Spec::f32([&[x.shape[0], c], &x.shape[2..]].concat());
        let mut outputs = match self.first {
            Some(first) => vec![channels(first), channels(c - first)],
            None => vec![Spec::f32(x.shape.clone())],
        };
        outputs.extend(self.parts.then(|| Spec::f32([b, c, 2])));
        outputs.extend(self.again.then(|| Spec::f32(x.shape.clone())));
        outputs.extend(self.sums.then(|| Spec::f32([b, self.first.unwrap_or(c)])));
        Ok(outputs)
    }

    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let runs = runs_of(&specs.inputs[1], self.groups);
        let mut kernel = runs.by_run("input", target).flag("INPUT", true).flag("BY_CHANNEL", self.by_channel());
        for (flag, on) in [("TERM", self.term), ("WEIGHTS", self.parts), ("AGAIN", self.again), ("SUMS", self.sums)] {
            kernel = kernel.flag(flag, on);
        }
        kernel =
            kernel.flag("OVER_DY", specs.is_overwritten(0)).flag("OVER_TERM", specs.is_overwritten(self.term_at()));
        kernel = kernel.flag("SPLIT", self.first.is_some()).flag("ACTIVE", self.activation != Activation::None);
        if let Some(channels) = self.first {
            kernel = kernel.dim("FIRST", channels * runs.spatial);
        }
        if self.by_channel() {
            // Each channel of a run has an equal part of the lanes.
            let team = (lanes(runs.run, target) / runs.channels().next_power_of_two() as u32).max(1);
            kernel = kernel.dim("CHANNELS", runs.channels()).tune("TEAM", team);
        }
        if self.sums {
            kernel = kernel.dim("SUMMED", self.first.unwrap_or(runs.channels() * runs.groups));
        }
        if self.again || self.activation != Activation::None { self.activation.choose(kernel) } else { kernel }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let runs = runs_of(&io.specs.inputs[1], self.groups);
        let [dy, x, stats, gamma] = [0, 1, 2, 3].map(|i| io.input(i));
        let beta = if self.reads_beta() { io.input(4) } else { &[] };
        let (over_dy, over_term) = (io.specs.is_overwritten(0), io.specs.is_overwritten(self.term_at()));
        let term = (self.term && !over_term).then(|| io.input(self.term_at()));
        let (mut slot, rows, d, n) = (0, runs.rows, runs.run, runs.channels());
        let mut next = |wanted: bool| {
            slot += wanted as usize;
            wanted.then(|| io.output(slot - 1))
        };
        let dx = [next(true), next(self.first.is_some())].map(Option::unwrap_or_default);
        let [parts, again, sums] = [self.parts, self.again, self.sums].map(&mut next);
        let (per, turns) = match self.first {
            Some(_) => (1, self.turns(runs)),
            None => (parallel::rows_of_task(d), [1, 0]),
        };
        // Those of the second tensor are left out.
        let summed = self.turns(runs)[0] * n;
        let mut all_sums = if self.sums && self.first.is_some() { vec![S::ZERO; rows * n] } else { Vec::new() };
        let (sums, kept) = if all_sums.is_empty() { (sums, None) } else { (Some(&mut all_sums[..]), sums) };
        let tasks = rows.div_ceil(per);
        let [parts, again, sums] =
            [(parts, 2 * n), (again, d), (sums, n)].map(|(of, size)| parallel::maybe(of, per * size, tasks));
        parallel::pieces(
            (parallel::turns(dx, per * d, turns), parts, again, sums),
            #[inline(always)]
            |task, (dx, mut parts, mut again, mut sums)| {
                for (i, dx) in dx.chunks_mut(d).enumerate() {
                    let row = task * per + i;
                    let part = row * d..row * d + d;
                    let run = Run { x: &x[part.clone()], mean: stats[2 * row], rstd: stats[2 * row + 1] };
                    S::with_scratch(2 * d, |scratch| {
                        let (dz, result) = scratch.split_at_mut(d);
                        match &again {
                            Some(again) if over_dy => dz.copy_from_slice(&again[i * d..][..d]),
                            _ => dz.copy_from_slice(&dy[part.clone()]),
                        }
                        self.slope(runs, row, &run, [gamma, beta], dz, result);
                        if let Some(again) = &mut again {
                            let again = &mut again[i * d..][..d];
                            run.normalise(again);
                            affine(runs, row, again, gamma, beta);
                            self.activation.apply_all(again);
                        }
                        if let Some(parts) = &mut parts {
                            run.sum_channels(dz, &mut parts[i * 2 * n..][..2 * n]);
                        }
                        by_channel(dz, runs.of(row, gamma).iter(), |g, gamma| *g *= **gamma);
                        if over_term {
                            run.finish(dz, result);
                            dx.iter_mut().zip(result.iter()).for_each(|(dx, d)| *dx += *d);
                        } else {
                            run.finish(dz, dx);
                        }
                    });
                    if let Some(term) = term {
                        dx.iter_mut().zip(&term[part]).for_each(|(d, t)| *d += *t);
                    }
                    if let Some(sums) = &mut sums {
                        let planes = sums[i * n..].iter_mut().zip(dx.chunks(runs.spatial));
                        planes.for_each(|(sum, dx)| *sum = parallel::sum(dx.len(), |i| dx[i]));
                    }
                }
            },
        );
        if let Some(kept) = kept {
            let samples = all_sums.chunks(runs.groups * n);
            kept.chunks_mut(summed).zip(samples).for_each(|(kept, all)| kept.copy_from_slice(&all[..summed]));
        }
    }

    fn overwrites(&self) -> Vec<[usize; 2]> {
        let again = 1 + self.first.is_some() as usize + self.parts as usize;
        let over_dy = self.again.then_some([0, again]);
        over_dy.into_iter().chain((self.term && self.first.is_none()).then_some([self.term_at(), 0])).collect()
    }

    fn plus(&self, term: Term) -> Option<DynOp> {
        let plus = Self { term: true, ..*self };
        (term == Term::Tensor && !self.term).then(|| std::sync::Arc::new(plus) as DynOp)
    }
}

impl NormInput {
    /// dz = dy act'(z) of a run, given dy; `z` is overwritten.
    #[inline(always)]
    fn slope<S: Scalar>(
        &self,
        runs: Runs,
        row: usize,
        run: &Run<S>,
        [gamma, beta]: [&[S]; 2],
        dz: &mut [S],
        z: &mut [S],
    ) {
        if self.activation == Activation::None {
            return;
        }
        run.normalise(z);
        affine(runs, row, z, gamma, beta);
        if self.activation.saves_output() {
            self.activation.apply_all(z);
        }
        self.activation.slope_all(dz, z);
    }
}

/// A run of x with its statistics.
struct Run<'a, S> {
    x: &'a [S],
    mean: S,
    rstd: S,
}

impl<S: Scalar> Run<'_, S> {
    /// n = (x - mean) rstd.
    #[inline(always)]
    fn normalise(&self, n: &mut [S]) {
        n.iter_mut().zip(self.x).for_each(|(n, x)| *n = (*x - self.mean) * self.rstd);
    }

    /// sums [channels, 2] of dz n and dz.
    #[inline(always)]
    fn sum_channels(&self, dz: &[S], sums: &mut [S]) {
        let s = 2 * dz.len() / sums.len();
        let channels = dz.chunks(s).zip(self.x.chunks(s));
        for (sums, (dz, x)) in sums.chunks_mut(2).zip(channels) {
            sums[0] = parallel::sum(s, |i| dz[i] * (x[i] - self.mean) * self.rstd);
            sums[1] = parallel::sum(s, |i| dz[i]);
        }
    }

    /// dx from the gradient of n.
    #[inline(always)]
    fn finish(&self, g: &[S], dx: &mut [S]) {
        let Self { x, mean, rstd } = *self;
        let (d, n) = (g.len(), S::of(g.len() as f64));
        let sum = parallel::sum(d, |i| g[i]) / n;
        let dot = parallel::sum(d, |i| g[i] * (x[i] - mean) * rstd) / n;
        for i in 0..d {
            dx[i] = rstd * (g[i] - sum - (x[i] - mean) * rstd * dot);
        }
    }
}

/// dgamma = sum of dz n over all but the channels, dbeta = sum of dz, where every element of a run is a channel.
///
/// *Shapes*: the inputs of [`NormInput`], without an activation only the first three; dgamma and dbeta \[C\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormWeight {
    /// None for a layer norm.
    pub groups: Option<usize>,
    pub activation: Activation,
}

impl NormWeight {
    /// The number of inputs: gamma and beta are read only with an activation.
    fn inputs(self) -> usize {
        if self.activation == Activation::None { 3 } else { 5 }
    }
}

impl Op for NormWeight {
    fn name(&self) -> &'static str {
        "norm_weight"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("norm_weight", inputs, self.inputs())?;
        let runs = runs_of(&inputs[0], self.groups);
        if runs.spatial > 1 {
            return Err(Error::shape("norm_weight", format!("{} has several places in a channel", inputs[0])));
        }
        let channels = runs.run * runs.groups;
        Ok(vec![Spec::f32([channels]), Spec::f32([channels])])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let runs = runs_of(&specs.inputs[0], self.groups);
        // Neighbouring invocations read neighbouring channels.
        let kernel = runs.kernel("columns").over(runs.run * runs.groups);
        if self.activation == Activation::None { kernel } else { self.activation.choose(kernel.flag("ACTIVE", true)) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let runs = runs_of(&io.specs.inputs[0], self.groups);
        let [dy, x, stats] = [0, 1, 2].map(|i| io.input(i));
        let [gamma, beta] = [3, 4].map(|i| if i < self.inputs() { io.input(i) } else { &[] });
        let (dgamma, dbeta) = (io.output(0), io.output(1));
        let d = runs.run;
        dgamma.fill(S::ZERO);
        dbeta.fill(S::ZERO);
        let op = NormInput::new(self.groups, self.activation);
        S::with_scratch(2 * d, |scratch| {
            let (dz, z) = scratch.split_at_mut(d);
            parallel::with_simd(
                #[inline(always)]
                || {
                    for (row, (dy, x)) in dy.chunks(d).zip(x.chunks(d)).enumerate() {
                        let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
                        dz.copy_from_slice(dy);
                        op.slope(runs, row, &Run { x, mean, rstd }, [gamma, beta], dz, z);
                        let start = row % runs.groups * d;
                        let (dgamma, dbeta) = (&mut dgamma[start..][..d], &mut dbeta[start..][..d]);
                        for i in 0..d {
                            dgamma[i] += dz[i] * (x[i] - mean) * rstd;
                            dbeta[i] += dz[i];
                        }
                    }
                },
            );
        });
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
