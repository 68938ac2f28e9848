// y = x with noise. One invocation per block of four elements, which is one block of random words.
//#use items
//#use math
override N: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [N]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [N]
//#if GIVEN
@group(0) @binding(1) var<storage, read> draws: array<f32>;  // [N]
fn first_word() -> u32 { return 0u; }
//#else
//#use blocks
override STREAM: u32;
//#endif
//#if SALT_PEPPER
override SALT: f32; override AMOUNT: f32; override LOW: f32; override HIGH: f32;

// A share p of all words is below this; p = 1 gives the largest float below 2^32.
fn threshold(p: f32) -> u32 { return u32(min(p, 0.99999994) * 4294967296.0); }

//#if GIVEN
fn word(e: u32, block: u32, j: u32) -> u32 { return threshold(draws[e]); }
//#else
fn word(e: u32, block: u32, j: u32) -> u32 { return words(STREAM, first_block() + block)[j]; }
//#endif

fn noisy(e: u32, block: u32, j: u32) -> f32 {
  let w = word(e, block, j);
  return select(select(x[e], LOW, w < threshold(AMOUNT)), HIGH, w < threshold(SALT));
}
//#endif
//#if POISSON
override GAIN: f32; override BLACK: f32; override UNIT: f32;
// Per digit and place (offset, least count, length), then 2^32 P(count <= least + i).
@group(0) @binding(1) var<storage, read> table: array<u32>;

fn count(entry: u32, w: u32) -> u32 {
  // Clamped, so that the index is within the table whatever its contents.
  let first = min(table[entry], arrayLength(&table));
  var low = first;
  var high = min(first + table[entry + 2u], arrayLength(&table));
  while (low < high) {
    let middle = (low + high) / 2u;
    if (table[middle] <= w) { low = middle + 1u; } else { high = middle; }
  }
  return table[entry + 1u] + low - first;
}

// A difference and a product, which no driver can round otherwise; then integers only.
fn noisy(e: u32, block: u32, lane: u32) -> f32 {
  let of_batch = 4u * (first_block() + block) + lane;
  let rate = u32(round(clamp((x[e] - BLACK) * (GAIN * 65536.0), 0.0, 4294901760.0)));
  var k = 0u;
  var w = words(STREAM, 2u * of_batch);
  for (var j = 0u; j < 8u; j++) {
    if (j == 4u) { w = words(STREAM, 2u * of_batch + 1u); }
    let digit = (rate >> (4u * j)) & 15u;
    if (digit > 0u) { k += count(3u * (15u * j + digit - 1u), w[j & 3u]); }
  }
  return BLACK + f32(k) * UNIT;
}
//#endif
//#if SMOOTH
override SCALE: f32;

// An odd number of 2^-24 steps in (-1, 1).
fn symmetric(w: u32) -> f32 { return f32(2 * (i32(w >> 8u) - 0x800000) + 1) * 5.9604644775390625e-8; }

fn four(block: u32) -> vec4<f32> {
//#if GIVEN
  var z = vec4<f32>(0.0);
  for (var j = 0u; j < 4u && 4u * block + j < N; j++) { z[j] = draws[4u * block + j]; }
  return z;
//#else
  let w = words(STREAM, first_block() + block);
//#if UNIFORM
  return vec4<f32>(symmetric(w.x), symmetric(w.y), symmetric(w.z), symmetric(w.w));
//#else
  return normals(w);
//#endif
//#endif
}
//#endif

@compute @workgroup_size(WG)
fn add_noise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let block = item(wid, nwg, lane);
  if (4u * block >= N + first_word()) { return; }
//#if SMOOTH
  let z = four(block);
//#endif
  for (var j = 0u; j < 4u; j++) {
    let e = 4u * block + j - first_word();
    if (e >= N) { continue; }
//#if SMOOTH
//#if SPECKLE
    y[e] = x[e] + SCALE * x[e] * z[j];
//#else
    y[e] = x[e] + SCALE * z[j];
//#endif
//#else
    y[e] = noisy(e, block, j);
//#endif
  }
}
