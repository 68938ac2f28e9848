//! The part of the data that is held out, and the loss on it.

use super::Config;
use super::program::{Sample, StepVars, forward};
use crate::data::{Dataset, Normalisation, Subset};
use crate::device::Device;
use crate::device::Run;
use crate::error::{Error, Result};
use crate::generate::batches;
use crate::graph::{Graph, HISTORY, Slab};
use crate::numeric::random::permuted;
use crate::text::count;

/// The stream of the permutation that chooses what is held out.
const CHOICE: u32 = u32::MAX - 1;
/// Random numbers apart from those of the training.
const SEED: u64 = 0x5641_4c49_4441_5445;
/// The most rows of a batch, and the fewest draws of noise that a loss is the mean of.
const ROWS: usize = 256;
const DRAWS: usize = 1_024;

/// Data in two parts, neither of them a copy.
#[derive(Debug)]
pub(crate) struct Split<'a> {
    /// What is trained on, in the order of the data.
    pub kept: Subset<'a>,
    /// What is not.
    pub held_out: Option<Subset<'a>>,
}

impl<'a> Split<'a> {
    /// How many of `n` samples are held out.
    ///
    /// # Errors
    /// When the fraction leaves nothing to train on.
    pub fn held_out(config: &Config, n: usize) -> Result<usize> {
        if config.validation == 0.0 {
            return Ok(0);
        }
        match ((n as f64 * config.validation).round() as usize).max(1) {
            held_out if held_out < n => Ok(held_out),
            held_out => Err(Error::setting(format!(
                "validation {} holds out {held_out} of {}, which leaves none to train on; use less, or more data",
                config.validation,
                count(n, "sample")
            ))),
        }
    }

    /// Splits data by the seed of `config`: the same data and seed give the same parts.
    ///
    /// # Errors
    /// As [`Split::held_out`].
    pub fn new(config: &Config, data: &'a Dataset) -> Result<Self> {
        let n = data.len();
        let count = Self::held_out(config, n)?;
        if count == 0 {
            return Ok(Self { kept: Subset::all(data), held_out: None });
        }
        let mut out = vec![false; n];
        (0..count).for_each(|i| out[permuted(i as u32, n as u32, 0, CHOICE, config.seed) as usize] = true);
        let part = |wanted: bool| Subset::of(data, (0..n).filter(|&i| out[i] == wanted).collect());
        Ok(Self { kept: part(false), held_out: Some(part(true)) })
    }
}

/// The objective on held-out data as a program of its own, with what is on in training only off.
///
/// Each evaluation draws the same batches, steps and noise, so that two of them differ by the weights alone.
#[derive(Debug)]
pub(crate) struct Validation {
    run: Run,
    vars: StepVars,
    batches: u32,
}

/// The samples of a batch.
fn batch(samples: usize) -> usize {
    samples.min(ROWS)
}

/// The most samples that are computed at a time: no more than in training.
pub(crate) fn most_rows(samples: usize, micro_batch: usize) -> usize {
    batch(samples).min(micro_batch)
}

/// The objective and the loss terms on `samples`, of which `rows` are computed at a time.
pub(crate) fn program(config: &Config, samples: usize, sample: Sample, rows: usize) -> Result<(Graph, StepVars)> {
    let mut g = Graph::seeded(config.seed);
    let (data, batch) = (g.dataset("data", [samples, sample.shape.iter().product()])?, batch(samples));
    let network = config.model.build(&mut g, sample.shape)?;
    let parts =
        batches::in_parts(&mut g, batch, rows, |g, _| forward(g, config, network.as_ref(), &data, sample, batch))?;
    Ok((g, StepVars { parts, norm: None }))
}

/// Values in a part that is written at a time.
const PART: usize = 1 << 22;

/// Fills the data set of a program, in the units of the network.
///
/// # Errors
/// When the device is lost.
pub(crate) fn upload(run: &mut Run, data: &Subset, normalisation: &Normalisation) -> Result<()> {
    let mut at = 0;
    for part in data.parts((PART / data.sample(0).len()).max(1)) {
        run.write_from("data", at, &normalisation.apply(&part))?;
        at += part.len();
    }
    Ok(())
}

impl Validation {
    /// Compiles the program with at most `most` samples at a time, and uploads the data.
    ///
    /// # Errors
    /// When the device is too small for it.
    pub fn new(device: &Device, config: &Config, sample: Sample, data: &Subset, most: usize) -> Result<Self> {
        let samples = data.len();
        let ((mut run, vars), _) = batches::largest(most_rows(samples, most), |rows| {
            let (g, vars) = program(config, samples, sample, rows)?;
            Ok((device.compile(&g)?, vars))
        })?;
        run.seed(config.seed ^ SEED);
        upload(&mut run, data, sample.normalisation)?;
        let batches = samples.max(DRAWS).div_ceil(batch(samples)).min(HISTORY) as u32;
        Ok(Self { run, vars, batches })
    }

    /// The mean loss with the weights of `of`: their moving average where there is one.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn loss(&mut self, of: &Run) -> Result<f64> {
        let averaged = of.graph().slab_if_used(Slab::Ema).is_some();
        self.run.write_slab(Slab::Params, &of.read_slab(if averaged { Slab::Ema } else { Slab::Params })?)?;
        self.run.set_step(0);
        self.run.steps(self.batches)?;
        let losses = self.vars.losses(&self.run, self.batches as usize)?;
        Ok(losses.iter().map(|l| l.total).sum::<f64>() / losses.len() as f64)
    }

    /// Its program.
    pub fn run(&self) -> &Run {
        &self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_has_every_sample_once_and_follows_the_seed() {
        let data = Dataset::new("d", [1], (0..103).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        let split = |seed, validation| {
            let split = Split::new(&Config { seed, validation, ..Config::default() }, &data).unwrap();
            let values = |part: Subset| part.parts(7).flat_map(|values| values.into_owned()).collect::<Vec<f32>>();
            (values(split.kept), split.held_out.map_or(vec![], values))
        };
        let (kept, held_out) = split(5, 0.2);
        assert_eq!((kept.len(), held_out.len()), (82, 21));
        let mut all = [kept.clone(), held_out].concat();
        all.sort_by(f32::total_cmp);
        assert_eq!(all, data.values);
        assert!(split(5, 0.2).0 == kept && split(6, 0.2).0 != kept);
        assert_eq!(split(5, 0.0).0, data.values);
        let e = Split::held_out(&Config { validation: 0.9, ..Config::default() }, 2).unwrap_err().to_string();
        assert!(e.contains("2 of 2"), "{e}");
    }
}
