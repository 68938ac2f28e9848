//! The training data in a program: the samples, and their conditions.

use std::cell::Cell;

use super::feed::Held;
use super::objective::SampleInfo;
use super::{Augmentation, Config, Task};
use crate::data::{Columns, Dataset, Kind, MaskMix, Places};
use crate::diffusion::{Noised, Objective};
use crate::error::{Error, Result};
use crate::graph::{Data, Graph, Var};
use crate::nn::{ConditionOptions, Inputs};
use crate::ops::{Concat, Gather, Mask};

/// The training data in a graph: the samples, and their conditions.
#[derive(Clone, Debug)]
pub(crate) struct DataTensors {
    /// The samples, as the rows of a table.
    samples: Data,
    class: Option<Data>,
    vector: Option<Data>,
    given: Option<Data>,
    gaps: Option<GapTensors>,
    options: ConditionOptions,
    held: Held,
    /// The op that selected the rows of a batch last.
    order: Cell<Option<Gather>>,
    /// The shape of a sample, from which the augmentation cuts those of the model.
    stored: Vec<usize>,
    augment: Augmentation,
}

/// The rows of a batch, and how they are changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRows {
    gather: Gather,
    /// The random stream of the augmentation.
    stream: Option<u32>,
    /// The samples, where more than one op needs them.
    clean: Option<Var>,
}

/// What a model that completes samples needs to know about its data.
#[derive(Clone, Debug)]
pub(crate) struct Gaps {
    /// The places that masks hide.
    pub places: Places,
    /// Whether the data have missing values.
    pub missing: bool,
    /// The number of masks from a file.
    pub masks: usize,
}

impl Gaps {
    /// Those of data of which the model takes samples or windows of a shape.
    pub fn of(data: &Dataset, shape: &[usize]) -> Self {
        let places = Places::of(data.kind(), shape, &data.columns);
        Self { places, missing: data.has_gaps(), masks: data.conditions().masks.as_ref().map_or(0, |m| m.len()) }
    }

    /// Those of samples of which only the shape is known.
    pub fn unknown(shape: &[usize]) -> Self {
        Self { places: Places::of(Kind::of(shape), shape, &Columns::default()), missing: false, masks: 1 }
    }
}

/// The tensors with which samples become incomplete.
#[derive(Clone, Debug)]
struct GapTensors {
    rules: Var,
    places: Var,
    size: [usize; 2],
    /// 1 for each value that is not missing.
    known: Option<Data>,
    /// The masks from a file.
    pool: Option<Var>,
}

/// The inputs of a network in training, and the factors of the loss of each value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConditionedBatch {
    pub inputs: Inputs,
    pub weights: Option<Var>,
}

/// The names of the data sets of a program.
pub(super) const SAMPLES: &str = "data";
pub(super) const CLASS: &str = "data.class";
pub(super) const VECTOR: &str = "data.vector";
pub(super) const GIVEN: &str = "data.given";
/// 1 for known values of the samples, 0 for missing ones; and masks from a file.
pub(super) const KNOWN: &str = "data.known";
pub(super) const MASKS: &str = "data.masks";

impl GapTensors {
    /// For `n` samples of `stored` values.
    fn new(g: &mut Graph, [n, stored]: [usize; 2], gaps: &Gaps, mix: &MaskMix) -> Result<Self> {
        let (width, table) = (gaps.places.of.len(), mix.table(&gaps.places));
        let rules = g.constant_u32([table.len() / 3, 3], table)?;
        let places = g.constant_u32([width], gaps.places.of.clone())?;
        let known = gaps.missing.then(|| g.dataset(KNOWN, [n, stored])).transpose()?;
        let pool = match mix.file() {
            None => None,
            Some(file) => match g.dataset(MASKS, [gaps.masks, width])?.chunks[..] {
                [pool] => Some(pool),
                _ => {
                    return Err(Error::setting(format!(
                        "{file}: {} masks of {width} values do not fit a single binding; use fewer",
                        gaps.masks
                    )));
                }
            },
        };
        Ok(Self { rules, places, size: gaps.places.size, known, pool })
    }

    /// The masked samples x0 and their masks [B, 2 D], from the values that are not missing.
    fn mask(&self, g: &mut Graph, x0: Var, known: Option<Var>) -> Result<Var> {
        let stream = g.stream();
        // The next one is that of single places.
        g.stream();
        let mask = Mask { stream, size: self.size, known: known.is_some(), pool: self.pool.is_some() };
        let inputs: Vec<Var> = [x0, self.rules, self.places].into_iter().chain(known).chain(self.pool).collect();
        g.apply1(mask, &inputs)
    }
}

impl DataTensors {
    /// Adds data sets for the samples that are `held` with the conditions and the augmentation of the settings.
    ///
    /// # Errors
    /// When a size is invalid.
    pub fn new(g: &mut Graph, held: Held, sample: SampleInfo, config: &Config) -> Result<Self> {
        let n = held.rows();
        let (stored, options, augment) = (sample.stored, config.model.conditions(), config.augment);
        let width = stored.iter().product();
        let samples = g.dataset(SAMPLES, [n, width])?;
        let mix = config.mask.clone().unwrap_or_default();
        let gaps = (config.task == Task::Complete).then(|| GapTensors::new(g, [n, width], sample.gaps, &mix));
        let gaps = gaps.transpose()?;
        let mut add = |name: &str, width: usize| (width > 0).then(|| g.dataset(name, [n, width])).transpose();
        let class = add(CLASS, usize::from(options.classes > 0))?;
        let vector = add(VECTOR, options.vector)?;
        // A sample and its mask are given besides the values of a file.
        let masked = if gaps.is_some() { 2 * width } else { 0 };
        let given = add(GIVEN, options.given_len(stored).saturating_sub(masked))?;
        let (stored, order) = (stored.to_vec(), Cell::new(None));
        Ok(Self { samples, class, vector, given, gaps, options, held, order, stored, augment })
    }

    /// The rows of the current batch.
    ///
    /// # Errors
    /// When the batch is empty or larger than the data.
    pub fn rows(&self, g: &mut Graph, batch: usize) -> Result<BatchRows> {
        let ordered = matches!(self.held, Held::Batches { .. });
        let gather = Gather { ordered, ..Gather::new(g, &self.samples, batch)? };
        self.order.set(Some(gather));
        let random = !self.augment.is_none() && g.trains_with();
        let mut rows = BatchRows { gather, stream: random.then(|| g.stream()), clean: None };
        if self.gaps.is_some() || self.augment.op(&self.stored, rows.stream).is_some() {
            rows.clean = Some(self.augmented(g, &self.samples, rows)?);
        }
        Ok(rows)
    }

    /// The op that selects the rows of a batch, after [`DataTensors::rows`].
    pub fn order(&self) -> Option<Gather> {
        self.order.get()
    }

    /// The samples `rows`.
    ///
    /// # Errors
    /// When there are fewer samples than the batch has rows.
    pub fn clean(&self, g: &mut Graph, rows: BatchRows) -> Result<Var> {
        rows.clean.map_or_else(|| self.augmented(g, &self.samples, rows), Ok)
    }

    /// The samples `rows` with noise added.
    ///
    /// # Errors
    /// As [`DataTensors::clean`].
    pub fn noised(&self, g: &mut Graph, rows: BatchRows, objective: &Objective) -> Result<Noised> {
        match rows.clean {
            Some(clean) => g.noise(clean, objective),
            // One op, without a clean batch in memory.
            None => g.noisy_rows(&self.samples, rows.gather, objective),
        }
    }

    /// The rows of samples or of known values. Both are changed in the same way.
    fn augmented(&self, g: &mut Graph, data: &Data, rows: BatchRows) -> Result<Var> {
        let values = rows.gather.of(g, data)?;
        match self.augment.op(&self.stored, rows.stream) {
            Some(op) => g.apply1(op, &[values]),
            None => Ok(values),
        }
    }

    /// `inputs` with the conditions of the samples `rows`. In training, the condition of a sample is removed with probability
    /// `dropout`: its class is then the unknown one, and its vector and known values are 0, so that no value is known.
    ///
    /// # Errors
    /// When the probability is out of range.
    pub fn condition(&self, g: &mut Graph, inputs: Inputs, rows: BatchRows, dropout: f32) -> Result<ConditionedBatch> {
        let Self { class, vector, given, options, .. } = self;
        if options.is_none() {
            return Ok(ConditionedBatch { inputs, weights: None });
        }
        let stream = g.stream();
        let class = class.as_ref().map(|class| rows.gather.of(g, class)).transpose()?;
        let vector = vector.as_ref().map(|vector| rows.gather.of(g, vector)).transpose()?;
        let given = given.as_ref().map(|given| self.augmented(g, given, rows)).transpose()?;
        let (masked, weights) = self.masked(g, rows)?;
        let mut dropped = |values: Option<Var>, fill: f32| {
            values.map(|values| g.row_dropout(values, dropout, fill, stream)).transpose()
        };
        let (class, vector) = (dropped(class, options.classes as f32)?, dropped(vector, 0.0)?);
        let (given, masked) = (dropped(given, 0.0)?, dropped(masked, 0.0)?);
        let class = class.map(|class| g.reshape(class, [g.spec(class).len()])).transpose()?;
        let given = match (given, masked) {
            (Some(given), Some(masked)) => Some(g.apply1(Concat, &[given, masked])?),
            (given, masked) => given.or(masked),
        };
        Ok(ConditionedBatch { inputs: Inputs { class, vector, given, ..inputs }, weights })
    }

    /// The masked samples and their masks [B, 2 D], if the model completes samples, and the factors of the loss if some
    /// values are missing: 1 for those that are not, hidden or not. The score (CRPS) of hidden values was lower than with a
    /// loss on the hidden ones alone: by a fifth to a half on sines, by 1% to 4% on pulse waves.
    fn masked(&self, g: &mut Graph, rows: BatchRows) -> Result<(Option<Var>, Option<Var>)> {
        let Some(gaps) = &self.gaps else { return Ok((None, None)) };
        let x0 = self.clean(g, rows)?;
        let known = gaps.known.as_ref().map(|known| self.augmented(g, known, rows)).transpose()?;
        Ok((Some(gaps.mask(g, x0, known)?), known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Normalisation;
    use crate::data::corrupt::Extent;
    use crate::device::Device;
    use crate::nn::Model;

    /// Sample i has the values 10 i + k, and value k is missing where i + k is a multiple of 3.
    #[test]
    fn missing_values_are_not_given_and_have_no_loss() {
        const N: usize = 8;
        let shape = &[6];
        let model = Model::named("mlp").unwrap().with_conditions(ConditionOptions::default().given(2)).unwrap();
        let mask = Some("point:0.3".parse().unwrap());
        let config = Config { model, mask, task: Task::Complete, ..Config::default() };
        let gaps = &Gaps { missing: true, masks: 0, ..Gaps::unknown(shape) };
        let normalisation = &Normalisation { shift: vec![0.0], scale: vec![1.0], bound: 1.0, repeat: 1 };
        let extent = Extent { low: 0.0, high: 1.0 };
        let sample = SampleInfo { shape, stored: shape, range: 1.0, normalisation, extent, gaps };
        let mut g = Graph::new();
        g.train();
        let data = DataTensors::new(&mut g, Held::All { samples: N }, sample, &config).unwrap();
        let rows = data.rows(&mut g, N).unwrap();
        let clean = data.clean(&mut g, rows).unwrap();
        let t = g.constant([N], vec![0.0; N]).unwrap();
        let batch = data.condition(&mut g, Inputs::new(clean, t), rows, 0.0).unwrap();
        let (weights, given) = (batch.weights.unwrap(), batch.inputs.given.unwrap());
        for var in [clean, weights, given] {
            g.keep(var);
        }
        let mut run = Device::cpu().compile(&g).unwrap();
        let known = |i: usize, k: usize| f32::from(u8::from(!(i + k).is_multiple_of(3)));
        let places = || (0..N).flat_map(|i| (0..6).map(move |k| (i, k)));
        run.write("data", &places().map(|(i, k)| (10 * i + k) as f32).collect::<Vec<_>>()).unwrap();
        run.write(KNOWN, &places().map(|(i, k)| known(i, k)).collect::<Vec<_>>()).unwrap();
        run.steps(1).unwrap();
        let [clean, weights, given] = [clean, weights, given].map(|var| run.read(var).unwrap());
        let mut hidden = 0;
        for (row, clean) in clean.chunks(6).enumerate() {
            for (k, &value) in clean.iter().enumerate() {
                let (i, [masked, mask]) = (value as usize / 10, [0, 6].map(|at| given[12 * row + at + k]));
                assert_eq!(weights[6 * row + k], known(i, k));
                assert!(mask <= known(i, k) && masked == mask * value);
                hidden += usize::from(mask < known(i, k));
            }
        }
        assert!(hidden > 0, "known values are hidden, too");
    }
}
