// Dense layers on tiles of 4 QUADS samples, a workgroup per tile. The activations stay in workgroup memory; those of four
// samples are one vector. A lane has COLUMNS columns of all samples, so that the sums replace the inputs in place. The
// text `chain_sizes` defines the sizes and layer(s). A shader that uses this one defines finish(s, quad, col, sum): the
// output of step s from a sum, for four samples; and SUMS, the length of an array of QUADS COLUMNS sums: if it is longer,
// Mesa does not unroll the loop over them.
//#use chain_sizes
struct Layer {
  inputs: u32, outputs: u32,
  weight: u32, along_k: u32, along_n: u32,  // the weight of input k and output n is at weight + k along_k + n along_n
  bias: u32,
  write: u32, read: u32,  // offsets of what a training step keeps: outputs, and values that derivatives need
}
var<workgroup> act: array<vec4<f32>, QUADS * WIDTH>;  // [QUADS][WIDTH]; a layer's columns up to a multiple of STEP are 0

fn load(at: u32, quad: u32, col: u32) -> f32 { return act[quad * WIDTH + col][at]; }

fn put(s: u32, outputs: u32, quad: u32, col: u32, sum: vec4<f32>) {
  if (col < outputs) {
    act[quad * WIDTH + col] = finish(s, quad, col, sum);
  } else if (col < WIDTH) {
    act[quad * WIDTH + col] = vec4<f32>();
  }
}

//#if BROADCAST
// A lane reads one input of each sample and shares it with its subgroup, because repeated loads are expensive on
// software rasterizers.
fn column(lane: u32, j: u32) -> u32 { return lane * COLUMNS + j; }
//#else
// The weights of STEP inputs are loaded along memory. With an even pitch, the two directions write each bank once.
const PITCH = LANES + 2u;
var<workgroup> stage: array<f32, STEP * PITCH>;
fn column(lane: u32, j: u32) -> u32 { return lane; }
fn load_stage(l: Layer, k0: u32, lane: u32) {
  let rows = l.along_k == 1u;
//#repeat K
  {
    let i = select($Ku, lane % STEP, rows);
    let n = select(lane, lane / STEP + $Ku * (LANES / STEP), rows);
    stage[i * PITCH + n] = weights[l.weight + min(k0 + i, l.inputs - 1u) * l.along_k + min(n, l.outputs - 1u) * l.along_n];
  }
//#end
}
//#endif

// One function for each step: with known sizes, a software rasterizer is up to twice as fast as with a loop over steps.
//#repeat S
fn multiply_$S(lane: u32) {
  const s = $Su;
  let l = layer(s);
//#repeat J
//#repeat Q
  var c$Q_$J = vec4<f32>();
//#end
//#end
//#if BROADCAST
//#if FOURS
  // Four weights at a time along memory: those of four inputs, or of the four columns.
//#else
//#repeat J
  let n$J = l.weight + min(column(lane, $Ju), l.outputs - 1u) * l.along_n;
//#end
//#endif
  for (var k0 = 0u; k0 < l.inputs; k0 += STEP) {
//#if FOURS
    var b: array<vec4<f32>, STEP>;
    if (l.along_k == 1u) {
//#repeat H
//#repeat J
      let w$H_$J = weights[(l.weight + min(column(lane, $Ju), l.outputs - 1u) * l.along_n + min(k0 + 4u * $Hu, l.inputs - 4u)) / 4u];
//#end
//#repeat I
      b[4u * $Hu + $Iu] = vec4(w$H_0[$I], w$H_1[$I], w$H_2[$I], w$H_3[$I]);
//#end
//#end
    } else {
//#repeat K
      b[$K] = weights[(l.weight + min(k0 + $Ku, l.inputs - 1u) * l.along_k + min(column(lane, 0u), l.outputs - 4u)) / 4u];
//#end
    }
//#repeat K
//#repeat J
    let b$K_$J = b[$K][$J];
//#end
//#end
//#else
//#repeat K
    let row$K = min(k0 + $Ku, l.inputs - 1u) * l.along_k;
//#repeat J
    let b$K_$J = weights[n$J + row$K];
//#end
//#end
//#endif
//#repeat Q
    let a$Q = act[$Qu * WIDTH + k0 + lane % STEP];
//#repeat K
    let x$Q_$K = subgroupBroadcast(a$Q, $Ku);
//#repeat J
    c$Q_$J = fma(x$Q_$K, vec4(b$K_$J), c$Q_$J);
//#end
//#end
//#end
  }
  workgroupBarrier();
  // In a loop, because unrolled copies of an epilogue take longer to compile than everything above.
  var sums: array<vec4<f32>, SUMS>;
//#repeat J
//#repeat Q
  sums[$Ju * QUADS + $Qu] = c$Q_$J;
//#end
//#end
  for (var e = 0u; e < QUADS * COLUMNS; e++) { put(s, l.outputs, e % QUADS, column(lane, e / QUADS), sums[e]); }
//#else
  for (var k0 = 0u; k0 < l.inputs; k0 += STEP) {
    load_stage(l, k0, lane);
    workgroupBarrier();
//#repeat K
    {
      let b = stage[$Ku * PITCH + lane];
//#repeat Q
      c$Q_0 = fma(act[$Qu * WIDTH + k0 + $Ku], vec4(b), c$Q_0);
//#end
    }
//#end
    workgroupBarrier();
  }
//#repeat Q
  put(s, l.outputs, $Qu, lane, c$Q_0);
//#end
//#endif
  workgroupBarrier();
}
//#end
