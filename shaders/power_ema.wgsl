// average += (1 - (1 - 1/t)^POWER) (params - average) after step t. One invocation per parameter.
//#use items
//#use clock
//#use math
override N: u32; override POWER: f32;
@group(0) @binding(0) var<storage, read> params: array<f32>;
@group(0) @binding(1) var<storage, read_write> average: array<f32>;

@compute @workgroup_size(WG)
fn power_ema(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  // ln(1 - 1/t) = -ln(1 + 1 / (t - 1)); the first step takes the weights as they are.
  let take = -expm1(max(-POWER * log1p(1.0 / f32(max(clock.step, 1u))), -80.0));
  average[i] += select(take, 1.0, clock.step == 0u) * (params[i] - average[i]);
}
