//! The device memory of a training run, computed without allocating it.

use super::Config;
use super::data::{DataTensors, Gaps};
use super::feed::Held;
use super::objective::SampleInfo;
use super::program::{self, Batch};
use super::validation::{self, DataSplit};
use crate::data::Normalisation;
use crate::data::corrupt::Extent;
use crate::error::Result;
use crate::graph::plan::Plan;
use crate::graph::{Graph, Slab};
use crate::kernel::{Precision, Target};

/// The device memory of a training run, in bytes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The training data.
    pub data: usize,
    /// The weights.
    pub parameters: usize,
    /// The gradients, the moments and the moving average.
    pub optimizer: usize,
    /// The intermediate results of a step.
    pub activations: usize,
    /// Constant tables, and the losses of the last steps.
    pub tables: usize,
    /// The validation program, with the held-out data and a copy of the weights.
    pub validation: usize,
}

impl MemoryEstimate {
    /// The total, which is also the peak, because all buffers exist during the whole training.
    pub fn total(&self) -> usize {
        self.data + self.parameters + self.optimizer + self.activations + self.tables + self.validation
    }
}

impl Config {
    /// The plan of a graph of the training.
    fn planned(&self, g: Graph) -> Result<Plan> {
        if self.storage != Precision::F16 {
            return Plan::new(&g.fused(usize::MAX, None));
        }
        // Only a GPU stores in f16, and it fuses chains of dense layers, whose activations stay in f32.
        let half = (self.precision == Precision::F16).then_some(16);
        let target = Target { half, half_storage: true, ..Target::default() };
        Plan::new(&g.fused(usize::MAX, Some(&target)).in_half())
    }

    /// The plan of a training step on this number of samples, with the held-out samples and the micro-batch.
    fn plan(&self, samples: usize, sample: SampleInfo) -> Result<(Plan, usize, usize)> {
        let held_out = DataSplit::held_out(self, samples)?;
        let kept = samples - held_out;
        let rows = self.batch_for(kept)?;
        let micro = self.micro_batch_of(rows);
        let mut g = Graph::seeded(self.seed);
        let data = DataTensors::new(&mut g, Held::All { samples: kept }, sample, self)?;
        program::step(&mut g, self, &data, sample, Batch { rows, micro })?;
        Ok((self.planned(g)?, held_out, micro))
    }

    /// The arithmetic of a training step on this number of samples of `shape`, in floating-point operations.
    ///
    /// # Errors
    /// When a setting does not fit the data.
    #[cfg(feature = "cli")]
    pub(super) fn flops(&self, samples: usize, shape: &[usize]) -> Result<u64> {
        let whole = Self { micro_batch: 0, validation: 0.0, ..self.clone() };
        let (plan, ..) = whole.plan(samples, unknown([shape; 2], &unscaled(), &Gaps::unknown(shape)))?;
        Ok(plan.calls.iter().map(|call| call.node.op.cost(&call.specs).flops).sum())
    }

    /// The device memory for training on this number of samples of `shape`, which the augmentation may cut. On a GPU, the
    /// fused ops of a chain of dense layers need slightly other intermediate results, which depend on the adapter.
    ///
    /// # Errors
    /// When a setting does not fit the data.
    pub fn memory(&self, samples: usize, shape: &[usize]) -> Result<MemoryEstimate> {
        let window = self.augment.window_of(shape);
        let (normalisation, gaps) = (unscaled(), Gaps::unknown(&window));
        let sample = unknown([&window, shape], &normalisation, &gaps);
        let (plan, held_out, micro) = self.plan(samples, sample)?;
        let mut memory = MemoryEstimate::default();
        for buffer in plan.buffers {
            let name = buffer.label.trim_start_matches("langevin.");
            let part = match name {
                _ if name == Slab::Params.name() => &mut memory.parameters,
                _ if Slab::ALL.iter().any(|slab| slab.name() == name) => &mut memory.optimizer,
                _ if name == "data" || name.starts_with("data.") => &mut memory.data,
                _ if name.starts_with("activation.") => &mut memory.activations,
                _ => &mut memory.tables,
            };
            *part += buffer.bytes();
        }
        if held_out > 0 {
            let (all, rows) = (Held::All { samples: held_out }, validation::most_rows(held_out, micro));
            let (g, ..) = validation::program(self, all, held_out, sample, rows)?;
            memory.validation = self.planned(g)?.bytes();
        }
        Ok(memory)
    }
}

/// A normalisation that changes nothing: memory and arithmetic do not depend on the values of the data.
fn unscaled() -> Normalisation {
    Normalisation { shift: vec![0.0], scale: vec![1.0], bound: 1.0, repeat: 1 }
}

fn unknown<'a>([shape, stored]: [&'a [usize]; 2], normalisation: &'a Normalisation, gaps: &'a Gaps) -> SampleInfo<'a> {
    SampleInfo { shape, stored, range: 1.0, normalisation, extent: Extent { low: 0.0, high: 1.0 }, gaps }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;
    use crate::data::{Dataset, Labels};

    #[test]
    fn conditions_and_windows_are_counted_before_they_are_measured() {
        let of = |shape: &[usize]| {
            let n = 40 * shape.iter().product::<usize>();
            Dataset::new("d", shape, (0..n).map(|i| (i as f32).sin()).collect()).unwrap()
        };
        let labels: Vec<f32> = (0..40).map(|i| (i % 3) as f32).collect();
        let plain = of(&[2, 16]);
        let data = plain.clone().with_labels(Labels::new("l", &labels).unwrap()).unwrap();
        let data = data.with_vectors(of(&[5])).unwrap().with_given(of(&[3, 16])).unwrap();
        let config = Config { batch: 8, ..Config::for_model("mlp").unwrap() };
        let memory =
            |config: &Config, data: &Dataset| config.fitted_to(data).unwrap().memory(data.len(), &data.shape).unwrap();
        let (without, with) = (memory(&config, &plain), memory(&config, &data));
        // A class, five values and 48 known ones for each of the 40 samples.
        assert_eq!(with.data - without.data, 4 * 40 * (1 + 5 + 48));
        assert!(with.parameters > without.parameters);
        let augment = crate::train::Augmentation::default().crop(8);
        let cut = memory(&Config { augment, ..config.clone() }, &data);
        assert!(cut.data == with.data && cut.parameters < with.parameters);
        let facts = config.measure(&data, &crate::data::Subset::all(&data)).unwrap();
        assert_eq!(config.fitted_to(&data).unwrap().model, config.settled(&facts).unwrap().model);
    }

    #[test]
    fn activations_in_f16_take_about_half_of_the_memory() {
        let memory = |storage| {
            let config = Config { storage, batch: 64, ..Config::for_model("unet").unwrap() };
            config.memory(200, &[1, 28, 28]).unwrap()
        };
        let [plain, stored] = [Precision::F32, Precision::F16].map(memory);
        let ratio = stored.activations as f64 / plain.activations as f64;
        // Sums of parts, the data of the batch and the prediction stay in f32.
        assert!((0.5..0.7).contains(&ratio), "{ratio}");
        assert_eq!((stored.data, stored.parameters, stored.optimizer), (plain.data, plain.parameters, plain.optimizer));
    }
}
