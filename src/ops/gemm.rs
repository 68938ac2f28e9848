//! The matrix product of the GPU kernels: C = A B in one of several families, chosen by the adapter and the shape.
//!
//! A shader that uses it defines `load_a(row, k)`, `load_b(k, col)` and `store(row, col, value)`, and the overrides
//! `M`, `N` and `K` come from here; transposes, implicit matrices and epilogues are therefore the shader's own. Several
//! products in one dispatch are told apart by `slice`, the workgroup's z ([`Kernel::slices`]).
//!
//! With the flag `INDEXED`, `load_b(inner(k), outer(col))` is called instead, so that what is costly to find from k or col
//! alone (a place in an image) is found once. Under the flags `A_WIDE` and `B_WIDE`, `load_a4` or `load_b4` is called,
//! which reads four values that lie side by side ([`Operand::rows_of`]).
//!
//! In every family an element of C is a sum by `fma` over k in ascending order, so that the choice does not change a bit
//! on an adapter whose `fma` is the same in all kernels.

use std::fmt::Write;

use crate::kernel::{Kernel, Target};

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Tiles of 32 x 32 in shared memory, 4 x 4 outputs an invocation: for small grids.
    Blocked32,
    /// Tiles of 64 x 64 in shared memory, 4 x 4 outputs an invocation.
    Blocked64,
    /// Tiles of 128 x 128 in shared memory, 8 x 8 outputs an invocation: for large grids.
    Blocked128,
    /// A subgroup makes 16 rows in registers and spreads A by broadcast.
    Broadcast16,
    /// The same with 32 rows: up to twice as fast, but software adapters take seconds to compile it.
    Broadcast32,
    /// Registers alone.
    Registers,
}

/// How an operand lies in memory, so that neighbouring invocations read neighbouring addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    /// Along k, or else along the rows of A, or the columns of B.
    inner: bool,
    /// Elements from one run of neighbours to the next, where the shader can load four at a time.
    run: Option<usize>,
}

impl Operand {
    /// Contiguous along k.
    pub const INNER: Self = Self { inner: true, run: None };
    /// Contiguous along the rows of A, or the columns of B.
    pub const OUTER: Self = Self { inner: false, run: None };

    /// The shader also has the loads of four, for a matrix with rows of `run` elements in memory.
    pub fn rows_of(self, run: usize) -> Self {
        Self { run: Some(run), ..self }
    }

    fn wide(self) -> bool {
        self.run.is_some_and(|run| run % 4 == 0)
    }
}

/// C [m, n] = A [m, k] B [k, n], `slices` times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub shape: [usize; 3],
    pub slices: usize,
    pub a: Operand,
    pub b: Operand,
}

/// Multiply-adds from which on a product earns back the seconds that software adapters take to compile the widest kernel.
pub(super) const LARGE: usize = 1 << 25;
/// Workgroups from which on a grid keeps an adapter busy.
const BUSY: usize = 64;

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Blocked32, Self::Blocked64, Self::Blocked128, Self::Broadcast16, Self::Broadcast32, Self::Registers];

    /// Whether an adapter can run it.
    pub fn runs_on(self, target: &Target) -> bool {
        match self {
            Self::Broadcast16 | Self::Broadcast32 => target.subgroup.is_some(),
            _ => true,
        }
    }

    /// Whether some shape gets it on an adapter by itself.
    pub fn suits(self, target: &Target) -> bool {
        match self {
            Self::Broadcast16 | Self::Broadcast32 => target.software && target.subgroup.is_some(),
            Self::Registers => target.software && target.subgroup.is_none(),
            _ => !target.software,
        }
    }

    /// The family for a product on an adapter; with others after it where these may be faster.
    fn choose(product: &Product, target: &Target) -> Vec<Self> {
        if let Some(forced) = target.family.filter(|f| f.runs_on(target)) {
            return vec![forced];
        }
        let [m, n, k] = product.shape;
        match (target.software, target.subgroup) {
            // No timing here: it would take the seconds of compilation that the rule is to save.
            (true, Some(_)) if m * n * k >= LARGE => vec![Self::Broadcast32],
            (true, Some(_)) => vec![Self::Broadcast16],
            (true, None) => vec![Self::Registers],
            (false, _) => Self::tiles(product),
        }
    }

    /// The largest tiles whose grid keeps the adapter busy and does not compute much beyond the edges. How many workgroups
    /// keep it busy differs, so near the least number smaller tiles may be faster.
    fn tiles(product: &Product) -> Vec<Self> {
        let [m, n, _] = product.shape;
        let tiles = |side: usize| m.div_ceil(side) * n.div_ceil(side);
        let area = |side: usize| tiles(side) * side * side;
        let groups = |side: usize| tiles(side) * product.slices;
        let fits = |side: usize| groups(side) >= BUSY && 4 * area(side) <= 5 * area(32);
        let (large, small, side) = match (fits(128), fits(64)) {
            (true, _) => (Self::Blocked128, Self::Blocked64, 128),
            (_, true) => (Self::Blocked64, Self::Blocked32, 64),
            _ => return vec![Self::Blocked32],
        };
        if groups(side) >= 4 * BUSY { vec![large] } else { vec![large, small] }
    }
}

/// The product by the entry point `gemm`.
pub(crate) fn gemm(kernel: Kernel, product: Product, target: &Target) -> Kernel {
    let [m, n, k] = product.shape;
    let families = Family::choose(&product, target);
    let family = families[0];
    let kernel = kernel.dim("M", m).dim("N", n).dim("K", k).product(families);
    let kernel = match (family, target.subgroup) {
        (Family::Blocked32, _) => blocked(kernel, &product, Tile { side: 32, step: 16, blocks: 1 }),
        (Family::Blocked64, _) => blocked(kernel, &product, Tile { side: 64, step: 16, blocks: 1 }),
        (Family::Blocked128, _) => blocked(kernel, &product, Tile { side: 128, step: 8, blocks: 2 }),
        (Family::Broadcast16, Some(lanes)) => broadcast(kernel, &product, 16, lanes as usize),
        (Family::Broadcast32, Some(lanes)) => broadcast(kernel, &product, 32, lanes as usize),
        (Family::Registers | Family::Broadcast16 | Family::Broadcast32, _) => registers(kernel, &product),
    };
    kernel.slices(product.slices)
}

/// A square tile, its step in k, and the blocks of four rows and of four columns that an invocation computes.
struct Tile {
    side: usize,
    step: usize,
    blocks: usize,
}

fn blocked(kernel: Kernel, product: &Product, Tile { side, step, blocks }: Tile) -> Kernel {
    let [m, n, _] = product.shape;
    let Product { a, b, .. } = *product;
    let lanes = (side / 4 / blocks).pow(2);
    kernel
        .part("gemm", include_str!("../../shaders/shared/gemm_blocked.wgsl").into())
        .part("gemm_sizes", sizes(&[("SIDE", side), ("STEP", step), ("BLOCKS", blocks), ("LANES", lanes)]))
        .repeat("R", blocks)
        .repeat("C", blocks)
        .repeat("I", 4)
        .repeat("P", side * step / 4 / lanes)
        .repeat("Q", step)
        .flag("A_INNER", a.inner)
        .flag("B_INNER", b.inner)
        .flag("A_WIDE", a.wide())
        .flag("B_WIDE", b.wide())
        .flag("A_TURN", a.inner && a.wide())
        .flag("B_TURN", b.inner && b.wide())
        .grid(n.div_ceil(side), m.div_ceil(side))
}

fn broadcast(kernel: Kernel, product: &Product, rows: usize, lanes: usize) -> Kernel {
    let text = include_str!("../../shaders/shared/gemm_broadcast.wgsl");
    in_registers(kernel, product, text, [rows, 4, lanes, lanes])
}

fn registers(kernel: Kernel, product: &Product) -> Kernel {
    let text = include_str!("../../shaders/shared/gemm_registers.wgsl");
    in_registers(kernel, product, text, [8, 4, 8, 4])
}

/// Rows and columns of an invocation, invocations side by side, and the step in k.
fn in_registers(kernel: Kernel, product: &Product, text: &str, [rows, cols, lanes, step]: [usize; 4]) -> Kernel {
    let [m, n, _] = product.shape;
    kernel
        .part("gemm", text.into())
        .part("gemm_sizes", sizes(&[("ROWS", rows), ("COLS", cols), ("LANES", lanes), ("STEP", step)]))
        .repeat("I", rows)
        .repeat("J", cols)
        .repeat("Q", step)
        .grid(n.div_ceil(cols * lanes), m.div_ceil(rows))
}

fn sizes(list: &[(&str, usize)]) -> String {
    list.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "const {name} = {value}u;").expect("writing to a string");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families(shape: [usize; 3], slices: usize, target: Target) -> Vec<Family> {
        Family::choose(&Product { shape, slices, a: Operand::INNER, b: Operand::INNER }, &target)
    }

    fn family(shape: [usize; 3], slices: usize, target: Target) -> Family {
        families(shape, slices, target)[0]
    }

    #[test]
    fn tiles_fit_the_grid() {
        let hardware = Target { subgroup: Some(32), ..Target::default() };
        assert_eq!(family([4096, 4096, 64], 1, hardware), Family::Blocked128);
        assert_eq!(family([256, 1024, 1024], 1, hardware), Family::Blocked64);
        assert_eq!(family([256, 128, 228], 1, hardware), Family::Blocked32);
        // 100 rows pad a tile of 128 no more than four of 32; 32 rows would leave three quarters of it idle.
        assert_eq!(family([100, 100_000, 64], 1, hardware), Family::Blocked128);
        assert_eq!(family([32, 100_000, 64], 1, hardware), Family::Blocked32);
        assert_eq!(family([64, 64, 4096], 64, hardware), Family::Blocked64);
    }

    #[test]
    fn the_rule_is_unsure_of_middling_grids_on_hardware_only() {
        let hardware = Target { subgroup: Some(32), ..Target::default() };
        let unsure = |shape, target| families(shape, 1, target).len() > 1;
        assert_eq!(families([1024, 1024, 64], 1, hardware), [Family::Blocked128, Family::Blocked64]);
        assert_eq!(families([512, 512, 64], 1, hardware), [Family::Blocked64, Family::Blocked32]);
        assert!(!unsure([2048, 2048, 64], hardware) && !unsure([256, 256, 64], hardware));
        assert!(!unsure([1024, 1024, 64], Target { software: true, ..hardware }));
        assert!(!unsure([1024, 1024, 64], Target { family: Some(Family::Blocked64), ..hardware }));
    }

    #[test]
    fn software_gets_registers_and_what_is_forced_is_taken() {
        let software = Target { subgroup: Some(8), software: true, family: None };
        assert_eq!(family([256, 128, 228], 1, software), Family::Broadcast16);
        assert_eq!(family([1024, 1024, 1024], 1, software), Family::Broadcast32);
        let plain = Target { subgroup: None, ..software };
        assert_eq!(family([256, 128, 228], 1, plain), Family::Registers);
        for forced in Family::ALL {
            assert_eq!(family([5, 6, 7], 1, Target { family: Some(forced), ..software }), forced);
        }
        let forced = Target { family: Some(Family::Broadcast16), ..plain };
        assert_eq!(family([5, 6, 7], 1, forced), Family::Registers);
    }
}
