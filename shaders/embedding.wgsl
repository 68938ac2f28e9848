// y[n] = table[index[n]], and the gradient of the table. embed: one invocation per element. table_gradient: BLOCKS
// invocations per row of the table, each for every BLOCKS-th column, which scan all indices in order.
//#use items
override V: u32; override E: u32; override N: u32;
//#if INTEGERS
@group(0) @binding(2) var<storage, read> index: array<u32>;  // [N]
fn row_of(n: u32) -> u32 { return min(index[n], V - 1u); }
//#else
@group(0) @binding(2) var<storage, read> index: array<f32>;  // [N]
fn row_of(n: u32) -> u32 { return min(u32(max(index[n], 0.0) + 0.5), V - 1u); }
//#endif

@group(0) @binding(0) var<storage, read> table: array<f32>;  // [V, E]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [N, E]

@compute @workgroup_size(WG)
fn embed(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N * E) { y[i] = table[row_of(i / E) * E + i % E]; }
}

override BLOCKS: u32 = 1u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;  // [N, E]
@group(0) @binding(4) var<storage, read_write> d: array<f32>;  // [V, E]

@compute @workgroup_size(WG)
fn table_gradient(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let row = i / BLOCKS;
  if (row >= V) { return; }
  for (var e = i % BLOCKS; e < E; e += BLOCKS) { d[row * E + e] = 0.0; }
  for (var n = 0u; n < N; n++) {
    if (row_of(n) == row) {
      for (var e = i % BLOCKS; e < E; e += BLOCKS) { d[row * E + e] += dy[n * E + e]; }
    }
  }
}
