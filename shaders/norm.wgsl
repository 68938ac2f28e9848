// y = act((x - mean) rstd gamma + beta) over runs of RUN elements, and its backward passes. Every SPATIAL elements are
// a channel; run r starts with channel (r mod GROUPS) RUN / SPATIAL. A layer norm has SPATIAL = GROUPS = 1.
// forward, input: WG invocations per run. channels: WG per channel. columns: one per channel, for SPATIAL = 1.
//#use sum_lanes
//#use activation
override ROWS: u32; override RUN: u32; override SPATIAL: u32; override GROUPS: u32; override EPSILON: f32 = 0.0;

fn channel(row: u32, i: u32) -> u32 { return (row % GROUPS) * (RUN / SPATIAL) + i / SPATIAL; }

@group(0) @binding(0) var<storage, read> x: array<f32>;  // [ROWS, RUN]
@group(0) @binding(1) var<storage, read> gamma: array<f32>;  // [C]
@group(0) @binding(2) var<storage, read> beta: array<f32>;  // [C]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [ROWS, RUN]
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;  // [ROWS, 2]: mean, rstd

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let at = min(row, ROWS - 1u) * RUN;
  var sum = 0.0;
  for (var i = lane; i < RUN; i += WG) { sum += x[at + i]; }
  let mean = sum_lanes(lane, sum) / f32(RUN);
  var squares = 0.0;
  for (var i = lane; i < RUN; i += WG) { let v = x[at + i] - mean; squares += v * v; }
  let rstd = 1.0 / sqrt(sum_lanes(lane, squares) / f32(RUN) + EPSILON);
  if (row >= ROWS) { return; }
  for (var i = lane; i < RUN; i += WG) {
    let c = channel(row, i);
    y[at + i] = activate((x[at + i] - mean) * rstd * gamma[c] + beta[c]);
  }
  if (lane == 0u) { stats[2u * row] = mean; stats[2u * row + 1u] = rstd; }
}

@group(0) @binding(5) var<storage, read> dy: array<f32>;  // [ROWS, RUN]
@group(0) @binding(6) var<storage, read> x_: array<f32>;  // [ROWS, RUN]
@group(0) @binding(7) var<storage, read> saved: array<f32>;  // [ROWS, 2]
@group(0) @binding(8) var<storage, read> gamma_: array<f32>;  // [C]
//#if ACTIVE
@group(0) @binding(9) var<storage, read> beta_: array<f32>;  // [C]
@group(0) @binding(11) var<storage, read_write> dz: array<f32>;  // [ROWS, RUN]
//#endif
@group(0) @binding(10) var<storage, read_write> dx: array<f32>;  // [ROWS, RUN]

@compute @workgroup_size(WG)
fn input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let inside = row < ROWS;
  let at = min(row, ROWS - 1u) * RUN;
  let mean = saved[2u * min(row, ROWS - 1u)];
  let rstd = saved[2u * min(row, ROWS - 1u) + 1u];
  var sum = 0.0;
  var dot = 0.0;
  for (var i = lane; i < RUN; i += WG) {
    let n = (x_[at + i] - mean) * rstd;
    let c = channel(row, i);
    var d = dy[at + i];
//#if ACTIVE
    d *= activation_slope_at(n * gamma_[c] + beta_[c]);
    if (inside) { dz[at + i] = d; }
//#endif
    let g = d * gamma_[c];
    sum += g;
    dot += g * n;
    if (inside) { dx[at + i] = g; }
  }
  let mean_g = sum_lanes(lane, sum) / f32(RUN);
  let mean_gn = sum_lanes(lane, dot) / f32(RUN);
  if (!inside) { return; }
  for (var i = lane; i < RUN; i += WG) {
    dx[at + i] = rstd * (dx[at + i] - mean_g - (x_[at + i] - mean) * rstd * mean_gn);
  }
}

@group(0) @binding(12) var<storage, read_write> dgamma: array<f32>;  // [C]
@group(0) @binding(13) var<storage, read_write> dbeta: array<f32>;  // [C]

@compute @workgroup_size(WG)
fn channels(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
  let per = RUN / SPATIAL;
  let c = min(group(wid, nwg), per * GROUPS - 1u);
  var sum_g = 0.0;
  var sum_b = 0.0;
  // Each lane sums every WG-th place of the channel, over all samples.
  for (var e = lane; e < ROWS / GROUPS * SPATIAL; e += WG) {
    let row = (e / SPATIAL) * GROUPS + c / per;
    let at = row * RUN + (c % per) * SPATIAL + e % SPATIAL;
    sum_g += dy[at] * (x_[at] - saved[2u * row]) * saved[2u * row + 1u];
    sum_b += dy[at];
  }
  let total_g = sum_lanes(lane, sum_g);
  let total_b = sum_lanes(lane, sum_b);
  if (lane == 0u && group(wid, nwg) < per * GROUPS) { dgamma[c] = total_g; dbeta[c] = total_b; }
}

@compute @workgroup_size(WG)
fn columns(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let c = item(wid, nwg, lane);
  if (c >= RUN * GROUPS) { return; }
  var sum_g = 0.0;
  var sum_b = 0.0;
  for (var row = c / RUN; row < ROWS; row += GROUPS) {
    let at = row * RUN + c % RUN;
    sum_g += dy[at] * (x_[at] - saved[2u * row]) * saved[2u * row + 1u];
    sum_b += dy[at];
  }
  dgamma[c] = sum_g;
  dbeta[c] = sum_b;
}
