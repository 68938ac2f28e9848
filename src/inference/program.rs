//! A trained network as a program that takes a set of samples batch by batch.

use std::time::{Duration, Instant};

use crate::device::{Device, Run};
use crate::error::{Error, Result};
use crate::generate::batches::largest;
use crate::graph::{Graph, Var};
use crate::nn::Denoiser;
use crate::train::Checkpoint;

/// Samples in a batch, where the device has room for as many.
const ROWS: usize = 1_024;

/// The observer is called about this often.
const REPORT: Duration = Duration::from_millis(250);

/// How far a computation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps done, over all batches.
    pub done: u64,
    /// Steps to do.
    pub total: u64,
}

/// Follows a computation: called several times a second, returns whether to go on.
pub type Observer<'a> = dyn FnMut(Progress) -> bool + 'a;

/// The input is the state `x` of the graph, the result another tensor after some steps.
pub(super) struct Program {
    run: Run,
    result: Var,
    rows: usize,
    width: usize,
    steps: u32,
}

impl Program {
    /// Compiles what `build` adds to the network of `checkpoint`, for batches of as many of `count` samples as fit the device.
    /// It is given the shape of a batch, and gives the result.
    ///
    /// # Errors
    /// When the device has no room for one sample, or the checkpoint does not fit its own settings.
    pub fn new(
        device: &Device,
        checkpoint: &Checkpoint,
        count: usize,
        steps: u32,
        build: impl Fn(&mut Graph, &dyn Denoiser, [usize; 2]) -> Result<Var>,
    ) -> Result<Self> {
        let (config, facts) = (&checkpoint.config, checkpoint.facts());
        let width = facts.shape.iter().product();
        let ((mut run, result), rows) = largest(count.min(ROWS), |rows| {
            // Random frequencies of the step encoding come from the seed of the run.
            let mut g = Graph::seeded(config.seed);
            let network = config.model.build(&mut g, &facts.shape)?;
            let result = build(&mut g, network.as_ref(), [rows, width])?;
            Ok((device.compile(&g)?, result))
        })?;
        checkpoint.write_weights(&mut run)?;
        Ok(Self { run, result, rows, width, steps })
    }

    /// Runs all `count` samples through the program. `start` writes the input of the samples from a number on; `take` is given
    /// their results in order, batch by batch. A sample's random numbers follow from `seed` and its number alone.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when `observe` says so, [`Error::NonFinite`] when a result is not finite, and what `take` gives.
    pub fn each(
        &mut self,
        count: usize,
        seed: u64,
        mut start: impl FnMut(usize, &mut [f32]),
        observe: &mut Observer,
        mut take: impl FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        let total = count.div_ceil(self.rows) as u64 * u64::from(self.steps);
        let mut progress = Progress { done: 0, total };
        self.run.seed(seed);
        let mut x = vec![0.0; self.rows * self.width];
        for first in (0..count).step_by(self.rows) {
            let (used, rest) = x.split_at_mut(self.rows.min(count - first) * self.width);
            start(first, used);
            rest.fill(0.0);
            let len = used.len();
            self.run.set_first_row(first);
            self.run.set_step(0);
            self.run.write("x", &x)?;
            self.advance(&mut progress, observe)?;
            let result = self.run.read(self.result)?;
            if result[..len].iter().any(|v| !v.is_finite()) {
                return Err(Error::NonFinite(
                    "the network's results are not finite: the training diverged; train again with a lower learning rate"
                        .into(),
                ));
            }
            take(&result[..len])?;
        }
        Ok(())
    }

    /// The steps of one batch.
    fn advance(&mut self, progress: &mut Progress, observe: &mut Observer) -> Result<()> {
        let (mut done, mut n) = (0, 1);
        while done < self.steps {
            if !observe(*progress) {
                return Err(Error::Interrupted(format!(
                    "stopped after {} of {} steps; nothing is written",
                    progress.done, progress.total
                )));
            }
            let began = Instant::now();
            n = n.min(self.steps - done);
            self.run.steps(n)?;
            (done, progress.done) = (done + n, progress.done + u64::from(n));
            let per_step = began.elapsed().as_secs_f64() / f64::from(n);
            n = ((REPORT.as_secs_f64() / per_step.max(1e-7)) as u32).clamp(1, 4 * n);
        }
        Ok(())
    }
}
