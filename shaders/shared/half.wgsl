// v as f16, clamped to its range. Non-finite values stay non-finite: a diverged run must not look healthy.
fn to_half(v: f32) -> f16 {
  // By bits, because drivers may assume that there is no NaN.
  let finite = (bitcast<u32>(v) & 0x7f800000u) != 0x7f800000u;
  return f16(select(v, clamp(v, -65504.0, 65504.0), finite));
}
