// first and second = sum over s of parts[s], in the order of s; parts are [first | second], or pairs of both. One
// invocation per element.
//#use items
//#if SEVERAL
// Several such sums, whose outputs are in one slab.
@group(0) @binding(7) var<storage, read_write> slab: array<f32>;
//#use sums
@compute @workgroup_size(WG)
fn sum_several(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
//#use choices
}
//#else
override S: u32; override N: u32; override FIRST: u32;
@group(0) @binding(0) var<storage, read> parts: array<f32>;  // [S, N]
@group(0) @binding(1) var<storage, read_write> first: array<f32>;  // [FIRST]
//#if SECOND
@group(0) @binding(2) var<storage, read_write> second: array<f32>;  // [N - FIRST]
//#endif

@compute @workgroup_size(WG)
fn sum_parts(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  var sum = 0.0;
//#if BETWEEN
  let at = select(2u * i, 2u * (i - FIRST) + 1u, i >= FIRST);
//#else
  let at = i;
//#endif
  for (var s = 0u; s < S; s++) { sum += parts[s * N + at]; }
//#if SECOND
  if (i >= FIRST) { second[i - FIRST] = sum; return; }
//#endif
  if (i < FIRST) { first[i] = sum; }
}
//#endif
