//! Measures the device time of passes with timestamp queries.

use super::Gpu;
use crate::error::{Error, Result};

/// The maximum number of queries in a set.
const MAX_QUERIES: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// Two timestamps per pass.
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Timestamps {
    /// Creates queries for up to `passes` passes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the adapter does not support timestamp queries; [`Error::Limit`] for too many passes.
    pub fn new(gpu: &Gpu, passes: usize) -> Result<Self> {
        let name = &gpu.info.name;
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Unsupported(format!(
                "{name} does not support timestamp queries; use another device to profile"
            )));
        }
        let count = 2 * passes;
        if count > MAX_QUERIES {
            return Err(Error::limit(
                format!("cannot profile {passes} dispatches; the maximum is {}", MAX_QUERIES / 2),
                false,
            ));
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

    /// The timestamp writes of pass `i`.
    pub fn around(&self, i: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * i as u32),
            end_of_pass_write_index: Some(2 * i as u32 + 1),
        }
    }

    /// Submits the passes, waits, and adds the time of each in seconds to its entry of `total`.
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
