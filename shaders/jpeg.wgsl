// Per 8x8 block: P = pixels - 128, K = round(C P C^T / Q), y = C^T (K Q) C, back to [LOW, LOW + RANGE].
// One invocation per block; a block beyond the edge repeats the edge.
//#use items
//#use pixel
override N: u32; override H: u32; override W: u32;
override LOW: f32; override CONTRAST: f32; override RANGE: f32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [N, H, W]
@group(0) @binding(1) var<storage, read> tables: array<f32>;  // [2, 8, 8]: C, Q
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [N, H, W]

@compute @workgroup_size(WG)
fn jpeg(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let across = (W + 7u) / 8u;
  let down = (H + 7u) / 8u;
  if (i >= N * across * down) { return; }
  let plane = i / (across * down) * H * W;
  let top = i / across % down * 8u;
  let left = i % across * 8u;
  var a: array<f32, 64>;
  var b: array<f32, 64>;
  for (var e = 0u; e < 64u; e++) {
    let v = x[plane + min(top + e / 8u, H - 1u) * W + min(left + e % 8u, W - 1u)];
    a[e] = f32(pixel(clamp((v - LOW) * CONTRAST, 0.0, 1.0)) - 128);
  }
  // Each pass transposes the block, so that two equal passes make a transform: a -> b -> a forward, a -> b -> a
  // inverse.
  for (var pass_ = 0u; pass_ < 4u; pass_++) {
    let row = select(8u, 1u, pass_ > 1u);
    let column = select(1u, 8u, pass_ > 1u);
    for (var e = 0u; e < 64u; e++) {
      var sum = 0.0;
      for (var j = 0u; j < 8u; j++) { sum += tables[e % 8u * row + j * column] * a[8u * j + e / 8u]; }
      b[e] = sum;
    }
    for (var e = 0u; e < 64u; e++) {
      let q = tables[64u + e];
      a[e] = select(b[e], round(b[e] / q) * q, pass_ == 1u);
    }
  }
  for (var e = 0u; e < 64u; e++) {
    let at = vec2<u32>(top + e / 8u, left + e % 8u);
    if ((at.x < H) & (at.y < W)) { y[plane + at.x * W + at.y] = LOW + RANGE * clamp((a[e] + 128.0) / 255.0, 0.0, 1.0); }
  }
}
