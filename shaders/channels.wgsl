// y = act(x + bias by plane), and sums over planes.
//#use items
override N: u32; override P: u32;
//#if BIAS
//#use activation
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B C, P]
@group(0) @binding(1) var<storage, read> bias: array<f32>;  // [B C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [B C, P]
//#if SAVE
@group(0) @binding(3) var<storage, read_write> z: array<f32>;  // [B C, P]
//#endif

// One invocation per element.
@compute @workgroup_size(WG)
fn add_bias(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let v = x[i] + bias[i / P];
//#if SAVE
  z[i] = v;
//#endif
  y[i] = activate(v);
}
//#else
override C: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [N / P / C, C, P]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;  // [C]
//#use sum_lanes

// sums[c] = sum of x[b, c, p] over b and p. One invocation per channel, for short sums.
@compute @workgroup_size(WG)
fn sum_short(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let c = item(wid, nwg, lane);
  if (c >= C) { return; }
  var sum = 0.0;
  for (var i = 0u; i < N / C; i++) { sum += x[(i / P * C + c) * P + i % P]; }
  sums[c] = sum;
}

// The same with one workgroup per channel, reduced as a tree over its lanes.
@compute @workgroup_size(WG)
fn sum_planes(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let c = group(wid, nwg);
  var sum = 0.0;
  for (var i = lane; (c < C) & (i < N / C); i += WG) { sum += x[(i / P * C + c) * P + i % P]; }
  let all = sum_lanes(lane, sum);
  if (lane == 0u && c < C) { sums[c] = all; }
}
//#endif
