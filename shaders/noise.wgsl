// x_t = a_t x0 + s_t eps and goal = p_t x0 + q_t eps, with t and eps drawn here, or given. LANES invocations per row, each for
// every LANES-th block of four.
//#use items
//#use random
//#use noise_row
override LANES: u32;
@group(0) @binding(0) var<storage, read> x0: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read> table: array<f32>;  // [T, 4]: a, s, p, q
//#if GIVEN
@group(0) @binding(5) var<storage, read> eps: array<f32>;  // [B, D]
@group(0) @binding(6) var<storage, read> draws: array<f32>;  // [B]: u, or z
//#else
override STREAM: u32;
//#endif
@group(0) @binding(2) var<storage, read_write> x_t: array<f32>;  // [B, D]
@group(0) @binding(3) var<storage, read_write> goal: array<f32>;  // [B, D]
@group(0) @binding(4) var<storage, read_write> t: array<f32>;  // [B]

@compute @workgroup_size(WG)
fn noise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let row = i / LANES;
  if (row >= B) { return; }
//#if GIVEN
  let time = time_of(draws[row]);
//#else
  let time = time_from(words(STREAM + 1u, clock.first_row + row));
//#endif
  let level = level_of(time);
  if (i % LANES == 0u) { t[row] = time.t; }
  let blocks = (D + 3u) / 4u;
  for (var block = i % LANES; block < blocks; block += LANES) {
//#if GIVEN
    var z: vec4<f32>;
    for (var j = 0u; j < 4u; j++) {
      if (block * 4u + j < D) { z[j] = eps[row * D + block * 4u + j]; }
    }
//#else
    let z = normals(words(STREAM, (clock.first_row + row) * blocks + block));
//#endif
    for (var j = 0u; j < 4u; j++) {
      let d = block * 4u + j;
      if (d < D) {
        let e = row * D + d;
        let x = x0[e];
        x_t[e] = level.x * x + level.y * z[j];
        goal[e] = level.w * z[j] + level.z * x;
      }
    }
  }
}
