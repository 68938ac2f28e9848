// y[b] = [m x | m], where m is 0 for the values that a random rule hides, and for missing ones. LANES invocations per row.
//#use items
//#use random
override B: u32; override D: u32; override LANES: u32;
override R: u32; override H: u32; override W: u32; override STREAM: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, D]
@group(0) @binding(1) var<storage, read> rules: array<u32>;  // [R, 3]: kind, least and largest share in 2^-32
@group(0) @binding(2) var<storage, read> places: array<u32>;  // [D]
//#if KNOWN
@group(0) @binding(3) var<storage, read> known: array<f32>;  // [B, D]
//#endif
//#if POOL
override M: u32;
@group(0) @binding(4) var<storage, read> pool: array<f32>;  // [M, D]
//#endif
@group(0) @binding(5) var<storage, read_write> y: array<f32>;  // [B, 2 D]

// share n, rounded, from 1 to n.
fn extent(share: u32, n: u32) -> u32 {
  let product = mul_wide(share, n);
  return clamp(product.y + (product.x >> 31u), 1u, n);
}

@compute @workgroup_size(WG)
fn mask(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let b = i / LANES;
  if (b >= B) { return; }
  let of_batch = clock.first_row + b;
  let draw = words(STREAM, of_batch);
  let rule = 3u * below(draw.x, R);
  let kind = rules[rule];
  let share = rules[rule + 1u] + below(draw.y, rules[rule + 2u] - rules[rule + 1u]);
  // The hidden rectangle of the rules 1 (block) and 2 (future).
  let height = select(H, extent(share, H), kind == 1u);
  let width = extent(share, W);
  let top = below(draw.z, H - height + 1u);
  let left = select(W - width, below(draw.w, W - width + 1u), kind == 1u);
  let blocks = (H * W + 3u) / 4u;
  for (var d = i % LANES; d < D; d += LANES) {
    let place = min(places[d], H * W - 1u);
    let row = place / W - top;
    let column = place % W - left;
    var m = select(1.0, 0.0, row < height && column < width);
    if (kind == 0u) {
      m = select(1.0, 0.0, words(STREAM + 1u, of_batch * blocks + place / 4u)[place % 4u] < share);
    }
//#if POOL
    if (kind == 3u) { m = select(0.0, 1.0, pool[below(draw.y, M) * D + d] > 0.0); }
//#endif
//#if KNOWN
    m *= known[b * D + d];
//#endif
    y[2u * b * D + d] = m * x[b * D + d];
    y[(2u * b + 1u) * D + d] = m;
  }
}
