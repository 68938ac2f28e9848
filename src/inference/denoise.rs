//! Denoising: with a denoiser in one pass, or with the last steps of the reverse process of a diffusion model.

use std::sync::Arc;

use super::program::{BatchedProgram, Observer};
use crate::data::Dataset;
use crate::data::noise_level::estimate_levels;
use crate::device::Device;
use crate::diffusion::{Ddim, Level, Objective, Sampler, SamplerOptions, SamplerTable};
use crate::error::{Error, Result};
use crate::generate::reverse_process_within;
use crate::graph::Graph;
use crate::nn::{Denoiser, Inputs};
use crate::text::{exact, short};
use crate::train::{Checkpoint, Facts, Task};

/// Settings of [`denoise`]. Fields may be added: construct it with `..Denoising::default()`.
#[derive(Clone, Debug)]
pub struct Denoising {
    /// The standard deviation of the noise in the units of the data, for a diffusion model. `None` estimates it, for each
    /// channel by itself.
    pub level: Option<f64>,
    /// Steps of the reverse process of a diffusion model; 1 uses its estimate of the clean data directly.
    pub steps: usize,
    /// The sampler of these steps.
    pub sampler: Arc<dyn Sampler>,
    /// Seed of the noise that the sampler adds.
    pub seed: u64,
}

impl Default for Denoising {
    fn default() -> Self {
        Self { level: None, steps: 1, sampler: Arc::new(Ddim::default()), seed: 0 }
    }
}

/// The start of the reverse process of a diffusion model.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct DenoisingStart {
    /// The standard deviation of the noise in the units of the data: one number if it was given, or for each channel.
    pub levels: Vec<f64>,
    /// Whether it was estimated.
    pub estimated: bool,
    /// The diffusion step with this noise level.
    pub t: usize,
    /// The number of steps from there, at most t + 1.
    pub steps: usize,
}

/// Returns the denoised samples in the units of the data, and the start of the reverse process of a diffusion model.
///
/// # Errors
/// As [`denoise_in_parts`].
pub fn denoise(
    device: &Device,
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    how: &Denoising,
) -> Result<(Dataset, Option<DenoisingStart>)> {
    denoise_observed(device, checkpoint, noisy, how, &mut |_| true)
}

/// [`denoise`] with an observer.
pub(crate) fn denoise_observed(
    device: &Device,
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    how: &Denoising,
    observe: &mut Observer,
) -> Result<(Dataset, Option<DenoisingStart>)> {
    let mut values = Vec::with_capacity(noisy.values.len());
    let mut take = |part: &[f32]| {
        values.extend_from_slice(part);
        Ok(())
    };
    let start = denoise_in_parts(device, checkpoint, noisy, how, observe, &mut take)?;
    Ok((noisy.with_values(format!("{} denoised", noisy.name), values)?, start))
}

/// Like [`denoise`], but passes the samples to `take` in order, batch by batch.
///
/// # Errors
/// When the shape of the data differs from that of the model, a setting is out of range, or not even one sample fits the
/// device; [`Error::Interrupted`] when `observe` returns false; the errors of `take`.
pub fn denoise_in_parts(
    device: &Device,
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    how: &Denoising,
    observe: &mut Observer,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<Option<DenoisingStart>> {
    let facts = &checkpoint.facts;
    if noisy.shape != facts.shape {
        let cut = match checkpoint.config.augment.crop {
            0 => String::new(),
            crop => format!(", windows of its data (--crop {crop})"),
        };
        return Err(Error::input(format!(
            "{}: samples of shape {:?}, but the model was trained on {:?}{cut}; use samples of this shape",
            noisy.name, noisy.shape, facts.shape
        )));
    }
    if facts.conditions.gaps > 0 {
        return Err(Error::setting(
            "this run fills gaps, but cannot remove noise; use it with: langevin complete RUN DATA --out F",
        ));
    }
    if !facts.conditions.is_none() {
        return Err(Error::setting(
            "a conditional model cannot remove noise; train a model without conditions, or draw samples with: langevin sample \
             RUN --given NOISY",
        ));
    }
    let count = noisy.len();
    let (mut program, factor, start) = match checkpoint.config.task {
        Task::Denoise => (one_pass(device, checkpoint, count)?, 1.0, None),
        Task::Diffusion | Task::Complete => {
            let (table, a, start) = reverse_from(checkpoint, noisy, how)?;
            let limits = facts.limits();
            let build = |g: &mut Graph, network: &dyn Denoiser, shape| {
                reverse_process_within(g, network, &table, shape, limits.as_deref())
            };
            (BatchedProgram::new(device, &[("", checkpoint)], count, table.rows.len() as u32, build)?, a, Some(start))
        }
    };
    let normalisation = &facts.normalisation;
    let mut begin = |_: &str, first: usize, x: &mut [f32]| {
        let noisy = &noisy.values[first * noisy.sample_len()..][..x.len()];
        x.iter_mut().zip(normalisation.apply(noisy)).for_each(|(x, value)| *x = factor * value);
    };
    program.each(count, how.seed, &mut begin, observe, |x| take(&normalisation.undo(x)))?;
    Ok(start)
}

/// The program of a denoiser.
fn one_pass(device: &Device, checkpoint: &Checkpoint, count: usize) -> Result<BatchedProgram> {
    BatchedProgram::new(device, &[("", checkpoint)], count, 1, |g, network, [rows, width]| {
        let x = g.state("x", [rows, width])?;
        let t = g.constant([rows], vec![0.0; rows])?;
        let y = network.forward(g, Inputs::new(x, t))?;
        Ok(g.keep(y))
    })
}

/// The reverse process from the step with the noise level of the data: its table, the factor of the data at this step, and
/// its start.
///
/// # Errors
/// When a setting is out of range, or the sampler adds noise before its first step, which noisy data do not have.
fn reverse_from(
    checkpoint: &Checkpoint,
    noisy: &Dataset,
    how: &Denoising,
) -> Result<(SamplerTable, f32, DenoisingStart)> {
    let (objective, facts) = (checkpoint.config.objective()?, &checkpoint.facts);
    let scales: Vec<f64> = facts.normalisation.scale.iter().map(|&scale| scale.into()).collect();
    let levels = match how.level {
        Some(given) => vec![given],
        None => estimate_levels(noisy)?,
    };
    let t = step_of(&objective, relative(how, noisy, &objective, &levels, &scales)?);
    let table = table(&objective, facts, t, how)?;
    let start = DenoisingStart { levels, estimated: how.level.is_none(), t, steps: table.levels.len() };
    Ok((table, objective.level(t as f64).a as f32, start))
}

/// The noise level in units of the normalised data, checked against the range of the diffusion process. A given level
/// refers to the mean of the `scales` of the normalisation; of estimated ones it is the root mean square over the channels.
///
/// # Errors
/// When it is not positive, or larger than that of the last diffusion step.
fn relative(how: &Denoising, noisy: &Dataset, objective: &Objective, levels: &[f64], scales: &[f64]) -> Result<f64> {
    let mean = |values: &mut dyn Iterator<Item = f64>, n: usize| values.sum::<f64>() / n as f64;
    let last = objective.level(objective.path().last());
    // Allows a rounded value of the last level.
    let most = 1.01 * last.s / last.a;
    let scale = mean(&mut scales.iter().copied(), scales.len());
    match how.level {
        Some(given) if !(given > 0.0 && given.is_finite()) => {
            Err(Error::setting(format!("a noise level of {given}; use a positive one, such as 0.1")))
        }
        Some(given) if given / scale <= most => Ok(given / scale),
        Some(given) => Err(Error::setting(format!(
            "a noise level of {}, but the noise of this diffusion process only grows to {}; use at most this level",
            exact(given),
            short(last.s / last.a * scale)
        ))),
        None => {
            // Runs of older versions have one scale for all channels.
            let squares = &mut levels.iter().zip(scales.iter().cycle()).map(|(level, scale)| (level / scale).powi(2));
            let level = mean(squares, levels.len()).sqrt();
            if level <= most {
                return Ok(level);
            }
            Err(Error::input(format!(
                "{}: a noise level of {} was estimated, but the noise of this diffusion process only grows to {}; check \
                 whether these are noisy samples of the data of the run, or set the level with --noise-level",
                noisy.name,
                levels.iter().map(|level| short(*level)).collect::<Vec<_>>().join(", "),
                short(last.s / last.a * scale)
            )))
        }
    }
}

/// The step whose noise level s / a is closest to `level` on a logarithmic scale.
fn step_of(objective: &Objective, level: f64) -> usize {
    let distance = |at: &Level| ((at.s / at.a).ln() - level.max(1e-12).ln()).abs();
    let levels: Vec<Level> = (0..=objective.path().last() as usize).map(|t| objective.level(t as f64)).collect();
    (0..levels.len()).min_by(|&i, &j| distance(&levels[i]).total_cmp(&distance(&levels[j]))).unwrap_or(0)
}

/// The sampler table for at most `how.steps` steps from t down to 0.
fn table(objective: &Objective, facts: &Facts, t: usize, how: &Denoising) -> Result<SamplerTable> {
    if how.steps == 0 {
        return Err(Error::setting("0 steps; the reverse process needs at least one"));
    }
    let n = how.steps.min(t + 1);
    let ts = (0..n).map(|k| t - k * (t + 1) / n);
    // The first time of a flow is the clean data.
    let ts: Vec<usize> = ts.filter(|&t| objective.level(t as f64).s > 0.0).collect();
    let options = SamplerOptions {
        clip: Some(facts.normalisation.bound as f64),
        rederive: true,
        ..SamplerOptions::shared(how.sampler.clone(), n)
    };
    let table = SamplerTable::over(objective, &options, &ts)?;
    if table.rows[0].level != table.levels[0] {
        return Err(Error::setting(format!(
            "the sampler {} adds noise before its first step, but the data have the noise level where it starts; use heun",
            how.sampler
        )));
    }
    Ok(table)
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
    fn channels_may_share_a_scale() {
        let objective = Objective::new(Schedule::linear(1_000, 1e-4, 0.02).unwrap(), Prediction::V);
        let noisy = Dataset::new("d", [2, 8], vec![0.0; 16]).unwrap();
        let of = |scales: &[f64]| relative(&Denoising::default(), &noisy, &objective, &[0.3, 0.4], scales).unwrap();
        assert!((of(&[0.5]) - 0.5f64.sqrt()).abs() < 1e-12 && (of(&[0.3, 0.4]) - 1.0).abs() < 1e-12);
    }
}
