//! Caches the driver's compiled pipelines between runs, where wgpu supports it (Vulkan).

use std::sync::{Mutex, PoisonError};

use super::cache::Cache;

/// A pipeline cache, loaded from the file of the last run.
#[derive(Debug)]
pub(super) struct DriverCache {
    pipelines: wgpu::PipelineCache,
    name: String,
    /// The content of the file.
    saved: Mutex<Option<Vec<u8>>>,
}

impl DriverCache {
    /// Opens the pipeline cache; `None` if the device does not support one.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, files: &Cache) -> Option<Self> {
        let name = wgpu::util::pipeline_cache_key(info)?.replace('_', "-");
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let saved = files.load(&name);
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("langevin"), data: saved.as_deref(), fallback: true };
        // SAFETY: the data must come from `get_data`. `Cache` returns only data that `save` below stored for the same
        // adapter, driver and version, verified by a checksum, from a folder that only the user can write to. wgpu
        // and the driver also compare their own headers (device, driver build), and start with an empty cache
        // (`fallback`) if these differ.
        #[allow(unsafe_code)]
        let pipelines = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { pipelines, name, saved: Mutex::new(saved) })
    }

    /// The cache to use in a pipeline descriptor.
    pub fn pipelines(&self) -> &wgpu::PipelineCache {
        &self.pipelines
    }

    /// Writes the file, if pipelines were added since the last time.
    pub fn save(&self, files: &Cache) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.pipelines.get_data();
        if now.is_some() && now != *saved {
            files.save(&self.name, now.as_deref().unwrap_or_default());
            *saved = now;
        }
    }
}
