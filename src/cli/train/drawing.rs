//! Samples that a state of a run generates, completes or denoises, for pictures of the training.

use crate::Device;
use crate::data::corrupt::{Extent, NoiseKind, add_noise_within};
use crate::data::{Dataset, Kind, MaskMix};
use crate::inference::{
    Completing, Denoising, Observer, SampleConditions, Sampling, complete_in_parts, denoise_observed, sample_observed,
};
use crate::plot::Scale;
use crate::train::Checkpoint;

use super::session::Session;

/// The fewest generated points in a picture.
const FEWEST_POINTS: usize = 500;

/// What samples are drawn with: the same noise and the same real samples at each state of a run.
pub struct Drawing<'a> {
    pub device: &'a Device,
    pub seed: u64,
    /// Samples of the data.
    pub real: &'a Dataset,
}

impl<'a> Drawing<'a> {
    pub fn of(session: &'a Session) -> Self {
        Self { device: &session.device, seed: session.trainer.config().seed, real: &session.shown.samples }
    }
}

/// Generates as many samples as there are real ones, with their conditions.
pub fn generate(with: &Drawing, checkpoint: &Checkpoint, observe: &mut Observer) -> crate::Result<Vec<f32>> {
    let Drawing { device, seed, real } = *with;
    // A shape made of a few points is recognised only in more of them.
    let count = if real.kind() == Kind::Points { real.len().max(FEWEST_POINTS) } else { real.len() };
    let sampling = Sampling { seed, conditions: SampleConditions::of(real), ..Sampling::new(count) };
    Ok(sample_observed(device, checkpoint, &sampling, observe)?.values.into())
}

/// Hides values of the real samples as in training and completes them. Returns what is given, and the completed samples.
pub fn complete(
    with: &Drawing,
    checkpoint: &Checkpoint,
    mask: &MaskMix,
    observe: &mut Observer,
) -> crate::Result<(Vec<f32>, Vec<f32>)> {
    let Drawing { device, seed, real } = *with;
    let given = mask.hide_at_random(real, seed.wrapping_add(1))?;
    let sampling = Sampling { seed, conditions: SampleConditions::of(real), ..Sampling::new(1) };
    let how = Completing { sampling, ..Completing::new(1) };
    let mut completed = Vec::new();
    let mut take = |part: &[f32]| {
        completed.extend_from_slice(part);
        Ok(())
    };
    complete_in_parts(device, checkpoint, &given, &how, observe, &mut take)?;
    Ok((given.values.into(), completed))
}

/// Adds noise to the real samples and removes it. Returns the noisy and the denoised ones.
pub fn denoise(
    with: &Drawing,
    checkpoint: &Checkpoint,
    noise: NoiseKind,
    observe: &mut Observer,
) -> crate::Result<(Dataset, Dataset)> {
    let Drawing { device, seed, real } = *with;
    let extent = Extent::of_ranges(&checkpoint.facts.range);
    let noisy = add_noise_within(device, real, noise, extent, seed.wrapping_add(1))?;
    let (denoised, _) = denoise_observed(device, checkpoint, &noisy, &Denoising::default(), observe)?;
    Ok((noisy, denoised))
}

/// The scale of pictures beside these samples.
pub fn scale_of(real: &Dataset) -> Scale {
    Scale::of(real.kind(), &real.shape, &real.values).labelled(&real.columns)
}

/// The sets that can be drawn: the first one, of given values, has no place among points, which may lack a coordinate.
pub fn with_a_place<'a, 'b>(sets: &'b [(&'a str, &'a [f32])], real: &Dataset) -> &'b [(&'a str, &'a [f32])] {
    if real.kind() == Kind::Points { &sets[1..] } else { sets }
}
