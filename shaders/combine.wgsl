// y = p_t a + q_t b, or the factor of one of the two terms times d. One invocation per element.
//#use items
//#use place
override B: u32; override D: u32; override T: u32;
//#if FORWARD
@group(0) @binding(0) var<storage, read> a: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read> b: array<f32>;  // [B, D]
@group(0) @binding(2) var<storage, read> t: array<f32>;  // [B]
@group(0) @binding(3) var<storage, read> table: array<f32>;  // [T, 2]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn combine(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= B * D) { return; }
  let row = place(t[i / D], T);
  y[i] = factor(row, 0u) * a[i] + factor(row, 1u) * b[i];
}
//#else
override TERM: u32;
@group(0) @binding(0) var<storage, read> dy: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read> t: array<f32>;  // [B]
@group(0) @binding(2) var<storage, read> table: array<f32>;  // [T, 2]
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn term(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < B * D) { dx[i] = factor(place(t[i / D], T), TERM) * dy[i]; }
}
//#endif

fn factor(row: Place, term: u32) -> f32 {
  let low = table[2u * row.at + term];
  return low + row.part * (table[2u * row.next + term] - low);
}
