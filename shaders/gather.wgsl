// y[b] = data[p(b)], p the permutation of this epoch. LANES invocations per row.
//#use items
//#use random
override B: u32; override BATCH: u32; override D: u32; override COUNT: u32; override ROWS: u32; override STREAM: u32; override LANES: u32;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // [B, D]
//#use parts

@compute @workgroup_size(WG)
fn gather(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let b = i / LANES;
  if (b >= B) { return; }
  let per_epoch = COUNT / BATCH;
  // Clamped to the epoch: beyond it the loop of `permuted` may not terminate.
  let position = (clock.step % per_epoch) * BATCH + min(clock.first_row + b, BATCH - 1u);
  let row = permuted(position, COUNT, clock.step / per_epoch, STREAM);
  for (var d = i % LANES; d < D; d += LANES) { y[b * D + d] = element(row, d); }
}
