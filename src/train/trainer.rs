//! One training step as a compiled program.

use super::program::{self, Batch, Losses, Sample, StepVars};
use super::validation::{Split, Validation, upload};
use super::{Checkpoint, Config, Facts};
use crate::data::Dataset;
use crate::data::corrupt::Extent;
use crate::device::Device;
use crate::device::Run;
use crate::error::{Error, Result};
use crate::generate::batches::largest;
use crate::graph::{Graph, HISTORY, Slab};

/// Compiles the step, with micro-batches halved until it fits the device; gives their size too.
fn compile(
    device: &Device,
    config: &Config,
    samples: usize,
    sample: Sample,
    rows: usize,
) -> Result<(Run, StepVars, usize)> {
    let ((run, vars), micro) = largest(config.micro_batch_of(rows), |micro| {
        let mut g = Graph::seeded(config.seed);
        let table = g.dataset("data", [samples, sample.shape.iter().product()])?;
        let vars = program::step(&mut g, config, &table, sample, Batch { rows, micro })?;
        Ok((device.compile(&g)?, vars))
    })?;
    Ok((run, vars, micro))
}

/// A training step on a device: batch, noise, network, loss, reverse pass and optimizer.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    batch: usize,
    split: Option<usize>,
    run: Run,
    vars: StepVars,
    validation: Option<Validation>,
    /// Losses that are not in a row of `metrics.csv` yet.
    pending: Vec<Losses>,
}

impl Trainer {
    /// Builds and compiles the step for `data`, and uploads the data.
    ///
    /// # Errors
    /// When a setting does not fit the data or the device.
    pub fn new(device: &Device, config: &Config, data: &Dataset) -> Result<Self> {
        config.check()?;
        let device = &device.clone().with_precision(config.precision)?;
        let Split { kept, held_out } = Split::new(config, data)?;
        let facts = config.measure(data, &kept)?;
        let batch = config.batch_for(kept.len())?;
        let normalisation = &facts.normalisation;
        let seen = Extent::of_ranges(&normalisation.apply_to_ranges(&facts.range));
        let (range, extent) = (seen.high - seen.low, Extent::of_ranges(&facts.range));
        let sample = Sample { shape: kept.shape(), range, normalisation, extent };
        let (mut run, vars, micro) = compile(device, config, kept.len(), sample, batch)?;
        run.seed(config.seed);
        upload(&mut run, &kept, normalisation)?;
        let validation = held_out.map(|out| Validation::new(device, config, sample, &out, micro)).transpose()?;
        let split = (micro < config.micro_batch_of(batch)).then_some(micro);
        let micro_batch = split.unwrap_or(config.micro_batch);
        let config = Config { micro_batch, ..config.settled(facts) };
        Ok(Self { config, batch, split, run, vars, validation, pending: Vec::new() })
    }

    /// The settings, with the facts about the data.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Samples in a step.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The micro-batch that was chosen because a larger one does not fit the device; nothing when all fitted.
    pub fn split(&self) -> Option<usize> {
        self.split
    }

    /// Bytes of device memory in the buffers that were made, those of the evaluation on held-out data included.
    pub fn allocated(&self) -> u64 {
        self.run.allocated() + self.validation.as_ref().map_or(0, |v| v.run().allocated())
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
        self.vars.names()
    }

    /// Runs `n` steps and gives their losses, the weighted sums of their terms.
    ///
    /// # Errors
    /// As [`Trainer::advance_by_term`].
    pub fn advance(&mut self, n: u32) -> Result<Vec<f64>> {
        Ok(self.advance_by_term(n)?.into_iter().map(|losses| losses.total).collect())
    }

    /// Runs `n` steps and gives their losses.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the step and the tensor when a loss or the norm of the gradient is NaN or infinite.
    pub fn advance_by_term(&mut self, n: u32) -> Result<Vec<Losses>> {
        let mut losses = Vec::with_capacity(n as usize);
        while losses.len() < n as usize {
            losses.extend(self.advance_within_history((n - losses.len() as u32).min(HISTORY as u32))?);
        }
        Ok(losses)
    }

    /// [`Trainer::advance_by_term`] for at most as many steps as a program remembers.
    fn advance_within_history(&mut self, n: u32) -> Result<Vec<Losses>> {
        let first = self.run.step();
        self.run.steps(n)?;
        let losses = self.vars.losses(&self.run, n as usize)?;
        if let Some(i) = losses.iter().position(|l| !l.total.is_finite()) {
            return Err(self.non_finite("loss", first + i as u32 + 1, losses[i].total));
        }
        if let Some((i, norm)) = self.vars.first_non_finite_norm(&self.run, n as usize)? {
            return Err(self.non_finite("norm of the gradient", first + i as u32 + 1, norm));
        }
        self.remember(first, &losses);
        Ok(losses)
    }

    /// Keeps the losses of the steps after `first` that the next row of `metrics.csv` is made of.
    fn remember(&mut self, first: u32, losses: &[Losses]) {
        for (step, losses) in (first + 1..).zip(losses) {
            self.pending.push(losses.clone());
            if self.config.has_row(step) {
                self.pending.clear();
            }
        }
    }

    /// The loss on the held-out data, with the moving average of the weights where there is one, else with the weights;
    /// nothing when no data are held out.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when it is NaN or infinite.
    pub fn validate(&mut self) -> Result<Option<f64>> {
        let Some(validation) = &mut self.validation else { return Ok(None) };
        let loss = validation.loss(&self.run)?;
        if loss.is_finite() { Ok(Some(loss)) } else { Err(self.non_finite("validation loss", self.run.step(), loss)) }
    }

    fn non_finite(&self, what: &str, step: u32, value: f64) -> Error {
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
            "the {what} became {value} at step {step}, and {tensor}. Lower --lr (it is {}) or the weights of the loss, or \
             look for extreme values in the data",
            self.config.lr
        ))
    }

    /// The losses of the steps since the last row of `metrics.csv`.
    pub(crate) fn pending(&self) -> &[Losses] {
        &self.pending
    }

    /// The state of the run.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::of(&self.run, &self.config, &self.pending)
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// When it is of another model, or its data or the features of its loss were others.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.check_features(checkpoint)?;
        let agree = |(began, found): (&Facts, &Facts)| began.agree_with(found);
        if !checkpoint.config.facts.as_ref().zip(self.config.facts.as_ref()).is_some_and(agree) {
            return Err(Error::input(format!(
                "the run was trained on other data: {} does not give the same samples; put the \
                 old data back, or start a new run in another --out",
                self.config.data
            )));
        }
        checkpoint.restore(&mut self.run)?;
        self.pending = checkpoint.pending.clone();
        Ok(())
    }

    fn check_features(&self, checkpoint: &Checkpoint) -> Result<()> {
        let features = |config: &Config| config.facts.as_ref().and_then(|facts| facts.features);
        match (self.config.loss.features(), features(&checkpoint.config), features(&self.config)) {
            (Some(path), Some(began), Some(found)) if began != found => Err(Error::input(format!(
                "the features of the loss are others: the checksum of {} is {found:08x}, and was {began:08x} when the run \
                 began; put the old file back, or start a new run in another --out",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_too_large_for_the_device_is_not_tried_in_smaller_batches() {
        let data = Dataset::new("signals", [16], (0..64 * 16).map(|i| (i as f32 * 0.1).sin()).collect()).unwrap();
        let config = Config { batch: 64, ..Config::for_model("mlp").unwrap() };
        let e = Trainer::new(&Device::cpu().with_memory(100_000), &config, &data).unwrap_err();
        assert!(matches!(&e, Error::Limit { smaller_batch_helps: false, .. }), "{e:?}");
        assert!(e.to_string().contains("may take 97.7 KiB on this device, whatever the batch size"), "{e}");
    }
}
