// y[b] = fill in all elements with probability P, else x[b]. LANES invocations per row.
//#use items
//#use random
override B: u32; override D: u32; override LANES: u32; override STREAM: u32; override P: f32; override FILL: f32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn row_dropout(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let b = i / LANES;
  if (b >= B) { return; }
  let threshold = u32(min(P * 4294967296.0, 4294967040.0));
  let dropped = words(STREAM, clock.first_row + b).x < threshold;
  for (var d = i % LANES; d < D; d += LANES) { y[b * D + d] = select(x[b * D + d], FILL, dropped); }
}
