// y_i = sum_j softmax_j(q_i k_j SCALE) v_j for each head, and its backward pass, without the [N, N] matrix.
// A workgroup handles one head of one sample, an invocation the place i; loops over a head's channels are unrolled, so
// that q_i, its sums and so on stay in registers.
//#use items
//#use nan
override B: u32; override N: u32; override HEADS: u32; override D: u32; override SCALE: f32;

// The element of channel c and place n in a tensor of `width` channels.
fn at(b: u32, c: u32, n: u32, width: u32) -> u32 {
//#if LAST
  return (b * N + n) * width + c;
//#else
  return (b * width + c) * N + n;
//#endif
}

// Sample and head, and the place.
struct Owned { b: u32, h: u32, i: u32 }
fn owned(g: u32, lane: u32) -> Owned {
  let chunks = (N + WG - 1u) / WG;
  return Owned(g / chunks / HEADS, g / chunks % HEADS, g % chunks * WG + lane);
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;  // [B, 3 C, N] or [B, N, 3 C]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [B, C, N] or [B, N, C]
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;  // [B, HEADS, N, 2]: largest score, 1 / sum

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let o = owned(group(wid, nwg), lane);
  if (o.b >= B || o.i >= N) { return; }
  let C = HEADS * D;
  let c = o.h * D;
//#repeat E
  let q$E = qkv[at(o.b, c + $Eu, o.i, 3u * C)] * SCALE;
  var o$E = 0.0;
//#end
  var largest = -3.0e38;
  var sum = 0.0;
  for (var j = 0u; j < N; j++) {
    var score = 0.0;
//#repeat E
    score += q$E * qkv[at(o.b, C + c + $Eu, j, 3u * C)];
//#end
    // Rescales the previous sums.
    let top = max(largest, score);
    let keep = exp(max(largest - top, -87.0));
    let p = keep_nan(exp(max(score - top, -87.0)), score - top);
    sum = sum * keep + p;
//#repeat E
    o$E = o$E * keep + p * qkv[at(o.b, 2u * C + c + $Eu, j, 3u * C)];
//#end
    largest = top;
  }
  let share = 1.0 / sum;
//#repeat E
  y[at(o.b, c + $Eu, o.i, C)] = o$E * share;
//#end
  let row = ((o.b * HEADS + o.h) * N + o.i) * 2u;
  stats[row] = keep_nan(largest, sum);
  stats[row + 1u] = share;
}

@group(0) @binding(3) var<storage, read> dy: array<f32>;  // as y
@group(0) @binding(4) var<storage, read> qkv_: array<f32>;  // as qkv
@group(0) @binding(5) var<storage, read> y_: array<f32>;  // as y
@group(0) @binding(6) var<storage, read> saved: array<f32>;  // as stats
@group(0) @binding(7) var<storage, read_write> dqkv: array<f32>;  // as qkv

// First place i as a query, then as key and value.
@compute @workgroup_size(WG)
fn input(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let o = owned(group(wid, nwg), lane);
  if (o.b >= B || o.i >= N) { return; }
  let C = HEADS * D;
  let c = o.h * D;
  let first = (o.b * HEADS + o.h) * N;
  {
    let largest = saved[(first + o.i) * 2u];
    let share = saved[(first + o.i) * 2u + 1u];
    var mean = 0.0;
//#repeat E
    let q$E = qkv_[at(o.b, c + $Eu, o.i, 3u * C)] * SCALE;
    let g$E = dy[at(o.b, c + $Eu, o.i, C)];
    mean += g$E * y_[at(o.b, c + $Eu, o.i, C)];
    var dq$E = 0.0;
//#end
    for (var j = 0u; j < N; j++) {
      var score = 0.0;
      var dp = 0.0;
//#repeat E
      let k$E = qkv_[at(o.b, C + c + $Eu, j, 3u * C)];
      score += q$E * k$E;
      dp += g$E * qkv_[at(o.b, 2u * C + c + $Eu, j, 3u * C)];
//#end
      let ds = exp(max(score - largest, -87.0)) * share * (dp - mean);
//#repeat E
      dq$E += ds * k$E;
//#end
    }
//#repeat E
    dqkv[at(o.b, c + $Eu, o.i, 3u * C)] = dq$E * SCALE;
//#end
  }
//#repeat E
  let k$E = qkv_[at(o.b, C + c + $Eu, o.i, 3u * C)] * SCALE;
  let v$E = qkv_[at(o.b, 2u * C + c + $Eu, o.i, 3u * C)];
  var dk$E = 0.0;
  var dv$E = 0.0;
//#end
  for (var j = 0u; j < N; j++) {
    var score = 0.0;
    var dp = 0.0;
    var mean = 0.0;
//#repeat E
    let q$E = qkv_[at(o.b, c + $Eu, j, 3u * C)];
    let g$E = dy[at(o.b, c + $Eu, j, C)];
    score += q$E * k$E;
    dp += g$E * v$E;
    mean += g$E * y_[at(o.b, c + $Eu, j, C)];
//#end
    let p = exp(max(score - saved[(first + j) * 2u], -87.0)) * saved[(first + j) * 2u + 1u];
    let ds = p * (dp - mean);
//#repeat E
    dk$E += ds * q$E;
    dv$E += p * g$E;
//#end
  }
//#repeat E
  dqkv[at(o.b, C + c + $Eu, o.i, 3u * C)] = dk$E * SCALE;
  dqkv[at(o.b, 2u * C + c + $Eu, o.i, 3u * C)] = dv$E;
//#end
}
