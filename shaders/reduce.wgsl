// Sums in a fixed order: each workgroup sums one chunk as a tree; `total` sums the partial sums of all workgroups.
//#use sum_lanes
//#use nan
//#use clock
override N: u32; override CHUNK: u32; override SCALE: f32 = 0.0;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

// partials[g] = sum of x^2.
@compute @workgroup_size(WG)
fn squares(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let g = group(wid, nwg);
  let end = min((g + 1u) * CHUNK, N);
  var sum = 0.0;
  for (var i = g * CHUNK + lane; i < end; i += WG) { sum += x[i] * x[i]; }
  let all = sum_lanes(lane, sum);
  if (lane == 0u) { partials[g] = all; }
}

@group(0) @binding(2) var<storage, read_write> history: array<f32>;
//#if CLIP
override EPSILON: f32;
@group(0) @binding(3) var<storage, read_write> factor: array<f32>;
//#endif

// The sum of all partial sums x, into this step's entry of the history, where the parts of a batch add up. One workgroup.
@compute @workgroup_size(WG)
fn total(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < N; i += WG) { sum += x[i]; }
  let all = sum_lanes(lane, sum);
  if (lane > 0u) { return; }
//#if CLIP
  let norm = sqrt(all);
  history[clock.step % HISTORY] = norm;
  factor[0] = keep_nan(min(1.0, SCALE / (norm + EPSILON)), norm);
//#else
  let entry = clock.step % HISTORY;
  if (clock.part == 0u) { history[entry] = SCALE * all; } else { history[entry] += SCALE * all; }
//#endif
}
