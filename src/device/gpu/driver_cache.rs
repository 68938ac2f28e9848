//! The pipelines that a driver has compiled, kept between runs where wgpu hands them out (Vulkan).

use std::sync::{Mutex, PoisonError};

use super::cache::Cache;

/// A driver's pipeline cache, from the file of the last run.
#[derive(Debug)]
pub(super) struct DriverCache {
    pipelines: wgpu::PipelineCache,
    name: String,
    /// What the file holds.
    kept: Mutex<Option<Vec<u8>>>,
}

impl DriverCache {
    /// `None` where the device has no such cache.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, files: &Cache) -> Option<Self> {
        let name = wgpu::util::pipeline_cache_key(info)?.replace('_', "-");
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let kept = files.load(&name);
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("langevin"), data: kept.as_deref(), fallback: true };
        // SAFETY: the bytes must be what `get_data` gave. `Cache` returns only what `keep` below saved under the same
        // adapter, driver and version, whole by its checksum, from a folder that belongs to the user; wgpu and then the
        // driver compare their own headers (device, driver build) and begin anew (`fallback`) when these differ.
        #[allow(unsafe_code)]
        let pipelines = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { pipelines, name, kept: Mutex::new(kept) })
    }

    /// For the descriptor of a pipeline.
    pub fn pipelines(&self) -> &wgpu::PipelineCache {
        &self.pipelines
    }

    /// Writes the file, if pipelines were added since.
    pub fn keep(&self, files: &Cache) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.pipelines.get_data();
        if now.is_some() && now != *kept {
            files.save(&self.name, now.as_deref().unwrap_or_default());
            *kept = now;
        }
    }
}
