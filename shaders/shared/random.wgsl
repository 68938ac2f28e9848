// Philox4x32-10 (Salmon et al. 2011) and Box-Muller; the same as src/numeric/random.rs.
//#use clock
//#use math

fn mul_wide(a: u32, b: u32) -> vec2<u32> {  // (low, high) of a * b
  let al = a & 0xffffu; let ah = a >> 16u;
  let bl = b & 0xffffu; let bh = b >> 16u;
  let ll = al * bl;
  let m1 = ah * bl + (ll >> 16u);
  let m2 = al * bh + (m1 & 0xffffu);
  return vec2<u32>(a * b, ah * bh + (m1 >> 16u) + (m2 >> 16u));
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var k = seed;
  for (var round = 0u; round < 10u; round++) {
    let p0 = mul_wide(0xD2511F53u, c.x);
    let p1 = mul_wide(0xCD9E8D57u, c.z);
    c = vec4<u32>(p1.y ^ c.y ^ k.x, p1.x, p0.y ^ c.w ^ k.y, p0.x);
    k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}

fn words(stream: u32, block: u32) -> vec4<u32> {
  return philox(vec4<u32>(block, stream, clock.step, 0u), vec2<u32>(clock.seed_lo, clock.seed_hi));
}

fn below(word: u32, n: u32) -> u32 { return mul_wide(word, n).y; }

fn normals(w: vec4<u32>) -> vec4<f32> {
  let a = sqrt(max(0.0, -2.0 * ln_uniform(w.x))) * sin_cos_turns(w.y).yx;
  let b = sqrt(max(0.0, -2.0 * ln_uniform(w.z))) * sin_cos_turns(w.w).yx;
  return vec4<f32>(a, b);
}

fn mix_bits(v: u32) -> u32 {
  var x = (v ^ (v >> 16u)) * 0x7feb352du;
  x = (x ^ (x >> 15u)) * 0x846ca68bu;
  return x ^ (x >> 16u);
}

fn rotate_left(x: u32, by: u32) -> u32 { return select((x << by) | (x >> (32u - by)), x, by == 0u); }

// The element at `position` of a random permutation of 0..n: a Feistel network, iterated until the result is below n.
fn permuted(position: u32, n: u32, epoch: u32, stream: u32) -> u32 {
  let bits = max(32u - countLeadingZeros(n - 1u), 2u);
  let keys = philox(vec4<u32>(epoch, stream, 0u, 1u), vec2<u32>(clock.seed_lo, clock.seed_hi));
  var x = position;
  loop {
    var low_bits = bits / 2u;
    var high_bits = bits - low_bits;
    for (var round = 0u; round < 6u; round++) {
      let low = x & ((1u << low_bits) - 1u);
      let hash = mix_bits(low ^ rotate_left(keys[round & 3u], round * 5u)) & ((1u << high_bits) - 1u);
      x = (low << high_bits) | ((x >> low_bits) ^ hash);
      let swap = low_bits; low_bits = high_bits; high_bits = swap;
    }
    if (x < n) { break; }
  }
  return x;
}
