// The maximum of one number per invocation of a workgroup; all lanes get it.
//#use sum_lanes
fn max_lanes(lane: u32, v: f32) -> f32 {
  scratch[lane] = v;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { scratch[lane] = max(scratch[lane], scratch[lane + half]); }
    workgroupBarrier();
  }
  let largest = scratch[0];
  workgroupBarrier();
  return largest;
}
