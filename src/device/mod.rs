//! Devices, and programs that run on them.

mod choose;
mod cpu;
#[cfg(feature = "files")]
mod data_parallel;
mod gpu;
mod half;
mod profile;
mod program;
mod run;
mod values;

#[cfg(feature = "cli")]
pub(crate) use choose::no_adapter;
pub use choose::{AdapterKind, AdapterSummary, adapters};
#[cfg(feature = "remote")]
pub(crate) use gpu::cache::cache_folder;
pub use profile::{OpCost, OpTime};
pub use run::Run;
pub use values::Values;

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::plan::Plan;
#[cfg(feature = "files")]
use crate::graph::share::Share;
use crate::kernel::{Precision, Target};
use crate::memory::HostMemory;
use crate::text::readable;
use choose::{choose, enumerate, kind};
use cpu::CpuProgram;
#[cfg(feature = "files")]
use data_parallel::SharedStep;
use gpu::Gpu;
use gpu::program::GpuProgram;
use program::Program;

/// A device that runs graphs: a GPU, the CPU executor (f32), or the reference (f64).
#[derive(Clone, Debug)]
pub struct Device {
    engine: Engine,
    /// Why this device was selected.
    reason: String,
    /// The memory limit of a program, in bytes.
    memory: Option<usize>,
}

#[derive(Clone, Debug)]
enum Engine {
    Gpu(Arc<Gpu>),
    Cpu,
    Reference,
}

impl Engine {
    /// The memory that a program takes if its plan has `bytes`, with floats of 32 bits.
    fn bytes(&self, bytes: usize) -> usize {
        if matches!(self, Engine::Reference) { 2 * bytes } else { bytes }
    }

    /// The number of tensors that one kernel can access.
    fn bindings(&self) -> usize {
        match self {
            Engine::Gpu(gpu) => gpu.limits.max_storage_buffers_per_shader_stage as usize,
            Engine::Cpu | Engine::Reference => usize::MAX,
        }
    }
}

/// Whether a panic of the current thread is caught and reported as an error: the loss of a device.
#[cfg(feature = "cli")]
pub(crate) fn catches_panics() -> bool {
    gpu::is_guarded()
}

impl Device {
    /// A discrete GPU, otherwise an integrated one, otherwise the CPU executor. The environment variable
    /// `LANGEVIN_DEVICE` overrides the choice with any name that [`Device::named`] accepts.
    ///
    /// # Errors
    /// Those of [`Device::named`].
    pub fn auto() -> Result<Self> {
        match std::env::var("LANGEVIN_DEVICE") {
            Ok(name) if !name.is_empty() => Self::of_variable("LANGEVIN_DEVICE", &name),
            _ => Self::named("auto"),
        }
    }

    /// The device that an environment variable names.
    fn of_variable(variable: &str, name: &str) -> Result<Self> {
        let mut device = Self::named(name).map_err(|e| match e {
            Error::Setting(text) => Error::Setting(format!("{variable}: {text}")),
            Error::NoAdapter(text) => Error::NoAdapter(format!("{variable} is {name:?}: {text}")),
            other => other,
        })?;
        if !name.eq_ignore_ascii_case("auto") {
            device.reason = format!("{variable} is {name}");
        }
        Ok(device)
    }

    /// The best GPU, which may be a software rasterizer.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none.
    pub fn gpu() -> Result<Self> {
        Self::named("gpu")
    }

    /// The CPU executor: f32 on all cores.
    pub fn cpu() -> Self {
        Self { engine: Engine::Cpu, reason: "requested".into(), memory: None }
    }

    /// The reference: runs the same program on the CPU in f64. Slow and precise; kernels are tested against it.
    pub fn reference() -> Self {
        Self { engine: Engine::Reference, reason: "requested".into(), memory: None }
    }

    /// The device with this name: `auto`, `gpu`, `cpu`, `reference`, the index of an adapter in [`adapters`], or a
    /// part of its name. Upper and lower case are the same.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is no GPU, with the packages to install; [`Error::Setting`] for an unknown name,
    /// with the names of all adapters.
    pub fn named(request: &str) -> Result<Self> {
        pollster::block_on(Self::named_async(request))
    }

    /// [`Device::named`] without blocking.
    pub async fn named_async(request: &str) -> Result<Self> {
        match &*request.to_lowercase() {
            "cpu" => return Ok(Self::cpu()),
            "reference" => return Ok(Self::reference()),
            _ => {}
        }
        let mut found = enumerate().await;
        let list: Vec<(String, AdapterKind)> = found.iter().map(|a| (a.get_info().name, kind(&a.get_info()))).collect();
        match choose(request, &list)? {
            (Some(index), reason) => {
                let gpu = Gpu::open(found.swap_remove(index), Precision::F32).await?;
                Ok(Self { engine: Engine::Gpu(Arc::new(gpu)), reason, memory: None })
            }
            (None, reason) => Ok(Self { engine: Engine::Cpu, reason, memory: None }),
        }
    }

    /// Compiles a graph: allocates its memory, builds its pipelines and bind groups, and uploads initial values.
    ///
    /// # Errors
    /// [`Error::Limit`] if the program exceeds the limits of the device, [`Error::Unsupported`] if the device lacks a
    /// feature, [`Error::Shader`] if a kernel does not compile.
    pub fn compile(&self, graph: &Graph) -> Result<Run> {
        pollster::block_on(self.compile_async(graph))
    }

    /// [`Device::compile`] without blocking, as required in a browser.
    ///
    /// # Errors
    /// Those of [`Device::compile`].
    pub async fn compile_async(&self, graph: &Graph) -> Result<Run> {
        self.compile_within(graph, self.engine.bindings()).await
    }

    /// [`Device::compile`] for one of several processes, which updates a slice of the weights. Its steps are those of
    /// `Run::steps_on_ranks`.
    #[cfg(feature = "files")]
    pub(crate) fn compile_share(&self, graph: &Graph, share: Share) -> Result<Run> {
        let graph = self.fused(graph, self.engine.bindings());
        let mut plan = Plan::new(&graph)?;
        let shared = SharedStep::of(&mut plan, &graph, share);
        Ok(pollster::block_on(self.compile_plan(graph, plan))?.with_shared(shared))
    }

    async fn compile_within(&self, graph: &Graph, bindings: usize) -> Result<Run> {
        let graph = self.fused(graph, bindings);
        let plan = Plan::new(&graph)?;
        self.compile_plan(graph, plan).await
    }

    /// [`Device::compile`] with fusions for a device whose kernels access at most `bindings` tensors, for tests.
    #[doc(hidden)]
    pub fn compile_for(&self, graph: &Graph, bindings: usize) -> Result<Run> {
        pollster::block_on(self.compile_within(graph, bindings))
    }

    /// [`Device::compile`] with guard elements around all tensors, see [`Run::check_guards`].
    #[doc(hidden)]
    pub fn compile_guarded(&self, graph: &Graph) -> Result<Run> {
        let graph = self.fused(graph, self.engine.bindings());
        let (plan, guards) = Plan::new(&graph)?.guarded();
        let mut run = pollster::block_on(self.compile_plan(graph, plan))?;
        run.set_guards(guards)?;
        Ok(run)
    }

    /// The graph with the fusions of this device.
    fn fused(&self, graph: &Graph, bindings: usize) -> Graph {
        let target = match &self.engine {
            Engine::Gpu(gpu) => Some(&gpu.target),
            Engine::Cpu | Engine::Reference => None,
        };
        let fused = graph.clone().fused(bindings, target);
        if target.is_some_and(|target| target.half_storage) { fused.in_half() } else { fused }
    }

    async fn compile_plan(&self, graph: Graph, plan: Plan) -> Result<Run> {
        self.check_memory(&plan)?;
        let program = match &self.engine {
            Engine::Gpu(gpu) => Program::Gpu(GpuProgram::new(gpu.clone(), &plan).await?),
            Engine::Cpu => Program::Cpu(CpuProgram::new(plan.clone())),
            Engine::Reference => Program::Reference(CpuProgram::new(plan.clone())),
        };
        Ok(Run::new(graph, &plan, program))
    }

    /// Checks the memory of the host, which software adapters use, too. The memory of a GPU is known only to its driver, which refuses buffers that do
    /// not fit.
    fn check_memory(&self, plan: &Plan) -> Result<()> {
        let [all, fixed] = [plan.bytes(), plan.fixed_bytes()].map(|bytes| self.engine.bytes(bytes));
        let most = self.memory_limit();
        if all > most {
            let [needs, allowed, fixed_needs] = [all, most, fixed].map(|bytes| readable(bytes as u64));
            let message = format!("the program needs {needs} of memory, but the limit on this device is {allowed}");
            return Err(match fixed > most {
                true => Error::limit(
                    format!(
                        "{message}; the data and the weights alone need {fixed_needs}; use less data or a smaller model"
                    ),
                    false,
                ),
                false => Error::limit(format!("{message}; use a smaller batch or a smaller model"), true),
            });
        }
        match self.uses_host_memory() {
            true => HostMemory::now().check_free(all),
            false => Ok(()),
        }
    }

    /// Whether programs run on the CPU, by the executor or by a software adapter.
    pub(crate) fn uses_host_memory(&self) -> bool {
        match &self.engine {
            Engine::Gpu(gpu) => gpu.target.software,
            Engine::Cpu | Engine::Reference => true,
        }
    }

    /// The memory limit of a program, in bytes.
    fn memory_limit(&self) -> usize {
        self.memory.unwrap_or(match self.uses_host_memory() {
            true => HostMemory::now().program_limit(),
            false => usize::MAX,
        })
    }

    /// Sets the memory limit of a program to `bytes`, for example on a shared machine. By default it is three
    /// quarters of the memory on the CPU, and unlimited on a GPU.
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// Sets the precision of matrix products. For f16, a small product is first compared with f64.
    ///
    /// # Errors
    /// [`Error::Setting`] if the device does not support the precision, or computes an incorrect result.
    pub fn with_precision(self, precision: Precision) -> Result<Self> {
        pollster::block_on(self.with_precision_async(precision))
    }

    async fn with_precision_async(mut self, precision: Precision) -> Result<Self> {
        if precision == self.precision() {
            return Ok(self);
        }
        let Engine::Gpu(gpu) = &self.engine else {
            let name = self.name();
            return Err(Error::setting(format!(
                "precision f16 needs the cooperative matrices of a GPU, but the device is the {name}; use f32, or another device"
            )));
        };
        self.engine = Engine::Gpu(Arc::new(gpu.reopen(precision).await?));
        if precision == Precision::F16 {
            half::check(&self)?;
        }
        Ok(self)
    }

    /// The precision of matrix products.
    pub fn precision(&self) -> Precision {
        match &self.engine {
            Engine::Gpu(gpu) if gpu.target.half.is_some() => Precision::F16,
            _ => Precision::F32,
        }
    }

    /// Sets the number format in which activations and their gradients are stored. With f16 they take half of the memory and
    /// of its bandwidth, and are rounded when they are stored. Arithmetic, sums and everything else stay in f32.
    ///
    /// # Errors
    /// [`Error::Setting`] if the device does not support the format.
    pub fn with_storage(mut self, storage: Precision) -> Result<Self> {
        if storage == self.storage() {
            return Ok(self);
        }
        let Engine::Gpu(gpu) = &self.engine else {
            let name = self.name();
            return Err(Error::setting(format!(
                "storage f16 needs a GPU, but the device is the {name}; use f32, or another device"
            )));
        };
        self.engine = Engine::Gpu(Arc::new(gpu.with_storage(storage)?));
        Ok(self)
    }

    /// The number format in which activations are stored.
    pub fn storage(&self) -> Precision {
        if self.target().half_storage { Precision::F16 } else { Precision::F32 }
    }

    /// Whether the device is a wgpu adapter (a GPU or a software rasterizer).
    pub fn is_gpu(&self) -> bool {
        matches!(self.engine, Engine::Gpu(_))
    }

    /// The name of the hardware or executor.
    pub fn name(&self) -> String {
        match &self.engine {
            Engine::Gpu(gpu) => gpu.info.name.clone(),
            Engine::Cpu => format!("CPU executor ({} threads, f32)", crate::parallel::threads()),
            Engine::Reference => "reference (CPU, f64)".into(),
        }
    }

    /// The name of the backend: `vulkan`, `metal`, `dx12`, `cpu` or `reference`.
    pub fn backend(&self) -> String {
        match &self.engine {
            Engine::Gpu(gpu) => format!("{:?}", gpu.info.backend).to_lowercase(),
            Engine::Cpu => "cpu".into(),
            Engine::Reference => "reference".into(),
        }
    }

    /// The driver of a GPU and its version.
    pub fn driver(&self) -> Option<String> {
        match &self.engine {
            Engine::Gpu(gpu) => Some(format!("{} {}", gpu.info.driver, gpu.info.driver_info).trim().to_string()),
            _ => None,
        }
    }

    /// Selects kernels as for another kind of adapter: for parity tests.
    #[doc(hidden)]
    pub fn with_target(mut self, target: Target) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.with_target(target)));
        }
        self
    }

    /// Enables runtime checks in the crate's own shaders, as in debug builds, or disables them, as in release builds.
    /// Shaders from outside the crate are always checked.
    #[doc(hidden)]
    pub fn with_shader_checks(mut self, check_all: bool) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.with_shader_checks(check_all)));
        }
        self
    }

    /// Disables immediates (push constants): for parity tests.
    #[doc(hidden)]
    pub fn without_immediates(mut self) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.without_immediates()));
        }
        self
    }

    /// Divides the workgroups of each kernel among at least `parts` dispatches, where they are numbered: for tests. Otherwise
    /// only dispatches that take long are divided.
    #[doc(hidden)]
    pub fn with_divided_dispatches(mut self, parts: usize) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.with_divided_dispatches(parts)));
        }
        self
    }

    /// Stores cache files in `folder`, and limits the time for autotuning.
    #[cfg(feature = "files")]
    #[doc(hidden)]
    pub fn with_cache(mut self, folder: &std::path::Path, autotune: std::time::Duration) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.with_cache(folder, autotune)));
        }
        self
    }

    pub(crate) fn target(&self) -> Target {
        match &self.engine {
            Engine::Gpu(gpu) => gpu.target,
            _ => Default::default(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.engine {
            Engine::Gpu(gpu) => {
                let i = &gpu.info;
                write!(f, "{} ({:?}, {} {}), a {}", i.name, i.backend, i.driver, i.driver_info, kind(i))?;
            }
            _ => f.write_str(&self.name())?,
        }
        write!(f, ": {}", self.reason)?;
        let Target { half, half_storage, .. } = self.target();
        if let Some(size) = half {
            write!(f, "; products in f16 with cooperative matrices of {size} x {size}")?;
        }
        if half_storage { f.write_str("; activations in f16") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
