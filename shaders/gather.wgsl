// y[b] = data[p(b)], p the permutation of this epoch. LANES invocations per row.
//#use items
//#use batch_row
override B: u32; override D: u32; override ROWS: u32; override LANES: u32;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // [B, D]
//#use parts

@compute @workgroup_size(WG)
fn gather(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let b = i / LANES;
  if (b >= B) { return; }
  let row = batch_row(clock.first_row + b);
  for (var d = i % LANES; d < D; d += LANES) { y[b * D + d] = element(row, d); }
}
