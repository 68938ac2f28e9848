// y[i] = table[min(step, K - 1), 0]. One invocation per element.
//#use items
//#use clock
override B: u32; override K: u32; override C: u32;
@group(0) @binding(0) var<storage, read> table: array<f32>;  // [K, C]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [B]

@compute @workgroup_size(WG)
fn fill(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < B) { y[i] = table[min(clock.step, K - 1u) * C]; }
}
