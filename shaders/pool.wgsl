// The mean or the maximum of each window, and its backward pass. Planes are [B C]; one invocation per element written.
//#use window
//#use nan
//#use items
override N: u32;
//#if READS_X
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [planes, H, W]
//#endif
//#if MAX
// The index within a plane of the first maximum of the window at (oy, ox); a NaN is larger than every number.
fn largest(plane: u32, oy: u32, ox: u32) -> u32 {
  var best = 0u;
  var found = false;
  for (var tap = 0u; tap < KH * KW; tap++) {
    let iy = oy * SH + tap / KW - PH;
    let ix = ox * SW + tap % KW - PW;
    if ((iy < H) & (ix < W)) {
      let at = iy * W + ix;
      let v = x[plane * H * W + at];
      if (!found | (v > x[plane * H * W + best]) | is_nan(v)) { best = at; }
      found = true;
    }
  }
  return best;
}
//#endif
//#if FORWARD
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [planes, OH, OW]

@compute @workgroup_size(WG)
fn pool(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let plane = i / (OH * OW);
  let oy = i / OW % OH;
  let ox = i % OW;
//#if MAX
  y[i] = x[plane * H * W + largest(plane, oy, ox)];
//#else
  var sum = 0.0;
  for (var tap = 0u; tap < KH * KW; tap++) {
    let iy = oy * SH + tap / KW - PH;
    let ix = ox * SW + tap % KW - PW;
    if ((iy < H) & (ix < W)) { sum += x[(plane * H + iy) * W + ix]; }
  }
  y[i] = sum / f32(KH * KW);
//#endif
}
//#else
@group(0) @binding(1) var<storage, read> dy: array<f32>;  // [planes, OH, OW]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;  // [planes, H, W]

// The sum over the windows that contain the element.
@compute @workgroup_size(WG)
fn pool_input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let plane = i / (H * W);
  let iy = i / W % H;
  let ix = i % W;
  var sum = 0.0;
  for (var tap = 0u; tap < KH * KW; tap++) {
    let ty = iy + PH - tap / KW;
    let tx = ix + PW - tap % KW;
    let oy = ty / SH;
    let ox = tx / SW;
    if ((ty % SH == 0u) & (tx % SW == 0u) & (oy < OH) & (ox < OW)) {
      let d = dy[(plane * OH + oy) * OW + ox];
//#if MAX
      if (largest(plane, oy, ox) == iy * W + ix) { sum += d; }
//#else
      sum += d;
//#endif
    }
  }
//#if MAX
  dx[i] = sum;
//#else
  dx[i] = sum / f32(KH * KW);
//#endif
}
//#endif
