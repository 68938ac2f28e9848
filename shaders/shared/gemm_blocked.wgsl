// C in tiles of ROWS x COLS through shared memory, k in steps of STEP. An invocation keeps 1 or 2 blocks of 4 rows
// times 1 or 2 of 4 columns in registers; two blocks are half a tile apart, so that neighbours read contiguous shared
// memory. The values of the next step are loaded while those of the current one are multiplied.
//#use gemm_sizes
//#use items
//#use gemm_tiles
const QUADS_A = ROWS / 4u;
const QUADS_B = COLS / 4u;
const PITCH_A = QUADS_A + 1u;  // padded by one, so that a column does not map to one bank
const PITCH_B = QUADS_B + 1u;
const ACROSS = QUADS_B / BLOCKS_B;  // invocations side by side
var<workgroup> tile_a: array<vec4<f32>, STEP * PITCH_A>;  // [STEP k][ROWS, and 4 unused]
var<workgroup> tile_b: array<vec4<f32>, STEP * PITCH_B>;  // [STEP k][COLS, and 4 unused]

var<private> slice: u32;

// Four values of A: of rows row.. at k, or with A_VEC4 along memory. Rows beyond the edge repeat the last one and are
// not stored; A is zero beyond K, where B repeats its last values.
//#if A_INNER
//#if A_VEC4
fn a_row(e: u32) -> u32 { return e / (STEP / 4u); }
fn a_k(e: u32) -> u32 { return e % (STEP / 4u) * 4u; }
fn get_a(row: u32, k: u32) -> vec4<f32> { return select(vec4<f32>(), load_a4(min(row, M - 1u), min(k, K - 4u)), k < K); }
//#else
fn a_row(e: u32) -> u32 { return e / STEP * 4u; }
fn a_k(e: u32) -> u32 { return e % STEP; }
//#endif
//#else
fn a_row(e: u32) -> u32 { return e % QUADS_A * 4u; }
fn a_k(e: u32) -> u32 { return e / QUADS_A; }
//#if A_VEC4
fn get_a(row: u32, k: u32) -> vec4<f32> {
  return select(vec4<f32>(), load_a4(min(row, (M - 1u) / 4u * 4u), min(k, K - 1u)), k < K);
}
//#endif
//#endif
//#if A_VEC4
//#else
fn get_a(row: u32, k: u32) -> vec4<f32> {
  let at = min(k, K - 1u);
  let v = vec4(load_a(min(row, M - 1u), at), load_a(min(row + 1u, M - 1u), at),
               load_a(min(row + 2u, M - 1u), at), load_a(min(row + 3u, M - 1u), at));
  return select(vec4<f32>(), v, k < K);
}
//#endif

//#if B_INNER
//#if B_VEC4
fn b_col(e: u32) -> u32 { return e / (STEP / 4u); }
fn b_k(e: u32) -> u32 { return e % (STEP / 4u) * 4u; }
fn get_b(k: u32, col: u32) -> vec4<f32> { return load_b4(min(k, K - 4u), min(col, N - 1u)); }
//#else
fn b_col(e: u32) -> u32 { return e / STEP * 4u; }
fn b_k(e: u32) -> u32 { return e % STEP; }
//#endif
//#else
fn b_col(e: u32) -> u32 { return e % QUADS_B * 4u; }
fn b_k(e: u32) -> u32 { return e / QUADS_B; }
//#if B_VEC4
fn get_b(k: u32, col: u32) -> vec4<f32> { return load_b4(min(k, K - 1u), min(col, (N - 1u) / 4u * 4u)); }
//#endif
//#endif
//#if B_VEC4
//#else
//#if INDEXED
//#else
fn get_b(k: u32, col: u32) -> vec4<f32> {
  let at = min(k, K - 1u);
  return vec4(load_b(at, min(col, N - 1u)), load_b(at, min(col + 1u, N - 1u)),
              load_b(at, min(col + 2u, N - 1u)), load_b(at, min(col + 3u, N - 1u)));
}
//#endif
//#endif

@compute @workgroup_size(LANES)
fn gemm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let at = tile(group(wid, nwg));
  slice = at.z;
  let row0 = at.y * ROWS;
  let col0 = at.x * COLS;
  let r = lane / ACROSS;
  let c = lane % ACROSS;
//#repeat R
//#repeat I
//#repeat C
  var c$R_$I_$C = vec4<f32>();
//#end
//#end
//#end
//#repeat P
  var next_a$P = vec4<f32>();
//#end
//#repeat S
//#if INDEXED
//#repeat I
  let n$S_$I = outer(min(col0 + b_col(lane + $Su * LANES) + $Iu, N - 1u));
//#end
//#endif
  var next_b$S = vec4<f32>();
//#end
  for (var k0 = 0u; k0 < K + STEP; k0 += STEP) {
    // The first iteration only loads, the last one only multiplies.
    if (k0 > 0u) {
//#repeat P
      {
        let e = lane + $Pu * LANES;
        let ak = a_k(e); let ar = a_row(e);
//#if A_TURN
//#repeat I
        tile_a[(ak + $Iu) * PITCH_A + ar / 4u][ar % 4u] = next_a$P[$I];
//#end
//#else
        tile_a[ak * PITCH_A + ar / 4u] = next_a$P;
//#endif
      }
//#end
//#repeat S
      {
        let e = lane + $Su * LANES;
        let bk = b_k(e); let bc = b_col(e);
//#if B_TURN
//#repeat I
        tile_b[(bk + $Iu) * PITCH_B + bc / 4u][bc % 4u] = next_b$S[$I];
//#end
//#else
        tile_b[bk * PITCH_B + bc / 4u] = next_b$S;
//#endif
      }
//#end
    }
    workgroupBarrier();
    if (k0 < K) {
//#repeat P
      {
        let e = lane + $Pu * LANES;
        next_a$P = get_a(row0 + a_row(e), k0 + a_k(e));
      }
//#end
//#repeat S
      {
        let e = lane + $Su * LANES;
//#if INDEXED
        let kb = inner(min(k0 + b_k(e), K - 1u));
        next_b$S = vec4(load_b(kb, n$S_0), load_b(kb, n$S_1), load_b(kb, n$S_2), load_b(kb, n$S_3));
//#else
        next_b$S = get_b(k0 + b_k(e), col0 + b_col(e));
//#endif
      }
//#end
    }
    if (k0 > 0u) {
//#repeat Q
      {
//#repeat R
        let a$R = tile_a[$Qu * PITCH_A + $Ru * (QUADS_A / 2u) + r];
//#end
//#repeat C
        let b$C = tile_b[$Qu * PITCH_B + $Cu * (QUADS_B / 2u) + c];
//#end
//#repeat R
//#repeat I
//#repeat C
        c$R_$I_$C = fma(vec4(a$R[$I]), b$C, c$R_$I_$C);
//#end
//#end
//#end
      }
//#end
    }
    workgroupBarrier();
  }
//#repeat R
//#repeat I
//#repeat C
  put_quad(row0 + ($Ru * (QUADS_A / 2u) + r) * 4u + $Iu, col0 + ($Cu * (QUADS_B / 2u) + c) * 4u, c$R_$I_$C);
//#end
//#end
//#end
}

fn put_quad(row: u32, col: u32, v: vec4<f32>) {
  if (row >= M) { return; }
  if (col < N) { store(row, col, v.x); }
  if (col + 1u < N) { store(row, col + 1u, v.y); }
  if (col + 2u < N) { store(row, col + 2u, v.z); }
  if (col + 3u < N) { store(row, col + 3u, v.w); }
}
