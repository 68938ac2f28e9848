// y = act((x - mean) rstd gamma + beta) over runs of RUN elements, and its backward passes. Every SPATIAL elements are
// a channel; run r starts with channel (r mod GROUPS) RUN / SPATIAL. A layer norm has SPATIAL = GROUPS = 1.
// forward, input: WG invocations per run. columns: one per channel, for SPATIAL = 1.
//#use sum_lanes
//#use activation
override ROWS: u32; override RUN: u32; override SPATIAL: u32; override GROUPS: u32; override EPSILON: f32 = 0.0;

fn channel(row: u32, i: u32) -> u32 { return (row % GROUPS) * (RUN / SPATIAL) + i / SPATIAL; }

//#if JOINED
// x = [a | b] along the elements of a sample, of which FIRST are in a.
override FIRST: u32;
@group(0) @binding(0) var<storage, read> a: array<f32>;  // [B, FIRST]
@group(0) @binding(1) var<storage, read> b: array<f32>;  // [B, GROUPS RUN - FIRST]
@group(0) @binding(6) var<storage, read_write> joined: array<f32>;  // [ROWS, RUN]
fn value(at: u32) -> f32 {
  let sample = at / (GROUPS * RUN);
  let i = at % (GROUPS * RUN);
  if (i < FIRST) { return a[sample * FIRST + i]; }
  return b[sample * (GROUPS * RUN - FIRST) + i - FIRST];
}
//#else
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [ROWS, RUN]
fn value(at: u32) -> f32 { return x[at]; }
//#endif
@group(0) @binding(2) var<storage, read> gamma: array<f32>;  // [C]
@group(0) @binding(3) var<storage, read> beta: array<f32>;  // [C]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;  // [ROWS, RUN]
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;  // [ROWS, 2]: mean, rstd

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let at = min(row, ROWS - 1u) * RUN;
  var sum = 0.0;
  for (var i = lane; i < RUN; i += WG) { sum += value(at + i); }
  let mean = sum_lanes(lane, sum) / f32(RUN);
  var squares = 0.0;
  for (var i = lane; i < RUN; i += WG) { let v = value(at + i) - mean; squares += v * v; }
  let rstd = 1.0 / sqrt(sum_lanes(lane, squares) / f32(RUN) + EPSILON);
  if (row >= ROWS) { return; }
  for (var i = lane; i < RUN; i += WG) {
    let c = channel(row, i);
    let v = value(at + i);
//#if JOINED
    joined[at + i] = v;
//#endif
    y[at + i] = activate((v - mean) * rstd * gamma[c] + beta[c]);
  }
  if (lane == 0u) { stats[2u * row] = mean; stats[2u * row + 1u] = rstd; }
}

//#if OVER_DY
fn dy_at(at: u32) -> f32 { return again[at]; }
//#else
@group(0) @binding(7) var<storage, read> dy: array<f32>;  // [ROWS, RUN]
fn dy_at(at: u32) -> f32 { return dy[at]; }
//#endif
@group(0) @binding(8) var<storage, read> x_: array<f32>;  // [ROWS, RUN]
@group(0) @binding(9) var<storage, read> saved: array<f32>;  // [ROWS, 2]
@group(0) @binding(10) var<storage, read> gamma_: array<f32>;  // [C]
@group(0) @binding(11) var<storage, read> beta_: array<f32>;  // [C]

// The gradient of z = n gamma + beta.
fn before_activation(at: u32, n: f32, c: u32) -> f32 {
//#if ACTIVE
  return dy_at(at) * activation_slope_at(n * gamma_[c] + beta_[c]);
//#else
  return dy_at(at);
//#endif
}

//#if INPUT
//#if TERM
//#if OVER_TERM
fn term_at(at: u32) -> f32 { return dx[at]; }
//#else
@group(0) @binding(12) var<storage, read> term: array<f32>;  // [ROWS, RUN]
fn term_at(at: u32) -> f32 { return term[at]; }
//#endif
//#endif
@group(0) @binding(13) var<storage, read_write> dx: array<f32>;  // [ROWS, RUN], or [B, FIRST]
//#if SPLIT
override FIRST: u32;
@group(0) @binding(14) var<storage, read_write> dx_rest: array<f32>;  // [B, GROUPS RUN - FIRST]
//#endif
//#if WEIGHTS
@group(0) @binding(15) var<storage, read_write> parts: array<f32>;  // [B, C, 2]
//#endif
//#if AGAIN
@group(0) @binding(16) var<storage, read_write> again: array<f32>;  // [ROWS, RUN]
//#endif
//#if SUMS
override SUMMED: u32;
@group(0) @binding(17) var<storage, read_write> sums: array<f32>;  // [B, SUMMED], the channels of dx
//#endif

// Stores an element of dx, given the means (of g n, of g) of the run, and of the output; returns that of dx.
fn finish(row: u32, at: u32, c: u32, mean: f32, rstd: f32, means: vec2<f32>) -> f32 {
  let n = (x_[at] - mean) * rstd;
  var d = rstd * (before_activation(at, n, c) * gamma_[c] - means.y - n * means.x);
//#if TERM
  d += term_at(at);
//#endif
//#if AGAIN
  again[at] = activate(n * gamma_[c] + beta_[c]);
//#endif
//#if SPLIT
  let sample = row / GROUPS;
  let i = at - sample * (GROUPS * RUN);
  if (i < FIRST) { dx[sample * FIRST + i] = d; } else { dx_rest[sample * (GROUPS * RUN - FIRST) + i - FIRST] = d; }
//#else
  dx[at] = d;
//#endif
  return d;
}

//#if BY_CHANNEL
// A channel is summed by a team of TEAM invocations.
override CHANNELS: u32; override TEAM: u32;
var<workgroup> of_lane: array<vec2<f32>, WG>;
var<workgroup> of_channel: array<vec2<f32>, CHANNELS>;

fn sum_team(lane: u32, v: vec2<f32>) -> vec2<f32> {
  of_lane[lane] = v;
  workgroupBarrier();
  for (var half = TEAM / 2u; half > 0u; half /= 2u) {
    if (lane % TEAM < half) { of_lane[lane] += of_lane[lane + half]; }
    workgroupBarrier();
  }
  let total = of_lane[lane - lane % TEAM];
  workgroupBarrier();
  return total;
}
//#endif

@compute @workgroup_size(WG)
fn input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let inside = group(wid, nwg) < ROWS;
  let row = min(group(wid, nwg), ROWS - 1u);
  let at = row * RUN;
  let mean = saved[2u * row];
  let rstd = saved[2u * row + 1u];
//#if BY_CHANNEL
  for (var first = 0u; first < CHANNELS; first += WG / TEAM) {
    let k = first + lane / TEAM;
    let c = channel(row, min(k, CHANNELS - 1u) * SPATIAL);
    var sum = vec2<f32>();
    for (var i = lane % TEAM; (i < SPATIAL) & (k < CHANNELS); i += TEAM) {
      let n = (x_[at + k * SPATIAL + i] - mean) * rstd;
      let d = before_activation(at + k * SPATIAL + i, n, c);
      sum += vec2(d * n, d);
    }
    let total = sum_team(lane, sum);
    if ((lane % TEAM == 0u) & (k < CHANNELS)) {
      of_channel[k] = total * gamma_[c];
//#if WEIGHTS
      if (inside) { parts[2u * (row * CHANNELS + k)] = total.x; parts[2u * (row * CHANNELS + k) + 1u] = total.y; }
//#endif
    }
  }
  workgroupBarrier();
  var means = vec2<f32>();
  for (var k = 0u; k < CHANNELS; k++) { means += of_channel[k]; }
  means /= f32(RUN);
  for (var first = 0u; first < CHANNELS; first += WG / TEAM) {
    let k = first + lane / TEAM;
    let c = channel(row, min(k, CHANNELS - 1u) * SPATIAL);
    var sum = 0.0;
    for (var i = lane % TEAM; (i < SPATIAL) & (k < CHANNELS) & inside; i += TEAM) {
      sum += finish(row, at + k * SPATIAL + i, c, mean, rstd, means);
    }
//#if SUMS
    let total = sum_team(lane, vec2(sum)).x;
    if ((lane % TEAM == 0u) & (k < CHANNELS) & inside & (c < SUMMED)) { sums[row / GROUPS * SUMMED + c] = total; }
//#endif
  }
//#else
  var sum = 0.0;
  var dot = 0.0;
  for (var i = lane; i < RUN; i += WG) {
    let n = (x_[at + i] - mean) * rstd;
    let c = channel(row, i);
    let g = before_activation(at + i, n, c) * gamma_[c];
    sum += g;
    dot += g * n;
  }
  let means = vec2(sum_lanes(lane, dot), sum_lanes(lane, sum)) / f32(RUN);
  if (!inside) { return; }
  for (var i = lane; i < RUN; i += WG) { _ = finish(row, at + i, channel(row, i), mean, rstd, means); }
//#endif
}
//#endif

@group(0) @binding(18) var<storage, read_write> dgamma: array<f32>;  // [C]
@group(0) @binding(19) var<storage, read_write> dbeta: array<f32>;  // [C]

@compute @workgroup_size(WG)
fn columns(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let c = item(wid, nwg, lane);
  if (c >= RUN * GROUPS) { return; }
  var sum_g = 0.0;
  var sum_b = 0.0;
  for (var row = c / RUN; row < ROWS; row += GROUPS) {
    let at = row * RUN + c % RUN;
    let n = (x_[at] - saved[2u * row]) * saved[2u * row + 1u];
    let d = before_activation(at, n, c);
    sum_g += d * n;
    sum_b += d;
  }
  dgamma[c] = sum_g;
  dbeta[c] = sum_b;
}
