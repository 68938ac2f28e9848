// y = n + w (p - n) for pairs [p | n], optionally rescaled to the deviation of p. WG invocations per row.
//#use sum_lanes
//#use clock
override B: u32; override D: u32; override STEPS: u32;
//#if RESCALED
override RESCALE: f32;
//#endif
@group(0) @binding(0) var<storage, read> pairs: array<f32>;  // [B, 2 D]
@group(0) @binding(1) var<storage, read> scales: array<f32>;  // [STEPS]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [B, D]

fn guided(at: u32, i: u32, w: f32) -> f32 {
  let p = pairs[at + i];
  let n = pairs[at + D + i];
  return select(n + w * (p - n), p, w == 1.0);
}

@compute @workgroup_size(WG)
fn guide(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let row = group(wid, nwg);
  let at = min(row, B - 1u) * 2u * D;
  let w = scales[min(clock.step, STEPS - 1u)];
  var factor = 1.0;
//#if RESCALED
  var sums = vec2(0.0);
  for (var i = lane; i < D; i += WG) { sums += vec2(pairs[at + i], guided(at, i, w)); }
  let means = vec2(sum_lanes(lane, sums.x), sum_lanes(lane, sums.y)) / f32(D);
  var squares = vec2(0.0);
  for (var i = lane; i < D; i += WG) {
    let v = vec2(pairs[at + i], guided(at, i, w)) - means;
    squares += v * v;
  }
  let of_p = sum_lanes(lane, squares.x);
  let of_g = sum_lanes(lane, squares.y);
  if (of_g > 0.0 && w != 1.0) { factor = RESCALE * sqrt(of_p / of_g) + (1.0 - RESCALE); }
//#endif
  if (row >= B) { return; }
  for (var i = lane; i < D; i += WG) { y[row * D + i] = guided(at, i, w) * factor; }
}
