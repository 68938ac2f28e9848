// y[b] = log of the sum over c of exp(x[b, c] - m), + m - x[b, label[b]], m the largest x[b, c]; saves for the backward
// pass m, 1 / sum, and the softmax of all other classes together. WG invocations per row.
// input: dx = dy (softmax(x) - [c = label]), one invocation per element.
//#use max_lanes
//#use math
override B: u32; override C: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, C]
//#if INTEGERS
@group(0) @binding(1) var<storage, read> label: array<u32>;  // [B]
fn class_of(b: u32) -> u32 { return min(label[b], C - 1u); }
//#else
@group(0) @binding(1) var<storage, read> label: array<f32>;  // [B]
fn class_of(b: u32) -> u32 { return min(u32(max(label[b], 0.0) + 0.5), C - 1u); }
//#endif
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [B]
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;  // [B, 3]

@compute @workgroup_size(WG)
fn cross_entropy(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let b = min(row, B - 1u);
  var largest = x[b * C];
  for (var c = lane; c < C; c += WG) { largest = max(largest, x[b * C + c]); }
  largest = max_lanes(lane, largest);
  let label = class_of(b);
  var sum = 0.0;
  for (var c = lane; c < C; c += WG) {
    let rest = x[b * C + c] - largest;
    sum += select(keep_nan(exp(rest), rest), 0.0, c == label);
  }
  let others = sum_lanes(lane, sum);
  if (row >= B || lane > 0u) { return; }
  let below = largest - x[b * C + label];
  let all = others + keep_nan(exp(-below), below);
  // If the label is the largest, 1 is not added, so that a small loss is accurate; otherwise the loss is at least ln 2.
  y[b] = log1p(select(all - 1.0, others, below == 0.0)) + below;
  stats[3u * b] = largest;
  stats[3u * b + 1u] = 1.0 / all;
  stats[3u * b + 2u] = others / all;
}

@group(0) @binding(4) var<storage, read> dy: array<f32>;  // [B]
@group(0) @binding(5) var<storage, read> stats_: array<f32>;  // [B, 3]
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;  // [B, C]

@compute @workgroup_size(WG)
fn input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= B * C) { return; }
  let b = i / C;
  let rest = x[i] - stats_[3u * b];
  let share = keep_nan(exp(rest), rest) * stats_[3u * b + 1u];
  // softmax - 1 at the label, where a subtraction would cancel.
  dx[i] = dy[b] * select(share, -stats_[3u * b + 2u], i % C == class_of(b));
}
