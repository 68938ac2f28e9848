//! The backward pass of normalisations.

use std::ops::Range;

use super::{Runs, by_channel, lanes, runs_of};
use crate::error::{Error, Result};
use crate::graph::{DynOp, Reverse, Spec, Term};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::ops::part_sum::{PartSum, Second};
use crate::ops::{Activation, Io, Op, Specs, expect_count, expect_shape};
use crate::parallel;

/// The backward pass of both: the gradient of x, and of gamma and beta if requested.
pub(super) fn reverse(r: &mut Reverse, groups: Option<usize>, activation: Activation) -> Result<()> {
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

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        let term = self.term.then(|| self.term_at());
        let tensors = 1 + self.first.is_some() as usize;
        let again = self.again.then_some(tensors + self.parts as usize);
        [[0, 1].into_iter().chain(term).collect(), (0..tensors).chain(again).collect()]
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
                    let parts = parts.as_mut().map(|parts| &mut parts[i * 2 * n..][..2 * n]);
                    let again = again.as_mut().map(|again| &mut again[i * d..][..d]);
                    let dy = (!over_dy).then(|| &dy[part.clone()]);
                    let affine = [gamma, beta].map(|of| if of.is_empty() { of } else { runs.of(row, of) });
                    S::with_scratch(
                        2 * d,
                        #[inline(always)]
                        |scratch| {
                            let (g, z) = scratch.split_at_mut(d);
                            self.gradient_of_n(&run, affine, dy, [g, z], again, parts);
                            run.finish(g, dx, over_term);
                        },
                    );
                    if let Some(term) = term {
                        dx.iter_mut().zip(&term[part]).for_each(|(d, t)| *d += *t);
                    }
                    if let Some(sums) = &mut sums {
                        let planes = sums[i * n..].iter_mut().zip(dx.chunks(runs.spatial));
                        planes.for_each(|(sum, dx)| *sum = parallel::sum_pairs(dx, dx, |dx, _| dx));
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
    /// The gradient g of n in a run, and what is wanted besides: channel by channel, so that what is between is in the first
    /// cache. `dy` is in `again` if it is not given. Uses `z` as scratch.
    #[inline(always)]
    fn gradient_of_n<S: Scalar>(
        &self,
        run: &Run<S>,
        [gamma, beta]: [&[S]; 2],
        dy: Option<&[S]>,
        [g, z]: [&mut [S]; 2],
        mut again: Option<&mut [S]>,
        mut parts: Option<&mut [S]>,
    ) {
        let (d, channels) = (g.len(), gamma.len());
        // All channels at once if each is one element.
        let (size, count) = if channels == d { (d, channels) } else { (d / channels, 1) };
        for (block, g) in g.chunks_mut(size).enumerate() {
            let (part, of) = (block * size..(block + 1) * size, block * count..(block + 1) * count);
            let (run, z) = (run.part(part.clone()), &mut z[..size]);
            let mut again = again.as_mut().map(|again| &mut again[part.clone()]);
            match (dy, &again) {
                (Some(dy), _) => g.copy_from_slice(&dy[part.clone()]),
                (None, Some(again)) => g.copy_from_slice(again),
                (None, None) => unreachable!("dy is given or overwritten"),
            }
            if self.reads_beta() {
                self.slope(&run, [&gamma[of.clone()], &beta[of.clone()]], g, z, again.is_some());
            }
            if let Some(again) = &mut again {
                again.copy_from_slice(z);
            }
            if let Some(parts) = &mut parts {
                run.sum_channels(g, &mut parts[2 * of.start..2 * of.end]);
            }
            by_channel(g, gamma[of].iter(), |g, gamma| *g *= **gamma);
        }
    }

    /// dz = dy act'(z) of channels, given dy, and act(z) in place of z if it is wanted.
    #[inline(always)]
    fn slope<S: Scalar>(&self, run: &Run<S>, [gamma, beta]: [&[S]; 2], dz: &mut [S], z: &mut [S], value: bool) {
        run.normalise(z);
        by_channel(z, gamma.iter().zip(beta), |z, (gamma, beta)| *z = *z * **gamma + **beta);
        match self.activation {
            Activation::None => {}
            act if act.saves_output() => {
                act.apply_all(z);
                act.slope_all(dz, z);
            }
            act if value => act.slope_and_apply_all(dz, z),
            act => act.slope_all(dz, z),
        }
    }
}

/// A run of x, or channels of it, with its statistics.
struct Run<'a, S> {
    x: &'a [S],
    mean: S,
    rstd: S,
}

impl<S: Scalar> Run<'_, S> {
    #[inline(always)]
    fn part(&self, part: Range<usize>) -> Self {
        Self { x: &self.x[part], ..*self }
    }

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
            sums[0] = self.dot(dz, x);
            sums[1] = parallel::sum_pairs(dz, dz, |dz, _| dz);
        }
    }

    /// The sum of g n.
    #[inline(always)]
    fn dot(&self, g: &[S], x: &[S]) -> S {
        let Self { mean, rstd, .. } = *self;
        parallel::sum_pairs(g, x, |g, x| g * (x - mean) * rstd)
    }

    /// dx from the gradient of n, or dx += it.
    #[inline(always)]
    fn finish(&self, g: &[S], dx: &mut [S], add: bool) {
        let n = S::of(g.len() as f64);
        let means = [parallel::sum_pairs(g, g, |g, _| g) / n, self.dot(g, self.x) / n];
        let all = dx.iter_mut().zip(g.iter().zip(self.x));
        if add {
            for (dx, (g, x)) in all {
                *dx += self.element(*g, *x, means);
            }
        } else {
            for (dx, (g, x)) in all {
                *dx = self.element(*g, *x, means);
            }
        }
    }

    /// An element of dx, from the means of g and of g n.
    #[inline(always)]
    fn element(&self, g: S, x: S, [sum, dot]: [S; 2]) -> S {
        self.rstd * (g - sum - (x - self.mean) * self.rstd * dot)
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

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1], vec![]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let runs = runs_of(&io.specs.inputs[0], self.groups);
        let [dy, x, stats] = [0, 1, 2].map(|i| io.input(i));
        let [gamma, beta] = [3, 4].map(|i| if i < self.inputs() { io.input(i) } else { &[] });
        let (dgamma, dbeta) = (io.output(0), io.output(1));
        let d = runs.run;
        dgamma.fill(S::ZERO);
        dbeta.fill(S::ZERO);
        let (op, activation) = (NormInput::new(self.groups, self.activation), self.activation);
        S::with_scratch(2 * d, |scratch| {
            let (dz, z) = scratch.split_at_mut(d);
            parallel::with_simd(
                #[inline(always)]
                || {
                    for (row, (dy, x)) in dy.chunks(d).zip(x.chunks(d)).enumerate() {
                        let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
                        dz.copy_from_slice(dy);
                        let start = row % runs.groups * d;
                        if activation != Activation::None {
                            let affine = [gamma, beta].map(|of| &of[start..][..d]);
                            op.slope(&Run { x, mean, rstd }, affine, dz, z, false);
                        }
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
