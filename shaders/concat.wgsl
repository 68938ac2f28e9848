// y = [a | b], and y = some columns of x. One invocation per element of y.
//#use items
override B: u32; override P: u32; override Q: u32;
@group(0) @binding(0) var<storage, read> a: array<f32>;  // [B, P]
@group(0) @binding(1) var<storage, read> b: array<f32>;  // [B, Q]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [B, P + Q], or [B, LEN]

@compute @workgroup_size(WG)
fn concat(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let row = i / (P + Q);
  let col = i % (P + Q);
  if (row >= B) { return; }
  if (col < P) { y[i] = a[row * P + col]; } else { y[i] = b[row * Q + col - P]; }
}

// Columns P .. P + LEN of x [B, Q].
override LEN: u32 = 1u;
@group(0) @binding(3) var<storage, read> x: array<f32>;

@compute @workgroup_size(WG)
fn columns(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < B * LEN) { y[i] = x[(i / LEN) * Q + P + i % LEN]; }
}
