//! The matrix product of the GPU kernels: C = A B in one of several variants, selected by adapter and shape.
//!
//! A shader that uses it defines `load_a(row, k)`, `load_b(k, col)` and `store(row, col, value)`; the overrides `M`,
//! `N` and `K` are set here. Transposes, implicit matrices and epilogues are therefore up to the shader. Several
//! products of one shape in a dispatch are distinguished by `slice`, and their tiles follow each other; so do those of several
//! shapes ([`gemm_of`]).
//!
//! If B is implicit ([`Operand::implicit`]), the flag `INDEXED` is set, and `load_b(inner(k), outer(col))` is called
//! instead, so that expensive computations on k or col alone (a position in an image) run once. With the flags `A_VEC4`
//! and `B_VEC4`, `load_a4` or `load_b4` is called, which loads four contiguous values ([`Operand::rows_of`]).
//!
//! In every f32 variant an element of C is a sum by `fma` over k in ascending order, so the choice does not change the
//! result on an adapter whose `fma` is the same in all kernels.
//!
//! In f16 small gradients would underflow. The gradient of a mean loss is about 1/B of the error, so gradients are
//! scaled by a power of two near [`GRADIENT_SCALE`] B when converted to f16, and the sum is scaled back: a static loss
//! scaling within the product, so that stored tensors keep their units.

mod variant;

pub(super) use variant::LARGE;

use std::fmt::Write;

use crate::kernel::{GemmVariant, Kernel, Target};

/// Memory layout of an operand, so that neighbouring invocations read neighbouring addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operand {
    /// Whether it is contiguous along k, and not along the rows of A or the columns of B.
    inner: bool,
    /// Length of a contiguous run, if the shader can load four values at a time.
    run: Option<usize>,
    /// Whether its values are gathered at computed positions.
    implicit: bool,
    /// Power of two that scales it to the range of f16.
    scale: f32,
}

impl Operand {
    /// Contiguous along k.
    pub const INNER: Self = Self { inner: true, run: None, implicit: false, scale: 1.0 };
    /// Contiguous along the rows of A, or the columns of B.
    pub const OUTER: Self = Self { inner: false, ..Self::INNER };

    /// Allows loads of four values, for a matrix with rows of `run` elements in memory.
    pub fn rows_of(self, run: usize) -> Self {
        Self { run: Some(run), ..self }
    }

    /// Marks B as gathered at computed positions, like the windows of a convolution.
    pub fn implicit(self) -> Self {
        Self { implicit: true, ..self }
    }

    /// Marks it as the gradient of a mean over `batch` samples, its own rows: in a micro-batch too, whose gradient is
    /// weighted by its share of the batch only after the backward pass ([`super::Accumulate`]).
    pub fn gradient(self, batch: usize) -> Self {
        Self { scale: (GRADIENT_SCALE * batch).next_power_of_two() as f32, ..self }
    }

    fn vec4(self) -> bool {
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

/// One of several products in a grid: its rows and columns, and WGSL statements that select it, by setting `M` and `N`
/// among others.
pub(crate) struct Member {
    pub shape: [usize; 2],
    pub select: String,
}

/// Scale in f16 of the gradient of a mean over one sample: a mean over a thousand elements then keeps full precision
/// for errors down to 1e-3, and the plain sum over a sample allows errors up to 4000.
const GRADIENT_SCALE: usize = 16;

/// The product with the entry point `gemm`.
pub(crate) fn gemm(kernel: Kernel, product: Product, target: &Target) -> Kernel {
    let [m, n, _] = product.shape;
    product_of(kernel.dim("M", m).dim("N", n), product, &[], target)
}

/// Several products with the same k in one grid; the shader declares `M` and `N` as private variables.
pub(crate) fn gemm_of(
    kernel: Kernel,
    [k, slices]: [usize; 2],
    [a, b]: [Operand; 2],
    members: &[Member],
    target: &Target,
) -> Kernel {
    let rows = members.iter().map(|member| member.shape[0]).sum();
    let cols = members.iter().map(|member| member.shape[1]).max().unwrap_or(0);
    product_of(kernel, Product { shape: [rows, cols, k], slices, a, b }, members, target)
}

fn product_of(kernel: Kernel, product: Product, members: &[Member], target: &Target) -> Kernel {
    let mut variants = GemmVariant::choose(&product, target);
    if kernel.long_epilogue {
        // An invocation of the largest tiles has 64 copies of the epilogue: too many instructions for slow compilers.
        variants.iter_mut().filter(|v| **v == GemmVariant::Blocked128).for_each(|v| *v = GemmVariant::Blocked64);
        variants.dedup();
    }
    let variant = variants[0];
    let kernel = kernel.dim("K", product.shape[2]).product(variants);
    let kernel = kernel.flag("A_VEC4", false).flag("B_VEC4", false).flag("INDEXED", product.b.implicit);
    match (variant, target.subgroup) {
        (GemmVariant::Cooperative, Some(lanes)) => {
            let size = target.half.expect("it runs on this target");
            cooperative(kernel, &product, members, size as usize, lanes as usize)
        }
        (GemmVariant::Blocked32, _) => blocked(kernel, &product, members, Tile::small(&product)),
        (GemmVariant::Blocked64, _) => blocked(kernel, &product, members, Tile::medium(&product)),
        (GemmVariant::Blocked128, _) => blocked(kernel, &product, members, Tile::LARGE),
        (GemmVariant::Broadcast16, Some(lanes)) => broadcast(kernel, &product, members, 16, lanes as usize),
        (GemmVariant::Broadcast32, Some(lanes)) => broadcast(kernel, &product, members, 32, lanes as usize),
        (_, _) => registers(kernel, &product, members),
    }
}

/// Sets a workgroup for each of the tiles of `rows` by `cols` of each slice, and the function `tile` that returns the column,
/// row and slice of a workgroup. Those beyond the last have a row beyond the last, and store nothing.
fn tiled(kernel: Kernel, product: &Product, members: &[Member], rows: usize, cols: usize) -> Kernel {
    if !members.is_empty() {
        return tiles_of(kernel, product, members, [rows, cols]);
    }
    let [m, n, _] = product.shape;
    let [across, down] = [n.div_ceil(cols), m.div_ceil(rows)];
    numbered(kernel, product, across * down, &format!("const across = {across}u;"))
}

/// Numbers the tiles of all slices; `place` sets the tiles across, and subtracts from `at` those before the product.
fn numbered(kernel: Kernel, product: &Product, tiles: usize, place: &str) -> Kernel {
    let text = format!(
        "fn tile(number: u32) -> vec3<u32> {{\n  let slice = min(number / {tiles}u, {}u);\n  var at = number - slice * {tiles}u;\n  \
         {place}\n  return vec3(at % across, at / across, slice);\n}}\n",
        product.slices - 1
    );
    kernel.part("gemm_tiles", text).groups(tiles * product.slices)
}

/// [`tiled`] for several products, whose tiles follow each other.
fn tiles_of(kernel: Kernel, product: &Product, members: &[Member], [rows, cols]: [usize; 2]) -> Kernel {
    let (mut text, mut end) = (String::from("var across = 1u;\n  "), 0);
    for (i, member) in members.iter().enumerate() {
        let [down, across] = [member.shape[0].div_ceil(rows), member.shape[1].div_ceil(cols)];
        let start = end;
        end += down * across;
        let condition = if i + 1 < members.len() { format!("if (at < {end}u) ") } else { String::new() };
        let select = &member.select;
        let otherwise = if i + 1 < members.len() { " else " } else { "\n" };
        write!(text, "{condition}{{ at -= {start}u; across = {across}u; {select} }}{otherwise}")
            .expect("writing to a string");
    }
    numbered(kernel, product, end, &text)
}

/// A tile, its step in k, and the blocks of four rows and of four columns computed by an invocation.
struct Tile {
    rows: usize,
    cols: usize,
    step: usize,
    blocks: [usize; 2],
}

impl Tile {
    const LARGE: Self = Self { rows: 128, cols: 128, step: 8, blocks: [2, 2] };

    /// More invocations if B is implicit, since loading it takes as long as the arithmetic.
    fn medium(product: &Product) -> Self {
        Self { rows: 64, cols: 64, step: 16, blocks: if product.b.implicit { [1, 1] } else { [2, 1] } }
    }

    /// A small grid waits for memory in each step, so its steps are long, unless the sums are short.
    fn small(product: &Product) -> Self {
        let [cols, step] = match product.b.implicit {
            true => [64, 16],
            false => [32, if product.shape[2] > 16 { 32 } else { 16 }],
        };
        Self { rows: 32, cols, step, blocks: [1, 1] }
    }
}

fn blocked(kernel: Kernel, product: &Product, members: &[Member], tile: Tile) -> Kernel {
    let Tile { rows, cols, step, blocks } = tile;
    let Product { a, b, .. } = *product;
    let lanes = rows / 4 / blocks[0] * (cols / 4 / blocks[1]);
    let text = [("ROWS", rows), ("COLS", cols), ("STEP", step), ("BLOCKS_B", blocks[1]), ("LANES", lanes)];
    tiled(kernel, product, members, rows, cols)
        .part("gemm", include_str!("../../../shaders/shared/gemm_blocked.wgsl").into())
        .part("gemm_sizes", sizes(&text))
        .repeat("R", blocks[0])
        .repeat("C", blocks[1])
        .repeat("I", 4)
        .repeat("P", rows * step / 4 / lanes)
        .repeat("S", cols * step / 4 / lanes)
        .repeat("Q", step)
        .flag("A_INNER", a.inner)
        .flag("B_INNER", b.inner)
        .flag("A_VEC4", a.vec4())
        .flag("B_VEC4", b.vec4())
        .flag("A_TURN", a.inner && a.vec4())
        .flag("B_TURN", b.inner && b.vec4())
}

fn broadcast(kernel: Kernel, product: &Product, members: &[Member], rows: usize, lanes: usize) -> Kernel {
    in_registers(kernel, product, members, true, [rows, 4, lanes, lanes])
}

fn registers(kernel: Kernel, product: &Product, members: &[Member]) -> Kernel {
    in_registers(kernel, product, members, false, [8, 4, 8, 4])
}

/// Rows and columns per invocation, invocations side by side, and the step in k.
fn in_registers(
    kernel: Kernel,
    product: &Product,
    members: &[Member],
    broadcast: bool,
    [rows, cols, lanes, step]: [usize; 4],
) -> Kernel {
    tiled(kernel, product, members, rows, cols * lanes)
        .part("gemm", include_str!("../../../shaders/shared/gemm_registers.wgsl").into())
        .flag("BROADCAST", broadcast)
        .flag("A_VEC4", broadcast && by_fours(product.a))
        .flag("B_VEC4", broadcast && by_fours(product.b))
        .repeat("F", rows / 4)
        .part("gemm_sizes", sizes(&[("ROWS", rows), ("COLS", cols), ("LANES", lanes), ("STEP", step)]))
        .repeat("I", rows)
        .repeat("J", cols)
        .repeat("Q", step)
}

/// Whether a lane loads four rows of A, or its four columns of B, at once.
fn by_fours(operand: Operand) -> bool {
    !operand.inner && !operand.implicit && operand.vec4()
}

/// Four subgroups of `lanes` share a tile, with 2 x 2 matrices of `size` each.
fn cooperative(kernel: Kernel, product: &Product, members: &[Member], size: usize, lanes: usize) -> Kernel {
    const STEP: usize = 16;
    let side = 4 * size;
    let Product { a, b, .. } = *product;
    let mut text = sizes(&[("SIDE", side), ("STEP", STEP), ("SIZE", size), ("LANES", 4 * lanes), ("MEMBERS", lanes)]);
    for (role, number) in [("A", "f16"), ("B", "f16"), ("C", "f32")] {
        text += &format!("alias Matrix{role} = coop_mat{size}x{size}<{number}, {role}>;\n");
    }
    text += &format!("const SCALE_A = {:?}; const SCALE_B = {:?};\n", a.scale, b.scale);
    tiled(kernel, product, members, side, side)
        .enable("wgpu_cooperative_matrix")
        .enable("f16")
        .part("gemm", include_str!("../../../shaders/shared/gemm_cooperative.wgsl").into())
        .part("gemm_sizes", text)
        .repeat("I", 2)
        .repeat("J", 2)
        .repeat("P", side * STEP / (4 * lanes))
        .repeat("Q", STEP / size)
        .flag("A_INNER", a.inner)
        .flag("B_INNER", b.inner)
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

    #[test]
    fn each_tile_of_each_slice_has_a_workgroup() {
        let sides = |variant| match variant {
            GemmVariant::Blocked128 => [128, 128],
            GemmVariant::Blocked64 | GemmVariant::Cooperative => [64, 64],
            GemmVariant::Blocked32 => [32, 32],
            GemmVariant::Broadcast32 => [32, 32],
            GemmVariant::Broadcast16 => [16, 32],
            GemmVariant::Registers => [8, 32],
        };
        for variant in GemmVariant::ALL {
            let target = Target { subgroup: Some(8), gemm: Some(variant), half: Some(16), ..Target::default() };
            let product = Product { shape: [100, 5000, 4], slices: 3, a: Operand::INNER, b: Operand::INNER };
            let kernel = gemm(
                Kernel::new("t.wgsl", "//#use items\n//#use gemm_tiles\nlet at = tile(group(wid, nwg));", "gemm"),
                product,
                &target,
            );
            let [rows, cols] = sides(variant);
            let tiles = 100usize.div_ceil(rows) * 5000usize.div_ceil(cols);
            assert_eq!(kernel.groups, 3 * tiles, "{variant:?}");
            assert!(kernel.source().unwrap().contains(&format!("min(number / {tiles}u, 2u)")), "{variant:?}");
        }
    }
}
