//! A compiled network that processes a set of samples in batches.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::{Device, Run};
use crate::error::{Error, Result};
use crate::generate::HISTORY;
use crate::generate::batches::largest;
use crate::graph::{Graph, Var};
use crate::nn::Denoiser;
use crate::ranks::{Ranks, first_fault};
use crate::text;
use crate::train::Checkpoint;

/// The maximum batch size; smaller if the device has not enough memory.
const ROWS: usize = 1_024;

/// The maximum arithmetic of a step of a batch on the CPU, about a second, so that progress is shown and a computation can
/// be stopped.
const MOST_FLOPS: u64 = 1 << 33;

/// The target time between two calls of the observer.
const REPORT: Duration = Duration::from_millis(250);

/// How much of a computation is completed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The number of completed steps, over all batches.
    pub done: u64,
    /// The total number of steps.
    pub total: u64,
}

/// Called several times per second during a computation. Returns false to stop it.
pub type Observer<'a> = dyn FnMut(Completion) -> bool + 'a;

/// Writes the values of a state for the samples from an index on.
pub(super) type Start<'a> = dyn FnMut(&str, usize, &mut [f32]) + 'a;

/// A program whose inputs are the state `x` and the states of the conditions, and whose result is another tensor after a number of steps.
pub(super) struct BatchedProgram {
    run: Run,
    result: Var,
    rows: usize,
    width: usize,
    steps: u32,
    /// The states that are written before each batch, and their widths.
    inputs: Vec<(&'static str, usize)>,
    /// The processes that share the batches.
    ranks: Option<Arc<dyn Ranks>>,
}

impl BatchedProgram {
    /// Compiles the operations that `build` adds to the first of the networks, for the largest batches of `count` samples
    /// that fit the device, on the CPU smaller ones if a step takes too long. `build` gets the shape of a batch and
    /// returns the result; it adds further networks in their scopes. The first scope is empty.
    ///
    /// # Errors
    /// When not even one sample fits the device, or a checkpoint does not match its own settings.
    pub fn new(
        device: &Device,
        networks: &[(&str, &Checkpoint)],
        count: usize,
        steps: u32,
        build: impl Fn(&mut Graph, &dyn Denoiser, [usize; 2]) -> Result<Var>,
    ) -> Result<Self> {
        let Checkpoint { config, facts, .. } = networks[0].1;
        let width = facts.shape.iter().product();
        let compile = |rows: usize| {
            // The random frequencies of the step encoding depend on the seed of the run.
            let mut g = Graph::seeded(config.seed);
            let network = config.model.build(&mut g, &facts.shape)?;
            let result = build(&mut g, network.as_ref(), [rows, width])?;
            Ok((device.compile(&g)?, result))
        };
        let mut compiled = largest(count.min(ROWS), compile)?;
        let ((run, _), rows) = &compiled;
        if let Some(fewer) = fewer_rows(device, run.cost().flops, *rows) {
            drop(compiled);
            compiled = largest(fewer, compile)?;
        }
        let ((mut run, result), rows) = compiled;
        Checkpoint::write_networks(&mut run, networks)?;
        log::info!("{count} samples in batches of {rows}, {steps} steps each; {} bytes", run.bytes());
        Ok(Self { run, result, rows, width, steps, inputs: vec![("x", width)], ranks: None })
    }

    /// Shares the batches with other processes, which do the same.
    pub fn with_ranks(mut self, ranks: Option<Arc<dyn Ranks>>) -> Self {
        self.ranks = ranks;
        self
    }

    /// Adds states that are written before each batch.
    pub fn with_inputs(mut self, inputs: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        self.inputs.extend(inputs);
        self
    }

    /// Processes `count` samples. `start` writes the inputs of the samples from an index on, and `take` receives the results
    /// in order, batch by batch. The random numbers of a sample depend only on `seed` and its index.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when `observe` returns false, [`Error::NonFinite`] when a result is not finite, and the errors
    /// of `take`.
    pub fn each(
        &mut self,
        count: usize,
        seed: u64,
        start: &mut Start,
        observe: &mut Observer,
        mut take: impl FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        let (ranks, batches) = (self.ranks.clone(), count.div_ceil(self.rows));
        let (own, every) = ranks.as_ref().map_or((0, 1), |ranks| (ranks.rank(), ranks.count()));
        let rounds = batches.div_ceil(every);
        let mut completion = Completion { done: 0, total: rounds as u64 * u64::from(self.steps) };
        self.run.seed(seed);
        let mut taken = Ok(());
        for round in 0..rounds {
            let first = (round * every + own) * self.rows;
            // A process that cannot go on says so to the others, which wait for its results.
            let made = match taken {
                Ok(()) if first < count => {
                    let batch = first..count.min(first + self.rows);
                    self.batch(batch, start, &mut completion, observe).and_then(|result| {
                        let of = text::count(count, "sample");
                        let stopped =
                            || Error::Interrupted(format!("stopped after {first} of {of}; nothing is written"));
                        result.ok_or_else(stopped)
                    })
                }
                Ok(()) => Ok(Vec::new()),
                Err(e) => Err(e),
            };
            let results = match &ranks {
                Some(ranks) => gathered(&**ranks, made)?,
                None => vec![made?],
            };
            taken = results.iter().filter(|result| !result.is_empty()).try_for_each(|result| take(result));
        }
        taken
    }

    /// The results of one batch; `None` if the observer stopped it.
    fn batch(
        &mut self,
        samples: Range<usize>,
        start: &mut Start,
        completion: &mut Completion,
        observe: &mut Observer,
    ) -> Result<Option<Vec<f32>>> {
        self.run.set_first_row(samples.start);
        self.begin(samples.start, samples.len(), start)?;
        if !self.advance(completion, observe)? {
            return Ok(None);
        }
        let mut result = self.run.read(self.result)?;
        result.truncate(samples.len() * self.width);
        if result.iter().any(|v| !v.is_finite()) {
            return Err(Error::NonFinite(
                "the results of the network are not finite, because the training diverged; train again with a lower learning rate"
                    .into(),
            ));
        }
        Ok(Some(result))
    }

    /// Writes the inputs of the `used` samples from `first` on, and sets the state before the first step.
    fn begin(&mut self, first: usize, used: usize, start: &mut Start) -> Result<()> {
        self.run.set_step(0);
        for (name, width) in &self.inputs {
            let mut values = vec![0.0; self.rows * width];
            start(name, first, &mut values[..used * width]);
            self.run.write(name, &values)?;
        }
        if let Ok(history) = self.run.graph().find(HISTORY) {
            let len = self.run.graph().spec(history).len();
            self.run.write(HISTORY, &vec![0.0; len])?;
        }
        Ok(())
    }

    /// Passes the state before each step, and the result after it, to `take`, for the first batch. `start` writes its
    /// inputs. Returns the state after the last step.
    ///
    /// # Errors
    /// Those of the device, and of `take`.
    pub fn step_by_step(
        &mut self,
        seed: u64,
        start: &mut Start,
        mut take: impl FnMut(usize, &[f32], &[f32]) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let state = self.run.graph().find("x")?;
        self.run.seed(seed);
        self.begin(0, self.rows, start)?;
        let mut x = self.run.read(state)?;
        for k in 0..self.steps {
            self.run.steps(1)?;
            take(k as usize, &x, &self.run.read(self.result)?)?;
            x = self.run.read(state)?;
        }
        Ok(x)
    }

    /// Runs the steps of one batch. Returns whether it was completed.
    fn advance(&mut self, completion: &mut Completion, observe: &mut Observer) -> Result<bool> {
        let (mut done, mut n) = (0, 1);
        while done < self.steps {
            if !observe(*completion) {
                return Ok(false);
            }
            let began = Instant::now();
            n = n.min(self.steps - done);
            self.run.steps(n)?;
            (done, completion.done) = (done + n, completion.done + u64::from(n));
            let per_step = began.elapsed().as_secs_f64() / f64::from(n);
            n = ((REPORT.as_secs_f64() / per_step.max(1e-7)) as u32).clamp(1, 4 * n);
        }
        Ok(true)
    }
}

/// The results of all processes, in their order.
///
/// # Errors
/// The error of this process, or that of another.
fn gathered(ranks: &dyn Ranks, own: Result<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
    let fault = first_fault(ranks, own.as_ref().err().map(Error::to_string))?;
    let own = own?;
    if let Some(fault) = fault {
        return Err(Error::input(fault));
    }
    let all = ranks.gather(bytemuck::cast_slice(&own))?;
    Ok(all.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect())
}

/// The batch size on the CPU, or on a software adapter, if a step of `rows` samples, with this arithmetic, takes too long.
fn fewer_rows(device: &Device, flops: u64, rows: usize) -> Option<usize> {
    let too_many = device.uses_host_memory() && flops > MOST_FLOPS && rows > 1;
    too_many.then(|| ((rows as f64 * MOST_FLOPS as f64 / flops as f64) as usize).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_on_the_cpu_is_short() {
        let rows = |flops, rows| fewer_rows(&Device::cpu(), flops, rows);
        assert_eq!((rows(MOST_FLOPS, 1_024), rows(1 << 60, 1)), (None, None));
        assert_eq!((rows(4 * MOST_FLOPS, 1_024), rows(1 << 60, 1_024)), (Some(256), Some(1)));
    }
}
