// enc(t): sines and cosines of t r_i. One invocation per (row, frequency).
//#use items
//#use encode_pair
override B: u32; override F: u32; override D: u32;
@group(0) @binding(0) var<storage, read> t: array<f32>;  // [B]
@group(0) @binding(1) var<storage, read> rates: array<u32>;  // [F, 2]: high and low word of 2^-64 turns per step
@group(0) @binding(2) var<storage, read_write> enc: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn encode(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let row = i / F;
  let f = i % F;
  if (row >= B) { return; }
  let wave = encode_pair(t[row], rates[2u * f], rates[2u * f + 1u]);
  let columns = wave_columns(f, D);
  enc[row * D + columns.x] = wave.x;
  if (columns.y < D) { enc[row * D + columns.y] = wave.y; }
  if (LAYOUT > 0u && D % 2u == 1u && f == 0u) { enc[row * D + D - 1u] = 0.0; }
}
