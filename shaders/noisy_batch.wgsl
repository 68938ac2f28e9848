// A row of the data, its noise and its step encoding: gather, noise and encode in one dispatch.
// LANES invocations per row, each for every LANES-th block of four numbers and every LANES-th frequency.
//#use items
//#use batch_row
//#use noise_row
override ROWS: u32; override STREAM: u32; override LANES: u32;
@group(0) @binding(0) var<storage, read_write> x_in: array<f32>;  // [B, D + E]
// Behind the parts of the data, which are as many as a shader can have buffers.
@group(0) @binding(48) var<storage, read> table: array<f32>;  // [T, 4]: a, s, p, q
@group(0) @binding(50) var<storage, read_write> goal: array<f32>;  // [B, D]
@group(0) @binding(51) var<storage, read_write> t: array<f32>;  // [B]
//#use parts
//#if ENCODE
//#use encode_pair
override E: u32; override F: u32;
@group(0) @binding(49) var<storage, read> rates: array<u32>;  // [F, 2]
//#else
const E: u32 = 0u;
//#endif

@compute @workgroup_size(WG)
fn noisy_batch(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let b = i / LANES;
  if (b >= B) { return; }
  let of_batch = clock.first_row + b;
  let row = batch_row(of_batch);
  let time = time_from(words(STREAM + 1u, of_batch));
  let level = level_of(time);
  if (i % LANES == 0u) { t[b] = time.t; }
  let blocks = (D + 3u) / 4u;
  for (var block = i % LANES; block < blocks; block += LANES) {
    let z = normals(words(STREAM, of_batch * blocks + block));
    for (var j = 0u; j < 4u; j++) {
      let d = block * 4u + j;
      if (d < D) {
        let x = element(row, d);
        x_in[b * (D + E) + d] = level.x * x + level.y * z[j];
        goal[b * D + d] = level.w * z[j] + level.z * x;
      }
    }
  }
//#if ENCODE
  for (var f = i % LANES; f < F; f += LANES) {
    let wave = encode_pair(time.t, rates[2u * f], rates[2u * f + 1u]);
    let columns = wave_columns(f, E);
    let start = b * (D + E) + D;
    x_in[start + columns.x] = wave.x;
    if (columns.y < E) { x_in[start + columns.y] = wave.y; }
    if (LAYOUT > 0u && E % 2u == 1u && f == 0u) { x_in[start + E - 1u] = 0.0; }
  }
//#endif
}
