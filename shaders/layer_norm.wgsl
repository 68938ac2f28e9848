// y = (x - mean) rstd gamma + beta over each row, and its backward passes.
// forward, input: LANES invocations per row, sums as a tree in shared memory. weight: one invocation per column.
//#use items
override B: u32; override D: u32; override LANES: u32 = 64u; override EPSILON: f32 = 0.0;
var<workgroup> scratch: array<f32, LANES>;

fn sum_lanes(lane: u32, v: f32) -> f32 {
  scratch[lane] = v;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { scratch[lane] += scratch[lane + half]; }
    workgroupBarrier();
  }
  let total = scratch[0];
  workgroupBarrier();
  return total;
}

@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read> gamma: array<f32>;  // [D]
@group(0) @binding(2) var<storage, read> beta: array<f32>;  // [D]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [B, D]
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;  // [B, 2]: mean, rstd

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let at = min(row, B - 1u) * D;
  var sum = 0.0;
  for (var i = lane; i < D; i += LANES) { sum += x[at + i]; }
  let mean = sum_lanes(lane, sum) / f32(D);
  var squares = 0.0;
  for (var i = lane; i < D; i += LANES) { let v = x[at + i] - mean; squares += v * v; }
  let rstd = 1.0 / sqrt(sum_lanes(lane, squares) / f32(D) + EPSILON);
  if (row >= B) { return; }
  for (var i = lane; i < D; i += LANES) { y[at + i] = (x[at + i] - mean) * rstd * gamma[i] + beta[i]; }
  if (lane == 0u) { stats[2u * row] = mean; stats[2u * row + 1u] = rstd; }
}

@group(0) @binding(5) var<storage, read> dy: array<f32>;  // [B, D]
@group(0) @binding(6) var<storage, read> x_: array<f32>;  // [B, D]
@group(0) @binding(7) var<storage, read> saved: array<f32>;  // [B, 2]
@group(0) @binding(8) var<storage, read> gamma_: array<f32>;  // [D]
@group(0) @binding(9) var<storage, read_write> dx: array<f32>;  // [B, D]

@compute @workgroup_size(LANES)
fn input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let at = min(row, B - 1u) * D;
  let mean = saved[2u * min(row, B - 1u)];
  let rstd = saved[2u * min(row, B - 1u) + 1u];
  var sum = 0.0;
  var dot = 0.0;
  for (var i = lane; i < D; i += LANES) {
    let g = dy[at + i] * gamma_[i];
    sum += g;
    dot += g * (x_[at + i] - mean) * rstd;
  }
  let mean_g = sum_lanes(lane, sum) / f32(D);
  let mean_gn = sum_lanes(lane, dot) / f32(D);
  if (row >= B) { return; }
  for (var i = lane; i < D; i += LANES) {
    dx[at + i] = rstd * (dy[at + i] * gamma_[i] - mean_g - (x_[at + i] - mean) * rstd * mean_gn);
  }
}

@group(0) @binding(10) var<storage, read_write> dgamma: array<f32>;  // [D]
@group(0) @binding(11) var<storage, read_write> dbeta: array<f32>;  // [D]

@compute @workgroup_size(WG)
fn weight(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= D) { return; }
  var sum_g = 0.0;
  var sum_b = 0.0;
  for (var row = 0u; row < B; row++) {
    let d = dy[row * D + i];
    sum_g += d * (x_[row * D + i] - saved[2u * row]) * saved[2u * row + 1u];
    sum_b += d;
  }
  dgamma[i] = sum_g;
  dbeta[i] = sum_b;
}
