// x0 = clip(c x + (c_x x + c_m m)), to +- bound and to the limits of its place in the row; x' and the histories h' and g'
// are linear in x0, x, m, d = x0 - h, g, and x' also in z: row `step` of the table has t, c, c_x, c_m, bound, the weights
// of x0, x, m, d, g and z in x', and those of x0, x, m, d, g in h', and in g'.
// One invocation per block of four elements.
//#use items
//#use blocks
//#use nan
override N: u32; override STEPS: u32; override STREAM: u32;
@group(0) @binding(0) var<storage, read> m: array<f32>;  // [N]
@group(0) @binding(1) var<storage, read> table: array<f32>;  // [STEPS, 21]
//#if GIVEN
@group(0) @binding(2) var<storage, read> given: array<f32>;  // [STEPS, N]
//#endif
//#if LIMITED
@group(0) @binding(3) var<storage, read> limits: array<f32>;  // [2, W]
//#endif
@group(0) @binding(4) var<storage, read_write> x: array<f32>;  // [N]
//#if HISTORY
@group(0) @binding(5) var<storage, read_write> history: array<f32>;  // [2, N] with TWO, otherwise [N]
//#endif

@compute @workgroup_size(WG)
fn sampler_step(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
  let block = item(wid, nwg, lane);
  if (block * 4u >= N + first_word()) { return; }
  let step = min(clock.step, STEPS - 1u);
  let row = step * 21u;
  let bound = table[row + 4u];
  let k_z = table[row + 10u];
  var z = vec4<f32>();
//#if GIVEN
//#else
  if (k_z != 0.0) { z = normals(words(STREAM, first_block() + block)); }
//#endif
  for (var j = 0u; j < 4u; j++) {
    let i = block * 4u + j - first_word();
    if (i < N) {
//#if GIVEN
      let zi = given[step * N + i];
//#else
      let zi = z[j];
//#endif
      let xi = x[i];
      var low = -bound;
      var high = bound;
//#if LIMITED
      low = max(low, limits[i % W]);
      high = min(high, limits[W + i % W]);
//#endif
      let free = table[row + 1u] * xi + (table[row + 2u] * xi + table[row + 3u] * m[i]);
      let x0 = keep_nan(clamp(free, low, high), free);
      let next = (table[row + 5u] * x0 + table[row + 6u] * xi) + table[row + 7u] * m[i];
//#if HISTORY
      let d = x0 - history[i];
      let next_h = ((table[row + 11u] * x0 + table[row + 12u] * xi) + table[row + 13u] * m[i]) + table[row + 14u] * d;
//#if TWO
      let g = history[N + i];
      x[i] = ((next + table[row + 8u] * d) + table[row + 9u] * g) + k_z * zi;
      history[i] = next_h + table[row + 15u] * g;
      let next_g = ((table[row + 16u] * x0 + table[row + 17u] * xi) + table[row + 18u] * m[i]) + table[row + 19u] * d;
      history[N + i] = next_g + table[row + 20u] * g;
//#else
      x[i] = (next + table[row + 8u] * d) + k_z * zi;
      history[i] = next_h;
//#endif
//#else
      x[i] = next + k_z * zi;
//#endif
    }
  }
}
