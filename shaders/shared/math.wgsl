// Functions whose accuracy WGSL does not guarantee.
//#use nan

// (sin, cos) of phase / 2^32 turns, to 2e-7: the quadrant is split off as an integer, then polynomials on +-pi/4.
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
  return e * 0.69314718 + atanh_twice(s);
}

// ln(1 + x) for x >= 0, accurate near zero, where s is computed from x itself; else 1 + x = m 2^e with m in
// [sqrt(1/2), sqrt(2)), and ln m = 2 atanh(s).
fn log1p(x: f32) -> f32 {
  let near = x < 0.41;
  let shifted = bitcast<u32>(1.0 + x) - 0x3f3504f3u;
  let e = select(f32(bitcast<i32>(shifted) >> 23u), 0.0, near);
  let m = bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u);
  let s = select((m - 1.0) / (m + 1.0), x / (2.0 + x), near);
  return keep_nan(e * 0.69314718 + atanh_twice(s), x);
}

// 2 atanh(s) for |s| <= 0.172.
fn atanh_twice(s: f32) -> f32 {
  let y = s * s;
  return 2.0 * s * (1.0 + y * (0.33333333 + y * (0.2 + y * (0.14285714 + y * (0.11111111
    + y * (9.0909091e-2 + y * (7.6923077e-2 + y * 6.6666667e-2)))))));
}

// Distribution function and density of the standard normal distribution. (1 - Phi(z)) exp(z^2 / 2) / t with t = 3 / (3
// + z) is a polynomial to 5e-8 for z in [0, 14.5], beyond which exp(-z^2 / 2) is 0.
fn normal(x: f32) -> vec2<f32> {
  let e = exp(-0.5 * x * x);
  let t = 3.0 / (3.0 + abs(x));
  let u = t - 0.5;
  let p = 0.243027890 + u * (0.339554886 + u * (0.306692531 + u * (0.126014093 + u * (-0.0558938281
    + u * (-0.0738133954 + u * (0.0229275857 + u * (0.0383041407 + u * -0.0224416371)))))));
  let tail = e * (t * p);
  return vec2<f32>(select(1.0 - tail, tail, x < 0.0), 0.398942280 * e);
}

// e^x - 1 without cancellation near zero.
fn expm1(x: f32) -> f32 {
  let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (4.1666667e-2 + x * (8.3333333e-3
    + x * (1.3888889e-3 + x * (1.9841270e-4 + x * 2.4801587e-5)))))));
  return select(exp(x) - 1.0, series, abs(x) < 0.5);
}

// tanh, accurate near zero, where drivers lose digits.
fn tanh_(x: f32) -> f32 {
  let e = expm1(-2.0 * abs(x));
  return keep_nan(sign(x) * (-e / (e + 2.0)), x);
}
