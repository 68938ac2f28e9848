// (sin, cos) of t times a rate of high, low in 2^-64 turns per step. The phase is a fixed-point product; its
// wrap-around is the range reduction.
//#use random
override LAYOUT: u32;
fn encode_pair(t: f32, high: u32, low: u32) -> vec2<f32> {
  let whole = u32(t);
  let fraction = u32((t - f32(whole)) * 4294967296.0);
  // The upper words of whole * rate (mod 1 turn) and of fraction * rate; a lost carry is 2^-32 of a turn.
  return sin_cos_turns(whole * high + mul_wide(whole, low).y + mul_wide(fraction, high).y);
}

// The columns of the sine and the cosine of frequency f in an encoding of a given width.
fn wave_columns(f: u32, width: u32) -> vec2<u32> {
  switch LAYOUT {
    case 0u: { return vec2<u32>(2u * f, 2u * f + 1u); }
    case 1u: { return vec2<u32>(f, width / 2u + f); }
    default: { return vec2<u32>(width / 2u + f, f); }
  }
}
