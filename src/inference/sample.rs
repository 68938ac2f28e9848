//! Drawing samples: the reverse process as a compiled program.

use std::sync::Arc;

use super::program::{Observer, Program};
use crate::data::Dataset;
use crate::device::Device;
use crate::diffusion::{Ddim, Sampler, SamplerOptions, SamplerTable, Spacing};
use crate::error::{Error, Result};
use crate::generate::{reverse_process, starting_noise};
use crate::graph::Graph;
use crate::nn::Denoiser;
use crate::train::{Checkpoint, Facts, Task};

/// What to draw and how.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// How many samples.
    pub count: usize,
    /// The rule of a step.
    pub sampler: Arc<dyn Sampler>,
    /// Steps; 0 for the sampler's default (all of them for DDPM, 100 for DDIM).
    pub steps: usize,
    /// Which of the schedule's steps are visited.
    pub spacing: Spacing,
    /// Whether estimates of x_0 are kept within the range of the data.
    pub clip: bool,
    /// Seed of the starting noise and of the noise in the steps.
    pub seed: u64,
}

/// The most values of a set of samples: beyond, their random numbers would repeat.
const MOST_VALUES: u64 = 1 << 34;

impl Sampling {
    /// `count` samples with the default settings.
    pub fn new(count: usize) -> Self {
        let sampler = Arc::new(Ddim::default());
        Self { count, sampler, steps: 0, spacing: Spacing::Trailing, clip: true, seed: 0 }
    }
}

/// Draws samples with a trained model, in the units of its data.
///
/// # Errors
/// As [`sample_in_parts`].
pub fn sample(device: &Device, checkpoint: &Checkpoint, sampling: &Sampling) -> Result<Dataset> {
    let mut values = Vec::new();
    let mut take = |part: &[f32]| {
        values.extend_from_slice(part);
        Ok(())
    };
    sample_in_parts(device, checkpoint, sampling, &mut |_| true, &mut take)?;
    Dataset::new("samples", checkpoint.facts().shape.clone(), values)
}

/// [`sample`], which gives `take` the samples in order, as many at a time as fit the device. A sample follows from its number
/// and the seed, and not from how many are drawn, up to the rounding of sums.
///
/// # Errors
/// When a setting is out of range, the device has no room for one sample, or the checkpoint does not fit its own settings;
/// [`Error::Interrupted`] when `observe` says so; what `take` gives.
pub fn sample_in_parts(
    device: &Device,
    checkpoint: &Checkpoint,
    sampling: &Sampling,
    observe: &mut Observer,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let (facts, count) = (checkpoint.facts(), sampling.count);
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
        let text = "the run learned to denoise, not to generate; use it with: langevin denoise RUN NOISY --out F";
        return Err(Error::setting(text));
    }
    let table = table(checkpoint, facts, sampling)?;
    let build = |g: &mut Graph, network: &dyn Denoiser, shape| reverse_process(g, network, &table, shape);
    let mut program = Program::new(device, checkpoint, count, table.rows.len() as u32, build)?;
    let start = |first, x: &mut [f32]| starting_noise(sampling.seed, first * width, x);
    program.each(count, sampling.seed, start, observe, |x| take(&facts.normalisation.undo(x)))
}

fn table(checkpoint: &Checkpoint, facts: &Facts, sampling: &Sampling) -> Result<SamplerTable> {
    let objective = checkpoint.config.objective()?;
    let sampler = sampling.sampler.clone();
    let steps = if sampling.steps == 0 { sampler.default_steps(objective.steps()) } else { sampling.steps };
    let options = SamplerOptions {
        spacing: sampling.spacing,
        clip: sampling.clip.then_some(facts.normalisation.bound as f64),
        // A clipped estimate of x_0 asks for the noise that goes with it.
        rederive: sampling.clip,
        ..SamplerOptions::shared(sampler, steps)
    };
    SamplerTable::new(&objective, &options)
}
