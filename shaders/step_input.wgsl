// [x | enc(t)] with t from row `step` of the table. One invocation per row and value or frequency.
//#use items
//#use encode_pair
override B: u32; override D: u32; override E: u32; override F: u32; override K: u32; override C: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read> table: array<f32>;  // [K, C]
@group(0) @binding(2) var<storage, read> rates: array<u32>;  // [F, 2]: high and low word of 2^-64 turns per step
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [B, D + E]

@compute @workgroup_size(WG)
fn step_input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let row = i / (D + F);
  let column = i % (D + F);
  if (row >= B) { return; }
  let start = row * (D + E);
  if (column < D) {
    y[start + column] = x[row * D + column];
    return;
  }
  let f = column - D;
  let wave = encode_pair(table[min(clock.step, K - 1u) * C], rates[2u * f], rates[2u * f + 1u]);
  let columns = wave_columns(f, E);
  y[start + D + columns.x] = wave.x;
  if (columns.y < E) { y[start + D + columns.y] = wave.y; }
  if (LAYOUT > 0u && E % 2u == 1u && f == 0u) { y[start + D + E - 1u] = 0.0; }
}
