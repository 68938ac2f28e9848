//! Properties of an adapter that kernels depend on, and the variants of the matrix product.

/// What a kernel may depend on: properties of the adapter it will run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Lanes per subgroup, if subgroup operations are available and the size is known.
    pub subgroup: Option<u32>,
    /// Whether it is a software rasterizer, on which registers are fast and shared memory is slow.
    pub software: bool,
    /// Rows and columns of the cooperative matrices that multiply in f16, if f16 was requested.
    pub half: Option<u32>,
    /// Whether activations and their gradients are stored in f16.
    pub half_storage: bool,
    /// Forces a variant of the product, if the adapter supports it: for tests.
    pub gemm: Option<GemmVariant>,
    /// The memory of a workgroup, in bytes.
    pub workgroup_bytes: u32,
    /// The storage buffers that a kernel may bind.
    pub buffers: u32,
}

impl Default for Target {
    /// What every adapter has.
    fn default() -> Self {
        Self {
            subgroup: None,
            software: false,
            half: None,
            half_storage: false,
            gemm: None,
            workgroup_bytes: 16_384,
            buffers: 8,
        }
    }
}

/// The kernel used for a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GemmVariant {
    /// Tiles of 32 x 32 or 32 x 64 in shared memory, 4 x 4 outputs an invocation: for small grids.
    Blocked32,
    /// Tiles of 64 x 64 in shared memory, 4 x 4 or 8 x 4 outputs an invocation.
    Blocked64,
    /// Tiles of 128 x 128 in shared memory, 8 x 8 outputs an invocation: for large grids.
    Blocked128,
    /// A subgroup computes 16 rows in registers and broadcasts A from one lane at a time: for small subgroups.
    Broadcast16,
    /// The same with 32 rows: up to twice as fast, but software adapters take about a second to compile it.
    Broadcast32,
    /// Registers only.
    Registers,
    /// Factors in f16 for cooperative matrices ("tensor cores"), sums in f32; used on request.
    Cooperative,
}

/// The largest subgroup over which a product is unrolled: that of software adapters with 512-bit vectors.
const MAX_LANES: u32 = 16;

impl GemmVariant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Blocked32,
        Self::Blocked64,
        Self::Blocked128,
        Self::Broadcast16,
        Self::Broadcast32,
        Self::Registers,
        Self::Cooperative,
    ];

    /// Whether an adapter supports it.
    pub fn runs_on(self, target: &Target) -> bool {
        match self {
            Self::Broadcast16 | Self::Broadcast32 => target.subgroup.is_some_and(|lanes| lanes <= MAX_LANES),
            Self::Cooperative => target.subgroup.is_some() && target.half.is_some(),
            _ => true,
        }
    }

    /// Whether the rule selects it on an adapter for some shape.
    pub fn suits(self, target: &Target) -> bool {
        match self {
            Self::Broadcast16 | Self::Broadcast32 => target.software && self.runs_on(target),
            Self::Registers => target.software && !Self::Broadcast16.runs_on(target),
            Self::Cooperative => self.runs_on(target),
            _ => !target.software,
        }
    }
}
