//! Lists the adapters of a machine, and selects one.

use std::fmt;

use crate::error::{Error, Result};

/// The properties of an adapter, as `langevin devices` lists them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// The adapter's name.
    pub name: String,
    /// The graphics API: Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// The kind of hardware.
    pub kind: AdapterKind,
    /// The maximum size of a storage binding, in bytes.
    pub max_binding: u64,
    /// The maximum number of storage buffers per dispatch.
    pub max_buffers: u32,
    /// The smallest and largest subgroup size, if subgroup operations are supported.
    pub subgroup: Option<(u32, u32)>,
    /// Whether shaders support 16-bit floats.
    pub f16: bool,
}

/// The kind of an adapter, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the memory of the CPU.
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

/// How to install a driver, for error messages.
const DRIVERS: &str = "Install a GPU driver; or, for software Vulkan: apt install mesa-vulkan-drivers (Debian, Ubuntu), \
    dnf install mesa-vulkan-drivers vulkan-loader (Fedora), pacman -S vulkan-swrast vulkan-icd-loader (Arch)";

/// The adapters of this machine; the position in the list is the index that [`Device::named`](crate::Device::named)
/// accepts.
pub fn adapters() -> Vec<AdapterSummary> {
    pollster::block_on(enumerate()).iter().map(summary).collect()
}

/// The environment variables that hide adapters from the program, with what they do.
const HIDING: [(&str, &str); 6] = [
    ("WGPU_BACKEND", "selects the graphics interfaces; langevin uses vulkan, metal and dx12"),
    ("VK_DRIVER_FILES", "selects the Vulkan drivers"),
    ("VK_ICD_FILENAMES", "selects the Vulkan drivers"),
    ("VK_LOADER_DRIVERS_SELECT", "selects the Vulkan drivers"),
    ("VK_LOADER_DRIVERS_DISABLE", "disables Vulkan drivers"),
    ("MESA_VK_DEVICE_SELECT", "selects the Vulkan device"),
];

/// Why there is no adapter, with the environment variables that may be the reason.
fn none_found(value_of: impl Fn(&str) -> Option<String>) -> String {
    let set = HIDING.iter().filter_map(|&(name, effect)| {
        let value = value_of(name).filter(|value| !value.is_empty())?;
        Some(format!("{name} is {value:?}, which {effect}"))
    });
    let set: Vec<String> = set.collect();
    let reason = if set.is_empty() { String::new() } else { format!(" ({})", set.join("; ")) };
    format!("no Vulkan, Metal or DX12 adapter was found{reason}")
}

/// Says that no adapter was found, and which environment variables may be the reason.
pub fn no_adapter() -> String {
    none_found(|name| std::env::var(name).ok())
}

pub(super) async fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    // Indirect dispatches are not used, so their validation is disabled.
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

pub(super) fn kind(info: &wgpu::AdapterInfo) -> AdapterKind {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        _ => AdapterKind::Virtual,
    }
}

/// Resolves `request` to the index of an adapter (`None`: the CPU executor), with the reason for the choice.
pub(super) fn choose(request: &str, adapters: &[(String, AdapterKind)]) -> Result<(Option<usize>, String)> {
    let best = (0..adapters.len()).min_by_key(|&i| adapters[i].1);
    let listing = || {
        let names: Vec<_> = adapters.iter().enumerate().map(|(i, (n, k))| format!("{i}: {n} ({k})")).collect();
        if names.is_empty() { no_adapter() } else { format!("there are {}", names.join("; ")) }
    };
    match (&*request.to_lowercase(), best) {
        ("auto", Some(i)) if adapters[i].1 < AdapterKind::Software => {
            Ok((Some(i), format!("the best of {} adapters", adapters.len())))
        }
        ("auto", Some(_)) => Ok((None, "only a software rasterizer was found, and the CPU executor is faster".into())),
        ("auto", None) => Ok((None, no_adapter())),
        ("gpu", Some(i)) => Ok((Some(i), format!("the best of {} adapters", adapters.len()))),
        ("gpu", None) => Err(Error::NoAdapter(format!("{}. {DRIVERS}", no_adapter()))),
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
            found.map(|i| (Some(i), format!("requested as {request:?}"))).ok_or_else(missing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kinds: &[AdapterKind]) -> Vec<(String, AdapterKind)> {
        kinds.iter().map(|&k| (format!("Name {k}"), k)).collect()
    }

    #[test]
    fn auto_prefers_hardware_and_never_selects_software() {
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
        assert_eq!(choose("GPU", &adapters).unwrap().0, Some(1));
    }

    #[test]
    fn variables_that_hide_adapters_are_named() {
        let message = none_found(|name| (name == "WGPU_BACKEND").then(|| "gl".into()));
        assert!(message.contains("WGPU_BACKEND is \"gl\"") && !message.contains("VK_"), "{message}");
        assert_eq!(none_found(|_| Some(String::new())), "no Vulkan, Metal or DX12 adapter was found");
    }
}
