// C tile of 64 x 64 per workgroup of 256, 4 x 4 per invocation, k in steps of 16 through shared memory.
var<workgroup> tile_a: array<f32, 1024>;  // [16 k][64 rows]
var<workgroup> tile_b: array<f32, 1024>;  // [16 k][64 cols]
var<private> slice: u32;

@compute @workgroup_size(256)
fn gemm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  slice = wid.z;
  let row0 = wid.y * 64u;
  let col0 = wid.x * 64u;
  let r = (lane / 16u) * 4u;
  let c = (lane % 16u) * 4u;
  var c0 = vec4<f32>(); var c1 = vec4<f32>(); var c2 = vec4<f32>(); var c3 = vec4<f32>();
  for (var k0 = 0u; k0 < K; k0 += 16u) {
    for (var i = 0u; i < 4u; i++) {
      let e = lane + i * 256u;
//#if A_INNER
      let ak = e % 16u; let ar = e / 16u;
//#else
      let ak = e / 64u; let ar = e % 64u;
//#endif
//#if B_INNER
      let bk = e % 16u; let bc = e / 16u;
//#else
      let bk = e / 64u; let bc = e % 64u;
//#endif
      var av = 0.0;
      if (row0 + ar < M && k0 + ak < K) { av = load_a(row0 + ar, k0 + ak); }
      var bv = 0.0;
//#if INDEXED
      if (col0 + bc < N && k0 + bk < K) { bv = load_b(inner(k0 + bk), outer(col0 + bc)); }
//#else
      if (col0 + bc < N && k0 + bk < K) { bv = load_b(k0 + bk, col0 + bc); }
//#endif
      tile_a[ak * 64u + ar] = av;
      tile_b[bk * 64u + bc] = bv;
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      let at = k * 64u + r;
      let bt = k * 64u + c;
      let b = vec4<f32>(tile_b[bt], tile_b[bt + 1u], tile_b[bt + 2u], tile_b[bt + 3u]);
      c0 += tile_a[at] * b;
      c1 += tile_a[at + 1u] * b;
      c2 += tile_a[at + 2u] * b;
      c3 += tile_a[at + 3u] * b;
    }
    workgroupBarrier();
  }
  put_row(row0 + r, col0 + c, c0);
  put_row(row0 + r + 1u, col0 + c, c1);
  put_row(row0 + r + 2u, col0 + c, c2);
  put_row(row0 + r + 3u, col0 + c, c3);
}

fn put_row(row: u32, col: u32, v: vec4<f32>) {
  if (row >= M) { return; }
  if (col < N) { store(row, col, v.x); }
  if (col + 1u < N) { store(row, col + 1u, v.y); }
  if (col + 2u < N) { store(row, col + 2u, v.z); }
  if (col + 3u < N) { store(row, col + 3u, v.w); }
}
