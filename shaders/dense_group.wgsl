// The products of the dense layers of one input x, whose parameters are parts of a slab. The layers are
// adjacent along the outputs: O is the sum of their widths. `layers` has the functions that find the layer of an output.
override M: u32; override N: u32; override K: u32;
//#if FORWARD
// y[i] = x W[i]^T + b[i]: M = B, N = O, K = I.
@group(0) @binding(7) var<storage, read> x: array<f32>;  // [B, I]
@group(0) @binding(8) var<storage, read> params: array<f32>;
//#use layers
fn load_a(row: u32, k: u32) -> f32 { return x[row * K + k]; }
fn load_b(k: u32, col: u32) -> f32 { return params[weight_at(col, K) + k]; }
fn store(row: u32, col: u32, sum: f32) { put(row, col, sum + params[bias_at(col)]); }
//#endif
//#if INPUT
// dx = (sum over layers of dz[i] W[i]) act'(saved): M = B, N = I, K = O.
//#use activation
@group(0) @binding(7) var<storage, read> params: array<f32>;
//#if SLOPE
@group(0) @binding(8) var<storage, read> saved: array<f32>;  // [B, I]
//#endif
@group(0) @binding(9) var<storage, read_write> dx: array<f32>;  // [B, I]
//#use layers
fn load_a(row: u32, k: u32) -> f32 { return gradient(row, k); }
fn load_b(k: u32, col: u32) -> f32 { return params[weight_at(k, N) + col]; }
fn store(row: u32, col: u32, sum: f32) {
//#if SLOPE
  dx[row * N + col] = sum * activation_slope(saved[row * N + col]);
//#else
  dx[row * N + col] = sum;
//#endif
}
//#endif
//#if WEIGHT
// [dW[i] | db[i]] = dz[i]^T [x | 1]: M = O, N = I + 1, K = B.
@group(0) @binding(7) var<storage, read> x: array<f32>;  // [B, I]
@group(0) @binding(8) var<storage, read_write> grads: array<f32>;
//#use layers
fn load_a(row: u32, k: u32) -> f32 { return gradient(k, row); }
fn load_b(k: u32, col: u32) -> f32 {
  let i = N - 1u;
  return select(x[k * i + min(col, i - 1u)], 1.0, col == i);
}
fn store(row: u32, col: u32, sum: f32) {
  let i = N - 1u;
  grads[select(weight_at(row, i) + col, bias_at(row), col == i)] = sum;
}
//#endif
//#use gemm
