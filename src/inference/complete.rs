//! Completing samples: generated values for those that are unknown.

use std::sync::Arc;

use super::condition::known_values;
use super::program::{BatchedProgram, Observer};
use super::sample::{Draw, Sampling, sample_in_parts};
use crate::data::Dataset;
use crate::device::Device;
use crate::diffusion::{Ddpm, Resampling, SamplerOptions, SamplerTable, Spacing, repaint};
use crate::error::{Error, Result};
use crate::generate::reverse_process_within;
use crate::graph::Graph;
use crate::nn::Denoiser;
use crate::ops::KeepKnown;
use crate::train::{Checkpoint, Task};

/// Settings of [`complete`]. Fields may be added: construct it with `..Completing::new(count)`.
#[derive(Clone, Debug)]
pub struct Completing {
    /// The reverse process of a model that was trained to complete samples, and the conditions of the samples. Its `count`
    /// is the number of draws for each sample.
    pub sampling: Sampling,
    /// How the reverse process of another diffusion model goes back and forth.
    pub resampling: Resampling,
}

/// How a run completes samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// The network is given the known values.
    Learned,
    /// Known values replace generated ones in each step of the reverse process, which goes back and forth (Lugmayr et al.
    /// 2022, "RePaint").
    Replaced,
}

/// The state with known values, see [`KeepKnown`].
const KNOWN: &str = "known";

/// The default number of steps of the reverse process with resampling.
const STEPS: usize = 100;

impl Completing {
    /// The default settings for `count` draws of each sample.
    pub fn new(count: usize) -> Self {
        Self { sampling: Sampling::new(count), resampling: Resampling::default() }
    }

    /// How a run completes samples.
    ///
    /// # Errors
    /// [`Error::Setting`] when the run is a denoiser.
    pub fn method(checkpoint: &Checkpoint) -> Result<Method> {
        match checkpoint.config.task {
            Task::Complete => Ok(Method::Learned),
            Task::Diffusion => Ok(Method::Replaced),
            Task::Denoise => Err(Error::setting(
                "this run is a denoiser, which cannot fill gaps; train a model with: langevin train DATA --task complete",
            )),
        }
    }

    /// The rows of the reverse process with resampling, and the weights of known values and noise after each of them.
    ///
    /// # Errors
    /// As [`repaint`].
    pub fn resampled(&self, checkpoint: &Checkpoint) -> Result<(SamplerTable, Vec<[f64; 2]>)> {
        let Sampling { steps, spacing, clip, .. } = self.sampling;
        let options = SamplerOptions {
            spacing: spacing.unwrap_or(Spacing::Trailing),
            clip: clip.then_some(checkpoint.facts.normalisation.bound as f64),
            rederive: clip,
            ..SamplerOptions::new(Ddpm::default(), if steps == 0 { STEPS } else { steps })
        };
        let objective = checkpoint.config.objective()?;
        let steps = options.steps.min(objective.steps());
        repaint(&objective, &SamplerOptions { steps, ..options }, self.resampling)
    }
}

/// Draws values for the unknown ones (NaN) of samples, in the units of the data: `count` draws of the first sample, then of
/// the second, and so on. Known values are copied.
///
/// A run of the task `complete` is given the known values. Another diffusion model completes samples too, but less well:
/// see [`Method::Replaced`].
///
/// # Errors
/// As [`complete_in_parts`].
pub fn complete(device: &Device, checkpoint: &Checkpoint, data: &Dataset, how: &Completing) -> Result<Dataset> {
    let mut values = Vec::new();
    let mut take = |part: &[f32]| {
        values.extend_from_slice(part);
        Ok(())
    };
    complete_in_parts(device, checkpoint, data, how, &mut |_| true, &mut take)?;
    data.with_values(format!("{} completed", data.name), values)
}

/// Like [`complete`], but passes the draws to `take` in order, batch by batch.
///
/// # Errors
/// When the shape of the data differs from that of the model, a setting is out of range, or not even one sample fits the
/// device; [`Error::Interrupted`] when `observe` returns false; the errors of `take`.
pub fn complete_in_parts(
    device: &Device,
    checkpoint: &Checkpoint,
    data: &Dataset,
    how: &Completing,
    observe: &mut Observer,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<Method> {
    let (method, draws, len) = (Completing::method(checkpoint)?, how.sampling.count, data.sample_len());
    let mut done = 0;
    let mut keep = |part: &[f32]| {
        let mut part = part.to_vec();
        for draw in part.chunks_exact_mut(len) {
            let known = data.sample(done / draws);
            draw.iter_mut().zip(known).filter(|(_, known)| !known.is_nan()).for_each(|(value, known)| *value = *known);
            done += 1;
        }
        take(&part)
    };
    let mut sampling = how.sampling.clone();
    sampling.count = draws.saturating_mul(data.len());
    sampling.conditions.each = draws;
    match method {
        Method::Learned => {
            sampling.conditions.incomplete = Some(Arc::new(data.clone()));
            sample_in_parts(device, checkpoint, &sampling, observe, &mut keep)?;
        }
        Method::Replaced => {
            let (table, weights) = how.resampled(checkpoint)?;
            sampling.sampler = Arc::new(Ddpm::default());
            replaced(device, checkpoint, data, &sampling, (table, &weights), observe, &mut keep)?;
        }
    }
    Ok(method)
}

/// Draws samples whose known values are replaced in each step.
fn replaced(
    device: &Device,
    checkpoint: &Checkpoint,
    data: &Dataset,
    sampling: &Sampling,
    (table, weights): (SamplerTable, &[[f64; 2]]),
    observe: &mut Observer,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let draw = Draw::over(checkpoint, sampling, table)?;
    let (table, limits, each) = (&draw.table, &draw.limits, sampling.conditions.each);
    draw.inputs.check_count(sampling.count)?;
    let known = known_values(&checkpoint.facts, data)?;
    let weights: Vec<f32> = weights.as_flattened().iter().map(|v| *v as f32).collect();
    let build = |g: &mut Graph, network: &dyn Denoiser, [rows, width]: [usize; 2]| {
        let x = reverse_process_within(g, &draw.conditioned(network), table, [rows, width], limits.as_deref())?;
        let weights = g.constant([weights.len() / 2, 2], weights.clone())?;
        let known = g.state(KNOWN, [rows, 2 * width])?;
        let stream = g.stream();
        g.apply_to(KeepKnown { stream }, &[known, weights], &[x])?;
        Ok(x)
    };
    let program =
        BatchedProgram::new(device, &draw.networks(checkpoint), sampling.count, table.rows.len() as u32, build)?;
    let width = 2 * draw.width;
    let mut program = program.with_inputs(draw.inputs.names().chain([(KNOWN, width)]));
    let mut start = |name: &str, first: usize, values: &mut [f32]| match name {
        KNOWN => {
            for (i, row) in values.chunks_exact_mut(width).enumerate() {
                row.copy_from_slice(&known[(first + i) / each * width..][..width]);
            }
        }
        other => draw.start(other, first, values),
    };
    program.each(sampling.count, sampling.seed, &mut start, observe, |x| take(&checkpoint.facts.restore(x)))
}
