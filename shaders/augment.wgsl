// y[b, c, i, j] = x[b, c, top + i, left + j]: a window of each row, at a random place and mirrored at random; see
// augment.rs. LANES invocations per row.
//#use items
override B: u32; override C: u32; override H: u32; override W: u32; override OUT_H: u32; override OUT_W: u32;
override LANES: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [B, C, H, W]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [B, C, OUT_H, OUT_W]
//#if RANDOM
//#use random
override STREAM: u32; override SHIFT_H: u32; override SHIFT_W: u32;

fn shift(word: u32, most: u32) -> i32 { return i32(below(word, 2u * most + 1u)) - i32(most); }
//#endif

// The row or column of x that stands at `at`, which may be beyond its edges.
fn inside(at: i32, size: u32) -> u32 {
//#if WRAP
  let n = i32(size);
  return u32(((at % n) + n) % n);
//#else
  return u32(clamp(at, 0, i32(size) - 1));
//#endif
}

@compute @workgroup_size(WG)
fn augment(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let b = i / LANES;
  if (b >= B) { return; }
//#if RANDOM
  let of_batch = clock.first_row + b;
  let place = words(STREAM, 2u * of_batch);
  let top = i32(below(place.x, H - OUT_H + 1u)) + shift(place.z, SHIFT_H);
  let left = i32(below(place.y, W - OUT_W + 1u)) + shift(place.w, SHIFT_W);
//#else
  let top = (i32(H) - i32(OUT_H)) / 2;
  let left = (i32(W) - i32(OUT_W)) / 2;
//#endif
  var mirrored = false;
//#if FLIP
  mirrored = words(STREAM, 2u * of_batch + 1u).x < 0x80000000u;
//#endif
  let plane = OUT_H * OUT_W;
  for (var d = i % LANES; d < C * plane; d += LANES) {
    let column = d % OUT_W;
    let row = inside(top + i32(d % plane / OUT_W), H);
    let from_left = inside(left + i32(select(column, OUT_W - 1u - column, mirrored)), W);
    y[b * C * plane + d] = x[((b * C + d / plane) * H + row) * W + from_left];
  }
}
