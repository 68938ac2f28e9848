//! The matrix product of the GPU kernels: C = A B in one of several families, chosen by the adapter.
//!
//! A shader that uses it defines `load_a(row, k)`, `load_b(k, col)` and `store(row, col, value)`, and the overrides
//! `M`, `N` and `K` come from here; transposes, implicit matrices and epilogues are therefore the shader's own. Several
//! products in one dispatch are told apart by `slice`, the workgroup's z ([`Kernel::slices`]).
//!
//! With the flag `INDEXED`, `load_b(inner(k), outer(col))` is called instead, so that what is costly to find from k or col
//! alone (a place in an image) is found once.

use std::fmt::Write;

use crate::kernel::{Kernel, Target};

/// How an operand lies in memory, so that neighbouring invocations read neighbouring addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contiguous {
    /// Along k.
    Inner,
    /// Along the rows of A, or the columns of B.
    Outer,
}

/// Multiply-adds from which on a product is large.
pub(super) const LARGE: usize = 1 << 25;

/// C [m, n] = A [m, k] B [k, n] by the entry point `gemm`.
pub(crate) fn gemm(kernel: Kernel, [m, n, k]: [usize; 3], a: Contiguous, b: Contiguous, target: &Target) -> Kernel {
    let kernel = kernel.dim("M", m).dim("N", n).dim("K", k);
    match target.subgroup {
        Some(lanes) if target.software => {
            // 32 x 4 is up to twice as fast as 16 x 4, but takes the driver seconds to compile: only large products earn
            // that back.
            let (rows, cols) = if m * n * k >= LARGE { (32, 4) } else { (16, 4) };
            let text = broadcast(lanes, rows, cols, kernel.has("INDEXED"));
            kernel.part("gemm", text).grid(n.div_ceil((lanes * cols) as usize), m.div_ceil(rows as usize))
        }
        _ => {
            let text = include_str!("../../shaders/shared/gemm_tile.wgsl");
            kernel
                .part("gemm", text.to_string())
                .flag("A_INNER", a == Contiguous::Inner)
                .flag("B_INNER", b == Contiguous::Inner)
                .grid(n.div_ceil(64), m.div_ceil(64))
        }
    }
}

/// For software rasterizers: one subgroup a workgroup, its lanes along the columns, everything in registers. A is
/// fetched one value per lane and spread by `subgroupBroadcast`, because shared memory and repeated loads cost most
/// there. The text is unrolled here, since naga's loops are not unrolled by the drivers.
fn broadcast(lanes: u32, rows: u32, cols: u32, indexed: bool) -> String {
    let mut s = String::new();
    let mut line = |text: String| writeln!(s, "{text}").expect("writing to a string");
    line("var<private> slice: u32;".into());
    line(format!(
        "@compute @workgroup_size({lanes}) fn gemm(@builtin(workgroup_id) wid: vec3<u32>, \
         @builtin(subgroup_invocation_id) lane: u32) {{"
    ));
    line("slice = wid.z;".into());
    line(format!("let row = wid.y * {rows}u; let col = wid.x * {}u + lane;", lanes * cols));
    for j in 0..cols {
        // Columns beyond the edge repeat the last one and are not stored.
        let col = format!("min(col + {}u, N - 1u)", j * lanes);
        line(if indexed { format!("let n{j} = outer({col});") } else { format!("let n{j} = {col};") });
    }
    for i in 0..rows {
        line(format!("let m{i} = min(row + {i}u, M - 1u);"));
        (0..cols).for_each(|j| line(format!("var c{i}_{j} = 0.0;")));
    }
    line(format!(
        "for (var k0 = 0u; k0 < K; k0 += {lanes}u) {{ let ka = min(k0 + lane, K - 1u); let inside = k0 + lane < K;"
    ));
    for i in 0..rows {
        line(format!("let a{i} = select(0.0, load_a(m{i}, ka), inside);"));
    }
    if indexed {
        line("let inside_k = inner(ka);".into());
    }
    for k in 0..lanes {
        line(match indexed {
            true => format!("{{ let kb = subgroupBroadcast(inside_k, {k}u);"),
            false => format!("{{ let kb = min(k0 + {k}u, K - 1u);"),
        });
        (0..cols).for_each(|j| line(format!("let b{j} = load_b(kb, n{j});")));
        for i in 0..rows {
            line(format!("let x{i} = subgroupBroadcast(a{i}, {k}u);"));
            (0..cols).for_each(|j| line(format!("c{i}_{j} = fma(x{i}, b{j}, c{i}_{j});")));
        }
        line("}".into());
    }
    line("}".into());
    for i in 0..rows {
        for j in 0..cols {
            let at = j * lanes;
            line(format!("if (row + {i}u < M && col + {at}u < N) {{ store(row + {i}u, col + {at}u, c{i}_{j}); }}"));
        }
    }
    line("}".into());
    s
}
