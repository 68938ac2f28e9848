//! One training step as a compiled program.

use super::objective::Samples;
use super::program::{self, Losses, StepVars};
use super::{Checkpoint, Config};
use crate::data::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Graph, HISTORY, Slab};
use crate::noise::Extent;
use crate::run::Run;

/// A training step on a device: batch, noise, network, loss, reverse pass and optimizer.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    batch: usize,
    run: Run,
    vars: StepVars,
}

impl Trainer {
    /// Builds and compiles the step for `data`, and uploads the data.
    ///
    /// # Errors
    /// When a setting does not fit the data or the device.
    pub fn new(device: &Device, config: &Config, data: &Dataset) -> Result<Self> {
        config.check()?;
        let facts = config.measure(data)?;
        let batch = config.batch_for(data.len())?;
        let mut g = Graph::seeded(config.seed);
        let rows = g.dataset("data", [data.len(), data.sample_len()])?;
        let values = facts.normalisation.apply(&data.values);
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
        let range = f64::from(high) - f64::from(low);
        let (shape, normalisation, extent) = (&data.shape[..], &facts.normalisation, Extent::of(&data.values));
        let samples = Samples { rows: &rows, shape, range, normalisation, extent };
        let vars = program::step(&mut g, config, &samples, batch)?;
        let mut run = device.compile(&g)?;
        run.seed(config.seed);
        run.write("data", &values)?;
        let config = Config { facts: Some(facts), ..config.clone() };
        Ok(Self { config, batch, run, vars })
    }

    /// The settings, with the facts about the data.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Samples in a step.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The compiled program.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Steps done.
    pub fn step(&self) -> u32 {
        self.run.step()
    }

    /// The names of the loss terms.
    pub fn terms(&self) -> Vec<&'static str> {
        self.vars.terms.iter().map(|term| term.name).collect()
    }

    /// Runs `n` steps (at most [`HISTORY`]) and gives their losses, the weighted sums of their terms.
    ///
    /// # Errors
    /// As [`Trainer::advance_by_term`].
    pub fn advance(&mut self, n: u32) -> Result<Vec<f64>> {
        Ok(self.advance_by_term(n)?.into_iter().map(|losses| losses.total).collect())
    }

    /// Runs `n` steps (at most [`HISTORY`]) and gives their losses.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the step and the tensor when a loss is NaN or infinite.
    pub fn advance_by_term(&mut self, n: u32) -> Result<Vec<Losses>> {
        let n = n.min(HISTORY as u32);
        let first = self.run.step();
        self.run.steps(n)?;
        let losses = self.vars.losses(&self.run, n as usize)?;
        match losses.iter().position(|l| !l.total.is_finite()) {
            None => Ok(losses),
            Some(i) => Err(self.non_finite(first + i as u32 + 1, losses[i].total)),
        }
    }

    fn non_finite(&self, step: u32, loss: f64) -> Error {
        let bad = |slab| {
            let whole = self.run.read_slab(slab).ok()?;
            let finite = |offset: usize, len: usize| whole[offset..offset + len].iter().all(|v| v.is_finite());
            let p = self.run.graph().parameters().iter().find(|p| !finite(p.offset, p.shape.iter().product()))?;
            Some(p.name.clone())
        };
        let tensor = match (bad(Slab::Grads), bad(Slab::Params)) {
            (_, Some(name)) => format!("{name} is not finite either"),
            (Some(name), None) => format!("the gradient of {name} is not finite either"),
            (None, None) => "all parameters are still finite".into(),
        };
        Error::NonFinite(format!(
            "the loss became {loss} at step {step}, and {tensor}. Lower --lr (it is {}), or look for extreme values in \
             the data",
            self.config.lr
        ))
    }

    /// The state of the run.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::of(&self.run, &self.config)
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// When it is of another model, or its data was another.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        if checkpoint.config.facts != self.config.facts {
            return Err(Error::input(format!(
                "the run was trained on other data: {} does not give the same samples; put the \
                 old data back, or start a new run in another --out",
                self.config.data
            )));
        }
        checkpoint.restore(&mut self.run)
    }
}
