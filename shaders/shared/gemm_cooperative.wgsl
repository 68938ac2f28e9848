// C in tiles of SIDE x SIDE by cooperative matrices of SIZE x SIZE: factors in f16, sums in f32. Each of four subgroups
// computes a quarter of the tile. The operands are scaled by powers of two and clamped to the range of f16; the sums
// are scaled back.
//#use half
//#use gemm_sizes
//#use items
//#use gemm_tiles
const PITCH_A = STEP + 8u;  // rows are aligned to 16 bytes and padded against bank conflicts
const PITCH_B = SIDE + 8u;
var<workgroup> tile_a: array<f16, SIDE * PITCH_A>;  // [SIDE rows][STEP k, and 8 unused]
var<workgroup> tile_b: array<f16, STEP * PITCH_B>;  // [STEP k][SIDE cols, and 8 unused]
var<workgroup> sums: array<f32, 4u * SIZE * SIZE>;  // one matrix per subgroup
var<private> slice: u32;

//#if A_INNER
fn a_row(e: u32) -> u32 { return e / STEP; }
fn a_k(e: u32) -> u32 { return e % STEP; }
//#else
fn a_row(e: u32) -> u32 { return e % SIDE; }
fn a_k(e: u32) -> u32 { return e / SIDE; }
//#endif
//#if B_INNER
fn b_col(e: u32) -> u32 { return e / STEP; }
fn b_k(e: u32) -> u32 { return e % STEP; }
//#else
fn b_col(e: u32) -> u32 { return e % SIDE; }
fn b_k(e: u32) -> u32 { return e / SIDE; }
//#endif

@compute @workgroup_size(LANES)
fn gemm(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) member: u32) {
  let at = tile(group(wid, nwg));
  slice = at.z;
  let row0 = at.y * SIDE;
  let col0 = at.x * SIDE;
  // The quarter of this subgroup.
  let r = subgroup / 2u % 2u * (SIDE / 2u);
  let c = subgroup % 2u * (SIDE / 2u);
//#repeat I
//#repeat J
  var c$I_$J: MatrixC;
//#end
//#end
  // Rows and columns beyond the edge repeat the last one and are not stored; A is zero beyond K.
//#repeat P
  let m$P = min(row0 + a_row(lane + $Pu * LANES), M - 1u);
//#if INDEXED
  let n$P = outer(min(col0 + b_col(lane + $Pu * LANES), N - 1u));
//#else
  let n$P = min(col0 + b_col(lane + $Pu * LANES), N - 1u);
//#endif
//#end
  for (var k0 = 0u; k0 < K; k0 += STEP) {
//#repeat P
    let ak$P = k0 + a_k(lane + $Pu * LANES);
    let bk$P = min(k0 + b_k(lane + $Pu * LANES), K - 1u);
    let a$P = select(0.0, load_a(m$P, min(ak$P, K - 1u)), ak$P < K);
//#if INDEXED
    let b$P = load_b(inner(bk$P), n$P);
//#else
    let b$P = load_b(bk$P, n$P);
//#endif
//#end
//#repeat P
    tile_a[a_row(lane + $Pu * LANES) * PITCH_A + a_k(lane + $Pu * LANES)] = to_half(a$P * SCALE_A);
    tile_b[b_k(lane + $Pu * LANES) * PITCH_B + b_col(lane + $Pu * LANES)] = to_half(b$P * SCALE_B);
//#end
    workgroupBarrier();
//#repeat Q
    {
//#repeat I
      let a$I = coopLoadT<MatrixA>(&tile_a[(r + $Iu * SIZE) * PITCH_A + $Qu * SIZE], PITCH_A);
      let b$I = coopLoadT<MatrixB>(&tile_b[$Qu * SIZE * PITCH_B + c + $Iu * SIZE], PITCH_B);
//#end
//#repeat I
//#repeat J
      c$I_$J = coopMultiplyAdd(a$I, b$J, c$I_$J);
//#end
//#end
    }
//#end
    workgroupBarrier();
  }
//#repeat I
//#repeat J
  coopStoreT(c$I_$J, &sums[subgroup % 4u * SIZE * SIZE], SIZE);
  workgroupBarrier();
  for (var e = member; e < SIZE * SIZE; e += MEMBERS) {
    let row = row0 + r + $Iu * SIZE + e / SIZE;
    let col = col0 + c + $Ju * SIZE + e % SIZE;
    if ((row < M) & (col < N)) { store(row, col, sums[subgroup % 4u * SIZE * SIZE + e] / (SCALE_A * SCALE_B)); }
  }
  workgroupBarrier();
//#end
//#end
}
