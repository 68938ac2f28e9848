//! One training step as a compiled program.

use super::{Checkpoint, Config};
use crate::data::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Graph, HISTORY, Slab, Var};
use crate::run::Run;

/// A training step on a device: batch, noise, network, loss, reverse pass and optimizer.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    batch: usize,
    run: Run,
    loss: Var,
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
        let width = data.sample_len();
        let mut g = Graph::seeded(config.seed);
        g.train();
        let rows = g.dataset("data", [data.len(), width])?;
        let network = config.model.build(&mut g, &data.shape)?;
        let encoding = network.joined_encoding();
        let noised = g.noisy_batch(&rows, batch, &config.noise_schedule()?, config.prediction, encoding)?;
        let prediction = match encoding {
            Some(_) => network.forward_joined(&mut g, noised.x_t)?,
            None => network.forward(&mut g, noised.x_t, noised.t)?,
        };
        let loss = g.mse(prediction, noised.target)?;
        g.minimize(loss, config.optimizer()?)?;
        let mut run = device.compile(&g)?;
        run.seed(config.seed);
        run.write("data", &facts.normalisation.apply(&data.values))?;
        let config = Config { facts: Some(facts), ..config.clone() };
        Ok(Self { config, batch, run, loss })
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

    /// Runs `n` steps (at most [`HISTORY`]) and gives their losses.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the step and the tensor when a loss is NaN or infinite.
    pub fn advance(&mut self, n: u32) -> Result<Vec<f64>> {
        let n = n.min(HISTORY as u32);
        let first = self.run.step();
        self.run.steps(n)?;
        let losses = self.run.history(self.loss, n as usize)?;
        match losses.iter().position(|l| !l.is_finite()) {
            None => Ok(losses),
            Some(i) => Err(self.non_finite(first + i as u32 + 1, losses[i])),
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
