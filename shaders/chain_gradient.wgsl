// The forward and backward pass of a network that is a chain of dense layers, in one dispatch: [x_t | enc(t)] from a batch
// of the data as in noisy_batch, the layers, the loss as in point_loss, and the gradient before each layer's activation
// from the last to the first. Kept for the weights' gradients: the inputs of the layers, each [B, I], and these gradients,
// each [B, O]. A workgroup per tile of samples; rows beyond the batch repeat its last one, and are not stored.
//#use items
//#use chain
//#use batch_row
//#use noise_row
//#use measure
//#use activation
//#use parts
//#use kept_places
override ROWS: u32; override STREAM: u32;
const SAMPLES = 4u * QUADS;
const SUMS = QUADS * COLUMNS + 1u;  // the epilogue is long
const PER = max(LANES / QUADS, 1u);  // lanes for a quad in the loss
// Behind the parts of the data, which are as many as a shader can have buffers.
@group(0) @binding(48) var<storage, read> table: array<f32>;  // [T, 4]: a, s, p, q
//#if FOURS
@group(0) @binding(52) var<storage, read> weights: array<vec4<f32>>;  // the parameters of all layers
fn parameter(at: u32) -> f32 { return weights[at / 4u][at % 4u]; }
//#else
@group(0) @binding(52) var<storage, read> weights: array<f32>;
fn parameter(at: u32) -> f32 { return weights[at]; }
//#endif
@group(0) @binding(54) var<storage, read_write> kept: array<f32>;
@group(0) @binding(55) var<storage, read_write> partials: array<f32>;  // [B]
//#if ENCODE
//#use encode_pair
override E: u32; override F: u32;
@group(0) @binding(49) var<storage, read> rates: array<u32>;  // [F, 2]
//#endif
//#if FACTORS
override TF: u32;
@group(0) @binding(53) var<storage, read> factors: array<f32>;  // [TF]
//#endif

struct Sample { row: u32, t: f32, factor: f32, level: vec4<f32> }
var<workgroup> samples: array<Sample, SAMPLES>;
var<workgroup> sums: array<vec4<f32>, QUADS * PER>;
var<private> first: u32;  // the row of the tile's first sample

fn row_of(quad: u32, i: u32) -> u32 { return first + 4u * quad + i; }
fn is_row(quad: u32, i: u32) -> bool { return row_of(quad, i) < B; }

fn keep(at: u32, width: u32, quad: u32, col: u32, v: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    if (is_row(quad, i)) { kept[at + row_of(quad, i) * width + col] = v[i]; }
  }
}

fn finish(s: u32, quad: u32, col: u32, sum: vec4<f32>) -> vec4<f32> {
  let l = layer(s);
  if (s + 1u == LAYERS) { return sum + parameter(l.bias + col); }
  var v: vec4<f32>;
  if (s < LAYERS) {
    let z = sum + parameter(l.bias + col);
    v = vec4(activate(z.x), activate(z.y), activate(z.z), activate(z.w));
//#if KEEP_Z
    keep(l.read, l.outputs, quad, col, z);
//#endif
  } else {
    for (var i = 0u; i < 4u; i++) {
      v[i] = sum[i] * activation_slope(kept[l.read + min(row_of(quad, i), B - 1u) * l.outputs + col]);
    }
  }
  keep(l.write, l.outputs, quad, col, v);
  return v;
}

fn draw(lane: u32) {
  for (var i = lane; i < SAMPLES; i += LANES) {
    let of_batch = clock.first_row + min(first + i, B - 1u);
    let time = time_from(words(STREAM + 1u, of_batch));
    var factor = 1.0;
//#if FACTORS
    let at = place(time.t, TF);
    factor = factors[at.at] + at.part * (factors[at.next] - factors[at.at]);
//#endif
    samples[i] = Sample(batch_row(of_batch), time.t, factor, level_of(time));
  }
}

// x_t, and in place of the gradient of the loss the target. A lane has four columns of four samples. Neither this
// loop over samples nor those of `encode` and `lose` index a local vector: Mesa would unroll them, and compile four copies.
fn add_noise(lane: u32) {
  let blocks = (D + 3u) / 4u;
  for (var e = lane; e < QUADS * blocks; e += LANES) {
    let quad = e / blocks;
    let block = e % blocks;
    for (var i = 0u; i < 4u; i++) {
      let sample = samples[4u * quad + i];
      var z = normals(words(STREAM, (clock.first_row + min(row_of(quad, i), B - 1u)) * blocks + block));
      for (var d = 4u * block; d < min(4u * block + 4u, D); d++) {
        let x = element(sample.row, d);
        act[quad * WIDTH + d][i] = sample.level.x * x + sample.level.y * z.x;
        if (is_row(quad, i)) { kept[TARGET + row_of(quad, i) * D + d] = sample.level.w * z.x + sample.level.z * x; }
        z = z.yzwx;
      }
    }
  }
}

//#if ENCODE
fn encode(lane: u32) {
  for (var e = lane; e < QUADS * F; e += LANES) {
    let quad = e / F;
    let f = e % F;
    let columns = wave_columns(f, E);
    for (var i = 0u; i < 4u; i++) {
      let wave = encode_pair(samples[4u * quad + i].t, rates[2u * f], rates[2u * f + 1u]);
      act[quad * WIDTH + D + columns.x][i] = wave.x;
      if (columns.y < E) { act[quad * WIDTH + D + columns.y][i] = wave.y; }
    }
    if ((LAYOUT > 0u) & (E % 2u == 1u) & (f == 0u)) { act[quad * WIDTH + D + E - 1u] = vec4<f32>(); }
  }
}
//#endif

fn keep_inputs(lane: u32) {
  for (var e = lane; e < QUADS * INPUTS; e += LANES) {
    keep(0u, INPUTS, e / INPUTS, e % INPUTS, act[e / INPUTS * WIDTH + e % INPUTS]);
  }
}

// The gradient of the loss in place of the network's output and of the target, and sums of the loss.
fn lose(lane: u32) {
  for (var quad = lane / PER; quad < QUADS; quad += LANES / PER) {
    for (var i = 0u; i < 4u; i++) {
      var sum = 0.0;
      for (var col = lane % PER; col < D; col += PER) {
        var d = 0.0;
        if (is_row(quad, i)) {
          let at = TARGET + row_of(quad, i) * D + col;
          let f = measure(act[quad * WIDTH + col][i] - kept[at]);
          d = SCALE * samples[4u * quad + i].factor * f.y;
          sum += samples[4u * quad + i].factor * f.x;
          kept[at] = d;
        }
        act[quad * WIDTH + col][i] = d;
      }
      sums[quad * PER + lane % PER][i] = sum;
    }
  }
}

fn sum_rows(lane: u32) {
  for (var i = lane; i < SAMPLES; i += LANES) {
    var sum = 0.0;
    for (var lane_of = 0u; lane_of < PER; lane_of++) { sum += sums[i / 4u * PER + lane_of][i % 4u]; }
    if (first + i < B) { partials[first + i] = sum; }
  }
}

@compute @workgroup_size(LANES)
fn chain_gradient(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
  first = group(wid, nwg) * SAMPLES;
  draw(lane);
  for (var e = lane; e < QUADS * (WIDTH - INPUTS); e += LANES) {
    act[e / (WIDTH - INPUTS) * WIDTH + INPUTS + e % (WIDTH - INPUTS)] = vec4<f32>();
  }
  workgroupBarrier();
  add_noise(lane);
//#if ENCODE
  encode(lane);
//#endif
  workgroupBarrier();
  keep_inputs(lane);
//#repeat S
  multiply_$S(lane);
  storageBarrier();
  if ($Su + 1u == LAYERS) { lose(lane); }
  workgroupBarrier();
  if ($Su + 1u == LAYERS) { sum_rows(lane); }
//#end
}
