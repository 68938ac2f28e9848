//! Measures the device time of dispatches with timestamp queries.

use std::time::Duration;

use super::Gpu;
use crate::error::{Error, Result};

/// A timestamp before and one after a dispatch.
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

/// The size of the two timestamps.
const BYTES: u64 = 16;

impl Timestamps {
    /// Creates the queries.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the adapter does not support timestamp queries.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let name = &gpu.info.name;
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Unsupported(format!(
                "{name} does not support timestamp queries; use another device to profile"
            )));
        }
        let buffer = |label, usage| {
            let descriptor =
                wgpu::BufferDescriptor { label: Some(label), size: BYTES, usage, mapped_at_creation: false };
            gpu.device.create_buffer(&descriptor)
        };
        use wgpu::BufferUsages as Usage;
        Ok(Self {
            queries: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("langevin.timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: buffer("langevin.timestamps.resolved", Usage::QUERY_RESOLVE | Usage::COPY_SRC),
            staging: buffer("langevin.timestamps.staging", Usage::MAP_READ | Usage::COPY_DST),
        })
    }

    /// Submits what `encode` adds, waits, and returns its time.
    pub fn time(&self, gpu: &Gpu, encode: impl FnOnce(&mut wgpu::ComputePass)) -> Result<Duration> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes }));
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, BYTES);
        encoder.map_buffer_on_submit(&self.staging, wgpu::MapMode::Read, 0..BYTES, |_| {});
        gpu.wait(gpu.queue.submit([encoder.finish()]))?;
        let lost = |_| Error::DeviceLost(format!("{}: the timestamps could not be read", gpu.info.name));
        let ticks: Vec<u64> = {
            let view = self.staging.get_mapped_range(0..BYTES).map_err(lost)?;
            bytemuck::pod_collect_to_vec(&view)
        };
        self.staging.unmap();
        let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
        Ok(Duration::from_secs_f64(ticks[1].saturating_sub(ticks[0]) as f64 * period))
    }
}
