//! What kernels are chosen for: properties of an adapter, and the families of matrix products.

/// What a kernel may depend on: properties of the adapter it will run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Lanes of a subgroup, when subgroup operations are available and the size is known.
    pub subgroup: Option<u32>,
    /// A software rasterizer, which likes registers and dislikes shared memory.
    pub software: bool,
    /// Rows and columns of the cooperative matrices that multiply in f16, where that was asked for.
    pub half: Option<u32>,
    /// How products are to be computed, where the adapter can: for tests.
    pub family: Option<Family>,
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Tiles of 32 x 32 in shared memory, 4 x 4 outputs an invocation: for small grids.
    Blocked32,
    /// Tiles of 64 x 64 in shared memory, 4 x 4 outputs an invocation.
    Blocked64,
    /// Tiles of 128 x 128 in shared memory, 8 x 8 outputs an invocation: for large grids.
    Blocked128,
    /// A subgroup makes 16 rows in registers and spreads A by broadcast, once for each lane: for small subgroups.
    Broadcast16,
    /// The same with 32 rows: up to twice as fast, but software adapters take about a second to compile it.
    Broadcast32,
    /// Registers alone.
    Registers,
    /// Factors in f16 for cooperative matrices ("tensor cores"), sums in f32; where that was asked for.
    Cooperative,
}

/// The largest subgroup over whose lanes a product is unrolled: that of software adapters with vectors of 512 bits.
const MOST_LANES: u32 = 16;

impl Family {
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

    /// Whether an adapter can run it.
    pub fn runs_on(self, target: &Target) -> bool {
        match self {
            Self::Broadcast16 | Self::Broadcast32 => target.subgroup.is_some_and(|lanes| lanes <= MOST_LANES),
            Self::Cooperative => target.subgroup.is_some() && target.half.is_some(),
            _ => true,
        }
    }

    /// Whether some shape gets it on an adapter by itself.
    pub fn suits(self, target: &Target) -> bool {
        match self {
            Self::Broadcast16 | Self::Broadcast32 => target.software && self.runs_on(target),
            Self::Registers => target.software && !Self::Broadcast16.runs_on(target),
            Self::Cooperative => self.runs_on(target),
            _ => !target.software,
        }
    }
}
