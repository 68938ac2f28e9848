//! Device time around passes, by timestamp queries.

use super::Gpu;
use crate::error::{Error, Result};

/// The most queries in a set.
const MOST: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// Two timestamps for each of some passes.
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Timestamps {
    /// For up to `passes` passes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the adapter offers none; [`Error::Limit`] when there are too many passes.
    pub fn new(gpu: &Gpu, passes: usize) -> Result<Self> {
        let name = &gpu.info.name;
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Unsupported(format!("{name} offers no timestamp queries; profile on another device")));
        }
        let count = 2 * passes;
        if count > MOST {
            return Err(Error::limit(format!("a profile of {passes} dispatches; {} is the most", MOST / 2), false));
        }
        let buffer = |label, usage| {
            let size = 8 * count as u64;
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        use wgpu::BufferUsages as Usage;
        Ok(Self {
            queries: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("langevin.timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: count as u32,
            }),
            resolved: buffer("langevin.timestamps.resolved", Usage::QUERY_RESOLVE | Usage::COPY_SRC),
            staging: buffer("langevin.timestamps.staging", Usage::MAP_READ | Usage::COPY_DST),
        })
    }

    /// What pass `i` writes.
    pub fn around(&self, i: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * i as u32),
            end_of_pass_write_index: Some(2 * i as u32 + 1),
        }
    }

    /// Submits the passes, waits, and adds the seconds of each to `total`, which has an entry for each.
    pub fn read(&self, gpu: &Gpu, mut encoder: wgpu::CommandEncoder, total: &mut [f64]) -> Result<()> {
        let bytes = 16 * total.len() as u64;
        encoder.resolve_query_set(&self.queries, 0..2 * total.len() as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, bytes);
        encoder.map_buffer_on_submit(&self.staging, wgpu::MapMode::Read, 0..bytes, |_| {});
        gpu.wait(gpu.queue.submit([encoder.finish()]))?;
        let lost = |_| Error::DeviceLost(format!("{}: the timestamps could not be read", gpu.info.name));
        let ticks: Vec<u64> = {
            let view = self.staging.get_mapped_range(0..bytes).map_err(lost)?;
            bytemuck::pod_collect_to_vec(&view)
        };
        self.staging.unmap();
        let period = gpu.queue.get_timestamp_period() as f64 * 1e-9;
        for (sum, pair) in total.iter_mut().zip(ticks.chunks(2)) {
            *sum += pair[1].saturating_sub(pair[0]) as f64 * period;
        }
        Ok(())
    }
}
