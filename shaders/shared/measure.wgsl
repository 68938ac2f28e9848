// The losses of a point and their derivatives.
//#use nan
override KIND: u32; override SCALE: f32; override DELTA: f32 = 1.0;

fn sign_of(e: f32) -> f32 { return keep_nan(sign(e), e); }

// (f(e), f'(e))
fn measure(e: f32) -> vec2<f32> {
  switch KIND {
    case 0u: { return vec2<f32>(e * e, 2.0 * e); }
    case 1u: { return vec2<f32>(abs(e), sign_of(e)); }
    case 2u: {
      if (abs(e) <= DELTA) { return vec2<f32>(0.5 * e * e, e); }
      return vec2<f32>(DELTA * (abs(e) - 0.5 * DELTA), DELTA * sign_of(e));
    }
    default: { return vec2<f32>(); }
  }
}
