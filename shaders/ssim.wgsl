// Structural similarity of images x and y and its gradient for x, with a separable Gaussian window of K.
// OH = H - K + 1 and OW = W - K + 1 are the valid positions; a plane is one channel of one image.
//#use sum_lanes
override N: u32; override W: u32; override K: u32;
@group(0) @binding(0) var<storage, read> window: array<f32>;  // [K]

//#if ROWS
// moments [planes, H, 5, OW]: x, y, x^2, y^2 and x y averaged along rows. One invocation per plane, row and position.
@group(0) @binding(1) var<storage, read> x: array<f32>;  // [planes, H, W]
@group(0) @binding(2) var<storage, read> y: array<f32>;  // [planes, H, W]
@group(0) @binding(3) var<storage, read_write> moments: array<f32>;

@compute @workgroup_size(WG)
fn rows(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let width = W - K + 1u;
  let row = i / width;
  let col = i % width;
  var m = vec4<f32>();
  var xy = 0.0;
  for (var k = 0u; k < K; k++) {
    let a = x[row * W + col + k];
    let b = y[row * W + col + k];
    m += window[k] * vec4<f32>(a, b, a * a, b * b);
    xy += window[k] * (a * b);
  }
  let at = row * 5u * width + col;
  moments[at] = m.x;
  moments[at + width] = m.y;
  moments[at + 2u * width] = m.z;
  moments[at + 3u * width] = m.w;
  moments[at + 4u * width] = xy;
}
//#endif

//#if MAP
// partials[g] = sum of 1 - SSIM over a chunk of positions; slopes [planes, OH, 3, OW]: SCALE times the derivatives of
// SSIM by the averages of x, x^2 and x y. Here W counts the positions of a row.
override H: u32; override CHUNK: u32; override C1: f32; override C2: f32; override SCALE: f32;
@group(0) @binding(1) var<storage, read> moments: array<f32>;  // [planes, H, 5, W]
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;
@group(0) @binding(3) var<storage, read_write> slopes: array<f32>;

fn position(i: u32) -> f32 {
  let row = i / W;
  let height = H - K + 1u;
  let top = (row / height) * H + row % height;
  var m = vec4<f32>();
  var xy = 0.0;
  for (var k = 0u; k < K; k++) {
    let at = (top + k) * 5u * W + i % W;
    m += window[k] * vec4<f32>(moments[at], moments[at + W], moments[at + 2u * W], moments[at + 3u * W]);
    xy += window[k] * moments[at + 4u * W];
  }
  let a1 = 2.0 * m.x * m.y + C1;
  let a2 = 2.0 * (xy - m.x * m.y) + C2;
  let b1 = m.x * m.x + m.y * m.y + C1;
  let b2 = (m.z - m.x * m.x) + (m.w - m.y * m.y) + C2;
  let s = a1 * a2 / (b1 * b2);
  let at = row * 3u * W + i % W;
  slopes[at] = SCALE * 2.0 * (m.y * (a2 - a1) / (b1 * b2) + m.x * s * (b1 - b2) / (b1 * b2));
  slopes[at + W] = SCALE * -s / b2;
  slopes[at + 2u * W] = SCALE * 2.0 * a1 / (b1 * b2);
  return 1.0 - s;
}

@compute @workgroup_size(WG)
fn map(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
       @builtin(local_invocation_index) lane: u32) {
  let g = group(wid, nwg);
  let end = min((g + 1u) * CHUNK, N);
  var sum = 0.0;
  for (var i = g * CHUNK + lane; i < end; i += WG) { sum += position(i); }
  let all = sum_lanes(lane, sum);
  if (lane == 0u) { partials[g] = all; }
}
//#endif

//#if SPREAD
// spread [planes, H, 3, W]: each row's weighted sum of the slopes of the positions that read it. W as in `map`.
override H: u32;
@group(0) @binding(1) var<storage, read> slopes: array<f32>;  // [planes, OH, 3, W]
@group(0) @binding(2) var<storage, read_write> spread: array<f32>;

@compute @workgroup_size(WG)
fn columns(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let stride = 3u * W;
  let plane = i / (H * stride);
  let row = i / stride % H;
  let height = H - K + 1u;
  var sum = 0.0;
  for (var k = 0u; k < K; k++) {
    if ((row >= k) & (row - k < height)) { sum += window[k] * slopes[(plane * height + row - k) * stride + i % stride]; }
  }
  spread[i] = sum;
}
//#endif

//#if GRADIENT
// d [planes, H, W] = the slopes for x, and those for x^2 and x y times 2 x and y, of all positions that read an
// element.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> spread: array<f32>;  // [planes, H, 3, OW]
@group(0) @binding(4) var<storage, read_write> d: array<f32>;

@compute @workgroup_size(WG)
fn gradient(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let width = W - K + 1u;
  let col = i % W;
  let at = i / W * 3u * width;
  var sum = vec3<f32>();
  for (var k = 0u; k < K; k++) {
    if ((col >= k) & (col - k < width)) {
      let e = at + col - k;
      sum += window[k] * vec3<f32>(spread[e], spread[e + width], spread[e + 2u * width]);
    }
  }
  d[i] = sum.x + 2.0 * x[i] * sum.y + y[i] * sum.z;
}
//#endif
