// x0 = clip(c x + (c_x x + c_m m)), to +- bound and to the limits of its place in the row; x' and the histories h' and g'
// are linear in x0, x, m, d = x0 - h, g, and x' also in z: row `step` of the table has t, c, c_x, c_m, bound, the weights
// of x0, x, m, d, g and z in x', and those of x0, x, m, d, g in h', and in g'.
// One invocation per block of four elements.
//#use items
//#use sampler_update
@group(0) @binding(0) var<storage, read> m: array<f32>;  // [N]

@compute @workgroup_size(WG)
fn sampler_step(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
  let block = item(wid, nwg, lane);
  if (block * 4u >= N + first_word()) { return; }
  let row = coefficients();
  let z = noise_of(row, block);
  for (var j = 0u; j < 4u; j++) {
    let i = block * 4u + j - first_word();
    if (i < N) { update(row, i, m[i], z[j]); }
  }
}
