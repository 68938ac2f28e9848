// Convolutions as products over the shared `gemm`, which calls load_a, load_b and store: the matrices of all windows
// are never stored. Their values are loaded one at a time, because the runs of a window are contiguous but not aligned. An
// index is (offset, row, column), of a tap or of a place; their sum is the position in the image. Positions left of or
// above the image wrap around and are therefore outside too.
//#use window
override M: u32; override N: u32; override K: u32;
//#if EPILOGUE
//#use activation
//#if BIAS
@group(0) @binding(2) var<storage, read> b: array<f32>;  // [M]
//#endif
//#if SLOPE
@group(0) @binding(2) var<storage, read> saved: array<f32>;  // as y
//#endif
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
//#if SAVE
@group(0) @binding(4) var<storage, read_write> z: array<f32>;  // as y
//#endif
//#if PLANES
override AREA: u32;  // elements of a plane of y
@group(0) @binding(5) var<storage, read> planes: array<f32>;  // [B, M]
//#endif
//#if ADDEND
@group(0) @binding(6) var<storage, read> addend: array<f32>;  // as y
//#endif
fn put(at: u32, channel: u32, sum: f32) {
//#if BIAS
//#if PLANES
  let v = sum + b[channel] + planes[at / AREA];
//#else
  let v = sum + b[channel];
//#endif
//#if SAVE
  z[at] = v;
//#endif
  let own = activate(v);
//#else
//#if SLOPE
  let own = sum * activation_slope(saved[at]);
//#else
  let own = sum;
//#endif
//#endif
//#if ADDEND
  y[at] = own + addend[at];
//#else
  y[at] = own;
//#endif
}
//#endif
//#if WINDOWS
override CHANNELS: u32;  // C; `C` itself is a role of cooperative matrices in naga
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, C, H, W]
fn tap_of(i: u32) -> vec3<u32> {
  let ky = i % (KH * KW) / KW;
  let kx = i % KW;
  return vec3((i / (KH * KW) * H + ky) * W + kx, ky, kx);
}
fn window_of(sample: u32, place: u32) -> vec3<u32> {
  let y = place / OW * SH - PH;
  let x = place % OW * SW - PW;
  return vec3(sample * CHANNELS * H * W + y * W + x, y, x);
}
fn element(at: vec3<u32>) -> f32 {
  let inside = (at.y < H) & (at.z < W);
  return select(0.0, x[select(0u, at.x, inside)], inside);
}
//#endif
//#if GATHER
// y [B, O, OH OW] from x [B, C, H W]: M = O, N = B OH OW, K = C KH KW.
//#if A_VEC4
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;  // [O, C, KH, KW]
fn load_a4(row: u32, k: u32) -> vec4<f32> { return w[(row * K + k) / 4u]; }
//#else
@group(0) @binding(1) var<storage, read> w: array<f32>;  // [O, C, KH, KW]
fn load_a(row: u32, k: u32) -> f32 { return w[row * K + k]; }
//#endif
fn inner(k: u32) -> vec3<u32> { return tap_of(k); }
fn outer(col: u32) -> vec3<u32> { return window_of(col / (OH * OW), col % (OH * OW)); }
fn load_b(tap: vec3<u32>, window: vec3<u32>) -> f32 { return element(window + tap); }
fn store(row: u32, col: u32, sum: f32) {
  put((col / (OH * OW) * M + row) * (OH * OW) + col % (OH * OW), row, sum);
}
//#endif
//#if SCATTER
// y [B, C, H W] from x [B, O, OH OW], the transpose of the above. A slice computes the elements (i SH + fy, j SW + fx)
// of y, reached by one residue of the taps: M = C, N = B ceil(H / SH) ceil(W / SW), K = O ceil(KH / SH) ceil(KW / SW).
override O: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, O, OH, OW]
@group(0) @binding(1) var<storage, read> w: array<f32>;  // [O, C, KH, KW]
fn phase() -> vec2<u32> { return vec2(slice / SW, slice % SW); }
fn tap_rows() -> u32 { return (KH + SH - 1u) / SH; }
fn tap_cols() -> u32 { return (KW + SW - 1u) / SW; }
fn image_rows() -> u32 { return (H + SH - 1u) / SH; }
fn image_cols() -> u32 { return (W + SW - 1u) / SW; }
fn load_a(row: u32, k: u32) -> f32 {
  let taps = tap_rows() * tap_cols();
  let tap = k % taps;
  let f = phase();
  let ky = (f.x + PH) % SH + SH * (tap / tap_cols());
  let kx = (f.y + PW) % SW + SW * (tap % tap_cols());
  let inside = (ky < KH) & (kx < KW);
  return select(0.0, w[select(0u, ((k / taps * M + row) * KH + ky) * KW + kx, inside)], inside);
}
fn inner(k: u32) -> vec3<u32> {
  let taps = tap_rows() * tap_cols();
  let ty = k % taps / tap_cols();
  let tx = k % taps % tap_cols();
  return vec3(k / taps * OH * OW - ty * OW - tx, 0u - ty, 0u - tx);
}
fn outer(col: u32) -> vec3<u32> {
  let at = col % (image_rows() * image_cols());
  let oy = at / image_cols() + (phase().x + PH) / SH;
  let ox = at % image_cols() + (phase().y + PW) / SW;
  return vec3(col / (image_rows() * image_cols()) * O * OH * OW + oy * OW + ox, oy, ox);
}
fn load_b(tap: vec3<u32>, place: vec3<u32>) -> f32 {
  let at = place + tap;
  let inside = (at.y < OH) & (at.z < OW);
  return select(0.0, x[select(0u, at.x, inside)], inside);
}
fn store(row: u32, col: u32, sum: f32) {
  let at = col % (image_rows() * image_cols());
  let f = phase();
  let iy = at / image_cols() * SH + f.x;
  let ix = at % image_cols() * SW + f.y;
  if (iy < H && ix < W) { put((((col / (image_rows() * image_cols())) * M + row) * H + iy) * W + ix, row, sum); }
}
//#endif
//#if WEIGHT
// parts[s] = [dW | db] of PER samples: M = O, N = C KH KW (+ 1 for db, against a column of ones), K = PER OH OW.
override BATCH: u32; override PER: u32;  // BATCH: B, see CHANNELS
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;  // [S, O C KH KW + O]
fn place_of(row: u32, k: u32) -> u32 {
  let sample = min(slice * PER + k / (OH * OW), BATCH - 1u);
  return (sample * M + row) * (OH * OW) + k % (OH * OW);
}
fn within(k: u32) -> bool { return slice * PER + k / (OH * OW) < BATCH; }
//#if A_VEC4
@group(0) @binding(1) var<storage, read> dz: array<vec4<f32>>;  // [B, O, OH, OW]
fn load_a4(row: u32, k: u32) -> vec4<f32> { return select(vec4<f32>(), dz[place_of(row, k) / 4u], within(k)); }
//#else
@group(0) @binding(1) var<storage, read> dz: array<f32>;  // [B, O, OH, OW]
fn load_a(row: u32, k: u32) -> f32 { return select(0.0, dz[place_of(row, k)], within(k)); }
//#endif
fn inner(k: u32) -> vec3<u32> { return window_of(min(slice * PER + k / (OH * OW), BATCH - 1u), k % (OH * OW)); }
// The column of ones is outside of every image, wherever the window is, and is marked by an offset that no tap has.
fn outer(col: u32) -> vec3<u32> {
  return select(tap_of(col), vec3(~0u, 0x80000000u, 0x80000000u), col >= CHANNELS * KH * KW);
}
fn load_b(window: vec3<u32>, tap: vec3<u32>) -> f32 { return select(element(window + tap), 1.0, tap.x == ~0u); }
fn store(row: u32, col: u32, sum: f32) {
  let taps = CHANNELS * KH * KW;
  parts[slice * M * N + select(row * taps + col, M * taps + row, col >= taps)] = sum;
}
//#endif
//#use gemm
