// enc(t): sines and cosines of t r_i. The phase is a fixed-point product of t and the rate in turns; its wrap-around is
// the range reduction. One invocation per (row, frequency).
//#use items
//#use random
override B: u32; override F: u32; override D: u32; override LAYOUT: u32;
@group(0) @binding(0) var<storage, read> t: array<f32>;  // [B]
@group(0) @binding(1) var<storage, read> rates: array<u32>;  // [F, 2]: high and low word of 2^-64 turns per step
@group(0) @binding(2) var<storage, read_write> enc: array<f32>;  // [B, D]

@compute @workgroup_size(WG)
fn encode(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let row = i / F;
  let f = i % F;
  if (row >= B) { return; }
  let high = rates[2u * f];
  let low = rates[2u * f + 1u];
  let whole = u32(t[row]);
  let fraction = u32((t[row] - f32(whole)) * 4294967296.0);
  // The upper words of whole * rate (mod 1 turn) and of fraction * rate; a lost carry is 2^-32 of a turn.
  let phase = whole * high + mul_wide(whole, low).y + mul_wide(fraction, high).y;
  let wave = sin_cos_turns(phase);
  var at_sin = 2u * f;
  var at_cos = at_sin + 1u;
  if (LAYOUT == 1u) { at_sin = f; at_cos = D / 2u + f; }
  if (LAYOUT == 2u) { at_sin = D / 2u + f; at_cos = f; }
  enc[row * D + at_sin] = wave.x;
  if (at_cos < D) { enc[row * D + at_cos] = wave.y; }
  if (LAYOUT > 0u && D % 2u == 1u && f == 0u) { enc[row * D + D - 1u] = 0.0; }
}
