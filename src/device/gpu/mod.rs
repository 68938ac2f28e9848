//! The GPU executor: buffers, pipelines and bind groups are created once; a step only encodes prepared dispatches.

mod autotune;
mod buffer;
#[cfg_attr(not(feature = "files"), path = "uncached.rs")]
pub(super) mod cache;
mod driver_cache;
mod pace;
mod position;
pub(super) mod program;
mod stopwatch;
mod timestamps;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::graph::plan;
use crate::kernel::Precision;
use crate::kernel::{self, Binding, Kernel, Target};
use crate::parallel;
use cache::Cache;
use driver_cache::DriverCache;
use stopwatch::Stopwatch;

/// The size of the position: step, seed (two words), first row of the micro-batch, and its index.
const POSITION_BYTES: u32 = 24;
/// The maximum number of elements of a binding: shaders compute indices, and twice an index, in 32 bits.
const MAX_ELEMENTS: u64 = 1 << 30;
/// If a submission takes longer than this, the device is reported as lost.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The time limit for autotuning one program.
const AUTOTUNE: Duration = Duration::from_millis(300);

/// An opened adapter.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub info: wgpu::AdapterInfo,
    pub limits: wgpu::Limits,
    pub target: Target,
    /// Files for this adapter and driver.
    pub cache: Cache,
    /// The time limit for autotuning one program; zero if the cache is disabled.
    pub autotune: Duration,
    adapter: wgpu::Adapter,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// The first uncaptured error, or the reason of a device loss.
    error: Arc<Mutex<Option<String>>>,
    pipelines: Arc<Mutex<HashMap<Key, Arc<Pipeline>>>>,
    driver_cache: Option<Arc<DriverCache>>,
    /// The layout of the uniform buffer with the position of the run, if immediates are not supported.
    position_layout: Option<wgpu::BindGroupLayout>,
    /// Whether runtime checks are also enabled in trusted shaders, as in debug builds.
    check_all: bool,
    /// The least number of dispatches that the workgroups of a kernel are divided among, where they can be.
    parts: usize,
}

/// Identifies a pipeline; the second element tells whether runtime checks are enabled.
pub(super) type Key = (kernel::Identity, bool);

#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub bindings: Vec<Binding>,
}

impl Gpu {
    /// Opens an adapter with all of its limits and the features that the engine uses.
    ///
    /// # Errors
    /// [`Error::Setting`] if the adapter does not support the precision; [`Error::NoAdapter`] if it cannot be opened.
    pub async fn open(adapter: wgpu::Adapter, precision: Precision) -> Result<Self> {
        let (info, mut limits, offered) = (adapter.get_info(), adapter.limits(), adapter.features());
        let immediates = offered.contains(wgpu::Features::IMMEDIATES) && limits.max_immediate_size >= POSITION_BYTES;
        limits.max_immediate_size = limits.max_immediate_size.min(128);
        use wgpu::Features as F;
        let mut wanted = F::IMMEDIATES | F::SUBGROUP | F::SHADER_F16 | F::TIMESTAMP_QUERY | F::PIPELINE_CACHE;
        let fixed = info.subgroup_min_size == info.subgroup_max_size && offered.contains(F::SUBGROUP);
        let (mut half, mut experimental_features) = (None, wgpu::ExperimentalFeatures::disabled());
        if precision == Precision::F16 {
            half = Some(cooperative_size(&adapter, fixed)?);
            wanted |= COOPERATIVE;
            // SAFETY: wgpu does not check the shapes of cooperative matrices; the kernels only use shapes that the
            // adapter reports.
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
            .map_err(|e| Error::NoAdapter(format!("{} was found but cannot be opened: {e}", info.name)))?;
        let error = first_error(&device);
        let target = Target {
            subgroup: fixed.then_some(info.subgroup_max_size),
            software: info.device_type == wgpu::DeviceType::Cpu,
            half,
            half_storage: false,
            gemm: None,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            buffers: limits.max_storage_buffers_per_shader_stage,
        };
        let cache = Cache::of_user(&format!("{}\n{}\n{}", info.name, info.driver, info.driver_info));
        let autotune = if cache.is_enabled() { AUTOTUNE } else { Duration::ZERO };
        let driver_cache = DriverCache::open(&device, &info, &cache).map(Arc::new);
        let pipelines = Arc::default();
        let check_all = cfg!(debug_assertions);
        let position_layout = (!immediates).then(|| position::layout(&device));
        Ok(Self {
            info,
            limits,
            target,
            cache,
            autotune,
            adapter,
            device,
            queue,
            error,
            pipelines,
            driver_cache,
            check_all,
            parts: 1,
            position_layout,
        })
    }

    /// A copy of the device with an empty list of pipelines.
    fn copy(&self) -> Self {
        Self { pipelines: Arc::default(), ..self.clone() }
    }

    /// A copy with kernels for another target. The sizes of subgroups and matrices remain those of the adapter.
    pub fn with_target(&self, target: Target) -> Self {
        let (subgroup, half) = (target.subgroup.and(self.target.subgroup), target.half.and(self.target.half));
        Self { target: Target { subgroup, half, ..target }, ..self.copy() }
    }

    /// A copy that stores activations in another format.
    ///
    /// # Errors
    /// [`Error::Setting`] if shaders of the adapter have no f16.
    pub fn with_storage(&self, storage: Precision) -> Result<Self> {
        let half_storage = storage == Precision::F16;
        if half_storage && !self.device.features().contains(wgpu::Features::SHADER_F16) {
            let name = &self.info.name;
            return Err(Error::setting(format!(
                "storage f16 needs shaders with 16-bit floats, which {name} does not support; use storage f32"
            )));
        }
        Ok(Self { target: Target { half_storage, ..self.target }, ..self.copy() })
    }

    /// A copy that does not use immediates.
    pub fn without_immediates(&self) -> Self {
        Self { position_layout: Some(position::layout(&self.device)), ..self.copy() }
    }

    /// A copy with or without runtime checks in trusted shaders.
    pub fn with_shader_checks(&self, check_all: bool) -> Self {
        Self { check_all, ..self.copy() }
    }

    /// A copy that divides the workgroups of a kernel among at least `parts` dispatches.
    pub fn with_divided_dispatches(&self, parts: usize) -> Self {
        Self { parts, ..self.copy() }
    }

    /// A copy with another cache folder and time limit for autotuning.
    #[cfg(feature = "files")]
    pub fn with_cache(&self, folder: &std::path::Path, autotune: Duration) -> Self {
        Self { cache: Cache::new(Some(folder.into()), &self.info.name), autotune, ..self.copy() }
    }

    /// Opens the same adapter for another precision.
    pub async fn reopen(&self, precision: Precision) -> Result<Self> {
        let opened = Self::open(self.adapter.clone(), precision).await?;
        let target = Target { half_storage: self.target.half_storage, ..opened.target };
        Ok(Self { check_all: self.check_all, target, ..opened })
    }

    /// Returns the first error that was reported outside of an error scope.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.error.lock().unwrap_or_else(|e| e.into_inner()) {
            Some(text) => Err(Error::DeviceLost(format!("{}: {text}", self.info.name))),
            None => Ok(()),
        }
    }

    /// Creates a buffer.
    ///
    /// # Errors
    /// [`Error::Limit`] if it is larger than a binding may be, or does not fit in memory.
    pub(super) async fn buffer(&self, planned: &plan::Buffer) -> Result<wgpu::Buffer> {
        let (label, bytes) = (&planned.label, planned.bytes() as u64);
        let most = MAX_ELEMENTS * planned.dtype.bytes() as u64;
        let most = most.min(self.limits.max_buffer_size).min(self.limits.max_storage_buffer_binding_size);
        let limit = |message: String| {
            let advice = if planned.fixed { "use a smaller model" } else { "use a smaller batch or a smaller model" };
            Error::limit(format!("{message}; {advice}"), !planned.fixed)
        };
        let name = &self.info.name;
        if bytes > most {
            return Err(limit(format!("{label} needs {bytes} bytes, but a binding on {name} has at most {most}")));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        match scope.pop().await {
            None => Ok(buffer),
            Some(_) => Err(limit(format!("{name} has not enough memory for the {bytes} bytes of {label}"))),
        }
    }

    /// The pipelines of kernels, each with whether its shader is trusted. Missing ones are compiled in parallel.
    pub(super) async fn pipelines(&self, kernels: &[(&Kernel, bool)]) -> Result<Vec<Arc<Pipeline>>> {
        let cached = || self.pipelines.lock().unwrap_or_else(|e| e.into_inner());
        let keys: Vec<Key> = kernels.iter().map(|(k, trusted)| (k.identity(), self.check_all || !trusted)).collect();
        let mut seen = HashSet::new();
        let missing: Vec<usize> =
            (0..keys.len()).filter(|&i| !cached().contains_key(&keys[i]) && seen.insert(&keys[i])).collect();
        let compiled = parallel::map(missing.len(), |i| self.make_pipeline(kernels[missing[i]].0, keys[missing[i]].1));
        // If several fail, the error is that of the first kernel in the order of the plan.
        let mut new = Vec::new();
        for compiled in compiled {
            let (pipeline, label, error) = compiled?;
            match error.await {
                None => new.push(pipeline),
                Some(e) => return Err(Error::Shader(format!("{label}: {e}"))),
            }
        }
        cached().extend(missing.iter().zip(new).map(|(&i, pipeline)| (keys[i].clone(), Arc::new(pipeline))));
        Ok(keys.iter().map(|key| cached()[key].clone()).collect())
    }

    /// Creates a pipeline; returns it with its label, and a future with the validation error.
    fn make_pipeline(&self, kernel: &Kernel, checked: bool) -> Result<(Pipeline, String, impl ScopeError)> {
        let started = Stopwatch::start();
        let label = kernel.label();
        let source = &match &self.position_layout {
            None => kernel.source()?,
            Some(_) => kernel.clone().without_immediates().source()?,
        };
        let bindings = kernel::bindings(&label, source, kernel.entry)?;
        let most = self.limits.max_storage_buffers_per_shader_stage as usize;
        if bindings.len() > most {
            let (need, name) = (bindings.len(), &self.info.name);
            let message = format!(
                "{label} binds {need} buffers, but {name} allows {most}; use less data, which takes a buffer for every \
                 128 MiB"
            );
            return Err(Error::limit(message, false));
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.module(&label, source, checked);
        let entries: Vec<_> = bindings.iter().map(layout_entry).collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout), self.position_layout.as_ref()],
            immediate_size: if self.position_layout.is_some() { 0 } else { POSITION_BYTES },
        });
        let constants: Vec<(&str, f64)> = kernel.constants.iter().map(|c| (c.name, c.value)).collect();
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: checked,
            },
            cache: self.driver_cache.as_ref().map(|c| c.pipelines()),
        });
        let error = scope.pop();
        log::debug!("compiled in {started}: {:?} {}", kernel.gemm_variant(), kernel.summary());
        Ok((Pipeline { pipeline, layout, bindings }, label, error))
    }

    /// Creates a shader module with runtime checks (bounded indices and loops) or without.
    fn module(&self, label: &str, source: &str, checked: bool) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(source.into()) };
        if checked {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: the kernel belongs to a trusted node. Either its op is part of the crate: then the source and the
        // constants come from `Op::kernel` only, for shapes that `Op::infer` accepted, and the plan binds ranges of
        // exactly these shapes. Every such shader was reviewed: for any tensor values, all indices are within their
        // bindings, all loops terminate, and workgroup memory is written before it is read. Or the node was added by
        // `Graph::apply_unchecked`, whose caller guarantees the same.
        #[allow(unsafe_code)]
        unsafe {
            self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }

    /// Waits for a submission. In a browser, blocking is not possible: the callbacks of the submission run later.
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        if cfg!(target_arch = "wasm32") {
            return self.check();
        }
        // A submission to a lost device does not exist, so it cannot be waited for.
        self.check()?;
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(TIMEOUT) };
        let polled = guarded(|| self.device.poll(wait));
        self.check()?;
        let (name, seconds) = (&self.info.name, TIMEOUT.as_secs());
        match polled {
            Some(Ok(_)) => Ok(()),
            Some(Err(e)) => {
                Err(Error::DeviceLost(format!("{name} did not finish within {seconds} s ({e}); use a smaller batch")))
            }
            None => Err(Error::DeviceLost(format!("{name}: waiting for the device failed"))),
        }
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of the current thread is caught and reported as [`Error::DeviceLost`].
#[cfg(feature = "cli")]
pub(super) fn is_guarded() -> bool {
    GUARDED.get()
}

/// Calls `poll` and returns `None` if it panics: waiting for a device that is lost is a panic in wgpu, which has called
/// the callback of the loss and released its locks before.
fn guarded<T>(poll: impl FnOnce() -> T) -> Option<T> {
    let before = GUARDED.replace(true);
    let polled = catch_unwind(AssertUnwindSafe(poll));
    GUARDED.set(before);
    polled.ok()
}

/// The first uncaptured error of a device, or the reason of its loss, once there is one.
fn first_error(device: &wgpu::Device) -> Arc<Mutex<Option<String>>> {
    let error = Arc::new(Mutex::new(None));
    let record = |slot: &Mutex<Option<String>>, text: String| {
        slot.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(text);
    };
    let slot = error.clone();
    device.on_uncaptured_error(Arc::new(move |e| record(&slot, format!("the device reported: {e}"))));
    let slot = error.clone();
    device.set_device_lost_callback(move |reason, text| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            record(&slot, format!("the device was lost: {text}"));
        }
    });
    error
}

/// A future with the error of a scope, if any.
trait ScopeError: Future<Output = Option<wgpu::Error>> + wgpu::WasmNotSend {}
impl<F: Future<Output = Option<wgpu::Error>> + wgpu::WasmNotSend> ScopeError for F {}

/// The features required for products in f16.
const COOPERATIVE: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

/// The size of the square cooperative matrices with factors in f16 and sums in f32; `fixed`: all subgroups have the
/// same size.
fn cooperative_size(adapter: &wgpu::Adapter, fixed: bool) -> Result<u32> {
    use wgpu::CooperativeScalarType as Scalar;
    let name = adapter.get_info().name;
    let refuse = |why: &str| Err(Error::setting(format!("{name} {why}; use precision f32")));
    if !adapter.features().contains(COOPERATIVE) {
        return refuse("does not support cooperative matrices in f16");
    }
    if !fixed {
        return refuse("has subgroups of different sizes, which cooperative matrices do not support");
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
