//! Devices, and programs that run on them.

mod choose;
mod cpu;
mod gpu;
mod half;
mod memory;
mod profile;
mod program;
mod run;
mod values;

#[cfg(feature = "cli")]
pub(crate) use choose::no_adapter;
pub use choose::{AdapterKind, AdapterSummary, adapters};
pub use profile::{OpCost, OpTime};
pub use run::Run;
pub use values::Values;

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::plan::Plan;
use crate::kernel::{Precision, Target};
use crate::text::readable;
use choose::{choose, enumerate, kind};
use cpu::CpuProgram;
use gpu::Gpu;
use gpu::program::GpuProgram;
pub(crate) use memory::HostMemory;
use program::Program;

/// Something that runs graphs: a GPU, the CPU executor (f32), or the reference (f64).
#[derive(Clone, Debug)]
pub struct Device {
    engine: Engine,
    why: String,
    /// The most bytes that the buffers of a program may take together.
    memory: Option<usize>,
}

#[derive(Clone, Debug)]
enum Engine {
    Gpu(Arc<Gpu>),
    Cpu,
    Reference,
}

impl Engine {
    /// Bytes of an element.
    fn bytes(&self) -> usize {
        if matches!(self, Engine::Reference) { 8 } else { 4 }
    }
}

impl Device {
    /// A discrete GPU, else an integrated one, else the CPU executor; `LANGEVIN_DEVICE` overrides.
    ///
    /// # Errors
    /// As [`Device::named`], with the name of the variable.
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
            device.why = format!("{variable} is {name}");
        }
        Ok(device)
    }

    /// The best GPU, a software rasterizer included.
    pub fn gpu() -> Result<Self> {
        Self::named("gpu")
    }

    /// The CPU executor: f32 on all cores.
    pub fn cpu() -> Self {
        Self { engine: Engine::Cpu, why: "selected".into(), memory: None }
    }

    /// The same program in f64, slow and exact: what kernels are checked against.
    pub fn reference() -> Self {
        Self { engine: Engine::Reference, why: "selected".into(), memory: None }
    }

    /// `auto`, `gpu`, `cpu`, `reference`, the index of an adapter in [`adapters`], or a part of its name. Upper and lower
    /// case are the same.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] with what there is and what to install.
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
            (Some(index), why) => {
                let gpu = Gpu::open(found.swap_remove(index), Precision::F32).await?;
                Ok(Self { engine: Engine::Gpu(Arc::new(gpu)), why, memory: None })
            }
            (None, why) => Ok(Self { engine: Engine::Cpu, why, memory: None }),
        }
    }

    /// Compiles a graph: places its memory, builds its pipelines and bind groups, uploads its first values.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device is too small for it, [`Error::Unsupported`] when it lacks a feature,
    /// [`Error::Shader`] when a kernel does not compile.
    pub fn compile(&self, graph: &Graph) -> Result<Run> {
        pollster::block_on(self.compile_async(graph))
    }

    /// [`Device::compile`] without blocking, as a browser requires it.
    ///
    /// # Errors
    /// Those of [`Device::compile`].
    pub async fn compile_async(&self, graph: &Graph) -> Result<Run> {
        let graph = graph.clone().fused();
        let plan = Plan::new(&graph)?;
        self.compile_plan(graph, plan).await
    }

    /// [`Device::compile`] with guards around all memory, see [`Run::check_guards`].
    #[doc(hidden)]
    pub fn compile_guarded(&self, graph: &Graph) -> Result<Run> {
        let graph = graph.clone().fused();
        let (plan, guards) = Plan::new(&graph)?.guarded();
        let mut run = pollster::block_on(self.compile_plan(graph, plan))?;
        run.set_guards(guards)?;
        Ok(run)
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

    /// Of a GPU's memory only its driver knows, which refuses a buffer that does not fit.
    fn check_memory(&self, plan: &Plan) -> Result<()> {
        let host = (!self.is_gpu()).then(HostMemory::now);
        let bytes = |elements: usize| self.engine.bytes() * elements;
        let (all, fixed) = (bytes(plan.elements()), bytes(plan.fixed_elements()));
        let most = self.memory.or(host.map(HostMemory::most)).unwrap_or(usize::MAX);
        if all > most {
            let [needs, allowed] = [all, most].map(|bytes| readable(bytes as u64));
            let message = format!("the program needs {needs} of memory, and may take {allowed} on this device");
            return Err(match fixed > most {
                true => {
                    Error::limit(format!("{message}, whatever the batch size; use less data or a smaller model"), false)
                }
                false => Error::limit(format!("{message}; use a smaller batch or a smaller model"), true),
            });
        }
        host.map_or(Ok(()), |host| host.check_free(all))
    }

    /// The same device, on which no program may take more than `bytes`: where others use it too.
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// The same device with products in this precision. f16 multiplies a small product first and compares it.
    ///
    /// # Errors
    /// [`Error::Setting`] when the device cannot, or computes something else.
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
                "precision f16 needs the cooperative matrices of a GPU, and this is the {name}; use f32, or another device"
            )));
        };
        self.engine = Engine::Gpu(Arc::new(gpu.reopen(precision).await?));
        if precision == Precision::F16 {
            half::check(&self)?;
        }
        Ok(self)
    }

    /// In which numbers products are computed.
    pub fn precision(&self) -> Precision {
        match &self.engine {
            Engine::Gpu(gpu) if gpu.target.half.is_some() => Precision::F16,
            _ => Precision::F32,
        }
    }

    /// Whether this is a wgpu adapter.
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

    /// `vulkan`, `metal`, `dx12`, `cpu` or `reference`.
    pub fn backend(&self) -> String {
        match &self.engine {
            Engine::Gpu(gpu) => format!("{:?}", gpu.info.backend).to_lowercase(),
            Engine::Cpu => "cpu".into(),
            Engine::Reference => "reference".into(),
        }
    }

    /// The driver and its version, of a GPU.
    pub fn driver(&self) -> Option<String> {
        match &self.engine {
            Engine::Gpu(gpu) => Some(format!("{} {}", gpu.info.driver, gpu.info.driver_info).trim().to_string()),
            _ => None,
        }
    }

    /// The same GPU with the kernels that another kind of adapter would get: for parity tests.
    #[doc(hidden)]
    pub fn with_target(mut self, target: Target) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.with_target(target)));
        }
        self
    }

    /// The same GPU, on which the crate's own shaders are checked as in debug builds, or not, as in release builds; those
    /// from outside always are.
    #[doc(hidden)]
    pub fn with_shader_checks(mut self, check_all: bool) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.with_shader_checks(check_all)));
        }
        self
    }

    /// The same GPU as one without immediates (push constants): for parity tests.
    #[doc(hidden)]
    pub fn without_immediates(mut self) -> Self {
        if let Engine::Gpu(gpu) = &self.engine {
            self.engine = Engine::Gpu(Arc::new(gpu.without_immediates()));
        }
        self
    }

    /// The same GPU that keeps files in `folder` alone, and may take as long as `autotune` to time candidate kernels.
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
        write!(f, ": {}", self.why)?;
        match &self.engine {
            Engine::Gpu(gpu) if gpu.target.half.is_some() => {
                let size = gpu.target.half.unwrap_or_default();
                write!(f, "; products in f16 by cooperative matrices of {size} x {size}")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
