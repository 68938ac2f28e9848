// total += SHARE x; for the first part of the batch, total = SHARE x. One invocation per element.
//#use items
//#use clock
override N: u32; override SHARE: f32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> total: array<f32>;

@compute @workgroup_size(WG)
fn accumulate(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
//#if STARTS
  if (clock.part == 0u) {
    total[i] = SHARE * x[i];
    return;
  }
//#endif
  total[i] += SHARE * x[i];
}
