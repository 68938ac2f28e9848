// The gradients of the parameters in their slab: the sum over s of parts[s], in the order of s; `place`, in the text
// `places`, returns where the parameter of an element is. One invocation per element.
//#use items
//#use places
override S: u32; override TOTAL: u32;
@group(0) @binding(0) var<storage, read> parts: array<f32>;  // [S, TOTAL]
@group(0) @binding(1) var<storage, read_write> gradients: array<f32>;  // the slab

@compute @workgroup_size(WG)
fn chain_sum(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= TOTAL) { return; }
  var sum = 0.0;
  for (var s = 0u; s < S; s++) { sum += parts[s * TOTAL + i]; }
  gradients[place(i)] = sum;
}
