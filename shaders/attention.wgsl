// y_i = sum_j softmax_j(q_i k_j SCALE) v_j for each head, and its backward pass, without the [N, N] matrix.
// A workgroup handles one head of one sample, an invocation the place i; loops over a head's channels are unrolled, so
// that q_i, its sums and so on stay in registers. With QUADS the places j are taken four at a time, a vector of four
// neighbours in memory: N is then a multiple of 4, and not LAST. `Each` is the type of a value for each of them.
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

//#if QUADS
alias Each = vec4<f32>;
const COUNT = 4u;
fn own(v: Each, i: u32) -> f32 { return v[i % 4u]; }  // the value of place i
fn total(v: Each) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn greatest(v: Each) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn keep(v: Each, x: Each) -> Each {
  return vec4(keep_nan(v.x, x.x), keep_nan(v.y, x.y), keep_nan(v.z, x.z), keep_nan(v.w, x.w));
}
//#else
alias Each = f32;
const COUNT = 1u;
fn own(v: Each, i: u32) -> f32 { return v; }
fn total(v: Each) -> f32 { return v; }
fn greatest(v: Each) -> f32 { return v; }
fn keep(v: Each, x: Each) -> Each { return keep_nan(v, x); }
//#endif

@group(0) @binding(0) var<storage, read> qkv: array<Each>;  // [B, 3 C, N] or [B, N, 3 C]
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
  let q$E = own(qkv[at(o.b, c + $Eu, o.i, 3u * C) / COUNT], o.i) * SCALE;
  var o$E = 0.0;
//#end
  var largest = -3.0e38;
  var sum = 0.0;
  for (var j = 0u; j < N; j += COUNT) {
    var score = Each();
//#repeat E
    score += q$E * qkv[at(o.b, C + c + $Eu, j, 3u * C) / COUNT];
//#end
    // Rescales the previous sums.
    let top = max(largest, greatest(score));
    let kept = exp(max(largest - top, -87.0));
    let p = keep(exp(max(score - top, Each(-87.0))), score - top);
    sum = sum * kept + total(p);
//#repeat E
    o$E = o$E * kept + total(p * qkv[at(o.b, 2u * C + c + $Eu, j, 3u * C) / COUNT]);
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

@group(0) @binding(3) var<storage, read> dy: array<Each>;  // as y
@group(0) @binding(4) var<storage, read> qkv_: array<Each>;  // as qkv
@group(0) @binding(5) var<storage, read> y_: array<Each>;  // as y
@group(0) @binding(6) var<storage, read> saved: array<f32>;  // as stats
@group(0) @binding(7) var<storage, read_write> dqkv: array<f32>;  // as qkv

//#if QUADS
// A statistic of the places from j on.
fn saved_of(row: u32, which: u32) -> Each {
  let at = 2u * row + which;
  return vec4(saved[at], saved[at + 2u], saved[at + 4u], saved[at + 6u]);
}
//#else
fn saved_of(row: u32, which: u32) -> Each { return saved[2u * row + which]; }
//#endif

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
    let q$E = own(qkv_[at(o.b, c + $Eu, o.i, 3u * C) / COUNT], o.i) * SCALE;
    let g$E = own(dy[at(o.b, c + $Eu, o.i, C) / COUNT], o.i);
    mean += g$E * own(y_[at(o.b, c + $Eu, o.i, C) / COUNT], o.i);
    var dq$E = 0.0;
//#end
    for (var j = 0u; j < N; j += COUNT) {
      var score = Each();
      var dp = Each();
//#repeat E
      score += q$E * qkv_[at(o.b, C + c + $Eu, j, 3u * C) / COUNT];
      dp += g$E * qkv_[at(o.b, 2u * C + c + $Eu, j, 3u * C) / COUNT];
//#end
      let ds = exp(max(score - largest, Each(-87.0))) * share * (dp - mean);
//#repeat E
      dq$E += total(ds * qkv_[at(o.b, C + c + $Eu, j, 3u * C) / COUNT]);
//#end
    }
//#repeat E
    dqkv[at(o.b, c + $Eu, o.i, 3u * C)] = dq$E * SCALE;
//#end
  }
//#repeat E
  let k$E = own(qkv_[at(o.b, C + c + $Eu, o.i, 3u * C) / COUNT], o.i) * SCALE;
  let v$E = own(qkv_[at(o.b, 2u * C + c + $Eu, o.i, 3u * C) / COUNT], o.i);
  var dk$E = 0.0;
  var dv$E = 0.0;
//#end
  for (var j = 0u; j < N; j += COUNT) {
    var score = Each();
    var dp = Each();
    var mean = Each();
//#repeat E
    let g$E = dy[at(o.b, c + $Eu, j, C) / COUNT];
    score += qkv_[at(o.b, c + $Eu, j, 3u * C) / COUNT] * k$E;
    dp += g$E * v$E;
    mean += g$E * y_[at(o.b, c + $Eu, j, C) / COUNT];
//#end
    let p = exp(max(score - saved_of(first + j, 0u), Each(-87.0))) * saved_of(first + j, 1u);
    let ds = p * (dp - mean);
//#repeat E
    dk$E += total(ds * qkv_[at(o.b, c + $Eu, j, 3u * C) / COUNT]);
    dv$E += total(p * dy[at(o.b, c + $Eu, j, C) / COUNT]);
//#end
  }
//#repeat E
  dqkv[at(o.b, C + c + $Eu, o.i, 3u * C)] = dk$E * SCALE;
  dqkv[at(o.b, 2u * C + c + $Eu, o.i, 3u * C)] = dv$E;
//#end
}
