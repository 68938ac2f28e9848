// The activations and their derivatives, chosen by the override ACT. Names and numbers: src/ops/activation.rs.
//#use math
override ACT: u32 = 0u;
override LEAK: f32 = 0.01;

fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-clamp(x, -87.0, 87.0))); }

// The error function, to 5e-8: polynomials fitted to erf(x)/x on [0, 1] and to erfc(x) exp(x^2) in 1/(1 + x/2) beyond.
fn erf(x: f32) -> f32 {
  let a = min(abs(x), 4.1);
  let y = a * a;
  let near = a * (1.12837917 + y * (-0.376126299 + y * (0.112836257 + y * (-0.0268553995
    + y * (0.00519121838 + y * (-0.000803484666 + y * 7.93349391e-5))))));
  let t = 1.0 / (1.0 + 0.5 * a);
  let far = 1.0 - exp(-y) * (0.000652823761 + t * (0.272975475 + t * (0.334482682 + t * (0.0904494508
    + t * (0.421617487 + t * (-0.0726742774 + t * -0.0481126656))))));
  return sign(x) * select(far, near, a < 1.0);
}

fn activate(x: f32) -> f32 {
  switch ACT {
    case 1u: { return select(x, 0.0, x <= 0.0); }
    case 2u: { return x * sigmoid(x); }
    case 3u: { return 0.5 * x * (1.0 + tanh_(0.7978845608 * (x + 0.044715 * x * x * x))); }
    case 4u: { return 0.5 * x * (1.0 + erf(x * 0.7071067812)); }
    case 5u: { return tanh_(x); }
    case 6u: { return sigmoid(x); }
    case 7u: { return select(x, LEAK * x, x <= 0.0); }
    default: { return x; }
  }
}

// The derivative from what is saved: the output y for ReLU, tanh, sigmoid and leaky ReLU, the input z for the others.
fn activation_slope(saved: f32) -> f32 {
  switch ACT {
    case 1u: { return select(1.0, 0.0, saved <= 0.0); }
    case 2u: { let s = sigmoid(saved); return s * (1.0 + saved * (1.0 - s)); }
    case 3u: {
      let z2 = saved * saved;
      let th = tanh_(0.7978845608 * (saved + 0.044715 * saved * z2));
      return 0.5 * (1.0 + th) + 0.5 * saved * (1.0 - th * th) * 0.7978845608 * (1.0 + 0.134145 * z2);
    }
    case 4u: { return 0.5 * (1.0 + erf(saved * 0.7071067812)) + saved * 0.3989422804 * exp(-0.5 * min(saved * saved, 174.0)); }
    case 5u: { return 1.0 - saved * saved; }
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
