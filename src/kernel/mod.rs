//! Kernels from shader text: shared parts, variants, and bindings parsed from the WGSL itself.
//!
//! A shader file is WGSL with directives in comment lines, processed by [`Kernel`]:
//! `//#use NAME` inserts a shared part; `//#if FLAG`, `//#else`, `//#endif` keep or drop lines; the lines from
//! `//#repeat NAME` to `//#end` are repeated [`Kernel::repeat`] times, with the index substituted for `$NAME`, because
//! drivers do not unroll the loops emitted by naga. Repeats may be nested.
//!
//! Some drivers compile slowly, so a test bounds the size of kernels (`src/ops/size.rs`): repeated lines are
//! short, and conditions are joined by `&`, since each `&&` is emitted as a branch by naga.

mod half;
mod precision;
mod preprocess;
mod target;

pub(crate) use half::Half;
pub use precision::Precision;
pub use target::{GemmVariant, Target};

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A kernel of a file in `shaders/`: the file's name, and the entry point.
macro_rules! kernel {
    ($file:literal, $entry:expr) => {
        $crate::kernel::Kernel::new(
            $file,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file)),
            $entry,
        )
    };
}

/// The maximum number of workgroups in one dimension, supported by every adapter.
pub(crate) const MAX_GROUPS: usize = 65_535;

/// The parts shared by shaders, in `shaders/shared`.
const SHARED: &[(&str, &str)] = &[
    ("clock", include_str!("../../shaders/shared/clock.wgsl")),
    ("clock_binding", include_str!("../../shaders/shared/clock_binding.wgsl")),
    ("items", include_str!("../../shaders/shared/items.wgsl")),
    ("sum_lanes", include_str!("../../shaders/shared/sum_lanes.wgsl")),
    ("max_lanes", include_str!("../../shaders/shared/max_lanes.wgsl")),
    ("nan", include_str!("../../shaders/shared/nan.wgsl")),
    ("pixel", include_str!("../../shaders/shared/pixel.wgsl")),
    ("math", include_str!("../../shaders/shared/math.wgsl")),
    ("random", include_str!("../../shaders/shared/random.wgsl")),
    ("blocks", include_str!("../../shaders/shared/blocks.wgsl")),
    ("noise_row", include_str!("../../shaders/shared/noise_row.wgsl")),
    ("place", include_str!("../../shaders/shared/place.wgsl")),
    ("encode_pair", include_str!("../../shaders/shared/encode_pair.wgsl")),
    ("activation", include_str!("../../shaders/shared/activation.wgsl")),
    ("window", include_str!("../../shaders/shared/window.wgsl")),
    ("half", include_str!("../../shaders/shared/half.wgsl")),
    ("batch_row", include_str!("../../shaders/shared/batch_row.wgsl")),
    ("measure", include_str!("../../shaders/shared/measure.wgsl")),
    ("chain", include_str!("../../shaders/shared/chain.wgsl")),
    ("sampler_update", include_str!("../../shaders/shared/sampler_update.wgsl")),
];

/// The kind of a constant, for the tests: changing a `Dim` or `Hyper` must change the result, changing a `Tune` must
/// not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstantKind {
    /// A size.
    Dim,
    /// A number in the formula.
    Hyper,
    /// A tile or workgroup size.
    Tune,
}

/// A WGSL `override` and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The name in the shader.
    pub name: &'static str,
    /// The value, rounded by WGSL to the declared type.
    pub value: f64,
    /// The kind.
    pub kind: ConstantKind,
}

/// One dispatch: shader text, entry point, constants and workgroup counts.
#[derive(Clone, Debug)]
pub struct Kernel {
    file: &'static str,
    text: Cow<'static, str>,
    /// The entry point.
    pub entry: &'static str,
    /// Values of the shader's overrides.
    pub constants: Vec<Constant>,
    /// The number of workgroups. `group()` of the shared part `items` numbers them, so that several dispatches can do a
    /// part of them each.
    pub groups: usize,
    /// See [`Kernel::with_long_epilogue`].
    pub(crate) long_epilogue: bool,
    flags: BTreeMap<&'static str, bool>,
    parts: Vec<(&'static str, String)>,
    repeats: Vec<(&'static str, usize)>,
    variants: Vec<GemmVariant>,
    enables: Vec<&'static str>,
    /// See [`Kernel::stored`].
    halves: [Vec<Option<Half>>; 2],
}

impl Kernel {
    /// Creates a kernel from the text of a shader file; `file` is its name in messages.
    pub fn new(file: &'static str, text: impl Into<Cow<'static, str>>, entry: &'static str) -> Self {
        let (constants, groups) = (Vec::new(), 1);
        let (flags, parts, repeats) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self {
            file,
            text: text.into(),
            entry,
            constants,
            groups,
            long_epilogue: false,
            flags,
            parts,
            repeats,
            variants: Vec::new(),
            enables: Vec::new(),
            halves: Default::default(),
        }
    }

    fn constant(mut self, name: &'static str, value: f64, kind: ConstantKind) -> Self {
        self.constants.push(Constant { name, value, kind });
        self
    }

    /// Sets a size.
    pub fn dim(self, name: &'static str, value: usize) -> Self {
        self.constant(name, value as f64, ConstantKind::Dim)
    }

    /// Sets a number in the formula.
    pub fn hyper(self, name: &'static str, value: f64) -> Self {
        self.constant(name, value, ConstantKind::Hyper)
    }

    /// Sets a tile or workgroup size.
    pub fn tune(self, name: &'static str, value: u32) -> Self {
        self.constant(name, value as f64, ConstantKind::Tune)
    }

    /// Keeps the lines between `//#if flag` and its end if `on`. A kernel sets every flag that its text uses.
    pub fn flag(mut self, flag: &'static str, on: bool) -> Self {
        self.flags.insert(flag, on);
        self
    }

    /// Sets one of several flags, and unsets the others.
    pub fn one_of(self, flags: &[&'static str], on: &str) -> Self {
        debug_assert!(flags.contains(&on), "{on} is none of {flags:?}");
        flags.iter().fold(self, |kernel, flag| kernel.flag(flag, *flag == on))
    }

    /// Provides generated text for `//#use name`.
    pub fn part(mut self, name: &'static str, text: String) -> Self {
        self.parts.push((name, text));
        self
    }

    /// Writes the lines of `//#repeat name` `count` times.
    pub fn repeat(mut self, name: &'static str, count: usize) -> Self {
        self.repeats.push((name, count));
        self
    }

    /// Enables a language extension.
    pub fn enable(mut self, extension: &'static str) -> Self {
        self.enables.push(extension);
        self
    }

    /// Sets how its `read` bindings and its `read_write` bindings are stored, in the order of their slots; `None`: as in the
    /// text.
    pub(crate) fn stored(self, halves: [Vec<Option<Half>>; 2]) -> Self {
        Self { halves, ..self }
    }

    /// Whether some bindings are stored in f16.
    fn has_halves(&self) -> bool {
        self.halves.iter().flatten().any(Option::is_some)
    }

    /// Records that it computes a product with the first of these variants, and that the others may be faster.
    pub(crate) fn product(self, variants: Vec<GemmVariant>) -> Self {
        Self { variants, ..self }
    }

    /// The variant of its product, if it computes one.
    pub fn gemm_variant(&self) -> Option<GemmVariant> {
        self.variants.first().copied()
    }

    /// Declares that what a product does with each element takes many instructions, so that its tiles stay smaller.
    pub(crate) fn with_long_epilogue(self, long_epilogue: bool) -> Self {
        Self { long_epilogue, ..self }
    }

    /// The candidates for autotuning, with its own variant first; empty if the rule is certain.
    pub(crate) fn candidates(&self) -> &[GemmVariant] {
        if self.variants.len() > 1 { &self.variants } else { &[] }
    }

    /// Dispatches one invocation per item, numbered by `item()` of the shared part `items`.
    pub fn over(self, items: usize) -> Self {
        const WG: u32 = 64;
        let groups = items.div_ceil(WG as usize);
        self.tune("WG", WG).groups(groups)
    }

    /// Dispatches `count` workgroups, numbered by `group()` of the shared part `items`. There can be more of them, which
    /// have no work, where the grid has two dimensions.
    pub fn groups(self, count: usize) -> Self {
        Self { groups: count.max(1), ..self }
    }

    /// Reads the position of the run from a uniform buffer, for adapters without immediates.
    #[doc(hidden)]
    pub fn without_immediates(self) -> Self {
        self.part("clock_binding", "@group(1) @binding(0) var<uniform> clock: Clock;\n".into())
    }

    /// The name for messages and labels.
    pub fn label(&self) -> String {
        format!("langevin.{}.{}", self.file.trim_end_matches(".wgsl"), self.entry)
    }

    /// A one-line summary: shader, flags, sizes.
    pub(crate) fn summary(&self) -> String {
        let mut words: Vec<_> = self.flags.iter().filter(|(_, on)| **on).map(|(flag, _)| flag.to_string()).collect();
        words.extend(self.constants.iter().map(|c| format!("{}={}", c.name, c.value)));
        words.extend(self.has_halves().then(|| "f16".into()));
        format!("{} {} x{}", self.label(), words.join(" "), self.groups)
    }

    /// The complete WGSL source.
    ///
    /// # Errors
    /// [`Error::Shader`] with the line of an unknown part, flag or directive, or of an unterminated block; where several
    /// workgroups are not numbered by `group()`; with tensors in f16 also with what cannot be parsed.
    pub fn source(&self) -> Result<String> {
        let source = preprocess::Expansion::of(self)?;
        if self.groups > 1 && !numbers_workgroups(&source) {
            return Err(Error::Shader(format!(
                "{} has {} workgroups, which several dispatches can share: write //#use items, and call item() or group() instead of \
                 using workgroup_id alone",
                self.file, self.groups
            )));
        }
        if !self.has_halves() {
            return Ok(source);
        }
        let bindings = bindings(&self.label(), &source, self.entry)?;
        let [read, written] = [false, true].map(|writable| bindings.iter().filter(move |b| b.writable == writable));
        let halves = read.zip(&self.halves[0]).chain(written.zip(&self.halves[1]));
        let halves = halves.filter_map(|(binding, half)| Some((binding.name.clone(), (*half)?)));
        Ok(half::stored_in_half(&source, halves.collect()))
    }

    /// Identifies the pipeline: equal for kernels with equal text and constants.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            text: self.text.clone(),
            entry: self.entry,
            constants: self.constants.iter().map(|c| (c.name, c.value.to_bits())).collect(),
            flags: self.flags.clone(),
            parts: self.parts.clone(),
            repeats: self.repeats.clone(),
            enables: self.enables.clone(),
            halves: self.halves.clone(),
        }
    }
}

/// Whether a complete shader text calls `item` or `group` besides where they are defined.
fn numbers_workgroups(source: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_' || c == '@';
    let count = |call| source.match_indices(call).filter(|(at, _)| !source[..*at].ends_with(in_name)).count();
    // `item` itself calls `group`.
    source.contains("fn item(") && (count("item(") > 1 || count("group(") > 2)
}

/// A grid of at least `groups` workgroups, in x and y.
pub(crate) fn grid(groups: usize) -> [u32; 2] {
    let across = groups.min(MAX_GROUPS);
    [across, groups.div_ceil(across)].map(|count| count as u32)
}

/// See [`Kernel::identity`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    text: Cow<'static, str>,
    entry: &'static str,
    constants: Vec<(&'static str, u64)>,
    flags: BTreeMap<&'static str, bool>,
    parts: Vec<(&'static str, String)>,
    repeats: Vec<(&'static str, usize)>,
    enables: Vec<&'static str>,
    halves: [Vec<Option<Half>>; 2],
}

/// A storage binding of an entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// `@binding(slot)` in group 0.
    pub slot: u32,
    /// `read_write` (an output) or `read` (an input).
    pub writable: bool,
}

/// The bindings used by `entry` of a WGSL text, in the order of their slots.
///
/// # Errors
/// [`Error::Shader`] with the compiler's message, or when the entry does not exist.
pub fn bindings(label: &str, source: &str, entry: &str) -> Result<Vec<Binding>> {
    let fail = |message: String| Error::Shader(format!("{label}: {message}"));
    let module = naga::front::wgsl::parse_str(source).map_err(|e| fail(e.emit_to_string(source)))?;
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all())
        .validate(&module)
        .map_err(|e| fail(e.emit_to_string(source)))?;
    let index = module.entry_points.iter().position(|e| e.name == entry);
    let index = index.ok_or_else(|| fail(format!("there is no entry point {entry:?}")))?;
    let used = info.get_entry_point(index);
    let mut found: Vec<Binding> = module
        .global_variables
        .iter()
        .filter(|(handle, _)| !used[*handle].is_empty())
        .filter_map(|(_, global)| {
            let naga::AddressSpace::Storage { access } = global.space else { return None };
            let slot = global.binding.as_ref()?.binding;
            let writable = access.contains(naga::StorageAccess::STORE);
            Some(Binding { name: global.name.clone().unwrap_or_default(), slot, writable })
        })
        .collect();
    found.sort_by_key(|b| b.slot);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//#use clock\n@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
        @group(0) @binding(1) var<storage, read> unused: array<f32>;\n\
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;\noverride B: u32;\n\
        @compute @workgroup_size(1) fn run() {\n//#if TWICE\ny[0] = 2.0 * x[0];\n//#else\ny[0] = x[0];\n//#endif\n}\n";

    #[test]
    fn flags_choose_lines_and_bindings_come_from_the_text() {
        let kernel = Kernel::new("t.wgsl", TEXT, "run").flag("TWICE", true);
        let source = kernel.source().unwrap();
        assert!(source.contains("2.0 * x") && !source.contains("#") && !source.contains("= x[0]"));
        let names: Vec<_> = bindings("t", &source, "run").unwrap().into_iter().map(|b| (b.name, b.writable)).collect();
        assert_eq!(names, [("x".to_string(), false), ("y".to_string(), true)]);
    }

    #[test]
    fn mistakes_in_a_shader_are_errors() {
        assert!(bindings("t", "fn f() { let x = y; }", "f").is_err());
        assert!(bindings("t", "@compute @workgroup_size(1) fn f() {}", "g").unwrap_err().to_string().contains("\"g\""));
    }

    #[test]
    fn workgroups_that_are_not_numbered_are_refused() {
        let kernel = |text: &'static str| Kernel::new("t.wgsl", text, "run").groups(2);
        for call in ["let i = item(wid, nwg, lane);", "let g = group(wid, nwg);"] {
            assert!(kernel("//#use items\n@group(0) @binding(0) var<storage> x: f32;\n").source().is_err());
            assert!(Kernel::new("t.wgsl", format!("//#use items\n{call}"), "run").groups(2).source().is_ok(), "{call}");
        }
        assert!(kernel("").source().unwrap_err().to_string().contains("t.wgsl has 2 workgroups"));
        assert!(kernel("").groups(1).source().is_ok());
    }

    #[test]
    fn large_grids_have_two_dimensions() {
        assert_eq!([1, MAX_GROUPS, MAX_GROUPS + 1].map(grid), [[1, 1], [65_535, 1], [65_535, 2]]);
        assert_eq!(grid(MAX_GROUPS * MAX_GROUPS), [65_535, 65_535]);
    }
}
