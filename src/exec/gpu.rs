//! The GPU executor: buffers, pipelines and bind groups are made once; a step only re-encodes prepared dispatches.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_intrusive::channel::shared::oneshot_channel;
use rayon::prelude::*;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::exec::driver_cache::DriverCache;
use crate::exec::timestamps::Timestamps;
use crate::exec::trials::Trials;
use crate::graph::Init;
use crate::kernel::{self, Binding, Kernel, Target};
use crate::plan::{Call, Place, Plan};
use crate::precision::Precision;
use crate::random::Clock;

/// Step, seed (two words) and the first row of a micro-batch.
const IMMEDIATE_BYTES: u32 = 16;
/// A submission should take about this long: short enough for watchdogs and for a responsive desktop.
const SUBMISSION: Duration = Duration::from_millis(50);
/// Submissions that may be unfinished at a time.
const IN_FLIGHT: usize = 3;
/// A submission that takes longer than this is reported as lost.
const PATIENCE: Duration = Duration::from_secs(300);

/// The timings of kernels for a program may take this long together.
const TRIALS: Duration = Duration::from_millis(300);
/// One of them takes about this long.
const TRIAL: Duration = Duration::from_millis(4);

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
type Key = (String, &'static str, String);

#[derive(Debug)]
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    bindings: Vec<Binding>,
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

    fn check(&self) -> Result<()> {
        match &*self.fault.lock().unwrap_or_else(|e| e.into_inner()) {
            Some(text) => Err(Error::DeviceLost(format!(
                "{}: {text}. Training can go on from the last checkpoint with --resume",
                self.info.name
            ))),
            None => Ok(()),
        }
    }

    fn buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
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

    fn key(kernel: &Kernel) -> Result<Key> {
        Ok((kernel.source()?, kernel.entry, format!("{:?}", kernel.constants)))
    }

    /// The pipeline for a kernel, from the cache if it was made before.
    fn pipeline(&self, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        let key = Self::key(kernel)?;
        if let Some(found) = self.pipelines.lock().unwrap_or_else(|e| e.into_inner()).get(&key) {
            return Ok(found.clone());
        }
        let made = Arc::new(self.make_pipeline(kernel, &key.0)?);
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

    /// The kernels of a plan's calls; where no rule tells the fastest, the one that a short timing finds, which happens before
    /// the buffers hold anything.
    fn kernels(&self, buffers: &[wgpu::Buffer], plan: &Plan) -> Result<Vec<Kernel>> {
        let mut kernels: Vec<Kernel> = plan.calls.iter().map(|c| c.node.op.kernel(&c.specs, &self.target)).collect();
        if self.trials.is_zero() || kernels.iter().all(|k| k.rivals().is_empty()) {
            return Ok(kernels);
        }
        let mut trials = Trials::load(&self.cache, self.trials);
        for (call, kernel) in plan.calls.iter().zip(&mut kernels).filter(|(_, k)| !k.rivals().is_empty()) {
            let forced = |family| Target { family: Some(family), ..self.target };
            let make = |family| call.node.op.kernel(&call.specs, &forced(family));
            let family = trials.fastest(&kernel.summary(), kernel.rivals(), |family| {
                let started = Instant::now();
                let time = self.time(&dispatch(self, buffers, call, &make(family))?)?;
                Ok([started.elapsed(), time])
            })?;
            *kernel = make(family);
        }
        trials.save(&self.cache);
        Ok(kernels)
    }

    /// The time of a dispatch, from as many in one submission as take some milliseconds.
    fn time(&self, dispatch: &Dispatch) -> Result<Duration> {
        let run = |count: u32| -> Result<Duration> {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            (0..count).for_each(|_| dispatch.encode(&mut pass, [0; 3]));
            drop(pass);
            let commands = encoder.finish();
            let started = Instant::now();
            self.wait(self.queue.submit([commands]))?;
            Ok(started.elapsed())
        };
        // Some drivers compile at the first dispatch.
        run(1)?;
        let mut count = 1;
        loop {
            let time = run(count)?;
            if time >= TRIAL || count >= 4096 {
                return Ok(time / count);
            }
            count *= 4;
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

#[derive(Debug)]
struct Dispatch {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    groups: [u32; 3],
    first_row: u32,
}

impl Dispatch {
    /// `words`: step and seed.
    fn encode(&self, pass: &mut wgpu::ComputePass, words: [u32; 3]) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        // Each time, because wgpu zeroes them when a pipeline of another layout is set.
        pass.set_immediates(0, bytemuck::cast_slice(&[words[0], words[1], words[2], self.first_row]));
        pass.dispatch_workgroups(self.groups[0], self.groups[1], self.groups[2]);
    }
}

/// A plan on an adapter.
#[derive(Debug)]
pub(crate) struct GpuProgram {
    gpu: Arc<Gpu>,
    buffers: Vec<wgpu::Buffer>,
    dispatches: Vec<Dispatch>,
    /// Unfinished submissions with their number of steps.
    in_flight: VecDeque<(wgpu::SubmissionIndex, u32)>,
    /// Steps per submission, from the measured time of a step.
    per_submission: u32,
    last_done: Instant,
    staging: Mutex<Option<wgpu::Buffer>>,
}

impl GpuProgram {
    pub fn new(gpu: Arc<Gpu>, plan: &Plan) -> Result<Self> {
        let buffers: Vec<_> =
            plan.buffers.iter().map(|b| gpu.buffer(&b.label, b.len as u64 * 4)).collect::<Result<_>>()?;
        let kernels = gpu.kernels(&buffers, plan)?;
        let mut distinct: HashMap<Key, &Kernel> = HashMap::new();
        for kernel in &kernels {
            distinct.insert(Gpu::key(kernel)?, kernel);
        }
        distinct.par_iter().map(|(_, kernel)| gpu.pipeline(kernel).map(|_| ())).collect::<Result<Vec<()>>>()?;
        if let Some(driver_cache) = &gpu.driver_cache {
            driver_cache.keep(&gpu.cache);
        }
        let dispatches =
            plan.calls.iter().zip(&kernels).map(|(c, k)| dispatch(&gpu, &buffers, c, k)).collect::<Result<_>>()?;
        let mut program = Self {
            gpu,
            buffers,
            dispatches,
            in_flight: VecDeque::new(),
            per_submission: 1,
            last_done: Instant::now(),
            staging: Mutex::default(),
        };
        for (place, init) in &plan.inits {
            match init {
                Init::Zero => {}
                Init::F32(values) => program.write(*place, bytemuck::cast_slice(values))?,
                Init::U32(values) => program.write(*place, bytemuck::cast_slice(values))?,
            }
        }
        Ok(program)
    }

    /// Bytes in the buffers that were made.
    pub fn allocated(&self) -> u64 {
        self.buffers.iter().map(wgpu::Buffer::size).sum()
    }

    pub fn write(&mut self, place: Place, bytes: &[u8]) -> Result<()> {
        // In pieces, because each write takes a staging buffer of its size.
        for (i, piece) in bytes.chunks(16 << 20).enumerate() {
            let offset = place.offset as u64 * 4 + (i as u64) * (16 << 20);
            self.gpu.queue.write_buffer(&self.buffers[place.buffer], offset, piece);
        }
        self.gpu.check()
    }

    pub async fn read(&self, place: Place) -> Result<Vec<u8>> {
        let bytes = place.len as u64 * 4;
        let kept = self.staging.lock().unwrap_or_else(|e| e.into_inner()).take();
        let staging = match kept.filter(|b| b.size() >= bytes) {
            Some(buffer) => buffer,
            None => self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("langevin.staging"),
                size: bytes.next_power_of_two().max(4096),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
        };
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.buffers[place.buffer], place.offset as u64 * 4, &staging, 0, bytes);
        let (sender, receiver) = oneshot_channel();
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..bytes, move |r| drop(sender.send(r)));
        let submission = self.gpu.queue.submit([encoder.finish()]);
        // On native programs the wait runs the callback; in a browser its event loop does.
        self.gpu.wait(submission)?;
        let lost = || Error::DeviceLost(format!("{}: a read did not complete", self.gpu.info.name));
        receiver.receive().await.ok_or_else(lost)?.map_err(|_| lost())?;
        let data = staging.get_mapped_range(0..bytes).map_err(|_| lost())?.to_vec();
        staging.unmap();
        *self.staging.lock().unwrap_or_else(|e| e.into_inner()) = Some(staging);
        Ok(data)
    }

    pub fn steps(&mut self, first: Clock, count: u32) -> Result<()> {
        if self.in_flight.is_empty() {
            self.last_done = Instant::now();
        }
        let mut done = 0;
        while done < count {
            let n = self.per_submission.min(count - done);
            self.submit(Clock { step: first.step + done, ..first }, n);
            done += n;
            if self.in_flight.len() >= IN_FLIGHT {
                self.retire()?;
            }
        }
        self.gpu.check()
    }

    /// One pass with `n` steps.
    fn submit(&mut self, first: Clock, n: u32) {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for step in first.step..first.step + n {
            let words = [step, first.seed as u32, (first.seed >> 32) as u32];
            for d in &self.dispatches {
                d.encode(&mut pass, words);
            }
        }
        drop(pass);
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.in_flight.push_back((submission, n));
    }

    /// Waits for the oldest submission and adapts the length of the next ones to its time.
    fn retire(&mut self) -> Result<()> {
        let Some((submission, n)) = self.in_flight.pop_front() else { return Ok(()) };
        self.gpu.wait(submission)?;
        let now = Instant::now();
        let per_step = (now - self.last_done).as_secs_f64() / n as f64;
        self.last_done = now;
        let wanted = (SUBMISSION.as_secs_f64() / per_step.max(1e-6)) as u32;
        // At most four times longer at once: one early measurement says little.
        self.per_submission = wanted.clamp(1, self.per_submission * 4).min(1000);
        Ok(())
    }

    /// The device's time of each dispatch, the mean of `n` steps: a pass per dispatch, timestamps around it.
    pub fn profile(&mut self, first: Clock, n: u32) -> Result<Vec<Duration>> {
        self.finish()?;
        let clock = Timestamps::new(&self.gpu, self.dispatches.len())?;
        let mut total = vec![0.0; self.dispatches.len()];
        for step in first.step..first.step + n {
            let words = [step, first.seed as u32, (first.seed >> 32) as u32];
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            for (i, d) in self.dispatches.iter().enumerate() {
                let timestamp_writes = Some(clock.around(i));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                d.encode(&mut encoder.begin_compute_pass(&descriptor), words);
            }
            clock.read(&self.gpu, encoder, &mut total)?;
        }
        Ok(total.iter().map(|t| Duration::from_secs_f64(t / n.max(1) as f64)).collect())
    }

    pub fn finish(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.retire()?;
        }
        self.gpu.check()
    }
}

/// Binds a call's places to the kernel's bindings: inputs to `read`, outputs and then updates to `read_write`.
fn dispatch(gpu: &Gpu, buffers: &[wgpu::Buffer], call: &Call, kernel: &Kernel) -> Result<Dispatch> {
    let pipeline = gpu.pipeline(kernel)?;
    let mut reads = call.inputs.iter();
    let mut writes = call.outputs.iter().flatten().chain(&call.updates);
    let label = kernel.label();
    let misfit = || Error::Shader(format!("{label}: the shader's bindings are not the op's inputs and outputs"));
    let mut entries = Vec::new();
    for binding in &pipeline.bindings {
        let place = if binding.writable { writes.next() } else { reads.next() }.ok_or_else(misfit)?;
        entries.push(wgpu::BindGroupEntry {
            binding: binding.slot,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &buffers[place.buffer],
                offset: place.offset as u64 * 4,
                size: std::num::NonZeroU64::new(place.len as u64 * 4),
            }),
        });
    }
    if reads.next().is_some() || writes.next().is_some() {
        return Err(misfit());
    }
    let most = gpu.limits.max_compute_workgroups_per_dimension;
    if kernel.groups.iter().any(|&g| g > most) {
        let groups = kernel.groups;
        return Err(Error::Limit(format!("{label} needs {groups:?} workgroups, {most} is the most; lower the batch")));
    }
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&label),
        layout: &pipeline.layout,
        entries: &entries,
    });
    if let Some(e) = pollster::block_on(scope.pop()) {
        return Err(Error::Shader(format!("{label}: {e}")));
    }
    Ok(Dispatch { pipeline, bind_group, groups: kernel.groups, first_row: call.node.first_row })
}
