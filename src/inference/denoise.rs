//! Taking noise out of data with a trained network: a denoiser in one pass, a diffusion model by the end of its reverse
//! process.

use std::sync::Arc;

use super::program::{Observer, Program};
use crate::data::Dataset;
use crate::data::corrupt::estimate_level;
use crate::device::Device;
use crate::diffusion::{Ddim, Level, Objective, Sampler, SamplerOptions, SamplerTable};
use crate::error::{Error, Result};
use crate::generate::reverse_process;
use crate::graph::Graph;
use crate::nn::{Denoiser, Inputs};
use crate::text::{exact, short};
use crate::train::{Checkpoint, Facts, Task};

/// How noise is taken out.
#[derive(Clone, Debug)]
pub struct Denoising {
    /// Standard deviation of the noise in the units of the data, for a diffusion model; estimated from the data when absent.
    pub level: Option<f64>,
    /// Steps of a diffusion model's reverse process from there: 1 takes its estimate of the clean data at once.
    pub steps: usize,
    /// The rule of a step.
    pub sampler: Arc<dyn Sampler>,
    /// Seed of the noise in the steps.
    pub seed: u64,
}

impl Default for Denoising {
    fn default() -> Self {
        Self { level: None, steps: 1, sampler: Arc::new(Ddim::default()), seed: 0 }
    }
}

/// Where a diffusion model began.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Start {
    /// Standard deviation of the noise in the units of the data.
    pub level: f64,
    /// Whether that was estimated.
    pub estimated: bool,
    /// The step whose noise, relative to the data, is nearest to it.
    pub t: usize,
    /// How many steps were taken from there: no more than the t + 1 that there are.
    pub steps: usize,
}

/// Denoised samples in the units of the data, and where a diffusion model began.
///
/// # Errors
/// As [`denoise_in_parts`].
pub fn denoise(
    device: &Device,
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    how: &Denoising,
) -> Result<(Dataset, Option<Start>)> {
    let mut values = Vec::with_capacity(noisy.values.len());
    let mut take = |part: &[f32]| {
        values.extend_from_slice(part);
        Ok(())
    };
    let start = denoise_in_parts(device, checkpoint, noisy, how, &mut |_| true, &mut take)?;
    Ok((Dataset::new(format!("{} denoised", noisy.name), noisy.shape.clone(), values)?, start))
}

/// [`denoise`], which gives `take` the samples in order, as many at a time as fit the device.
///
/// # Errors
/// When the data have another shape than the model, a setting is out of range, or the device has no room for one sample;
/// [`Error::Interrupted`] when `observe` says so; what `take` gives.
pub fn denoise_in_parts(
    device: &Device,
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    how: &Denoising,
    observe: &mut Observer,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<Option<Start>> {
    let facts = checkpoint.facts();
    if noisy.shape != facts.shape {
        return Err(Error::input(format!(
            "{}: samples of shape {:?}, but the model was trained on {:?}; give data of that shape",
            noisy.name, noisy.shape, facts.shape
        )));
    }
    let count = noisy.len();
    let (mut program, factor, start) = match checkpoint.config.task {
        Task::Denoise => (one_pass(device, checkpoint, count)?, 1.0, None),
        Task::Diffusion => {
            let (table, a, start) = reverse_from(checkpoint, noisy, how)?;
            let build = |g: &mut Graph, network: &dyn Denoiser, shape| reverse_process(g, network, &table, shape);
            (Program::new(device, checkpoint, count, table.rows.len() as u32, build)?, a, Some(start))
        }
    };
    let normalisation = &facts.normalisation;
    let begin = |first: usize, x: &mut [f32]| {
        let noisy = &noisy.values[first * noisy.sample_len()..][..x.len()];
        x.iter_mut().zip(normalisation.apply(noisy)).for_each(|(x, value)| *x = factor * value);
    };
    program.each(count, how.seed, begin, observe, |x| take(&normalisation.undo(x)))?;
    Ok(start)
}

/// The network that was trained to give clean samples from noisy ones.
fn one_pass(device: &Device, checkpoint: &Checkpoint, count: usize) -> Result<Program> {
    Program::new(device, checkpoint, count, 1, |g, network, [rows, width]| {
        let x = g.state("x", [rows, width])?;
        let t = g.constant([rows], vec![0.0; rows])?;
        let y = network.forward(g, Inputs::new(x, t))?;
        Ok(g.keep(y))
    })
}

/// The reverse process from the step whose noise is that of the data: its table, the factor of the data there, and where it
/// starts.
fn reverse_from(checkpoint: &Checkpoint, noisy: &Dataset, how: &Denoising) -> Result<(SamplerTable, f32, Start)> {
    let (objective, facts) = (checkpoint.config.objective()?, checkpoint.facts());
    // Coordinates of points have a scale each: the level is taken by their mean.
    let scales = &facts.normalisation.scale;
    let scale = scales.iter().map(|&s| f64::from(s)).sum::<f64>() / scales.len() as f64;
    let level = level(how, noisy, &objective, scale)?;
    let t = step_of(&objective, level / scale);
    let table = table(&objective, facts, t, how)?;
    let start = Start { level, estimated: how.level.is_none(), t, steps: table.rows.len() };
    Ok((table, objective.level(t as f64).a as f32, start))
}

/// The given or estimated standard deviation of the noise, which has to be one that the process goes through: `scale` is
/// that of the data in their units.
fn level(how: &Denoising, noisy: &Dataset, objective: &Objective, scale: f64) -> Result<f64> {
    let level = how.level.map_or_else(|| estimate_level(noisy), Ok)?;
    let last = objective.level((objective.steps() - 1) as f64);
    let most = last.s / last.a * scale;
    match how.level {
        Some(given) if !(given > 0.0 && given.is_finite()) => {
            Err(Error::setting(format!("a noise level of {given}; use a positive one, such as 0.1")))
        }
        // The last step itself may be named by a rounded level.
        _ if level <= 1.01 * most => Ok(level),
        Some(given) => Err(Error::setting(format!(
            "a noise level of {}, but the noise of this run's process grows to {} only; use a level up to that",
            exact(given),
            short(most)
        ))),
        None => Err(Error::input(format!(
            "{}: a noise level of {} was estimated, but the noise of this run's process grows to {} only; are the data \
             those of the run with noise? If so, state the level with --noise-level",
            noisy.name,
            short(level),
            short(most)
        ))),
    }
}

/// The step whose ratio of noise to data, s / a, is nearest to `level` by factor.
fn step_of(objective: &Objective, level: f64) -> usize {
    let distance = |at: &Level| ((at.s / at.a).ln() - level.max(1e-12).ln()).abs();
    let levels = objective.levels();
    (0..levels.len()).min_by(|&i, &j| distance(&levels[i]).total_cmp(&distance(&levels[j]))).unwrap_or(0)
}

/// The sampler's rows over at most `how.steps` steps from t down.
fn table(objective: &Objective, facts: &Facts, t: usize, how: &Denoising) -> Result<SamplerTable> {
    if how.steps == 0 {
        return Err(Error::setting("0 steps; the reverse process takes at least one"));
    }
    let n = how.steps.min(t + 1);
    let ts: Vec<usize> = (0..n).map(|k| t - k * (t + 1) / n).collect();
    let options = SamplerOptions {
        clip: Some(facts.normalisation.bound as f64),
        rederive: true,
        ..SamplerOptions::shared(how.sampler.clone(), n)
    };
    SamplerTable::over(objective, &options, &ts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Prediction, Schedule};

    #[test]
    fn the_step_has_the_level_of_the_noise() {
        let objective = Objective::new(Schedule::linear(1_000, 1e-4, 0.02).unwrap(), Prediction::V);
        for t in [0, 10, 500, 999] {
            let Level { a, s, .. } = objective.level(t as f64);
            assert_eq!(step_of(&objective, s / a), t);
        }
        assert_eq!((step_of(&objective, 0.0), step_of(&objective, 1e9)), (0, 999));
    }
}
