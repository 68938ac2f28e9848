// y[i] = scale[i mod C] x[i] + shift[i mod C]. One invocation per element.
//#use items
override N: u32; override C: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [N]
@group(0) @binding(1) var<storage, read> table: array<f32>;  // [2, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [N]

@compute @workgroup_size(WG)
fn affine(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N) { y[i] = table[i % C] * x[i] + table[C + i % C]; }
}
