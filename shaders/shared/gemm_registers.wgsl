// C in registers, without shared memory: LANES invocations along the columns, ROWS rows and COLS columns per
// invocation. With BROADCAST these are one subgroup, and A is loaded one value per lane and shared by
// `subgroupBroadcast`, because repeated loads are expensive on software rasterizers; without it k advances in steps of
// STEP to reduce iterations.
//#use gemm_sizes
//#use items
//#use gemm_tiles
var<private> slice: u32;

@compute @workgroup_size(LANES)
fn gemm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
//#if BROADCAST
        @builtin(subgroup_invocation_id) lane: u32) {
//#else
        @builtin(local_invocation_index) lane: u32) {
//#endif
  let at = tile(group(wid, nwg));
  slice = at.z;
  let row = at.y * ROWS;
  // Four columns of a lane are contiguous if they are loaded at once.
//#if B_VEC4
  let col = (at.x * LANES + lane) * COLS;
//#else
  let col = at.x * (COLS * LANES) + lane;
//#endif
  // Rows and columns beyond the edge repeat the last one and are not stored.
//#if B_VEC4
  let quad = min(col, (N - 1u) / 4u * 4u);
//#endif
//#repeat J
//#if INDEXED
  let n$J = outer(min(col + $Ju * LANES, N - 1u));
//#else
  let n$J = min(col + $Ju * LANES, N - 1u);
//#endif
//#end
//#repeat I
  let m$I = min(row + $Iu, M - 1u);
//#repeat J
  var c$I_$J = 0.0;
//#end
//#end
//#if BROADCAST
  for (var k0 = 0u; k0 < K; k0 += LANES) {
    let ka = min(k0 + lane, K - 1u);
    let inside = k0 + lane < K;
//#if A_VEC4
    var fours: array<vec4<f32>, ROWS / 4u>;
//#repeat F
    fours[$F] = select(vec4<f32>(), load_a4(min(row + 4u * $Fu, (M - 1u) / 4u * 4u), ka), inside);
//#end
//#repeat I
    let a$I = fours[$Iu / 4u][$Iu % 4u];
//#end
//#else
//#repeat I
    let a$I = select(0.0, load_a(m$I, ka), inside);
//#end
//#endif
//#if INDEXED
    let inside_k = inner(ka);
//#endif
//#repeat Q
    {
//#if INDEXED
      let kb = subgroupBroadcast(inside_k, $Qu);
//#else
      let kb = min(k0 + $Qu, K - 1u);
//#endif
//#if B_VEC4
      let b = load_b4(kb, quad);
//#repeat J
      let b$J = b[$J];
//#end
//#else
//#repeat J
      let b$J = load_b(kb, n$J);
//#end
//#endif
//#repeat I
      let x$I = subgroupBroadcast(a$I, $Qu);
//#repeat J
      c$I_$J = fma(x$I, b$J, c$I_$J);
//#end
//#end
    }
//#end
  }
//#else
  for (var k0 = 0u; k0 < K; k0 += STEP) {
//#repeat Q
    {
      let k = min(k0 + $Qu, K - 1u);
      let inside = k0 + $Qu < K;
//#if INDEXED
      let kb = inner(k);
//#else
      let kb = k;
//#endif
//#repeat J
      let b$J = load_b(kb, n$J);
//#end
//#repeat I
      let a$I = select(0.0, load_a(m$I, k), inside);
//#repeat J
      c$I_$J = fma(a$I, b$J, c$I_$J);
//#end
//#end
    }
//#end
  }
//#endif
  // In a loop, because unrolled copies of an epilogue take longer to compile than everything above.
  var sums: array<f32, ROWS * COLS>;
//#repeat I
//#repeat J
  sums[$Iu * COLS + $Ju] = c$I_$J;
//#end
//#end
  for (var e = 0u; e < ROWS * COLS; e++) {
    let i = row + e / COLS;
//#if B_VEC4
    let j = col + e % COLS;
//#else
    let j = col + e % COLS * LANES;
//#endif
    if ((i < M) & (j < N)) { store(i, j, sums[e]); }
  }
}
