// x0 = clip(c_x x + c_m m), x = k_x0 x0 + k_x x + k_m m + k_z z. One invocation per block of four elements.
//#use items
//#use random
override N: u32; override STEPS: u32; override STREAM: u32;
@group(0) @binding(0) var<storage, read> m: array<f32>;  // [N]
@group(0) @binding(1) var<storage, read> table: array<f32>;  // [STEPS, 8]: t, c_x, c_m, k_x0, k_x, k_m, k_z, bound
//#if GIVEN
@group(0) @binding(2) var<storage, read> given: array<f32>;  // [STEPS, N]
//#endif
@group(0) @binding(3) var<storage, read_write> x: array<f32>;  // [N]

@compute @workgroup_size(WG)
fn sampler_step(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
  let block = item(wid, nwg, lane);
  if (block * 4u >= N) { return; }
  let step = min(clock.step, STEPS - 1u);
  let row = step * 8u;
  let k_z = table[row + 6u];
  let bound = table[row + 7u];
  var z = vec4<f32>();
//#if GIVEN
//#else
  if (k_z != 0.0) { z = normals(words(STREAM, block)); }
//#endif
  for (var j = 0u; j < 4u; j++) {
    let i = block * 4u + j;
    if (i < N) {
//#if GIVEN
      let zi = given[step * N + i];
//#else
      let zi = z[j];
//#endif
      let x0 = clamp(table[row + 1u] * x[i] + table[row + 2u] * m[i], -bound, bound);
      x[i] = ((table[row + 3u] * x0 + table[row + 4u] * x[i]) + table[row + 5u] * m[i]) + k_z * zi;
    }
  }
}
