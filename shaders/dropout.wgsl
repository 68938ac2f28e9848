// Dropout, and noise on activations. One invocation per four elements, which share a block of random words.
//#use items
//#use blocks
override N: u32; override STREAM: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;  // [N]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [N]

override P: f32 = 0.0;

@compute @workgroup_size(WG)
fn dropout(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let block = item(wid, nwg, lane);
  if (block * 4u >= N + first_word()) { return; }
  let w = words(STREAM, first_block() + block);
  let threshold = u32(P * 4294967296.0);
  let scale = 1.0 / (1.0 - P);
  for (var j = 0u; j < 4u; j++) {
    let i = block * 4u + j - first_word();
    if (i < N) { y[i] = select(x[i] * scale, 0.0, w[j] < threshold); }
  }
}

override SCALE: f32 = 0.0;

@compute @workgroup_size(WG)
fn add_noise(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let block = item(wid, nwg, lane);
  if (block * 4u >= N + first_word()) { return; }
  let z = normals(words(STREAM, first_block() + block));
  for (var j = 0u; j < 4u; j++) {
    let i = block * 4u + j - first_word();
    if (i < N) { y[i] = x[i] + SCALE * z[j]; }
  }
}
