//! The samples on their way to the device: all of them before the training, or the batches of the next steps during it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Facts;
use super::data::{CLASS, GIVEN, KNOWN, MASKS, SAMPLES, VECTOR};
use crate::data::{Conditions, Dataset, Normalisation, Subset, Values};
use crate::device::Run;
use crate::error::{Error, Result};
use crate::graph::HISTORY;
use crate::numeric::random::Clock;
use crate::ops::Gather;

/// The number of values that are uploaded at a time.
const PART: usize = 1 << 22;
/// The number of values that are normalised at a time: those that fit into a cache.
const PIECE: usize = 1 << 14;
/// The most bytes of data that are uploaded once.
const SMALL: usize = 32 << 20;
/// The most bytes of the batches on the device, so that they are in a cache from their file to the step that uses them.
const WINDOW: usize = 4 << 20;
/// At most one part of this many of the data is on the device, because the batches that are read ahead take memory of the host as
/// well.
const PARTS: usize = 16;
/// How many times as many batches are read ahead.
const AHEAD: usize = 3;

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
    /// All samples, or the batches of some steps for data that stay in their files.
    pub fn of(data: &Subset, batch: usize) -> Self {
        Self::batches(data, batch).filter(|_| data.is_stored()).unwrap_or(Self::All { samples: data.len() })
    }

    /// The batches of some steps, if they are fewer than all samples.
    pub fn batches(data: &Subset, batch: usize) -> Option<Self> {
        let (samples, bytes) = (data.len(), 4 * data.shape().iter().product::<usize>());
        let steps = (WINDOW.min(samples * bytes / PARTS) / (bytes * batch)).clamp(1, HISTORY);
        let fewer = samples * bytes > SMALL && steps * batch < samples;
        fewer.then_some(Self::Batches { steps, batch })
    }

    /// Calls `compile` with what [`Held::of`] says, and with the batches of some steps if all samples leave no room for the rest of
    /// the program, or only enough for it in parts. `whole` says whether a program is not in parts.
    ///
    /// # Errors
    /// Those of `compile`.
    pub fn fitting<T>(
        data: &Subset,
        batch: usize,
        compile: impl Fn(Self) -> Result<T>,
        whole: impl Fn(&T) -> bool,
    ) -> Result<(T, Self)> {
        let held = Self::of(data, batch);
        let first = match compile(held) {
            Ok(program) if whole(&program) => return Ok((program, held)),
            Err(e) if !matches!(e, Error::Limit { .. }) => return Err(e),
            first => first,
        };
        let Some(batches) = Self::batches(data, batch).filter(|batches| *batches != held) else {
            return Ok((first?, held));
        };
        // Frees the program, whose data fill the device.
        let fault = first.err();
        match (compile(batches), fault) {
            (Ok(program), fault) if fault.is_some() || whole(&program) => {
                log::warn!(
                    "all of {} do not fit the device together with the model; batches of them are uploaded during the training",
                    data.name()
                );
                Ok((program, batches))
            }
            // The data are not the reason.
            (_, Some(fault)) => Err(fault),
            (program, None) => {
                drop(program);
                Ok((compile(held)?, held))
            }
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

/// What data sets of a program are filled with.
#[derive(Debug)]
enum Content {
    /// Samples of `len` values.
    Values {
        values: Values,
        len: usize,
        normalisation: Normalisation,
        /// The normalised value of each byte, if the values are bytes and have one normalisation.
        of_bytes: Option<Box<[f32; 256]>>,
        /// The data set of normalised values, 0 for missing ones.
        name: &'static str,
        /// The data set that is 1 for each value that is not missing.
        known: Option<&'static str>,
    },
    /// The classes of all samples of the data.
    Classes(Vec<u32>),
}

impl Content {
    /// Appends the samples with these indices, as they are in the data.
    fn read(&self, rows: impl Iterator<Item = usize>, bytes: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Values { values, len, .. } => values.read_bytes(*len, rows, bytes)?,
            Self::Classes(of) => rows.for_each(|row| bytes.extend_from_slice(&(of[row] as f32).to_ne_bytes())),
        }
        Ok(())
    }

    /// Uploads what [`Content::read`] gave as the samples from `first` on. Their values are decoded and normalised in the memory of
    /// the device, on all cores: a thread beside those that compute would delay them.
    fn upload(&self, run: &mut Run, first: usize, read: &[u8]) -> Result<()> {
        let Self::Values { values, len, normalisation, of_bytes, name, known } = self else {
            return run.write_from(CLASS, first, &bytemuck::pod_collect_to_vec::<u8, f32>(read));
        };
        let (size, piece) = (values.size(), (PIECE / len).max(1) * len);
        let bytes = |at: usize, count: usize| &read[at * size..][..count * size];
        let place = [first * len, read.len() / size];
        if let Some(known) = known {
            run.fill_from(known, place, piece, |at, out| {
                values.decode(bytes(at, out.len()), out);
                out.iter_mut().for_each(|value| *value = f32::from(u8::from(!value.is_nan())));
            })?;
        }
        if let Some(of_bytes) = of_bytes.as_deref() {
            return run.fill_from(
                name,
                place,
                piece,
                #[inline(always)]
                |at, out| {
                    let bytes = bytes(at, out.len());
                    out.iter_mut().zip(bytes).for_each(|(value, byte)| *value = of_bytes[usize::from(*byte)]);
                },
            );
        }
        run.fill_from(
            name,
            place,
            piece,
            #[inline(always)]
            |at, out| {
                values.decode(bytes(at, out.len()), out);
                normalisation.apply_in_place(out);
                out.iter_mut().for_each(|value| *value = if value.is_nan() { 0.0 } else { *value });
            },
        )
    }

    /// The number of values of a sample.
    fn len(&self) -> usize {
        match self {
            Self::Values { len, .. } => *len,
            Self::Classes(_) => 1,
        }
    }
}

/// The normalised value of each byte, if the values of a data set are bytes and have one normalisation.
fn normalised_bytes(of: &Dataset, normalisation: &Normalisation) -> Option<Box<[f32; 256]>> {
    let mut values = of.values.stored().filter(|_| normalisation.shift.len() == 1)?.of_bytes()?;
    normalisation.apply_in_place(&mut values);
    Some(values.into())
}

/// The samples and their conditions, as the data sets of a program.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The number of samples.
    samples: usize,
    /// Their indices in the data, `None` for all of them.
    rows: Option<Arc<[u32]>>,
    sets: Vec<Content>,
    /// Masks from a file, which do not belong to samples.
    masks: Option<Dataset>,
}

impl Inputs {
    /// Those that the program of `run` has a place for.
    pub fn of(run: &Run, data: &Subset, facts: &Facts) -> Self {
        let Conditions { labels, vectors, given, masks, .. } = data.conditions();
        let has = |name: &str| run.graph().find(name).is_ok();
        let values = |name, of: &Dataset, normalisation: &Normalisation, known| Content::Values {
            values: of.values.clone(),
            len: of.sample_len(),
            // That of the windows of an augmentation, which are shorter than the samples.
            normalisation: normalisation.repeated_for(of.kind(), &of.shape),
            of_bytes: normalised_bytes(of, normalisation),
            name,
            known,
        };
        let known = has(KNOWN).then_some(KNOWN);
        let mut sets = vec![values(SAMPLES, data.data(), &facts.normalisation, known)];
        for (name, of, facts) in [(VECTOR, vectors, &facts.conditions.vector), (GIVEN, given, &facts.conditions.given)]
        {
            if let (Some(of), Some(facts), true) = (of, facts, has(name)) {
                sets.push(values(name, of, &facts.normalisation, None));
            }
        }
        if let (Some(labels), true) = (labels, has(CLASS)) {
            sets.push(Content::Classes(labels.of.clone()));
        }
        let masks = masks.as_deref().filter(|_| has(MASKS)).cloned();
        Self { samples: data.len(), rows: data.indices(), sets, masks }
    }

    /// The index in the data of a sample.
    fn row(&self, sample: usize) -> usize {
        self.rows.as_ref().map_or(sample, |rows| rows[sample] as usize)
    }

    /// Uploads everything.
    ///
    /// # Errors
    /// When the device is lost, or the values cannot be read.
    pub fn upload(&self, run: &mut Run) -> Result<()> {
        self.upload_masks(run)?;
        let mut bytes = Vec::new();
        for content in &self.sets {
            let most = (PART / content.len()).max(1);
            for first in (0..self.samples).step_by(most) {
                let rows = first..self.samples.min(first + most);
                bytes.clear();
                content.read(rows.map(|sample| self.row(sample)), &mut bytes)?;
                content.upload(run, first, &bytes)?;
            }
        }
        Ok(())
    }

    fn upload_masks(&self, run: &mut Run) -> Result<()> {
        self.masks.as_ref().map_or(Ok(()), |masks| run.write(MASKS, &masks.values))
    }

    /// Reads some samples into the memory of others.
    fn batch(&self, samples: impl Iterator<Item = usize>, mut memory: Batches) -> Result<Batches> {
        let rows: Vec<usize> = samples.map(|sample| self.row(sample)).collect();
        memory.resize_with(self.sets.len(), Vec::new);
        for (content, bytes) in self.sets.iter().zip(&mut memory) {
            bytes.clear();
            content.read(rows.iter().copied(), bytes)?;
        }
        Ok(memory)
    }
}

/// The steps that follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    /// The seed of the random numbers.
    pub seed: u64,
    /// The step after which the program starts again at step 0.
    pub again_after: u32,
}

impl Steps {
    /// The step that follows `window` steps from `first` on.
    fn after(self, first: u32, window: u32) -> u32 {
        let next = first.saturating_add(window);
        if next < self.again_after { next } else { 0 }
    }
}

/// What [`Content::read`] gave for each content.
type Batches = Vec<Vec<u8>>;

/// The thread that reads ahead.
#[derive(Debug)]
struct Ahead {
    batches: Receiver<Result<Batches>>,
    /// Takes batches back after their upload: new memory costs a page fault for every few values.
    uploaded: SyncSender<Batches>,
}

/// Uploads the batches of the next steps while the device computes, from a thread that reads ahead.
#[derive(Debug)]
pub(crate) struct Feed {
    inputs: Arc<Inputs>,
    /// The order of the samples.
    order: Gather,
    steps: Steps,
    /// The number of steps whose batches are uploaded together.
    window: u32,
    /// The steps whose batches are on the device.
    held: Range<u32>,
    ahead: Option<Ahead>,
    waited: Duration,
}

impl Feed {
    /// Uploads all samples, or returns what uploads the batches of a program that selects rows by `order`.
    ///
    /// # Errors
    /// When the values cannot be read, or the device is lost.
    pub fn start(
        run: &mut Run,
        inputs: Inputs,
        held: Held,
        order: Option<Gather>,
        steps: Steps,
    ) -> Result<Option<Self>> {
        let (Held::Batches { steps: window, .. }, Some(order)) = (held, order) else {
            return inputs.upload(run).map(|()| None);
        };
        inputs.upload_masks(run)?;
        let (inputs, window) = (Arc::new(inputs), window as u32);
        Ok(Some(Self { inputs, order, steps, window, held: 0..0, ahead: None, waited: Duration::ZERO }))
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
            let first = step - step % self.window;
            if self.held.is_empty() || first != self.steps.after(self.held.start, self.window) {
                self.ahead = None;
            }
            let began = Instant::now();
            let ahead = match &self.ahead {
                Some(ahead) => ahead,
                None => self.ahead.insert(self.read_ahead(first)?),
            };
            let ended = || Err(Error::input("the thread that reads the data has ended"));
            let batches = ahead.batches.recv().unwrap_or_else(|_| ended());
            self.waited += began.elapsed();
            // Until it succeeds, no batches are complete.
            self.held = 0..0;
            let batches = batches?;
            let mut contents = self.inputs.sets.iter().zip(&batches);
            contents.try_for_each(|(content, bytes)| content.upload(run, 0, bytes))?;
            // The thread may have ended, or have enough.
            let _ = ahead.uploaded.try_send(batches);
            self.held = first..first + self.window;
        }
        Ok(self.held.end - step)
    }

    /// Starts to read the batches of step `first` and those after it.
    fn read_ahead(&self, first: u32) -> Result<Ahead> {
        let (sender, batches) = sync_channel(AHEAD);
        let (uploaded, earlier) = sync_channel(AHEAD + 1);
        let (inputs, order, steps, window) = (self.inputs.clone(), self.order, self.steps, self.window);
        let read = move || {
            let (n, mut first) = (inputs.samples, first);
            loop {
                let places = (first..first + window).flat_map(|step| (0..order.batch).map(move |b| (step, b)));
                let clock = |step| Clock { seed: steps.seed, step };
                let samples = places.map(|(step, b)| order.shuffled(clock(step), n, b));
                let batches = inputs.batch(samples, earlier.try_recv().unwrap_or_default());
                let failed = batches.is_err();
                // Nobody receives them after the training.
                if sender.send(batches).is_err() || failed {
                    return;
                }
                first = steps.after(first, window);
            }
        };
        let started = thread::Builder::new().name("data".into()).spawn(read);
        started.map_err(|e| Error::input(format!("cannot start a thread that reads the data: {e}")))?;
        Ok(Ahead { batches, uploaded })
    }

    /// The time for which the training waited for data.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}
