// The gradients of the parameters of a chain of dense layers, from what chain_gradient keeps: [dW | db] = dz^T [x | 1] for
// each layer, with the tiles of all layers in one grid; `tile` sets the sizes of that of a layer.
// With SPLIT a slice has K samples of the BATCH, and the output is parts[slice]; beyond the last sample dz is 0.
override K: u32; override BATCH: u32;
var<private> M: u32;  // outputs
var<private> N: u32;  // inputs and a column of ones
var<private> x_at: u32; var<private> dz_at: u32;  // offsets in `kept`: x [B, I], dz [B, O]
var<private> w_at: u32; var<private> b_at: u32;  // offsets in the output: dW [O, I], db [O]
//#if SPLIT
override TOTAL: u32;
fn sample(k: u32) -> u32 { return min(slice * K + k, BATCH - 1u); }
fn inside(k: u32) -> bool { return slice * K + k < BATCH; }
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;  // [S, TOTAL]
fn write(at: u32, v: f32) { parts[slice * TOTAL + at] = v; }
//#else
fn sample(k: u32) -> u32 { return k; }
fn inside(k: u32) -> bool { return true; }
@group(0) @binding(1) var<storage, read_write> gradients: array<f32>;  // the slab
fn write(at: u32, v: f32) { gradients[at] = v; }
//#endif
//#if A_VEC4
@group(0) @binding(0) var<storage, read> kept: array<vec4<f32>>;
fn load_a4(row: u32, k: u32) -> vec4<f32> {
  return select(vec4<f32>(), kept[(dz_at + sample(k) * M + row) / 4u], inside(k));
}
fn load_b4(k: u32, col: u32) -> vec4<f32> {
  let i = N - 1u;
  return select(kept[(x_at + sample(k) * i + min(col, i - 4u)) / 4u], vec4(1.0, 0.0, 0.0, 0.0), col == i);
}
//#else
@group(0) @binding(0) var<storage, read> kept: array<f32>;
fn load_a(row: u32, k: u32) -> f32 { return select(0.0, kept[dz_at + sample(k) * M + row], inside(k)); }
fn load_b(k: u32, col: u32) -> f32 {
  let i = N - 1u;
  return select(kept[x_at + sample(k) * i + min(col, i - 1u)], 1.0, col == i);
}
//#endif
fn store(row: u32, col: u32, sum: f32) {
  let i = N - 1u;
  write(select(w_at + row * i + col, b_at + row, col == i), sum);
}
//#use gemm
