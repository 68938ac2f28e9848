// A sampling step of a network that is a chain of dense layers, in one dispatch: [x | enc(t)] with t from row `step` of
// the table, the layers, and the update of x as in sampler_step. A workgroup per tile of samples.
//#use items
//#use chain
//#use sampler_update
//#use activation
override B: u32;
const SUMS = QUADS * COLUMNS;
//#if FOURS
@group(0) @binding(7) var<storage, read> weights: array<vec4<f32>>;  // the parameters of all layers
fn parameter(at: u32) -> f32 { return weights[at / 4u][at % 4u]; }
//#else
@group(0) @binding(7) var<storage, read> weights: array<f32>;
fn parameter(at: u32) -> f32 { return weights[at]; }
//#endif
//#if ENCODE
//#use encode_pair
override E: u32; override F: u32;
@group(0) @binding(6) var<storage, read> rates: array<u32>;  // [F, 2]
//#endif

fn finish(s: u32, quad: u32, col: u32, sum: vec4<f32>) -> vec4<f32> {
  let v = sum + parameter(layer(s).bias + col);
  if (s + 1u == LAYERS) { return v; }
  return vec4(activate(v.x), activate(v.y), activate(v.z), activate(v.w));
}

@compute @workgroup_size(LANES)
fn chain_step(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let first = group(wid, nwg) * (4u * QUADS);
  for (var e = lane; e < QUADS * W; e += LANES) {
    let quad = e / W;
    let col = e % W;
    var v: vec4<f32>;
    // Rows beyond the batch repeat its last one, and are not stored.
    for (var i = 0u; i < 4u; i++) { v[i] = x[min(first + 4u * quad + i, B - 1u) * W + col]; }
    act[quad * WIDTH + col] = v;
  }
  for (var e = lane; e < QUADS * (WIDTH - INPUTS); e += LANES) {
    act[e / (WIDTH - INPUTS) * WIDTH + INPUTS + e % (WIDTH - INPUTS)] = vec4<f32>();
  }
//#if ENCODE
  let t = table[step_row() * 21u];
  for (var f = lane; f < F; f += LANES) {
    let wave = encode_pair(t, rates[2u * f], rates[2u * f + 1u]);
    let columns = W + wave_columns(f, E);
    for (var quad = 0u; quad < QUADS; quad++) {
      act[quad * WIDTH + columns.x] = vec4(wave.x);
      if (columns.y < W + E) { act[quad * WIDTH + columns.y] = vec4(wave.y); }
      if ((LAYOUT > 0u) & (E % 2u == 1u) & (f == 0u)) { act[quad * WIDTH + W + E - 1u] = vec4<f32>(); }
    }
  }
//#endif
  workgroupBarrier();
//#repeat S
  multiply_$S(lane);
//#end
  let row = coefficients();
  let begin = first * W;
  let end = min(first + 4u * QUADS, B) * W;
  for (var block = (begin + first_word()) / 4u + lane; block * 4u < end + first_word(); block += LANES) {
    let z = noise_of(row, block);
    for (var j = 0u; j < 4u; j++) {
      let i = block * 4u + j - first_word();
      // A block may begin in the tile before.
      if ((i >= begin) & (i < end)) {
        let sample = i / W - first;
        update(row, i, load(sample % 4u, sample / 4u, i % W), z[j]);
      }
    }
  }
}
