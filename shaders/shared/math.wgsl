// Functions whose accuracy WGSL does not promise. Each has the same text in src/scalar.rs.

// (sin, cos) of phase / 2^32 turns, to 2e-7: the quadrant comes off as an integer, then polynomials on +-pi/4.
fn sin_cos_turns(phase: u32) -> vec2<f32> {
  let quadrant = (phase + 0x20000000u) >> 30u;
  let x = f32(bitcast<i32>(phase - (quadrant << 30u))) * 1.4629180792671596e-9;
  let y = x * x;
  let s = x * (1.0 + y * (-0.16666667 + y * (8.3333333e-3 + y * (-1.9841270e-4 + y * 2.7557319e-6))));
  let c = 1.0 + y * (-0.5 + y * (4.1666667e-2 + y * (-1.3888889e-3 + y * 2.4801587e-5)));
  let odd = (quadrant & 1u) != 0u;
  let a = select(s, c, odd);
  let b = select(c, s, odd);
  return vec2<f32>(select(a, -a, (quadrant & 2u) != 0u), select(b, -b, ((quadrant + 1u) & 2u) != 0u));
}

// ln((word + 1/2) / 2^32), to 4e-7 relative at both ends of (0, 1).
fn ln_uniform(word: u32) -> f32 {
  let high = word >= 0x80000000u;
  let x = f32(select(word, ~word, high)) + 0.5;
  let v = x * 2.3283064365386963e-10;
  let shifted = bitcast<u32>(x) - 0x3f3504f3u;
  let m = bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u);
  let s = select((m - 1.0) / (m + 1.0), -v / (2.0 - v), high);
  let e = select(f32(bitcast<i32>(shifted) >> 23u) - 32.0, 0.0, high);
  let y = s * s;
  let series = 1.0 + y * (0.33333333 + y * (0.2 + y * (0.14285714 + y * (0.11111111
    + y * (9.0909091e-2 + y * (7.6923077e-2 + y * 6.6666667e-2))))));
  return e * 0.69314718 + 2.0 * s * series;
}

// e^x - 1 without cancellation near zero.
fn expm1(x: f32) -> f32 {
  let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (4.1666667e-2 + x * (8.3333333e-3
    + x * (1.3888889e-3 + x * (1.9841270e-4 + x * 2.4801587e-5)))))));
  return select(exp(x) - 1.0, series, abs(x) < 0.5);
}

// tanh, clamped where it is 1 so that no driver overflows, a series near zero where drivers lose digits.
fn tanh_(x: f32) -> f32 {
  let e = expm1(-2.0 * min(abs(x), 12.0));
  return sign(x) * (-e / (e + 2.0));
}
