//! The compiled training step.

use std::time::Duration;

use super::data::{DataTensors, Gaps};
use super::distributed::Team;
use super::feed::{Feed, Held, Inputs, Steps};
use super::objective::SampleInfo;
use super::program::{self, Batch, Losses, StepVars};
use super::validation::{DataSplit, Validation};
use super::{Checkpoint, Config, Facts};
use crate::data::corrupt::Extent;
use crate::data::{Dataset, without_secrets};
use crate::device::Device;
use crate::device::Run;
use crate::error::{Error, Result};
use crate::generate::batches::largest;
use crate::graph::share::Share;
use crate::graph::{Graph, HISTORY, Slab};
use crate::kernel::Precision;
use crate::ops::Gather;
use crate::ranks::Ranks;
use crate::text::count;

/// A compiled step: the program, its results, and the op that selects the rows of a batch.
type Step = (Run, StepVars, Option<Gather>);

/// Compiles the step on batches of `rows`. The micro-batch `most` is halved until the step fits the device; its size is also
/// returned.
fn compile(
    device: &Device,
    config: &Config,
    held: Held,
    sample: SampleInfo,
    (rows, most): (usize, usize),
    share: Share,
) -> Result<(Step, usize)> {
    largest(most, |micro| {
        let mut g = Graph::seeded(config.seed);
        let table = DataTensors::new(&mut g, held, sample, config)?;
        let vars = program::step(&mut g, config, &table, sample, Batch { rows, micro })?;
        Ok((device.compile_share(&g, share)?, vars, table.order()))
    })
}

/// The device with the number formats of the settings.
fn with_formats_of(device: &Device, config: &Config) -> Result<Device> {
    let [precision, storage] = [config.precision, config.storage];
    for (name, set, wanted) in [("precision", device.precision(), precision), ("storage", device.storage(), storage)] {
        if set != Precision::default() && set != wanted {
            return Err(Error::setting(format!(
                "the device has {name} {set}, but the `{name}` of the settings is {wanted}; change one of them"
            )));
        }
    }
    device.clone().with_precision(precision)?.with_storage(storage)
}

/// The samples of a batch that each of several ranks gets.
fn shared_evenly(batch: usize, ranks: usize) -> Result<usize> {
    match batch < ranks {
        true => Err(Error::setting(format!(
            "a batch of {} cannot be shared by {ranks} ranks; use a larger --batch, or fewer ranks",
            count(batch, "sample")
        ))),
        false => Ok(batch.div_ceil(ranks)),
    }
}

/// A training step on a device: batch, noise, network, loss, reverse pass and optimizer.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    facts: Facts,
    batch: usize,
    split: Option<usize>,
    /// The share of this process in each step.
    pub(super) share: Share,
    pub(super) run: Run,
    pub(super) team: Option<Team>,
    vars: StepVars,
    pub(super) feed: Option<Feed>,
    validation: Option<Validation>,
    /// The losses that are not yet in a row of `metrics.csv`.
    pending: Vec<Losses>,
}

impl Trainer {
    /// Builds and compiles the step for `data`, and uploads the data.
    ///
    /// # Errors
    /// When a setting does not fit the data or the device.
    pub fn new(device: &Device, config: &Config, data: &Dataset) -> Result<Self> {
        Self::for_share(device, config, data, Share::WHOLE)
    }

    /// [`Trainer::new`] for one of several `ranks`, which will share the steps: see [`Trainer::lead`]. A batch has at least as many
    /// micro-batches as there are ranks.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn for_ranks(device: &Device, config: &Config, data: &Dataset, ranks: &dyn Ranks) -> Result<Self> {
        Self::for_share(device, config, data, Share::of(ranks))
    }

    fn for_share(device: &Device, config: &Config, data: &Dataset, share: Share) -> Result<Self> {
        config.check()?;
        let device = &with_formats_of(device, config)?;
        let DataSplit { kept, held_out } = DataSplit::new(config, data)?;
        let facts = config.measure(data, &kept)?;
        let config = &config.settled(&facts)?;
        let batch = config.batch_for(kept.len())?;
        let normalisation = &facts.normalisation;
        let seen = Extent::of_ranges(&normalisation.apply_to_ranges(&facts.range));
        let (range, extent) = (seen.high - seen.low, Extent::of_ranges(&facts.range));
        let gaps = &Gaps::of(data, &facts.shape);
        let sample = SampleInfo { shape: &facts.shape, stored: kept.shape(), range, normalisation, extent, gaps };
        let most = config.micro_batch_of(batch).min(shared_evenly(batch, share.count)?);
        let step = |held| compile(device, config, held, sample, (batch, most), share);
        let (((mut run, vars, order), micro), held) = Held::fitting(&kept, batch, step, |(_, micro)| *micro == most)?;
        log::info!(
            "compiled a step of {} dispatches with {} bytes, for parts of {micro} samples",
            run.dispatches(),
            run.bytes()
        );
        run.seed(config.seed);
        let inputs = Inputs::of(&run, &kept, &facts);
        let steps = Steps { seed: config.seed, again_after: u32::MAX };
        let feed = Feed::start(&mut run, inputs, held, order, steps)?;
        let validation =
            held_out.map(|out| Validation::new(device, config, &facts, sample, &out, micro)).transpose()?;
        let split = (micro < most).then_some(micro);
        let micro_batch = if micro < config.micro_batch_of(batch) { micro } else { config.micro_batch };
        let config = Config { micro_batch, ..config.clone() };
        Ok(Self { config, facts, batch, split, share, run, team: None, vars, feed, validation, pending: Vec::new() })
    }

    /// The settings, including those that depend on the data.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The facts about the data.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The number of samples per step.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The micro-batch size, if it was reduced to fit the device.
    pub fn split(&self) -> Option<usize> {
        self.split
    }

    /// The allocated device memory in bytes, including the validation program.
    pub fn allocated(&self) -> u64 {
        self.run.allocated() + self.validation.as_ref().map_or(0, |v| v.run().allocated())
    }

    /// The time for which the training waited for data that are read from disk; `None` if all of them are on the device.
    pub fn waited_for_data(&self) -> Option<Duration> {
        self.feed.as_ref().map(Feed::waited)
    }

    /// The compiled program.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The number of completed steps.
    pub fn step(&self) -> u32 {
        self.run.step()
    }

    /// The names of the loss terms.
    pub fn terms(&self) -> Vec<&'static str> {
        self.vars.names()
    }

    /// Runs `n` steps and returns their losses, the weighted sums of the terms.
    ///
    /// # Errors
    /// As [`Trainer::advance_by_term`].
    pub fn advance(&mut self, n: u32) -> Result<Vec<f64>> {
        Ok(self.advance_by_term(n)?.into_iter().map(|losses| losses.total).collect())
    }

    /// Runs `n` steps and returns their losses.
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

    /// [`Trainer::advance_by_term`] for at most [`HISTORY`] steps.
    fn advance_within_history(&mut self, n: u32) -> Result<Vec<Losses>> {
        let first = self.run.step();
        self.steps(n)?;
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

    /// Keeps the losses of the steps after `first` that belong to the next row of `metrics.csv`.
    fn remember(&mut self, first: u32, losses: &[Losses]) {
        for (step, losses) in (first + 1..).zip(losses) {
            self.pending.push(losses.clone());
            if self.config.has_row(step) {
                self.pending.clear();
            }
        }
    }

    /// The loss on the held-out data, with the moving average of the weights if there is one; `None` without held-out data.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when it is NaN or infinite.
    pub fn validate(&mut self) -> Result<Option<f64>> {
        if self.validation.is_some() {
            self.gather()?;
        }
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
            (_, Some(name)) => format!("{name} is not finite"),
            (Some(name), None) => format!("the gradient of {name} is not finite"),
            (None, None) => "all parameters are finite".into(),
        };
        Error::NonFinite(format!(
            "the {what} became {value} at step {step}; {tensor}. Lower --lr (it is {}) or the weights of the loss, or \
             check the data for extreme values",
            self.config.lr
        ))
    }

    /// The losses of the steps since the last row of `metrics.csv`.
    pub(crate) fn pending(&self) -> &[Losses] {
        &self.pending
    }

    /// The state of the run.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the name of the tensor when a value is NaN or infinite.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        self.gather()?;
        Checkpoint::of(&self.run, &self.config, &self.facts, &self.pending)
    }

    /// The weights and their moving average, for inference.
    ///
    /// # Errors
    /// As [`Trainer::checkpoint`].
    #[cfg(feature = "cli")]
    pub(crate) fn weights(&mut self) -> Result<Checkpoint> {
        self.gather()?;
        Checkpoint::weights_of(&self.run, &self.config, &self.facts)
    }

    /// The power-function averages of the weights.
    ///
    /// # Errors
    /// As [`Trainer::checkpoint`].
    pub(super) fn snapshot(&mut self) -> Result<Checkpoint> {
        self.gather()?;
        Checkpoint::snapshot_of(&self.run, &self.config, &self.facts)
    }

    /// The approximate size of a checkpoint, in bytes.
    pub(super) fn checkpoint_size(&self) -> u64 {
        Checkpoint::size(&self.run)
    }

    /// The approximate size of all snapshots of the averages of the run, in bytes.
    pub(super) fn snapshots_size(&self) -> u64 {
        let count = self.config.steps.checked_div(self.config.ema_snapshot_every).unwrap_or(0);
        u64::from(count) * Checkpoint::snapshot_size(&self.run)
    }

    /// Starts from the weights of another run, with the averaged ones if there are any. Its data and its other settings may
    /// differ.
    ///
    /// # Errors
    /// When this run has completed a step, or the network or the shape of the samples differ.
    pub fn start_from(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        if self.run.step() > 0 {
            return Err(Error::setting(format!("the run has completed {} steps; start a new run", self.run.step())));
        }
        checkpoint.check_network(&self.config, &self.facts.shape)?;
        checkpoint.start(&mut self.run)
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// When the model, the data or the feature file of the loss differ.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.check_features(checkpoint)?;
        if checkpoint.facts.conditions != self.facts.conditions {
            return Err(Error::input(
                "the run was trained with other conditions: the labels, vectors or known values are not the same; restore the \
                 original files, or start a new run in another --out",
            ));
        }
        if !checkpoint.facts.agree_with(&self.facts) {
            return Err(other_data(&self.config));
        }
        checkpoint.restore(&mut self.run)?;
        self.pending = checkpoint.pending.clone();
        Ok(())
    }

    fn check_features(&self, checkpoint: &Checkpoint) -> Result<()> {
        match (self.config.loss.features(), checkpoint.facts.features, self.facts.features) {
            (Some(path), Some(began), Some(found)) if began != found => Err(Error::input(format!(
                "the feature file of the loss has changed: the checksum of {} is {found:08x}, but the run was started with \
                 {began:08x}; restore the original file, or start a new run in another --out",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

/// The error of continuing a run with other data.
pub(crate) fn other_data(config: &Config) -> Error {
    Error::input(format!(
        "the run was trained on other data: the samples in {} are not the same; restore the original data, or start a new run in \
         another --out",
        without_secrets(&config.data)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_fit_is_not_tried_with_smaller_batches() {
        let data = Dataset::new("signals", [16], (0..64 * 16).map(|i| (i as f32 * 0.1).sin()).collect()).unwrap();
        let config = Config { batch: 64, ..Config::for_model("mlp").unwrap() };
        let e = Trainer::new(&Device::cpu().with_memory(100_000), &config, &data).unwrap_err();
        assert!(matches!(&e, Error::Limit { smaller_batch_helps: false, .. }), "{e:?}");
        assert!(
            e.to_string().contains("but the limit on this device is 97.7 KiB; the data and the weights alone need"),
            "{e}"
        );
    }
}
