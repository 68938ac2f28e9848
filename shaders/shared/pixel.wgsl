// round(255 u) with u in [0, 1], in integer arithmetic, so that 255 u is not rounded first.
fn pixel(u: f32) -> i32 {
  let bits = bitcast<u32>(u);
  let shift = 149u - min(bits >> 23u, 149u);
  let product = 255u * ((bits & 0x7fffffu) | 0x800000u);
  return select(i32(((product >> min(shift, 31u)) + 1u) >> 1u), 0, shift > 31u);
}
