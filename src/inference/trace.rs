//! The reverse process step by step, for pictures and for checks.

use super::program::BatchedProgram;
use super::sample::{Draw, Sampling};
use crate::device::Device;
use crate::error::Result;
use crate::generate::reverse_with_output;
use crate::graph::Graph;
use crate::nn::Denoiser;
use crate::train::Checkpoint;

/// The reverse process of some samples, in the units of their data.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The time of each evaluation of the network, in diffusion steps.
    pub times: Vec<f64>,
    /// The states at these evaluations, each `[count, ...]`; the first is the initial noise.
    pub states: Vec<Vec<f32>>,
    /// The estimates of the clean data that follow from them.
    pub estimates: Vec<Vec<f32>>,
    /// The samples.
    pub samples: Vec<f32>,
}

/// Draws the samples of [`sample`](super::sample()) with all states and estimates on the way. It reads the state after every
/// step, so it is for few samples: as many of `sampling.count` as fit the device at once.
///
/// # Errors
/// As [`sample`](super::sample()).
pub fn trace(device: &Device, checkpoint: &Checkpoint, sampling: &Sampling) -> Result<Trace> {
    let draw = Draw::new(checkpoint, sampling)?;
    let (table, limits, width) = (&draw.table, &draw.limits, draw.width);
    let build = |g: &mut Graph, network: &dyn Denoiser, shape| {
        let [_, output] = reverse_with_output(g, &draw.conditioned(network), table, shape, limits.as_deref())?;
        Ok(g.keep(output))
    };
    let networks = draw.networks(checkpoint);
    let program = BatchedProgram::new(device, &networks, sampling.count, table.rows.len() as u32, build)?;
    let mut program = program.with_inputs(draw.inputs.names());
    let normalisation = &checkpoint.facts.normalisation;
    let mut trace = Trace::default();
    let take = |k: usize, x: &[f32], output: &[f32]| {
        let estimate = |i: usize| {
            let free = table.estimate(k, x[i].into(), output[i].into());
            let limits = limits.as_ref().map(|limits| [limits[i % width], limits[width + i % width]].map(f64::from));
            limits.map_or(free, |[low, high]| free.max(low).min(high)) as f32
        };
        let estimates: Vec<f32> = (0..x.len()).map(estimate).collect();
        trace.times.push(table.rows[k].level.t);
        trace.states.push(normalisation.undo(x));
        trace.estimates.push(normalisation.undo(&estimates));
        Ok(())
    };
    let samples =
        program.step_by_step(sampling.seed, &mut |name, first, values| draw.start(name, first, values), take)?;
    trace.samples = checkpoint.facts.restore(&samples);
    Ok(trace)
}
