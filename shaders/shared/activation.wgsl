// The activations and their derivatives, selected by the override ACT. Names and numbers: src/ops/activation.rs.
//#use math
override ACT: u32 = 0u;
override LEAK: f32 = 0.01;

// sigmoid(x) and sigmoid(-x), without the cancellation of 1 - sigmoid(x).
fn sigmoids(x: f32) -> vec2<f32> {
  let e = exp(-abs(x));
  let large = 1.0 / (1.0 + e);
  return select(vec2<f32>(large, e * large), vec2<f32>(e * large, large), x < 0.0);
}

fn activate(x: f32) -> f32 {
  switch ACT {
    // By bits, from -0 to -infinity: drivers turn a comparison into max(x, 0), which may drop a NaN.
    case 1u: { return select(x, 0.0, bitcast<u32>(x) - 0x80000000u <= 0x7f800000u); }
    case 2u: { return x * sigmoids(x).x; }
    // (1 + tanh(u / 2)) / 2 = sigmoid(u), without the cancellation.
    case 3u: { return x * sigmoids(x * (1.5957691216 + 0.0713548163 * (x * x))).x; }
    case 4u: { return x * normal(x).x; }
    case 5u: { return tanh_(x); }
    case 6u: { return keep_nan(sigmoids(x).x, x); }
    case 7u: { return select(x, LEAK * x, x <= 0.0); }
    default: { return x; }
  }
}

// The derivative from the saved value: the output y for ReLU, tanh, sigmoid and leaky ReLU, the input z for the others.
fn activation_slope(saved: f32) -> f32 {
  switch ACT {
    case 1u: { return select(1.0, 0.0, saved <= 0.0); }
    case 2u: { let s = sigmoids(saved); return s.x * (1.0 + saved * s.y); }
    case 3u: {
      let z2 = saved * saved;
      let s = sigmoids(saved * (1.5957691216 + 0.0713548163 * z2));
      return s.x * (1.0 + saved * (1.5957691216 + 0.2140644488 * z2) * s.y);
    }
    case 4u: { let n = normal(saved); return n.x + saved * n.y; }
    case 5u: { return (1.0 - saved) * (1.0 + saved); }
    case 6u: { return saved * (1.0 - saved); }
    case 7u: { return select(1.0, LEAK, saved <= 0.0); }
    default: { return 1.0; }
  }
}

// The derivative at the input z.
fn activation_slope_at(z: f32) -> f32 {
  if (ACT == 5u || ACT == 6u) { return activation_slope(activate(z)); }
  return activation_slope(z);
}
