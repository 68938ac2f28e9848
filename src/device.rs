//! Choosing a device, and saying which and why.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::exec::Program;
use crate::exec::cpu::CpuProgram;
use crate::exec::gpu::Gpu;
use crate::exec::gpu_program::GpuProgram;
use crate::graph::Graph;
use crate::kernel::Target;
use crate::ops::case::{self, Case, Tolerance};
use crate::ops::{Activation, Dense};
use crate::plan::Plan;
use crate::precision::Precision;
use crate::run::Run;

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

/// Bytes in the largest unit of which there is at least one.
fn readable(bytes: usize) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() as usize / 10).min(units.len() - 1);
    let digits = if unit == 0 { 0 } else { 1 };
    format!("{:.digits$} {}", bytes as f64 / 1024f64.powi(unit as i32), units[unit])
}

impl Engine {
    /// Bytes of an element.
    fn bytes(&self) -> usize {
        if matches!(self, Engine::Reference) { 8 } else { 4 }
    }

    /// The most bytes for a program. Of a GPU's memory only its driver knows, which refuses a buffer that does not fit;
    /// an operating system would promise the memory of a program on the CPU, and end the process when it is used.
    fn memory(&self) -> usize {
        if matches!(self, Engine::Gpu(_)) {
            return usize::MAX;
        }
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let free = system.cgroup_limits().map_or(u64::MAX, |group| group.free_memory);
        match system.available_memory().min(free) {
            0 => usize::MAX,
            // A quarter is left to scratch memory and to others.
            bytes => (bytes / 4 * 3) as usize,
        }
    }
}

/// An adapter as `langevin devices` lists it.
#[derive(Clone, Debug)]
pub struct AdapterSummary {
    /// The adapter's name.
    pub name: String,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// Discrete, integrated, virtual or software.
    pub kind: AdapterKind,
    /// Bytes in one storage binding.
    pub max_binding: u64,
    /// Storage buffers per dispatch.
    pub max_buffers: u32,
    /// Lanes of a subgroup (smallest, largest), where subgroup operations are offered.
    pub subgroup: Option<(u32, u32)>,
    /// 16-bit floats in shaders.
    pub f16: bool,
}

/// What an adapter is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A virtual or unknown GPU.
    Virtual,
    /// A software rasterizer (llvmpipe, SwiftShader, WARP).
    Software,
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete GPU",
            AdapterKind::Integrated => "integrated GPU",
            AdapterKind::Virtual => "virtual GPU",
            AdapterKind::Software => "software rasterizer",
        })
    }
}

/// Where to get a driver, for messages.
const DRIVERS: &str = "Install a GPU driver; or, for software Vulkan: apt install mesa-vulkan-drivers (Debian, Ubuntu), \
    dnf install mesa-vulkan-drivers vulkan-loader (Fedora), pacman -S vulkan-swrast vulkan-icd-loader (Arch). \
    --device cpu always works";

impl Device {
    /// A discrete GPU, else an integrated one, else the CPU executor; `LANGEVIN_DEVICE` overrides.
    pub fn auto() -> Result<Self> {
        Self::named(&std::env::var("LANGEVIN_DEVICE").unwrap_or_else(|_| "auto".into()))
    }

    /// The best GPU, a software rasterizer included.
    pub fn gpu() -> Result<Self> {
        Self::named("gpu")
    }

    /// The CPU executor: f32 on all cores.
    pub fn cpu() -> Self {
        Self { engine: Engine::Cpu, why: "asked for".into(), memory: None }
    }

    /// The same program in f64, slow and exact: what kernels are checked against.
    pub fn reference() -> Self {
        Self { engine: Engine::Reference, why: "asked for".into(), memory: None }
    }

    /// `auto`, `gpu`, `cpu`, `reference`, the index of an adapter in [`adapters`], or a part of its name.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] with what there is and what to install.
    pub fn named(request: &str) -> Result<Self> {
        pollster::block_on(Self::named_async(request))
    }

    /// [`Device::named`] without blocking.
    pub async fn named_async(request: &str) -> Result<Self> {
        match request {
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
    /// [`Error::Limit`] when the adapter is too small for it, [`Error::Shader`] when a kernel does not compile.
    pub fn compile(&self, graph: &Graph) -> Result<Run> {
        let plan = Plan::new(graph)?;
        let (bytes, most) =
            (self.engine.bytes() * plan.elements(), self.memory.unwrap_or_else(|| self.engine.memory()));
        if bytes > most {
            let [needs, most] = [bytes, most].map(readable);
            return Err(Error::Limit(format!(
                "the program needs {needs} of memory, and {most} are to be had; lower the batch size or the width \
                 of the model"
            )));
        }
        Run::new(graph.clone(), plan, |plan| {
            Ok(match &self.engine {
                Engine::Gpu(gpu) => Program::Gpu(GpuProgram::new(gpu.clone(), &plan)?),
                Engine::Cpu => Program::Cpu(CpuProgram::new(plan)),
                Engine::Reference => Program::Reference(CpuProgram::new(plan)),
            })
        })
    }

    /// The same device, on which no program may take more than `bytes`: where others use it too.
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// The same device with products in this precision. f16 multiplies a small product first and compares it.
    ///
    /// # Errors
    /// [`Error::Setting`] when the device cannot, or computes something else.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        if precision == self.precision() {
            return Ok(self);
        }
        let Engine::Gpu(gpu) = &self.engine else {
            let name = self.name();
            let text = format!("f16 is for the cooperative matrices of a GPU, and this is the {name}");
            return Err(Error::setting(text + "; leave --precision f16 out, or choose a GPU by --device"));
        };
        self.engine = Engine::Gpu(Arc::new(gpu.reopen(precision)?));
        if precision == Precision::F16 {
            let op = Dense { activation: Activation::None };
            let case = Case::new(op).input([70, 37]).input([65, 37]).input([65]).tolerance(Tolerance::terms(3.0, 37));
            case::check(&case, &self).map_err(|e| {
                let name = self.name();
                Error::setting(format!("{name} multiplies wrongly in f16 ({e}); leave --precision f16 out"))
            })?;
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
            Engine::Cpu => format!("CPU executor ({} threads, f32)", crate::par::threads()),
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

/// The adapters of this machine, in the order of their indices.
pub fn adapters() -> Vec<AdapterSummary> {
    pollster::block_on(enumerate()).iter().map(summary).collect()
}

async fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    // Indirect dispatches are not used, so their validation is left out.
    descriptor.flags -= wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL;
    let instance = wgpu::Instance::new(descriptor);
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    instance.enumerate_adapters(backends).await
}

fn summary(adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let subgroup = features.contains(wgpu::Features::SUBGROUP);
    AdapterSummary {
        kind: kind(&info),
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffers: limits.max_storage_buffers_per_shader_stage,
        subgroup: subgroup.then_some((info.subgroup_min_size, info.subgroup_max_size)),
        f16: features.contains(wgpu::Features::SHADER_F16),
        name: info.name,
    }
}

fn kind(info: &wgpu::AdapterInfo) -> AdapterKind {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        _ => AdapterKind::Virtual,
    }
}

/// The index of the adapter that `request` means (`None`: the CPU executor), and why.
fn choose(request: &str, adapters: &[(String, AdapterKind)]) -> Result<(Option<usize>, String)> {
    let best = (0..adapters.len()).min_by_key(|&i| adapters[i].1);
    let listing = || {
        let names: Vec<_> = adapters.iter().enumerate().map(|(i, (n, k))| format!("{i}: {n} ({k})")).collect();
        if names.is_empty() { "this machine has none".into() } else { format!("there are {}", names.join("; ")) }
    };
    match (request, best) {
        ("auto", Some(i)) if adapters[i].1 < AdapterKind::Software => {
            Ok((Some(i), format!("the best of {} adapters", adapters.len())))
        }
        ("auto", Some(_)) => Ok((None, "only a software rasterizer was found, and the CPU executor is faster".into())),
        ("auto", None) => Ok((None, "no Vulkan, Metal or DX12 adapter was found".into())),
        ("gpu", Some(i)) => Ok((Some(i), "asked for a GPU".into())),
        ("gpu", None) => Err(Error::NoAdapter(format!("no Vulkan, Metal or DX12 adapter was found. {DRIVERS}"))),
        _ => {
            let by_index = request.parse::<usize>().ok().filter(|&i| i < adapters.len());
            let wanted = request.to_lowercase();
            let by_name = || adapters.iter().position(|(name, _)| name.to_lowercase().contains(&wanted));
            let found = by_index.or_else(by_name).filter(|_| !request.is_empty());
            let missing = || {
                Error::Setting(format!(
                    "unknown device {request:?}; use auto, gpu, cpu, reference, or the index or a part of the name of \
                     an adapter: {}",
                    listing()
                ))
            };
            found.map(|i| (Some(i), format!("asked for {request:?}"))).ok_or_else(missing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_timed_once_where_the_rule_is_unsure() {
        let gpu = match Device::gpu() {
            Ok(Device { engine: Engine::Gpu(gpu), .. }) => gpu,
            other if std::env::var("LANGEVIN_GPU").as_deref() == Ok("require") => {
                panic!("a GPU is required: {other:?}")
            }
            _ => return println!("ignored, no adapter"),
        };
        let folder = tempfile::tempdir().unwrap();
        let mut gpu = gpu.with_target(Target::default());
        gpu.cache = crate::cache::Cache::new(Some(folder.path().into()), "an adapter");
        gpu.trials = std::time::Duration::from_secs(60);
        let cache = gpu.cache.clone();
        let device = Device { engine: Engine::Gpu(Arc::new(gpu)), why: String::new(), memory: None };
        let mut g = Graph::new();
        let inputs = [("x", vec![512, 16]), ("w", vec![512, 16]), ("b", vec![512])];
        let inputs = inputs.map(|(name, shape)| g.state(name, shape).unwrap());
        let y = g.apply(Dense { activation: Activation::None }, &inputs).unwrap()[0];
        g.keep(y);
        device.compile(&g).unwrap();
        let answers = String::from_utf8(cache.load("products").unwrap()).unwrap();
        assert!(answers.contains("M=512 N=512 K=16 x1 = Blocked") && answers.lines().count() == 1, "{answers}");
        // What was answered is taken, whether or not it was the fastest.
        cache.save("products", answers.replace("= Blocked32", "= Blocked64").as_bytes());
        let before = cache.load("products");
        device.compile(&g).unwrap();
        assert_eq!(cache.load("products"), before);
    }

    fn list(kinds: &[AdapterKind]) -> Vec<(String, AdapterKind)> {
        kinds.iter().map(|&k| (format!("Name {k}"), k)).collect()
    }

    #[test]
    fn auto_prefers_hardware_and_never_takes_software() {
        use AdapterKind::*;
        assert_eq!(choose("auto", &list(&[Software, Integrated, Discrete])).unwrap().0, Some(2));
        assert_eq!(choose("auto", &list(&[Software])).unwrap().0, None);
        assert_eq!(choose("auto", &[]).unwrap().0, None);
        assert_eq!(choose("gpu", &list(&[Software])).unwrap().0, Some(0));
        assert!(choose("gpu", &[]).unwrap_err().to_string().contains("mesa-vulkan-drivers"));
    }

    #[test]
    fn devices_are_found_by_index_and_name() {
        use AdapterKind::*;
        let adapters = list(&[Software, Discrete]);
        assert_eq!(choose("1", &adapters).unwrap().0, Some(1));
        assert_eq!(choose("SOFTWARE", &adapters).unwrap().0, Some(0));
        assert!(choose("7", &adapters).unwrap_err().to_string().contains("0: Name software"));
        assert!(choose("", &adapters).is_err());
    }
}
