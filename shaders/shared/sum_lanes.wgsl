// The sum of one number per invocation of a workgroup, reduced as a tree in a fixed order; all lanes get it.
//#use items
var<workgroup> scratch: array<f32, WG>;

fn sum_lanes(lane: u32, v: f32) -> f32 {
  scratch[lane] = v;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { scratch[lane] += scratch[lane + half]; }
    workgroupBarrier();
  }
  let total = scratch[0];
  workgroupBarrier();
  return total;
}
