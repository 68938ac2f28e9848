// partials[g] = sum of w f(e), d = SCALE w f'(e), e = prediction - goal. Each workgroup takes one chunk.
//#use sum_lanes
//#use measure
override N: u32; override CHUNK: u32;
@group(0) @binding(0) var<storage, read> prediction: array<f32>;  // [N]
@group(0) @binding(1) var<storage, read> goal: array<f32>;  // [N]
//#if STEPS
//#use place
override D: u32; override T: u32;
@group(0) @binding(2) var<storage, read> t: array<f32>;  // [N / D]
@group(0) @binding(3) var<storage, read> table: array<f32>;  // [T]
//#endif
//#if MASK
@group(0) @binding(4) var<storage, read> mask: array<f32>;  // [N]
//#endif
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;  // one per workgroup
@group(0) @binding(6) var<storage, read_write> d: array<f32>;  // [N]

fn weight(i: u32) -> f32 {
  var w = 1.0;
//#if STEPS
  let row = place(t[i / D], T);
  w *= table[row.at] + row.part * (table[row.next] - table[row.at]);
//#endif
//#if MASK
  w *= mask[i];
//#endif
  return w;
}

@compute @workgroup_size(WG)
fn point_loss(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let g = group(wid, nwg);
  let end = min((g + 1u) * CHUNK, N);
  var sum = 0.0;
  for (var i = g * CHUNK + lane; i < end; i += WG) {
    let w = weight(i);
    let f = measure(prediction[i] - goal[i]);
    d[i] = SCALE * w * f.y;
    sum += w * f.x;
  }
  let all = sum_lanes(lane, sum);
  if (lane == 0u) { partials[g] = all; }
}
