//! Sampling with a diffusion model.

use std::sync::Arc;

use super::condition::{ConditionInputs, Conditioned, SampleConditions};
use super::guide::{self, GuideNetwork};
use super::program::{BatchedProgram, Observer};
use crate::data::Dataset;
use crate::device::Device;
use crate::diffusion::{Objective, Sampler, SamplerOptions, SamplerTable, Spacing, UniPc};
use crate::error::{Error, Result};
use crate::generate::{reverse_process_within, starting_noise};
use crate::graph::Graph;
use crate::nn::Denoiser;
use crate::ranks::Ranks;
use crate::train::{Checkpoint, Facts, Task};

/// Settings of [`sample`]. Fields may be added: construct it with `..Sampling::new(count)`.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// The number of samples.
    pub count: usize,
    /// The sampler.
    pub sampler: Arc<dyn Sampler>,
    /// Steps of the reverse process; 0 selects the default of the sampler.
    pub steps: usize,
    /// Which noise levels are used; `None` selects the default of the sampler.
    pub spacing: Option<Spacing>,
    /// The diffusion steps that are used, noisiest first, instead of `steps` and `spacing`.
    pub timesteps: Option<Vec<usize>>,
    /// Whether to clip estimates of x0 to the range of the training data.
    pub clip: bool,
    /// Seed of the initial noise and of the noise that the sampler adds.
    pub seed: u64,
    /// The initial noise of the samples, standard normal, instead of that of the seed.
    pub noise: Option<Vec<f32>>,
    /// The conditions of the samples, for a conditional model.
    pub conditions: SampleConditions,
    /// A weaker run, for autoguidance with the scale of [`conditions`](Self::conditions): a run of the same data and objective
    /// with a smaller network or fewer training steps. Where predictions differ, that of the guide is converted. It gets those
    /// of the conditions that it has (Karras et al. 2024, "Guiding a diffusion model with a bad version of itself").
    pub guide: Option<Arc<Checkpoint>>,
    /// Processes that share the work; all of them draw the same samples, and get all of them.
    pub ranks: Option<Arc<dyn Ranks>>,
}

/// The maximum number of values in a set of samples; beyond it, random numbers would repeat.
const MOST_VALUES: u64 = 1 << 34;

impl Sampling {
    /// The name of the default sampler.
    pub const SAMPLER: &str = "unipc";

    /// The default settings for `count` samples.
    pub fn new(count: usize) -> Self {
        let (sampler, conditions) = (Arc::new(UniPc), SampleConditions::default());
        let (steps, seed, clip) = (0, 0, true);
        let (spacing, timesteps, noise, guide, ranks) = (None, None, None, None, None);
        Self { count, sampler, steps, spacing, timesteps, clip, seed, noise, conditions, guide, ranks }
    }

    /// The sampler's table for an objective, with estimates of x0 clipped to +- `bound`.
    ///
    /// # Errors
    /// As [`SamplerTable::new`].
    pub fn table(&self, objective: &Objective, bound: Option<f64>) -> Result<SamplerTable> {
        let steps = if self.steps == 0 { self.sampler.default_steps(objective.steps()) } else { self.steps };
        let options = SamplerOptions {
            spacing: self.spacing.unwrap_or_else(|| self.sampler.default_spacing(objective)),
            clip: bound,
            // After clipping x0, the noise estimate must be computed from it.
            rederive: bound.is_some(),
            ..SamplerOptions::shared(self.sampler.clone(), steps)
        };
        match &self.timesteps {
            Some(ts) => SamplerTable::over(objective, &options, ts),
            None => SamplerTable::new(objective, &options),
        }
    }

    /// x = the initial noise of the samples from `first` on, with `width` values each.
    fn start(&self, first: usize, width: usize, x: &mut [f32]) {
        match &self.noise {
            Some(noise) => {
                let len = x.len();
                x.copy_from_slice(&noise[first * width..][..len]);
            }
            None => starting_noise(self.seed, first * width, x),
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
    let draw = Draw::new(checkpoint, sampling)?;
    let (Draw { table, limits, width, .. }, facts, count) = (&draw, &checkpoint.facts, sampling.count);
    draw.inputs.check_count(count)?;
    // The values of categories are 0 and 1, the limits themselves.
    let counted: Vec<bool> = (0..*width).map(|i| facts.columns.categories_at(i).is_none()).collect();
    let build = |g: &mut Graph, network: &dyn Denoiser, shape| {
        reverse_process_within(g, &draw.conditioned(network), table, shape, limits.as_deref())
    };
    let own = count.div_ceil(sampling.ranks.as_ref().map_or(1, |ranks| ranks.count()));
    let program = BatchedProgram::new(device, &draw.networks(checkpoint), own, table.rows.len() as u32, build)?;
    let mut program = program.with_inputs(draw.inputs.names()).with_ranks(sampling.ranks.clone());
    let mut start = |name: &str, first: usize, values: &mut [f32]| draw.start(name, first, values);
    let mut clipped = 0u64;
    program.each(count, sampling.seed, &mut start, observe, |x| {
        clipped += limits.as_ref().map_or(0, |limits| at_limits(x, limits, &counted));
        take(&facts.restore(x))
    })?;
    let each = counted.iter().filter(|counted| **counted).count().max(1);
    Ok(clipped as f64 / (count as f64 * each as f64))
}

/// What the reverse process of a checkpoint needs.
pub(super) struct Draw<'a> {
    sampling: &'a Sampling,
    facts: &'a Facts,
    /// The rows of the sampler.
    pub table: SamplerTable,
    /// The limits of the values of a sample, if estimates are clipped.
    pub limits: Option<Vec<f32>>,
    /// The number of values of a sample.
    pub width: usize,
    /// The conditions of the samples.
    pub inputs: ConditionInputs,
    /// The guide, if guidance uses one.
    guide: Option<GuideNetwork<'a>>,
}

impl<'a> Draw<'a> {
    /// Checks the settings of sampling.
    ///
    /// # Errors
    /// As [`sample_in_parts`].
    pub fn new(checkpoint: &'a Checkpoint, sampling: &'a Sampling) -> Result<Self> {
        let bound = sampling.clip.then_some(checkpoint.facts.normalisation.bound as f64);
        Self::over(checkpoint, sampling, sampling.table(&checkpoint.config.objective()?, bound)?)
    }

    /// [`Draw::new`] with the rows of another reverse process.
    pub fn over(checkpoint: &'a Checkpoint, sampling: &'a Sampling, table: SamplerTable) -> Result<Self> {
        let (facts, count) = (&checkpoint.facts, sampling.count);
        let width: usize = facts.shape.iter().product();
        let most = (MOST_VALUES / width as u64).min(u32::MAX.into());
        if count == 0 || count as u64 > most {
            return Err(Error::setting(format!(
                "{count} samples of shape {:?}; use a count of 1 to {most}, and draw more with another seed",
                facts.shape
            )));
        }
        if let Some(noise) = &sampling.noise
            && noise.len() < count * width
        {
            return Err(Error::setting(format!(
                "{count} samples of shape {:?} need {} values of initial noise, but there are {}; use a smaller count, or more \
                 noise",
                facts.shape,
                count * width,
                noise.len()
            )));
        }
        if checkpoint.config.task == Task::Denoise {
            let text = "this run is a denoiser, which cannot generate samples; use it with: langevin denoise RUN NOISY --out F";
            return Err(Error::setting(text));
        }
        checkpoint.config.objective()?.check_end()?;
        let limits = facts.limits().filter(|_| sampling.clip);
        let guide = sampling.guide.as_deref().map(|guide| GuideNetwork::new(checkpoint, guide, &table)).transpose()?;
        let inputs = ConditionInputs::new(checkpoint, &sampling.conditions, guide.as_ref())?;
        let guide = guide.filter(|_| !sampling.conditions.guidance.is_none());
        Ok(Self { sampling, facts, table, limits, width, inputs, guide })
    }

    /// The networks of the program and their scopes.
    pub fn networks(&self, checkpoint: &'a Checkpoint) -> Vec<(&'static str, &'a Checkpoint)> {
        let guide = self.guide.as_ref().map(|guide| (guide::SCOPE, guide.checkpoint()));
        std::iter::once(("", checkpoint)).chain(guide).collect()
    }

    /// The network with the conditions of the samples, and guidance.
    pub fn conditioned<'b>(&'b self, network: &'b dyn Denoiser) -> Conditioned<'b> {
        let (options, guidance) = (self.facts.conditions.options(), self.sampling.conditions.guidance);
        let guide = self.guide.as_ref();
        Conditioned { network, options, sample: &self.facts.shape, guidance, guide, table: &self.table }
    }

    /// Writes the values of an input of the program for the samples from `first` on.
    pub fn start(&self, name: &str, first: usize, values: &mut [f32]) {
        match name {
            "x" => self.sampling.start(first, self.width, values),
            condition => self.inputs.fill(condition, first, values),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::threads::on_ranks;
    use crate::train::{Config, Trainer};

    fn checkpoint() -> Checkpoint {
        let config = Config { data: "moons".into(), batch: 16, steps: 20, ..Config::for_model("simple").unwrap() };
        let mut trainer = Trainer::new(&Device::cpu(), &config, &config.load().unwrap()).unwrap();
        trainer.advance(5).unwrap();
        trainer.checkpoint().unwrap()
    }

    #[test]
    fn several_ranks_draw_the_samples_of_one() {
        let (checkpoint, device) = (checkpoint(), Device::cpu());
        let alone = sample(&device, &checkpoint, &Sampling { steps: 4, ..Sampling::new(11) }).unwrap();
        for count in [2, 3] {
            let of_ranks = on_ranks(count, |rank| {
                let sampling = Sampling { steps: 4, ranks: Some(Arc::new(rank)), ..Sampling::new(11) };
                sample(&device, &checkpoint, &sampling).unwrap().values
            });
            assert!(of_ranks.iter().all(|values| *values == alone.values), "{count} ranks");
        }
    }

    #[test]
    fn a_rank_that_is_stopped_stops_all() {
        let (checkpoint, device) = (checkpoint(), Device::cpu());
        let errors = on_ranks(2, |rank| {
            let goes_on = rank.rank() == 1;
            let sampling = Sampling { steps: 4, ranks: Some(Arc::new(rank)), ..Sampling::new(11) };
            sample_in_parts(&device, &checkpoint, &sampling, &mut |_| goes_on, &mut |_| Ok(())).unwrap_err().to_string()
        });
        assert_eq!(errors[0], "stopped after 0 of 11 samples; nothing is written");
        assert_eq!(errors[1], format!("rank 0: {}", errors[0]));
    }
}
