//! Every kernel of the catalog in the languages of all drivers: MSL, HLSL and SPIR-V, written by naga as wgpu does it,
//! for every kind of adapter and every variant of the product. No GPU is needed.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use langevin::ops::case::Case;
use langevin::ops::{GemmVariant, catalog};
use langevin::{ConstantKind, Kernel, Target};
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

use crate::common::{Test, always, named, unless};

pub fn tests() -> Vec<Test> {
    let mut tests = always(named![
        kernels_use_only_what_their_target_has,
        kernels_are_written_as_msl,
        kernels_are_written_as_hlsl,
        kernels_are_written_as_spirv,
    ]);
    tests.extend(unless(no_spirv_val([2015, 1]), named![spirv_is_valid]));
    // The version that knows SPV_KHR_cooperative_matrix.
    tests.extend(unless(no_spirv_val([2023, 3]), named![spirv_of_cooperative_matrices_is_valid]));
    tests
}

/// Every kind of adapter, with each variant of the product that it can run.
fn targets() -> Vec<Target> {
    let mut all = Vec::new();
    for (subgroup, software) in [None, Some(8), Some(32)].into_iter().flat_map(|s| [(s, false), (s, true)]) {
        let plain = Target { subgroup, software, ..Target::default() };
        let halves = [8, 16].map(|size| Target { half: Some(size), ..plain });
        for adapter in [plain].into_iter().chain(halves.into_iter().filter(|_| subgroup.is_some())) {
            // Which variants other than that of the matrices there are does not depend on these.
            let variants = GemmVariant::ALL.into_iter().filter(|f| f.runs_on(&adapter));
            let variants = variants.filter(|f| adapter.half.is_none() || *f == GemmVariant::Cooperative);
            all.extend([None].into_iter().chain(variants.map(Some)).map(|variant| Target { gemm: variant, ..adapter }));
        }
    }
    all
}

fn capabilities(target: &Target) -> Capabilities {
    let mut all = Capabilities::IMMEDIATES;
    all.set(Capabilities::SUBGROUP, target.subgroup.is_some());
    all.set(Capabilities::COOPERATIVE_MATRIX, target.half.is_some());
    all.set(Capabilities::SHADER_FLOAT16, target.half.is_some() || target.half_storage);
    all
}

/// A kernel with values for its constants, as a driver's compiler gets it.
struct Ready {
    label: String,
    entry: &'static str,
    cooperative: bool,
    /// Whether it has 16-bit floats.
    half: bool,
    module: Module,
    info: ModuleInfo,
}

/// Parses and validates a kernel, with what `capabilities` allow, and sets its constants.
fn ready(kernel: &Kernel, source: &str, capabilities: Capabilities) -> Result<Ready, String> {
    let label = format!("{} {:?}", kernel.label(), kernel.constants);
    let module = naga::front::wgsl::parse_str(source).map_err(|e| format!("{label}: {}", e.emit_to_string(source)))?;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    let info = info.map_err(|e| format!("{label}: {}", e.emit_to_string(source)))?;
    let constants: PipelineConstants = kernel.constants.iter().map(|c| (c.name.to_string(), c.value)).collect();
    let entry = Some((ShaderStage::Compute, kernel.entry));
    let (module, info) = process_overrides(&module, &info, entry, &constants).map_err(|e| format!("{label}: {e}"))?;
    let cooperative = module.types.iter().any(|(_, t)| matches!(t.inner, naga::TypeInner::CooperativeMatrix { .. }));
    let is_half = |scalar: naga::Scalar| scalar.kind == naga::ScalarKind::Float && scalar.width == 2;
    let half = module.types.iter().any(|(_, t)| t.inner.scalar().is_some_and(is_half));
    let (module, info) = (module.into_owned(), info.into_owned());
    Ok(Ready { label, entry: kernel.entry, cooperative, half, module, info })
}

/// All different kernels, each checked against what all of its targets have. Kernels that differ in sizes and in numbers
/// of formulas alone are one.
static KERNELS: LazyLock<Vec<Ready>> = LazyLock::new(|| {
    let mut found: HashMap<String, (Kernel, String, Capabilities)> = HashMap::new();
    let cases: Vec<Case> = catalog().into_iter().flat_map(|(_, cases)| cases).collect();
    let stored: Vec<Case> = cases.iter().filter_map(Case::in_half).collect();
    let f16 = |target| Target { half_storage: true, ..target };
    let both = |target| [(target, &cases), (f16(target), &stored)];
    for (target, cases) in targets().into_iter().flat_map(both) {
        for case in cases.iter().filter(|case| case.concerns(&target).unwrap()) {
            let kernel = case.kernel(&target).unwrap();
            for (kernel, immediates) in [(kernel.clone().without_immediates(), false), (kernel, true)] {
                let source = kernel.source().unwrap();
                let tiles: Vec<_> = kernel.constants.iter().filter(|c| c.kind == ConstantKind::Tune).collect();
                let key = format!("{} {tiles:?} {source}", kernel.entry);
                let known = found.entry(key).or_insert((kernel, source, Capabilities::all()));
                known.2 &= capabilities(&target);
                known.2.set(Capabilities::IMMEDIATES, known.2.contains(Capabilities::IMMEDIATES) & immediates);
            }
        }
    }
    let uniform = found.values().filter(|(_, source, _)| source.contains("var<uniform> clock")).count();
    assert!(uniform > 5, "{uniform} kernels without immediates");
    let mut all: Vec<Ready> =
        found.into_values().map(|(kernel, source, has)| ready(&kernel, &source, has).unwrap()).collect();
    all.sort_by(|a, b| a.label.cmp(&b.label));
    println!("kernels in all languages: {}", all.len());
    all
});

/// Calls `write` for each kernel, with the checks of code that is not trusted and without.
fn each(wanted: impl Fn(&Ready) -> bool, write: impl Fn(&Ready, bool) -> Result<(), String>) {
    let kernels: Vec<&Ready> = KERNELS.iter().filter(|kernel| wanted(kernel)).collect();
    assert!(kernels.len() > 5, "only {} kernels", kernels.len());
    let both = kernels.iter().flat_map(|kernel| [true, false].map(|checked| (kernel, checked)));
    let failed: Vec<String> = both
        .filter_map(|(kernel, checked)| write(kernel, checked).err().map(|e| format!("{}: {e}", kernel.label)))
        .collect();
    assert!(failed.is_empty(), "{} kernels failed:\n{}", failed.len(), failed.join("\n"));
}

fn bounds(checked: bool) -> BoundsCheckPolicies {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

fn kernels_use_only_what_their_target_has() {
    let refused = |source: &'static str| {
        ready(&Kernel::new("t.wgsl", source, "run"), source, capabilities(&Target::default())).err().expect("refused")
    };
    let subgroup = "@group(0) @binding(0) var<storage, read_write> y: array<u32>;\n\
                    @compute @workgroup_size(32) fn run() { y[0] = subgroupAdd(y[1]); }";
    assert!(refused(subgroup).contains("SUBGROUP"), "{}", refused(subgroup));
    let half = "enable f16; @group(0) @binding(0) var<storage, read_write> y: array<f16>;\n\
                @compute @workgroup_size(32) fn run() { y[0] = 1h; }";
    assert!(refused(half).contains("FLOAT16"), "{}", refused(half));
    assert!(KERNELS.iter().any(|kernel| kernel.cooperative) && KERNELS.iter().any(|kernel| !kernel.cooperative));
}

fn kernels_are_written_as_msl() {
    each(
        |_| true,
        |kernel, checked| {
            let options = msl::Options {
                // The first with cooperative matrices.
                lang_version: (2, 3),
                bounds_check_policies: bounds(checked),
                zero_initialize_workgroup_memory: checked,
                force_loop_bounding: checked,
                emit_int_div_checks: checked,
                ..Default::default()
            };
            let (_, info) = msl::write_string(&kernel.module, &kernel.info, &options, &Default::default())
                .map_err(|e| e.to_string())?;
            info.entry_point_names.into_iter().try_for_each(|name| name.map(|_| ()).map_err(|e| e.to_string()))
        },
    );
}

/// Without cooperative matrices, which Direct3D does not offer.
fn kernels_are_written_as_hlsl() {
    each(
        |kernel| !kernel.cooperative,
        |kernel, checked| {
            let options = hlsl::Options {
                // The first with subgroup operations.
                shader_model: hlsl::ShaderModel::V6_0,
                immediates_target: Some(hlsl::BindTarget { space: 1, ..Default::default() }),
                zero_initialize_workgroup_memory: checked,
                restrict_indexing: checked,
                force_loop_bounding: checked,
                ..Default::default()
            };
            let mut text = String::new();
            let pipeline = hlsl::PipelineOptions::default();
            let info = hlsl::Writer::new(&mut text, &options, &pipeline)
                .write(&kernel.module, &kernel.info, None)
                .map_err(|e| e.to_string())?;
            info.entry_point_names.into_iter().try_for_each(|name| name.map(|_| ()).map_err(|e| e.to_string()))
        },
    );
}

/// For the Vulkan that is asked for least: 1.1, and 1.3 with cooperative matrices.
fn spirv(kernel: &Ready, checked: bool) -> Result<Vec<u32>, String> {
    use spv::Capability as C;
    let mut has = vec![C::Shader, C::GroupNonUniform, C::GroupNonUniformArithmetic, C::GroupNonUniformBallot];
    has.extend([C::GroupNonUniformVote, C::GroupNonUniformShuffle, C::GroupNonUniformShuffleRelative]);
    if kernel.half {
        has.extend([C::Float16, C::StorageBuffer16BitAccess]);
    }
    if kernel.cooperative {
        has.extend([C::CooperativeMatrixKHR, C::VulkanMemoryModel]);
    }
    let zero = if checked {
        spv::ZeroInitializeWorkgroupMemoryMode::Polyfill
    } else {
        spv::ZeroInitializeWorkgroupMemoryMode::None
    };
    let options = spv::Options {
        lang_version: if kernel.cooperative { (1, 6) } else { (1, 3) },
        capabilities: Some(has.into_iter().collect()),
        bounds_check_policies: bounds(checked),
        zero_initialize_workgroup_memory: zero,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: kernel.entry.into() };
    spv::write_vec(&kernel.module, &kernel.info, &options, Some(&pipeline)).map_err(|e| e.to_string())
}

fn kernels_are_written_as_spirv() {
    each(|_| true, |kernel, checked| spirv(kernel, checked).map(|_| ()));
}

/// Why there is no check of SPIR-V: no `spirv-val`, or one that is older than [year, number].
fn no_spirv_val(least: [u32; 2]) -> Option<String> {
    let install = "apt install spirv-tools (Debian, Ubuntu), dnf install spirv-tools, pacman -S spirv-tools";
    let Ok(output) = Command::new("spirv-val").arg("--version").output() else {
        return Some(format!("no spirv-val: {install}"));
    };
    // "SPIRV-Tools v2023.1 unknown hash, ..."
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_string();
    let version = text.split_once(" v").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()));
    let version: Vec<u32> = version.into_iter().flatten().map_while(|part| part.parse().ok()).take(2).collect();
    let [year, number] = least;
    (version < least.to_vec()).then(|| format!("spirv-val is older than v{year}.{number}: {text}"))
}

fn spirv_is_valid() {
    validate(false);
}

fn spirv_of_cooperative_matrices_is_valid() {
    validate(true);
}

fn validate(cooperative: bool) {
    let folder = tempfile::tempdir().unwrap();
    let environment = if cooperative { "vulkan1.3" } else { "vulkan1.1" };
    let check = |words: &[u32]| {
        let path = folder.path().join("kernel.spv");
        fs::write(&path, words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        let output = Command::new("spirv-val").args(["--target-env", environment]).arg(&path).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    each(
        |kernel| kernel.cooperative == cooperative,
        |kernel, checked| {
            let words = spirv(kernel, checked)?;
            // Without its last instruction, the end of the function.
            assert!(check(&words[..words.len() - 1]).is_err(), "spirv-val lets everything pass");
            check(&words)
        },
    );
}
