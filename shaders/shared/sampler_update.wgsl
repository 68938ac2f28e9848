// The update of one element by a sampler, shared by sampler_step and chain_step: the former has the formula.
//#use blocks
//#use nan
override N: u32; override STEPS: u32; override STREAM: u32;
@group(0) @binding(1) var<storage, read> table: array<f32>;  // [STEPS, 21]
//#if GIVEN
@group(0) @binding(2) var<storage, read> given: array<f32>;  // [STEPS, N]
//#endif
//#if LIMITED
@group(0) @binding(3) var<storage, read> limits: array<f32>;  // [2, W]
//#endif
@group(0) @binding(4) var<storage, read_write> x: array<f32>;  // [N]
//#if HISTORY
@group(0) @binding(5) var<storage, read_write> history: array<f32>;  // [2, N] with TWO, otherwise [N]
alias Row = array<f32, 21>;
//#else
alias Row = array<f32, 11>;
//#endif

fn step_row() -> u32 { return min(clock.step, STEPS - 1u); }

fn coefficients() -> Row {
  var row: Row;
  for (var i = 0u; i < 11u; i++) { row[i] = table[step_row() * 21u + i]; }
//#if HISTORY
  for (var i = 11u; i < 21u; i++) { row[i] = table[step_row() * 21u + i]; }
//#endif
  return row;
}

// The noise of a block of four elements.
fn noise_of(row: Row, block: u32) -> vec4<f32> {
  var z = vec4<f32>();
//#if GIVEN
//#else
  if (row[10] != 0.0) { z = normals(words(STREAM, first_block() + block)); }
//#endif
  return z;
}

fn update(row: Row, i: u32, mi: f32, drawn: f32) {
//#if GIVEN
  let zi = given[step_row() * N + i];
//#else
  let zi = drawn;
//#endif
  let xi = x[i];
  var low = -row[4];
  var high = row[4];
//#if LIMITED
  low = max(low, limits[i % W]);
  high = min(high, limits[W + i % W]);
//#endif
  let free = row[1] * xi + (row[2] * xi + row[3] * mi);
  let x0 = keep_nan(clamp(free, low, high), free);
  let next = (row[5] * x0 + row[6] * xi) + row[7] * mi;
//#if HISTORY
  let d = x0 - history[i];
  let next_h = ((row[11] * x0 + row[12] * xi) + row[13] * mi) + row[14] * d;
//#if TWO
  let g = history[N + i];
  x[i] = ((next + row[8] * d) + row[9] * g) + row[10] * zi;
  history[i] = next_h + row[15] * g;
  let next_g = ((row[16] * x0 + row[17] * xi) + row[18] * mi) + row[19] * d;
  history[N + i] = next_g + row[20] * g;
//#else
  x[i] = (next + row[8] * d) + row[10] * zi;
  history[i] = next_h;
//#endif
//#else
  x[i] = next + row[10] * zi;
//#endif
}
