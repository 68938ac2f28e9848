//! The GPU executor: buffers, pipelines and bind groups are made once; a step only re-encodes prepared dispatches.

mod autotune;
pub(super) mod cache;
mod driver_cache;
pub(super) mod program;
mod timestamps;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::kernel::{self, Binding, Kernel, Target};
use cache::Cache;
use driver_cache::DriverCache;

/// Step, seed (two words) and the first row of a micro-batch.
const IMMEDIATE_BYTES: u32 = 16;
/// A submission that takes longer than this is reported as lost.
const PATIENCE: Duration = Duration::from_secs(300);

/// The timings of kernels for a program may take this long together.
const TRIALS: Duration = Duration::from_millis(300);

/// An opened adapter.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub info: wgpu::AdapterInfo,
    pub limits: wgpu::Limits,
    pub target: Target,
    /// What was found out about this adapter and driver before.
    pub cache: Cache,
    /// What the timings of kernels for a program may take together; nothing where the cache would not remember them.
    pub trials: Duration,
    adapter: wgpu::Adapter,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// The first error that no scope caught, or the reason of a loss.
    fault: Arc<Mutex<Option<String>>>,
    pipelines: Mutex<HashMap<Key, Arc<Pipeline>>>,
    driver_cache: Option<Arc<DriverCache>>,
}

/// Everything a pipeline is made from.
pub(super) type Key = (String, &'static str, String);

#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub bindings: Vec<Binding>,
}

impl Gpu {
    /// Opens an adapter with the limits it offers and the features the engine uses.
    ///
    /// # Errors
    /// [`Error::Setting`] where it cannot multiply in the precision that is wanted.
    pub async fn open(adapter: wgpu::Adapter, precision: Precision) -> Result<Self> {
        let (info, mut limits, offered) = (adapter.get_info(), adapter.limits(), adapter.features());
        if !offered.contains(wgpu::Features::IMMEDIATES) || limits.max_immediate_size < IMMEDIATE_BYTES {
            let name = &info.name;
            return Err(Error::Limit(format!("{name} offers no immediates (push constants); use --device cpu")));
        }
        limits.max_immediate_size = limits.max_immediate_size.min(128);
        use wgpu::Features as F;
        let mut wanted = F::IMMEDIATES | F::SUBGROUP | F::TIMESTAMP_QUERY | F::PIPELINE_CACHE;
        let fixed = info.subgroup_min_size == info.subgroup_max_size && offered.contains(F::SUBGROUP);
        let (mut half, mut experimental_features) = (None, wgpu::ExperimentalFeatures::disabled());
        if precision == Precision::F16 {
            half = Some(cooperative_size(&adapter, fixed)?);
            wanted |= COOPERATIVE;
            // SAFETY: wgpu does not check the shapes of cooperative matrices; those of the kernels are the adapter's own.
            #[allow(unsafe_code)]
            unsafe {
                experimental_features = wgpu::ExperimentalFeatures::enabled();
            }
        }
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("langevin"),
                required_features: wanted & offered,
                required_limits: limits.clone(),
                experimental_features,
                memory_hints: wgpu::MemoryHints::Performance,
                trace: wgpu::Trace::Off,
            })
            .await
            .map_err(|e| Error::NoAdapter(format!("{} was found but does not open: {e}", info.name)))?;
        let fault = Arc::new(Mutex::new(None));
        let note = |slot: &Arc<Mutex<Option<String>>>, text: String| {
            slot.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(text);
        };
        let slot = fault.clone();
        device.on_uncaptured_error(Arc::new(move |e| note(&slot, format!("the device reported: {e}"))));
        let slot = fault.clone();
        device.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&slot, format!("the device was lost: {text}"));
            }
        });
        let target = Target {
            subgroup: fixed.then_some(info.subgroup_max_size),
            software: info.device_type == wgpu::DeviceType::Cpu,
            half,
            family: None,
        };
        let cache = Cache::of_user(&format!("{}\n{}\n{}", info.name, info.driver, info.driver_info));
        let trials = if cache.remembers() { TRIALS } else { Duration::ZERO };
        let driver_cache = DriverCache::open(&device, &info, &cache).map(Arc::new);
        let pipelines = Mutex::default();
        Ok(Self { info, limits, target, cache, trials, adapter, device, queue, fault, pipelines, driver_cache })
    }

    /// The same device, with kernels for another target.
    pub fn with_target(&self, target: Target) -> Self {
        Self {
            info: self.info.clone(),
            limits: self.limits.clone(),
            target,
            cache: self.cache.clone(),
            trials: self.trials,
            adapter: self.adapter.clone(),
            device: self.device.clone(),
            queue: self.queue.clone(),
            fault: self.fault.clone(),
            pipelines: Mutex::default(),
            driver_cache: self.driver_cache.clone(),
        }
    }

    /// The same adapter, opened for another precision.
    pub fn reopen(&self, precision: Precision) -> Result<Self> {
        pollster::block_on(Self::open(self.adapter.clone(), precision))
    }

    pub(super) fn check(&self) -> Result<()> {
        match &*self.fault.lock().unwrap_or_else(|e| e.into_inner()) {
            Some(text) => Err(Error::DeviceLost(format!(
                "{}: {text}. Training can go on from the last checkpoint with --resume",
                self.info.name
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let (max, binding) = (self.limits.max_buffer_size, self.limits.max_storage_buffer_binding_size);
        if bytes > max.min(binding) {
            return Err(Error::Limit(format!(
                "{label} needs {bytes} bytes, but {} binds at most {} at a time; lower the batch size or the width of \
                 the model",
                self.info.name,
                max.min(binding)
            )));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        match pollster::block_on(scope.pop()) {
            None => Ok(buffer),
            Some(_) => Err(Error::Limit(format!(
                "{} has no {bytes} bytes left for {label}; lower the batch size or the width of the model",
                self.info.name
            ))),
        }
    }

    pub(super) fn key(kernel: &Kernel) -> Result<Key> {
        Ok((kernel.source()?, kernel.entry, format!("{:?}", kernel.constants)))
    }

    /// The pipeline for a kernel, from the cache if it was made before.
    pub(super) fn pipeline(&self, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        let key = Self::key(kernel)?;
        if let Some(found) = self.pipelines.lock().unwrap_or_else(|e| e.into_inner()).get(&key) {
            return Ok(found.clone());
        }
        let started = Instant::now();
        let made = Arc::new(self.make_pipeline(kernel, &key.0)?);
        log::debug!("compiled in {:.0?}: {:?} {}", started.elapsed(), kernel.family(), kernel.summary());
        self.pipelines.lock().unwrap_or_else(|e| e.into_inner()).insert(key, made.clone());
        Ok(made)
    }

    fn make_pipeline(&self, kernel: &Kernel, source: &str) -> Result<Pipeline> {
        let label = kernel.label();
        let bindings = kernel::bindings(&label, source, kernel.entry)?;
        let most = self.limits.max_storage_buffers_per_shader_stage as usize;
        if bindings.len() > most {
            let (need, name) = (bindings.len(), &self.info.name);
            return Err(Error::Limit(format!("{label} binds {need} buffers, {name} allows {most}; use less data")));
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.module(&label, source);
        let entries: Vec<_> = bindings.iter().map(layout_entry).collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: IMMEDIATE_BYTES,
        });
        let constants: Vec<(&str, f64)> = kernel.constants.iter().map(|c| (c.name, c.value)).collect();
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: cfg!(debug_assertions),
            },
            cache: self.driver_cache.as_ref().map(|c| c.pipelines()),
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(Pipeline { pipeline, layout, bindings }),
            Some(e) => Err(Error::Shader(format!("{label}: {e}"))),
        }
    }

    /// Debug builds check every index and bound every loop; release builds trust the kernels that the tests checked.
    fn module(&self, label: &str, source: &str) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(source.into()) };
        if cfg!(debug_assertions) {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: the text was parsed and validated by naga; the parity tests run every kernel with all checks on, and
        // the plan binds ranges of exactly the sizes that the kernel's constants state.
        #[allow(unsafe_code)]
        unsafe {
            self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }

    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(PATIENCE) };
        let polled = self.device.poll(wait);
        self.check()?;
        polled.map(|_| ()).map_err(|e| {
            let (name, seconds) = (&self.info.name, PATIENCE.as_secs());
            Error::DeviceLost(format!("{name} did not finish within {seconds} s ({e}); lower the batch size"))
        })
    }
}

/// What products in f16 need of an adapter.
const COOPERATIVE: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

/// Rows and columns of the cooperative matrices that multiply f16 and add f32; `fixed`: all subgroups have one size.
fn cooperative_size(adapter: &wgpu::Adapter, fixed: bool) -> Result<u32> {
    use wgpu::CooperativeScalarType as Scalar;
    let name = adapter.get_info().name;
    let refuse = |why: &str| Err(Error::setting(format!("{name} {why}; leave --precision f16 out")));
    if !adapter.features().contains(COOPERATIVE) {
        return refuse("offers no cooperative matrices in f16");
    }
    if !fixed {
        return refuse("has subgroups of several sizes, over which a cooperative matrix cannot be laid out");
    }
    let listed = adapter.cooperative_matrix_properties();
    let suits = |size: &u32| {
        listed.iter().any(|p| {
            [p.m_size, p.n_size, p.k_size] == [*size; 3] && (p.ab_type, p.cr_type) == (Scalar::F16, Scalar::F32)
        })
    };
    match [16, 8].into_iter().find(suits) {
        Some(size) => Ok(size),
        None => refuse("has no square cooperative matrices of f16 with sums in f32"),
    }
}

fn layout_entry(b: &Binding) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: b.slot,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: !b.writable },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
