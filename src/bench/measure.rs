//! Timing: warm-up, then the median of chunks of about a second.

use std::time::Instant;

use super::peak::multiply_add_rate;
use super::workloads::{CompiledWorkload, WorkloadKind, copying};
use crate::device::Device;
use crate::error::Result;
use crate::graph::Cost;

/// The duration of a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Seconds per chunk.
    chunk: f64,
    /// Number of chunks, unless an iteration is very long.
    chunks: usize,
}

impl Effort {
    pub const FULL: Self = Self { chunk: 1.0, chunks: 5 };
    pub const QUICK: Self = Self { chunk: 0.1, chunks: 3 };
}

/// Iterations per second.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// Rate of each chunk, slowest first.
    pub chunks: Vec<f64>,
}

impl Rate {
    pub fn median(&self) -> f64 {
        median(&self.chunks)
    }
}

/// The median of sorted numbers.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// Sorts in ascending order.
pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Warms up until the time of an iteration is known, then times the chunks.
pub(super) fn rate(job: &mut CompiledWorkload, effort: Effort) -> Result<Rate> {
    let mut n = 1;
    let per_second = loop {
        let start = Instant::now();
        job.advance(n)?;
        let seconds = start.elapsed().as_secs_f64();
        // The first call includes lazy compilation by the driver.
        if seconds >= 0.3 * effort.chunk && n > 1 || seconds >= 2.0 * effort.chunk {
            break n as f64 / seconds;
        }
        n *= 2;
    };
    let n = (per_second * effort.chunk).ceil().max(1.0) as u32;
    let count = if per_second * effort.chunk < 0.5 { effort.chunks.min(3) } else { effort.chunks };
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        job.advance(n)?;
        chunks.push(n as f64 / start.elapsed().as_secs_f64());
    }
    Ok(Rate { chunks: sorted(chunks) })
}

/// Peak rates of a device, measured on simple workloads: the roofline model of Williams, Waterman and Patterson (2009).
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes per second of adding two large tensors.
    pub memory: f64,
    /// FLOP per second of a large matrix product, or of multiply-adds in the registers of all threads on the CPU if that
    /// is more.
    pub arithmetic: f64,
}

impl Ceilings {
    /// Measures both rates, in about a second each.
    ///
    /// # Errors
    /// The errors of compiling and running.
    pub(super) fn measure(device: &Device, effort: Effort) -> Result<Self> {
        let effort = Effort { chunk: 0.3 * effort.chunk, chunks: 3 };
        let mut job = copying(device)?;
        let memory = rate(&mut job, effort)?.median() * job.amount;
        let mut arithmetic = if device.backend() == "cpu" { multiply_add_rate() } else { 0.0 };
        for n in [512, 1024, 2048, 4096, 8192] {
            let Some(mut job) = CompiledWorkload::new(device, WorkloadKind::Gemm { n })? else { break };
            let per_second = rate(&mut job, effort)?.median();
            arithmetic = arithmetic.max(per_second * job.amount * 1e9);
            // Large enough to reach the peak rate.
            if per_second < 40.0 {
                break;
            }
        }
        Ok(Self { memory, arithmetic })
    }

    /// The least seconds for work of this `cost`: those of its arithmetic or of its transfers, whichever are more.
    pub fn seconds(&self, cost: Cost) -> f64 {
        (cost.flops as f64 / self.arithmetic).max(cost.bytes as f64 / self.memory)
    }

    /// The ceiling that [`Ceilings::seconds`] is of.
    pub fn bound(&self, cost: Cost) -> &'static str {
        let arithmetic = cost.flops as f64 / self.arithmetic > cost.bytes as f64 / self.memory;
        if arithmetic { "arithmetic" } else { "memory" }
    }

    /// The time of the step's dispatches at these rates, as a share of the measured `seconds`.
    pub(super) fn share(&self, job: &CompiledWorkload, seconds: f64) -> f64 {
        job.run.costs().iter().map(|c| self.seconds(c.cost)).sum::<f64>() / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_bound_by_the_ceiling_that_takes_it_longer() {
        let ceilings = Ceilings { memory: 10.0, arithmetic: 100.0 };
        let (dense, sparse) = (Cost { flops: 300, bytes: 20 }, Cost { flops: 50, bytes: 20 });
        assert_eq!((ceilings.seconds(dense), ceilings.bound(dense)), (3.0, "arithmetic"));
        assert_eq!((ceilings.seconds(sparse), ceilings.bound(sparse)), (2.0, "memory"));
    }
}
