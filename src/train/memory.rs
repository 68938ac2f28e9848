//! The device memory of a training run, known before anything is allocated.

use super::Config;
use super::program::{self, Batch, Sample};
use super::validation::{self, Split};
use crate::data::Normalisation;
use crate::data::corrupt::Extent;
use crate::error::Result;
use crate::graph::plan::Plan;
use crate::graph::{Graph, Slab};

/// Bytes of device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The training data.
    pub data: usize,
    /// The weights.
    pub parameters: usize,
    /// Gradients, moments, and the moving average.
    pub optimizer: usize,
    /// What lives within a step.
    pub activations: usize,
    /// Tables, and the losses of the last steps.
    pub tables: usize,
    /// The program that evaluates held-out data, with those data and a copy of the weights.
    pub validation: usize,
}

impl Memory {
    /// All of it: the peak, because everything is there from the first step to the last.
    pub fn total(&self) -> usize {
        self.data + self.parameters + self.optimizer + self.activations + self.tables + self.validation
    }
}

impl Config {
    /// The memory that training on `samples` of `shape` takes.
    ///
    /// # Errors
    /// When a setting does not fit the data.
    pub fn memory(&self, samples: usize, shape: &[usize]) -> Result<Memory> {
        let held_out = Split::held_out(self, samples)?;
        let kept = samples - held_out;
        let rows = self.batch_for(kept)?;
        let micro = self.micro_batch_of(rows);
        // What the values are is a matter of numbers in formulas, which take no memory.
        let normalisation = &Normalisation { shift: vec![0.0], scale: vec![1.0], bound: 1.0 };
        let sample = Sample { shape, range: 1.0, normalisation, extent: Extent { low: 0.0, high: 1.0 } };
        let mut g = Graph::seeded(self.seed);
        let data = g.dataset("data", [kept, shape.iter().product()])?;
        program::step(&mut g, self, &data, sample, Batch { rows, micro })?;
        let mut memory = Memory::default();
        for buffer in Plan::new(&g.fused())?.buffers {
            let name = buffer.label.trim_start_matches("langevin.");
            let part = match name {
                _ if name == Slab::Params.name() => &mut memory.parameters,
                _ if Slab::ALL.iter().any(|slab| slab.name() == name) => &mut memory.optimizer,
                _ if name == "data" || name.starts_with("data.") => &mut memory.data,
                _ if name.starts_with("activation.") => &mut memory.activations,
                _ => &mut memory.tables,
            };
            *part += 4 * buffer.len;
        }
        if held_out > 0 {
            let (g, _) = validation::program(self, held_out, sample, validation::most_rows(held_out, micro))?;
            memory.validation = 4 * Plan::new(&g.fused())?.elements();
        }
        Ok(memory)
    }
}
