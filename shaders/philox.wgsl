// words = Philox4x32-10(counter, key), normals by Box-Muller. One invocation per counter.
//#use items
//#use random
override N: u32;
@group(0) @binding(0) var<storage, read> counter: array<u32>;  // [N, 4]
@group(0) @binding(1) var<storage, read> key: array<u32>;  // [N, 2]
@group(0) @binding(2) var<storage, read_write> out_words: array<u32>;  // [N, 4]
@group(0) @binding(3) var<storage, read_write> out_normals: array<f32>;  // [N, 4]

@compute @workgroup_size(WG)
fn draw(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let c = 4u * i;
  let w = philox(vec4<u32>(counter[c], counter[c + 1u], counter[c + 2u], counter[c + 3u]), vec2<u32>(key[2u * i], key[2u * i + 1u]));
  let z = normals(w);
  for (var j = 0u; j < 4u; j++) {
    out_words[c + j] = w[j];
    out_normals[c + j] = z[j];
  }
}
