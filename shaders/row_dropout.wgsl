// y[b] = fill in all elements with probability P, else x[b]. One invocation per element.
//#use items
//#use random
override N: u32; override D: u32; override STREAM: u32; override P: f32; override FILL: f32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn row_dropout(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let threshold = u32(min(P * 4294967296.0, 4294967040.0));
  y[i] = select(x[i], FILL, words(STREAM, clock.first_row + i / D).x < threshold);
}
