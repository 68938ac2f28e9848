//! The split into training and held-out data, and the validation loss.

use super::data::DataTensors;
use super::feed::{Feed, Held, Inputs, Steps};
use super::objective::SampleInfo;
use super::program::{StepVars, forward};
use super::{Config, Facts};
use crate::data::{Dataset, Subset};
use crate::device::Device;
use crate::device::Run;
use crate::error::{Error, Result};
use crate::generate::batches;
use crate::graph::{Graph, HISTORY, Slab};
use crate::numeric::random::permuted;
use crate::ops::Gather;
use crate::text::count;

/// The random stream of the permutation that selects the held-out samples.
const CHOICE: u32 = u32::MAX - 1;
/// Makes the random numbers different from those of the training.
const SEED: u64 = 0x5641_4c49_4441_5445;
/// The maximum batch size, and the minimum number of noisy samples per evaluation.
const ROWS: usize = 256;
const DRAWS: usize = 1_024;

/// A data set in two parts, without copying it.
#[derive(Debug)]
pub(crate) struct DataSplit<'a> {
    /// The training samples, in the order of the data.
    pub kept: Subset<'a>,
    /// The held-out samples.
    pub held_out: Option<Subset<'a>>,
}

impl<'a> DataSplit<'a> {
    /// The number of held-out samples out of `n`.
    ///
    /// # Errors
    /// When no samples would be left to train on.
    pub fn held_out(config: &Config, n: usize) -> Result<usize> {
        if config.validation == 0.0 {
            return Ok(0);
        }
        match ((n as f64 * config.validation).round() as usize).max(1) {
            held_out if held_out < n => Ok(held_out),
            held_out => Err(Error::setting(format!(
                "validation {} holds out {held_out} of {}, which leaves none to train on; use a smaller fraction or more data",
                config.validation,
                count(n, "sample")
            ))),
        }
    }

    /// Splits the data. The split depends only on the number of samples and the seed.
    ///
    /// # Errors
    /// As [`DataSplit::held_out`].
    pub fn new(config: &Config, data: &'a Dataset) -> Result<Self> {
        let n = data.len();
        let count = Self::held_out(config, n)?;
        if count == 0 {
            return Ok(Self { kept: Subset::all(data), held_out: None });
        }
        let mut out = vec![false; n];
        (0..count).for_each(|i| out[permuted(i as u32, n as u32, 0, CHOICE, config.seed) as usize] = true);
        let part = |wanted: bool| Subset::of(data, (0..n as u32).filter(|&i| out[i as usize] == wanted).collect());
        Ok(Self { kept: part(false), held_out: Some(part(true)) })
    }
}

/// The compiled forward pass on the held-out data, without dropout and other training-only operations.
///
/// Every evaluation uses the same batches, steps and noise, so that the losses depend only on the weights.
#[derive(Debug)]
pub(crate) struct Validation {
    run: Run,
    vars: StepVars,
    feed: Option<Feed>,
    batches: u32,
}

/// The batch size.
fn batch(samples: usize) -> usize {
    samples.min(ROWS)
}

/// The maximum micro-batch size, which is that of training.
pub(crate) fn most_rows(samples: usize, micro_batch: usize) -> usize {
    batch(samples).min(micro_batch)
}

/// The graph of the loss terms on `samples` samples, in micro-batches of `rows`, and the op that selects them.
pub(crate) fn program(
    config: &Config,
    held: Held,
    samples: usize,
    sample: SampleInfo,
    rows: usize,
) -> Result<(Graph, StepVars, Option<Gather>)> {
    let mut g = Graph::seeded(config.seed);
    let data = DataTensors::new(&mut g, held, sample, config)?;
    let batch = batch(samples);
    let network = config.model.build(&mut g, sample.shape)?;
    let parts =
        batches::in_parts(&mut g, batch, rows, |g, _| forward(g, config, network.as_ref(), &data, sample, batch))?;
    Ok((g, StepVars { parts, norm: None }, data.order()))
}

impl Validation {
    /// Compiles the program with micro-batches of at most `most` samples, and uploads the data.
    ///
    /// # Errors
    /// When the program does not fit the device.
    pub fn new(
        device: &Device,
        config: &Config,
        facts: &Facts,
        sample: SampleInfo,
        data: &Subset,
        most: usize,
    ) -> Result<Self> {
        let samples = data.len();
        let forward = |held| {
            batches::largest(most_rows(samples, most), |rows| {
                let (g, vars, order) = program(config, held, samples, sample, rows)?;
                Ok((device.compile(&g)?, vars, order))
            })
        };
        let most = most_rows(samples, most);
        let whole = |(_, rows): &(_, usize)| *rows == most;
        let (((mut run, vars, order), _), held) = Held::fitting(data, batch(samples), forward, whole)?;
        let seed = config.seed ^ SEED;
        run.seed(seed);
        let inputs = Inputs::of(&run, data, facts);
        let batches = samples.max(DRAWS).div_ceil(batch(samples)).min(HISTORY) as u32;
        // Each evaluation has the same batches.
        let feed = Feed::start(&mut run, inputs, held, order, Steps { seed, again_after: batches })?;
        Ok(Self { run, vars, feed, batches })
    }

    /// The mean loss with the weights of `of`, or their moving average if there is one.
    ///
    /// # Errors
    /// When the device is lost, or the data cannot be read.
    pub fn loss(&mut self, of: &Run) -> Result<f64> {
        let averaged = of.graph().slab_if_used(Slab::Ema).is_some();
        self.run.write_slab(Slab::Params, &of.read_slab(if averaged { Slab::Ema } else { Slab::Params })?)?;
        self.run.set_step(0);
        Feed::steps(&mut self.feed, &mut self.run, self.batches, Run::steps)?;
        let losses = self.vars.losses(&self.run, self.batches as usize)?;
        Ok(losses.iter().map(|l| l.total).sum::<f64>() / losses.len() as f64)
    }

    /// The compiled program.
    pub fn run(&self) -> &Run {
        &self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_contains_every_sample_once_and_depends_on_the_seed() {
        let data = Dataset::new("d", [1], (0..103).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        let split = |seed, validation| {
            let split = DataSplit::new(&Config { seed, validation, ..Config::default() }, &data).unwrap();
            let values =
                |part: Subset| part.parts(7).flat_map(|values| values.unwrap().into_owned()).collect::<Vec<f32>>();
            (values(split.kept), split.held_out.map_or(vec![], values))
        };
        let (kept, held_out) = split(5, 0.2);
        assert_eq!((kept.len(), held_out.len()), (82, 21));
        let mut all = [kept.clone(), held_out].concat();
        all.sort_by(f32::total_cmp);
        assert_eq!(all, data.values);
        assert!(split(5, 0.2).0 == kept && split(6, 0.2).0 != kept);
        assert_eq!(split(5, 0.0).0, data.values);
        let e = DataSplit::held_out(&Config { validation: 0.9, ..Config::default() }, 2).unwrap_err().to_string();
        assert!(e.contains("2 of 2"), "{e}");
    }
}
