// x = a x0 + s z where the mask of known values is 1, with (a, s) of row `step` of a table. One invocation per block of four
// elements.
//#use items
//#use blocks
override N: u32; override D: u32; override STEPS: u32; override STREAM: u32;
@group(0) @binding(0) var<storage, read> known: array<f32>;  // [B, 2 D]: rows [x0 | mask]
@group(0) @binding(1) var<storage, read> table: array<f32>;  // [STEPS, 2]
@group(0) @binding(2) var<storage, read_write> x: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn keep_known(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let block = item(wid, nwg, lane);
  if (block * 4u >= N + first_word()) { return; }
  let row = 2u * min(clock.step, STEPS - 1u);
  let z = normals(words(STREAM, first_block() + block));
  for (var j = 0u; j < 4u; j++) {
    let i = block * 4u + j - first_word();
    if (i < N) {
      let at = 2u * (i / D) * D + i % D;
      if (known[at + D] > 0.0) { x[i] = table[row] * known[at] + table[row + 1u] * z[j]; }
    }
  }
}
