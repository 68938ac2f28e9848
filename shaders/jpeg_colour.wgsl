// RGB in [LOW, LOW + RANGE] to and from Y, Cb and Cr in [0, 1], with one Cb and Cr for S x S pixels, in the integer
// arithmetic of libjpeg: factors in 1 / 65536.
//#use items
//#use pixel
override N: u32; override H: u32; override W: u32; override S: u32;
override LOW: f32;
override CONTRAST: f32 = 1.0; override RANGE: f32 = 1.0;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [N, 3, H, W]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [N, 1, H, W]
@group(0) @binding(2) var<storage, read_write> c: array<f32>;  // [N, 2, H / S, W / S], rounded up

fn eight_bits(at: u32) -> i32 { return pixel(clamp((x[at] - LOW) * CONTRAST, 0.0, 1.0)); }

// One invocation per Cb and its S x S pixels; pixels beyond the edge repeat the edge.
@compute @workgroup_size(WG)
fn jpeg_planes(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let h = (H + S - 1u) / S;
  let w = (W + S - 1u) / S;
  let i = item(wid, nwg, lane);
  if (i >= N * h * w) { return; }
  let n = i / (h * w);
  let row = i / w % h;
  let column = i % w;
  var cb = 0;
  var cr = 0;
  for (var e = 0u; e < S * S; e++) {
    let at = vec2<u32>(row * S + e / S, column * S + e % S);
    let inside = min(at.x, H - 1u) * W + min(at.y, W - 1u);
    let r = eight_bits(3u * n * H * W + inside);
    let g = eight_bits((3u * n + 1u) * H * W + inside);
    let b = eight_bits((3u * n + 2u) * H * W + inside);
    if ((at.x < H) & (at.y < W)) {
      y[n * H * W + inside] = f32((19595 * r + 38470 * g + 7471 * b + 32768) >> 16u) / 255.0;
    }
    cb += (-11059 * r - 21709 * g + 32768 * b + 8421375) >> 16u;
    cr += (32768 * r - 27439 * g - 5329 * b + 8421375) >> 16u;
  }
  if (S == 2u) {
    // Halves and quarters are rounded up in every second column.
    let bias = 1 + i32(column % 2u);
    cb = (cb + bias) >> 2u;
    cr = (cr + bias) >> 2u;
  }
  c[2u * n * h * w + row * w + column] = f32(cb) / 255.0;
  c[(2u * n + 1u) * h * w + row * w + column] = f32(cr) / 255.0;
}

@group(0) @binding(3) var<storage, read> luma: array<f32>;  // [N, 1, H, W]
@group(0) @binding(4) var<storage, read> chroma: array<f32>;  // [N, 2, H / S, W / S], rounded up
@group(0) @binding(5) var<storage, read_write> rgb: array<f32>;  // [N, 3, H, W]

fn chroma_at(plane: u32, row: u32, column: u32) -> i32 {
  let h = (H + S - 1u) / S;
  let w = (W + S - 1u) / S;
  return pixel(clamp(chroma[(plane * h + min(row, h - 1u)) * w + min(column, w - 1u)], 0.0, 1.0));
}

// The neighbour of a half-resolution row or column on the side of the pixel `at`.
fn beside(at: u32) -> u32 {
  let near = at / 2u;
  return select(near + 1u, max(near, 1u) - 1u, at % 2u == 0u);
}

// Chroma at a pixel, with weights of 9, 3, 3 and 1 sixteenths of the four nearest values.
fn upsampled(plane: u32, row: u32, column: u32) -> i32 {
  if (S == 1u) { return chroma_at(plane, row, column) - 128; }
  let near = 3 * chroma_at(plane, row / 2u, column / 2u) + chroma_at(plane, beside(row), column / 2u);
  let far = 3 * chroma_at(plane, row / 2u, beside(column)) + chroma_at(plane, beside(row), beside(column));
  return ((3 * near + far + 8 - i32(column % 2u)) >> 4u) - 128;
}

// One invocation per pixel.
@compute @workgroup_size(WG)
fn jpeg_colours(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N * H * W) { return; }
  let n = i / (H * W);
  let at = i % (H * W);
  let l = pixel(clamp(luma[i], 0.0, 1.0));
  let cb = upsampled(2u * n, at / W, at % W);
  let cr = upsampled(2u * n + 1u, at / W, at % W);
  let levels = vec3<i32>(l + ((91881 * cr + 32768) >> 16u), l + ((-22554 * cb - 46802 * cr + 32768) >> 16u),
                         l + ((116130 * cb + 32768) >> 16u));
  for (var k = 0u; k < 3u; k++) {
    rgb[(3u * n + k) * H * W + at] = LOW + RANGE * (f32(clamp(levels[k], 0, 255)) / 255.0);
  }
}
