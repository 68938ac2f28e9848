// What noise and noisy_batch share: B rows of D numbers, one t in 0..T a row.
override B: u32; override D: u32; override T: u32;
override STREAM: u32; override PREDICTION: u32; override LANES: u32;
fn target_of(x: f32, eps: f32, a: f32, s: f32) -> f32 {
  switch PREDICTION {
    case 0u: { return eps; }
    case 1u: { return x; }
    default: { return a * eps - s * x; }
  }
}
