//! The output of a network for given inputs.

use super::SampleConditions;
use super::condition::ConditionInputs;
use crate::device::Device;
use crate::error::Result;
use crate::graph::Graph;
use crate::nn::Inputs;
use crate::train::Checkpoint;

/// The prediction [B, D] for noisy data x_t [B, D] at the times t \[B\], in normalised units, with the weights for inference.
/// The conditions are in the units of the data.
///
/// # Errors
/// When a condition is missing or does not fit, the batch does not fit the device, or the checkpoint does not match its own
/// settings.
pub fn predict(
    device: &Device,
    checkpoint: &Checkpoint,
    x_t: &[f32],
    t: &[f32],
    conditions: &SampleConditions,
) -> Result<Vec<f32>> {
    let Checkpoint { config, facts, .. } = checkpoint;
    let (rows, width) = (t.len(), facts.shape.iter().product());
    let known = ConditionInputs::new(checkpoint, conditions, None)?;
    let mut g = Graph::seeded(config.seed);
    let network = config.model.build(&mut g, &facts.shape)?;
    let inputs = Inputs::new(g.state("x", [rows, width])?, g.state("t", [rows])?);
    let inputs = facts.conditions.options().add_states(&mut g, inputs, &facts.shape)?;
    let prediction = network.forward(&mut g, inputs)?;
    g.keep(prediction);
    let mut run = device.compile(&g)?;
    checkpoint.write_weights(&mut run)?;
    run.write("x", x_t)?;
    run.write("t", t)?;
    for (name, width) in known.names() {
        let mut values = vec![0.0; rows * width];
        known.fill(name, 0, &mut values);
        run.write(name, &values)?;
    }
    run.steps(1)?;
    run.read(prediction)
}
