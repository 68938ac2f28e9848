//! The samples on their way to the device: all of them before the training, or the batches of the next steps during it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Facts;
use super::data::{CLASS, GIVEN, KNOWN, MASKS, SAMPLES, VECTOR};
use crate::data::{Dataset, Normalisation, Subset};
use crate::device::Run;
use crate::error::{Error, Result};
use crate::graph::HISTORY;
use crate::numeric::random::Clock;
use crate::ops::Gather;

/// The number of values that are uploaded at a time.
const PART: usize = 1 << 22;
/// The bytes of the batches on the device, and of those that are read meanwhile.
const WINDOW: usize = 32 << 20;

/// The samples that are on the device at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// All of them.
    All {
        /// Their number.
        samples: usize,
    },
    /// The batches of some steps.
    Batches {
        /// The number of steps: those from a multiple of it on.
        steps: usize,
        /// The samples of a step.
        batch: usize,
    },
}

impl Held {
    /// All samples, unless they stay in their files and would take more memory than the batches of the next steps.
    pub fn of(data: &Subset, batch: usize) -> Self {
        let (samples, bytes) = (data.len(), 4 * data.shape().iter().product::<usize>());
        let steps = (WINDOW / (bytes * batch)).clamp(1, HISTORY);
        match data.is_stored() && steps * batch < samples {
            true => Self::Batches { steps, batch },
            false => Self::All { samples },
        }
    }

    /// The number of samples on the device.
    pub fn rows(self) -> usize {
        match self {
            Self::All { samples } => samples,
            Self::Batches { steps, batch } => steps * batch,
        }
    }
}

/// What a data set of a program is filled with.
#[derive(Debug)]
enum Content {
    /// Normalised values, 0 for missing ones.
    Values(Dataset, Normalisation),
    /// 1 for each value that is not missing.
    Known(Dataset),
    /// The classes of all samples of the data.
    Classes(Vec<u32>),
}

impl Content {
    /// The values of the samples with these indices.
    fn of(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let rows = rows.iter().copied();
        Ok(match self {
            Self::Values(data, normalisation) => {
                let mut values = normalisation.apply(&data.samples(rows)?);
                values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
                values
            }
            Self::Known(data) => {
                data.samples(rows)?.into_iter().map(|value| f32::from(u8::from(!value.is_nan()))).collect()
            }
            Self::Classes(of) => rows.map(|row| of[row] as f32).collect(),
        })
    }
}

/// The samples and their conditions, as the data sets of a program.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The indices of the samples in the data.
    rows: Vec<usize>,
    sets: Vec<(&'static str, Content)>,
    /// Masks from a file, which do not belong to samples.
    masks: Option<Dataset>,
}

impl Inputs {
    /// Those that the program of `run` has a place for.
    pub fn of(run: &Run, data: &Subset, facts: &Facts) -> Self {
        let conditions = data.conditions();
        // The normalisation of the windows of an augmentation, which are shorter than the samples.
        let values = |data: &Dataset, normalisation: &Normalisation| {
            Content::Values(data.clone(), normalisation.repeated_for(data.kind(), &data.shape))
        };
        let own = data.data();
        let condition = |data: &Option<Box<Dataset>>, facts: &Option<super::conditions::ConditionValues>| {
            Some(values(data.as_ref()?, &facts.as_ref()?.normalisation))
        };
        let sets = [
            (SAMPLES, Some(values(own, &facts.normalisation))),
            (KNOWN, Some(Content::Known(own.clone()))),
            (CLASS, conditions.labels.as_ref().map(|labels| Content::Classes(labels.of.clone()))),
            (VECTOR, condition(&conditions.vectors, &facts.conditions.vector)),
            (GIVEN, condition(&conditions.given, &facts.conditions.given)),
        ];
        let has = |name: &str| run.graph().find(name).is_ok();
        let sets = sets.into_iter().filter_map(|(name, content)| Some((name, content.filter(|_| has(name))?)));
        let masks = conditions.masks.as_deref().filter(|_| has(MASKS)).cloned();
        Self { rows: data.rows().collect(), sets: sets.collect(), masks }
    }

    /// Uploads everything.
    ///
    /// # Errors
    /// When the device is lost, or the values cannot be read.
    pub fn upload(&self, run: &mut Run) -> Result<()> {
        self.upload_masks(run)?;
        for (name, content) in &self.sets {
            let mut at = 0;
            let len = match content {
                Content::Values(data, _) | Content::Known(data) => data.sample_len(),
                Content::Classes(_) => 1,
            };
            for rows in self.rows.chunks((PART / len).max(1)) {
                let values = content.of(rows)?;
                run.write_from(name, at, &values)?;
                at += values.len();
            }
        }
        Ok(())
    }

    fn upload_masks(&self, run: &mut Run) -> Result<()> {
        self.masks.as_ref().map_or(Ok(()), |masks| run.write(MASKS, &masks.values))
    }

    /// The values of some samples, for each data set.
    fn batch(&self, samples: impl Iterator<Item = usize>) -> Result<Batches> {
        let rows: Vec<usize> = samples.map(|sample| self.rows[sample]).collect();
        self.sets.iter().map(|(name, content)| Ok((*name, content.of(&rows)?))).collect()
    }
}

/// The values of each data set.
type Batches = Vec<(&'static str, Vec<f32>)>;

/// Uploads the batches of the next steps while the device computes, from a thread that reads ahead.
#[derive(Debug)]
pub(crate) struct Feed {
    inputs: Arc<Inputs>,
    /// The order of the samples.
    order: Gather,
    seed: u64,
    /// The number of steps whose batches are uploaded together.
    steps: u32,
    /// The steps whose batches are on the device.
    held: Range<u32>,
    ahead: Option<Receiver<Result<Batches>>>,
    waited: Duration,
}

impl Feed {
    /// Uploads all samples, or returns what uploads the batches of a program that selects rows by `order`, with the seed of its
    /// random numbers.
    ///
    /// # Errors
    /// When the values cannot be read, or the device is lost.
    pub fn start(run: &mut Run, inputs: Inputs, held: Held, order: Option<Gather>, seed: u64) -> Result<Option<Self>> {
        let (Held::Batches { steps, .. }, Some(order)) = (held, order) else {
            return inputs.upload(run).map(|()| None);
        };
        inputs.upload_masks(run)?;
        let (inputs, steps) = (Arc::new(inputs), steps as u32);
        Ok(Some(Self { inputs, order, seed, steps, held: 0..0, ahead: None, waited: Duration::ZERO }))
    }

    /// Runs `n` steps of a program, by `some` for a number of them.
    ///
    /// # Errors
    /// Those of [`Feed::fill`] and of `some`.
    pub fn steps(
        feed: &mut Option<Self>,
        run: &mut Run,
        n: u32,
        mut some: impl FnMut(&mut Run, u32) -> Result<()>,
    ) -> Result<()> {
        let end = run.step() + n;
        while run.step() < end {
            let left = end - run.step();
            let ready = feed.as_mut().map_or(Ok(left), |feed| feed.fill(run))?;
            some(run, ready.min(left))?;
        }
        Ok(())
    }

    /// Uploads the batches of the next steps if they are not on the device. Returns the number of steps whose batches are.
    ///
    /// # Errors
    /// When the values cannot be read, or the device is lost.
    pub fn fill(&mut self, run: &mut Run) -> Result<u32> {
        let step = run.step();
        if !self.held.contains(&step) {
            let first = step - step % self.steps;
            if self.held.is_empty() || first != self.held.end {
                self.ahead = None;
            }
            let began = Instant::now();
            let ahead = match &self.ahead {
                Some(ahead) => ahead,
                None => self.ahead.insert(self.read_ahead(first)?),
            };
            let ended = || Err(Error::input("the thread that reads the data has ended"));
            let batches = ahead.recv().unwrap_or_else(|_| ended());
            self.waited += began.elapsed();
            // Until it succeeds, no batches are complete.
            self.held = 0..0;
            batches?.iter().try_for_each(|(name, values)| run.write(name, values))?;
            self.held = first..first + self.steps;
        }
        Ok(self.held.end - step)
    }

    /// Starts to read the batches of step `first` and those after it.
    fn read_ahead(&self, first: u32) -> Result<Receiver<Result<Batches>>> {
        let (sender, receiver) = sync_channel(1);
        let (inputs, order, seed, steps) = (self.inputs.clone(), self.order, self.seed, self.steps);
        let read = move || {
            let n = inputs.rows.len();
            for first in (first..).step_by(steps as usize) {
                let places = (first..first + steps).flat_map(|step| (0..order.batch).map(move |b| (step, b)));
                let batches = inputs.batch(places.map(|(step, b)| order.shuffled(Clock { seed, step }, n, b)));
                let failed = batches.is_err();
                // Nobody receives them after the training.
                if sender.send(batches).is_err() || failed {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("data".into()).spawn(read);
        started.map_err(|e| Error::input(format!("cannot start a thread that reads the data: {e}")))?;
        Ok(receiver)
    }

    /// The time for which the training waited for data.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}
