// By bits, because drivers may assume that there is no NaN.
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

// v, or x if x is NaN: WGSL lets exp, min, max, clamp and sign return any number for a NaN.
fn keep_nan(v: f32, x: f32) -> f32 { return select(v, x, is_nan(x)); }
