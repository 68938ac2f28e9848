// y = softmax(x) over the rows of [B, D], and its backward pass. WG invocations per row.
//#use max_lanes
//#use nan
override B: u32; override D: u32;

@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn softmax(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let at = min(row, B - 1u) * D;
  var largest = x[at];
  for (var i = lane; i < D; i += WG) { largest = max(largest, x[at + i]); }
  largest = max_lanes(lane, largest);
  var sum = 0.0;
  for (var i = lane; i < D; i += WG) {
    let below = x[at + i] - largest;
    sum += keep_nan(exp(below), below);
  }
  let share = 1.0 / sum_lanes(lane, sum);
  if (row >= B) { return; }
  for (var i = lane; i < D; i += WG) { y[at + i] = exp(x[at + i] - largest) * share; }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;  // [B, D]
@group(0) @binding(3) var<storage, read> y_: array<f32>;  // [B, D]
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let at = min(row, B - 1u) * D;
  var sum = 0.0;
  for (var i = lane; i < D; i += WG) { sum += dy[at + i] * y_[at + i]; }
  let dot = sum_lanes(lane, sum);
  if (row >= B) { return; }
  for (var i = lane; i < D; i += WG) { dx[at + i] = y_[at + i] * (dy[at + i] - dot); }
}
