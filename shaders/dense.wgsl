// The dense layer as three products over the shared `gemm`, which calls load_a, load_b and store; load_a4 and load_b4
// if all contiguous runs are multiples of four.
override M: u32; override N: u32; override K: u32;
//#if FORWARD
// y = act(x W^T + b): M = B, N = O, K = I.
//#use activation
//#if A_VEC4
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;  // [B, I]
fn load_a4(row: u32, k: u32) -> vec4<f32> { return x[(row * K + k) / 4u]; }
//#else
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, I]
fn load_a(row: u32, k: u32) -> f32 { return x[row * K + k]; }
//#endif
//#if B_VEC4
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;  // [O, I]
fn load_b4(k: u32, col: u32) -> vec4<f32> { return w[(col * K + k) / 4u]; }
//#else
@group(0) @binding(1) var<storage, read> w: array<f32>;  // [O, I]
fn load_b(k: u32, col: u32) -> f32 { return w[col * K + k]; }
//#endif
@group(0) @binding(2) var<storage, read> b: array<f32>;  // [O]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [B, O]
//#if SAVE
@group(0) @binding(4) var<storage, read_write> z: array<f32>;  // [B, O]
fn store(row: u32, col: u32, sum: f32) {
  let v = sum + b[col];
  z[row * N + col] = v;
  y[row * N + col] = activate(v);
}
//#else
fn store(row: u32, col: u32, sum: f32) { y[row * N + col] = activate(sum + b[col]); }
//#endif
//#endif
//#if INPUT
// dx = (dz W) act'(saved): M = B, N = I, K = O.
//#use activation
//#if A_VEC4
@group(0) @binding(0) var<storage, read> dz: array<vec4<f32>>;  // [B, O]
fn load_a4(row: u32, k: u32) -> vec4<f32> { return dz[(row * K + k) / 4u]; }
//#else
@group(0) @binding(0) var<storage, read> dz: array<f32>;  // [B, O]
fn load_a(row: u32, k: u32) -> f32 { return dz[row * K + k]; }
//#endif
//#if B_VEC4
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;  // [O, I]
fn load_b4(k: u32, col: u32) -> vec4<f32> { return w[(k * N + col) / 4u]; }
//#else
@group(0) @binding(1) var<storage, read> w: array<f32>;  // [O, I]
fn load_b(k: u32, col: u32) -> f32 { return w[k * N + col]; }
//#endif
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;  // [B, I]
//#if SLOPE
@group(0) @binding(2) var<storage, read> saved: array<f32>;  // [B, I]
fn store(row: u32, col: u32, sum: f32) { dx[row * N + col] = sum * activation_slope(saved[row * N + col]); }
//#else
fn store(row: u32, col: u32, sum: f32) { dx[row * N + col] = sum; }
//#endif
//#endif
//#if WEIGHT
// [dW | db] = dz^T [x | 1]: M = O, N = I + 1, K = B. With SPLIT a slice has K samples of the BATCH, and the output is
// parts[slice] = [dW | db]; beyond the last sample dz is 0.
//#if SPLIT
override BATCH: u32;
fn sample(k: u32) -> u32 { return min(slice * K + k, BATCH - 1u); }
fn inside(k: u32) -> bool { return slice * K + k < BATCH; }
//#else
fn sample(k: u32) -> u32 { return k; }
fn inside(k: u32) -> bool { return true; }
//#endif
//#if A_VEC4
@group(0) @binding(0) var<storage, read> dz: array<vec4<f32>>;  // [B, O]
fn load_a4(row: u32, k: u32) -> vec4<f32> { return select(vec4<f32>(), dz[(sample(k) * M + row) / 4u], inside(k)); }
//#else
@group(0) @binding(0) var<storage, read> dz: array<f32>;  // [B, O]
fn load_a(row: u32, k: u32) -> f32 { return select(0.0, dz[sample(k) * M + row], inside(k)); }
//#endif
//#if B_VEC4
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;  // [B, I]
fn load_b4(k: u32, col: u32) -> vec4<f32> {
  let i = N - 1u;
  return select(x[(sample(k) * i + min(col, i - 4u)) / 4u], vec4(1.0, 0.0, 0.0, 0.0), col == i);
}
//#else
@group(0) @binding(1) var<storage, read> x: array<f32>;  // [B, I]
fn load_b(k: u32, col: u32) -> f32 {
  let i = N - 1u;
  return select(x[sample(k) * i + min(col, i - 1u)], 1.0, col == i);
}
//#endif
//#if SPLIT
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;  // [S, O I + O]
fn store(row: u32, col: u32, sum: f32) {
  let i = N - 1u;
  parts[slice * (M * N) + select(row * i + col, M * i + row, col == i)] = sum;
}
//#else
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;  // [O, I]
@group(0) @binding(3) var<storage, read_write> db: array<f32>;  // [O]
fn store(row: u32, col: u32, sum: f32) {
  let i = N - 1u;
  if (col == i) { db[row] = sum; } else { dw[row * i + col] = sum; }
}
//#endif
//#endif
//#use gemm
