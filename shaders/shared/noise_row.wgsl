// Shared by noise and noisy_batch: B rows of D numbers, one t in 0..T per row, and its row (a, s, p, q) of the table.
override B: u32; override D: u32; override T: u32;
override STREAM: u32; override LANES: u32;
fn level_of(at: u32) -> vec4<f32> {
  return vec4(table[4u * at], table[4u * at + 1u], table[4u * at + 2u], table[4u * at + 3u]);
}
