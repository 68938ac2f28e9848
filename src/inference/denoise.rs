//! Taking noise out of data with a trained network: a denoiser in one pass, a diffusion model by the end of its reverse
//! process.

use std::sync::Arc;

use crate::data::Dataset;
use crate::data::corrupt::estimate_level;
use crate::device::Device;
use crate::device::Run;
use crate::diffusion::{Ddim, Level, Objective, Sampler, SamplerOptions, SamplerTable};
use crate::error::{Error, Result};
use crate::generate::{chunk_seed, reverse_process};
use crate::graph::{Graph, Var};
use crate::nn::Inputs;
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

/// Samples that are denoised at a time.
const CHUNK: usize = 1024;

/// Denoised samples in the units of the data, and where a diffusion model began.
///
/// # Errors
/// When the data have another shape than the model, or a setting is out of range.
pub fn denoise(
    device: &Device,
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    how: &Denoising,
) -> Result<(Dataset, Option<Start>)> {
    let facts = checkpoint.config.facts.as_ref();
    let facts = facts.ok_or_else(|| Error::input("the checkpoint does not say what its data was"))?;
    if noisy.shape != facts.shape {
        return Err(Error::input(format!(
            "{}: samples of shape {:?}, but the model was trained on {:?}; give data of that shape",
            noisy.name, noisy.shape, facts.shape
        )));
    }
    let values = match checkpoint.config.task {
        Task::Denoise => (one_pass(device, checkpoint, noisy, facts)?, None),
        Task::Diffusion => {
            let (values, start) = by_reverse_process(device, checkpoint, noisy, facts, how)?;
            (values, Some(start))
        }
    };
    let (values, start) = values;
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::NonFinite(
            "the denoised samples are not finite: the training diverged; train again with a \
                                     lower --lr"
                .into(),
        ));
    }
    let name = format!("{} denoised", noisy.name);
    Ok((Dataset::new(name, facts.shape.clone(), facts.normalisation.undo(&values))?, start))
}

/// The network that was trained to give clean samples from noisy ones.
fn one_pass(device: &Device, checkpoint: &Checkpoint, noisy: &Dataset, facts: &Facts) -> Result<Vec<f32>> {
    let (batch, width) = (noisy.len().min(CHUNK), noisy.sample_len());
    // Random frequencies of the step encoding come from the seed of the run.
    let mut g = Graph::seeded(checkpoint.config.seed);
    let network = checkpoint.config.model.build(&mut g, &facts.shape)?;
    let x = g.state("x", [batch, width])?;
    let t = g.constant([batch], vec![0.0; batch])?;
    let y = network.forward(&mut g, Inputs::new(x, t))?;
    g.keep(y);
    let mut run = device.compile(&g)?;
    checkpoint.write_weights(&mut run)?;
    in_batches(&facts.normalisation.apply(&noisy.values), batch * width, |x, _| {
        run.write("x", x)?;
        run.steps(1)?;
        run.read(y)
    })
}

/// The reverse process from the step whose noise is that of the data.
fn by_reverse_process(
    device: &Device,
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    facts: &Facts,
    how: &Denoising,
) -> Result<(Vec<f32>, Start)> {
    let objective = checkpoint.config.objective()?;
    let normalisation = &facts.normalisation;
    // Coordinates of points have a scale each: the level is taken by their mean.
    let scale = normalisation.scale.iter().map(|&s| f64::from(s)).sum::<f64>() / normalisation.scale.len() as f64;
    let level = level(how, noisy, &objective, scale)?;
    let t = step_of(&objective, level / scale);
    let table = table(&objective, facts, t, how)?;
    let a = objective.level(t as f64).a as f32;
    let x_t: Vec<f32> = normalisation.apply(&noisy.values).iter().map(|x| a * x).collect();
    let (batch, width) = (noisy.len().min(CHUNK), noisy.sample_len());
    // Random frequencies of the step encoding come from the seed of the run.
    let mut g = Graph::seeded(checkpoint.config.seed);
    let network = checkpoint.config.model.build(&mut g, &facts.shape)?;
    let x = reverse_process(&mut g, network.as_ref(), &table, [batch, width])?;
    let mut run = device.compile(&g)?;
    checkpoint.write_weights(&mut run)?;
    let steps = table.rows.len() as u32;
    let values = in_batches(&x_t, batch * width, |part, chunk| reverse(&mut run, x, part, steps, how.seed, chunk))?;
    Ok((values, Start { level, estimated: how.level.is_none(), t, steps: table.rows.len() }))
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

fn reverse(run: &mut Run, x: Var, start: &[f32], steps: u32, seed: u64, chunk: usize) -> Result<Vec<f32>> {
    run.seed(chunk_seed(seed, chunk));
    run.set_step(0);
    run.write("x", start)?;
    run.steps(steps)?;
    run.read(x)
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

/// `values` in parts of `len`, the last one filled up, and what `work` makes of each.
fn in_batches(values: &[f32], len: usize, mut work: impl FnMut(&[f32], usize) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
    let mut out = Vec::with_capacity(values.len());
    for (chunk, part) in values.chunks(len).enumerate() {
        let mut full = part.to_vec();
        full.resize(len, 0.0);
        out.extend(&work(&full, chunk)?[..part.len()]);
    }
    Ok(out)
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

    #[test]
    fn parts_are_filled_and_cut() {
        let out = in_batches(&[1.0, 2.0, 3.0], 2, |x, chunk| Ok(x.iter().map(|x| x + 10.0 * chunk as f32).collect()));
        assert_eq!(out.unwrap(), [1.0, 2.0, 13.0]);
    }
}
