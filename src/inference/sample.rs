//! Drawing samples: the reverse process as a compiled program.

use std::sync::Arc;

use crate::data::Dataset;
use crate::device::Device;
use crate::diffusion::{Ddim, Sampler, SamplerOptions, SamplerTable, Spacing};
use crate::error::{Error, Result};
use crate::generate::{chunk_seed, draw, reverse_process};
use crate::graph::Graph;
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

/// Samples that are drawn at a time.
const CHUNK: usize = 1024;

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
/// When a setting is out of range, or the checkpoint does not fit its own configuration.
pub fn sample(device: &Device, checkpoint: &Checkpoint, sampling: &Sampling) -> Result<Dataset> {
    if sampling.count == 0 || sampling.count > 10_000_000 {
        return Err(Error::setting(format!("{} samples; use --count 1 to 10000000", sampling.count)));
    }
    let config = &checkpoint.config;
    let facts = config.facts.as_ref().ok_or_else(|| Error::input("the checkpoint does not say what its data was"))?;
    if config.task == Task::Denoise {
        let text = "the run learned to denoise, not to generate; use it with: langevin denoise RUN NOISY --out F";
        return Err(Error::setting(text));
    }
    let table = table(checkpoint, facts, sampling)?;
    let (batch, width) = (sampling.count.min(CHUNK), facts.shape.iter().product::<usize>());
    // Random frequencies of the step encoding come from the seed of the run.
    let mut g = Graph::seeded(config.seed);
    let network = config.model.build(&mut g, &facts.shape)?;
    let x = reverse_process(&mut g, network.as_ref(), &table, [batch, width])?;
    let mut run = device.compile(&g)?;
    checkpoint.write_weights(&mut run)?;
    let mut values = Vec::with_capacity(sampling.count * width);
    for chunk in 0..sampling.count.div_ceil(batch) {
        values.extend(draw(&mut run, x, batch * width, table.rows.len(), chunk_seed(sampling.seed, chunk))?);
    }
    values.truncate(sampling.count * width);
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::NonFinite(
            "the samples are not finite: the training diverged; train again with a lower --lr".into(),
        ));
    }
    Dataset::new("samples", facts.shape.clone(), facts.normalisation.undo(&values))
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
