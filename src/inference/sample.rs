//! Sampling with a diffusion model.

use std::sync::Arc;

use super::condition::{ConditionInputs, Conditioned, SampleConditions};
use super::program::{BatchedProgram, Observer};
use crate::data::Dataset;
use crate::device::Device;
use crate::diffusion::{Ddim, Sampler, SamplerOptions, SamplerTable, Spacing};
use crate::error::{Error, Result};
use crate::generate::{reverse_process_within, starting_noise};
use crate::graph::Graph;
use crate::nn::Denoiser;
use crate::train::{Checkpoint, Facts, Task};

/// Settings of [`sample`]. Fields may be added: construct it with `..Sampling::new(count)`.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// The number of samples.
    pub count: usize,
    /// The sampler.
    pub sampler: Arc<dyn Sampler>,
    /// Steps of the reverse process; 0 selects the default of the sampler (all for DDPM, 100 for DDIM).
    pub steps: usize,
    /// Which diffusion steps are used.
    pub spacing: Spacing,
    /// Whether to clip estimates of x0 to the range of the training data.
    pub clip: bool,
    /// Seed of the initial noise and of the noise that the sampler adds.
    pub seed: u64,
    /// The conditions of the samples, for a conditional model.
    pub conditions: SampleConditions,
}

/// The maximum number of values in a set of samples; beyond it, random numbers would repeat.
const MOST_VALUES: u64 = 1 << 34;

impl Sampling {
    /// The default settings for `count` samples.
    pub fn new(count: usize) -> Self {
        let sampler = Arc::new(Ddim::default());
        Self {
            count,
            sampler,
            steps: 0,
            spacing: Spacing::Trailing,
            clip: true,
            seed: 0,
            conditions: SampleConditions::default(),
        }
    }
}

/// Draws samples with a diffusion model, in the units of its data.
///
/// # Errors
/// As [`sample_in_parts`].
pub fn sample(device: &Device, checkpoint: &Checkpoint, sampling: &Sampling) -> Result<Dataset> {
    sample_observed(device, checkpoint, sampling, &mut |_| true)
}

/// [`sample`] with an observer.
pub(crate) fn sample_observed(
    device: &Device,
    checkpoint: &Checkpoint,
    sampling: &Sampling,
    observe: &mut Observer,
) -> Result<Dataset> {
    let mut values = Vec::new();
    let mut take = |part: &[f32]| {
        values.extend_from_slice(part);
        Ok(())
    };
    sample_in_parts(device, checkpoint, sampling, observe, &mut take)?;
    let facts = &checkpoint.facts;
    let samples = Dataset::new("samples", facts.shape.clone(), values)?.of_kind(facts.kind)?;
    Ok(samples.with_columns(facts.columns.clone()))
}

/// Like [`sample`], but passes the samples to `take` in order, batch by batch, without the offsets of their columns. A sample
/// depends on its index and the seed, and not on the number of samples, except for rounding. Returns the share of the values,
/// without those of categories, that were clipped to the range of the training data.
///
/// # Errors
/// When a setting is out of range, not even one sample fits the device, or the checkpoint does not match its own settings;
/// [`Error::Interrupted`] when `observe` returns false; the errors of `take`.
pub fn sample_in_parts(
    device: &Device,
    checkpoint: &Checkpoint,
    sampling: &Sampling,
    observe: &mut Observer,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<f64> {
    let (facts, count) = (&checkpoint.facts, sampling.count);
    let width: usize = facts.shape.iter().product();
    let most = MOST_VALUES / width as u64;
    if count == 0 || count as u64 > most.min(u32::MAX.into()) {
        return Err(Error::setting(format!(
            "{count} samples of shape {:?}; use a count of 1 to {}, and draw more with another seed",
            facts.shape,
            most.min(u32::MAX.into())
        )));
    }
    if checkpoint.config.task == Task::Denoise {
        let text =
            "this run is a denoiser, which cannot generate samples; use it with: langevin denoise RUN NOISY --out F";
        return Err(Error::setting(text));
    }
    let table = table(checkpoint, facts, sampling)?;
    let limits = facts.limits().filter(|_| sampling.clip);
    let inputs = ConditionInputs::new(facts, &sampling.conditions, count)?;
    let (options, guidance, sample) = (facts.conditions.options(), sampling.conditions.guidance, &facts.shape[..]);
    // The values of categories are 0 and 1, the limits themselves.
    let counted: Vec<bool> = (0..width).map(|i| facts.columns.categories_at(i).is_none()).collect();
    let build = |g: &mut Graph, network: &dyn Denoiser, shape| {
        let network = Conditioned { network, options, sample, guidance, table: &table };
        reverse_process_within(g, &network, &table, shape, limits.as_deref())
    };
    let program = BatchedProgram::new(device, checkpoint, count, table.rows.len() as u32, build)?;
    let mut program = program.with_inputs(inputs.names());
    let mut start = |name: &str, first: usize, values: &mut [f32]| match name {
        "x" => starting_noise(sampling.seed, first * width, values),
        condition => inputs.fill(condition, first, values),
    };
    let mut clipped = 0u64;
    program.each(count, sampling.seed, &mut start, observe, |x| {
        clipped += limits.as_ref().map_or(0, |limits| at_limits(x, limits, &counted));
        take(&facts.normalisation.undo(x))
    })?;
    let each = counted.iter().filter(|counted| **counted).count().max(1);
    Ok(clipped as f64 / (count as f64 * each as f64))
}

/// The number of `counted` values of samples at their limits, in normalised units.
fn at_limits(x: &[f32], limits: &[f32], counted: &[bool]) -> u64 {
    let (low, high) = limits.split_at(limits.len() / 2);
    let at = |(x, ((low, high), counted)): (&f32, ((&f32, &f32), &bool))| {
        let near = 1e-5 * (high - low);
        *counted && low < high && (*x <= low + near || *x >= high - near)
    };
    x.iter().zip(low.iter().zip(high).zip(counted).cycle()).filter(|place| at(*place)).count() as u64
}

fn table(checkpoint: &Checkpoint, facts: &Facts, sampling: &Sampling) -> Result<SamplerTable> {
    let objective = checkpoint.config.objective()?;
    let sampler = sampling.sampler.clone();
    let steps = if sampling.steps == 0 { sampler.default_steps(objective.steps()) } else { sampling.steps };
    let options = SamplerOptions {
        spacing: sampling.spacing,
        clip: sampling.clip.then_some(facts.normalisation.bound as f64),
        // After clipping x0, the noise estimate must be computed from it.
        rederive: sampling.clip,
        ..SamplerOptions::shared(sampler, steps)
    };
    SamplerTable::new(&objective, &options)
}
