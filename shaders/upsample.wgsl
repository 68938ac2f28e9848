// Nearest upsampling by FY x FX, the kernel equivalent to a convolution of its result, and their backward passes.
// One invocation per element written.
//#use items
override N: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
//#if NEAREST
override W: u32; override FY: u32; override FX: u32;  // x [planes, H, W], y [planes, H FY, W FX]

@compute @workgroup_size(WG)
fn upsample(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  // Rows of all planes are consecutive, so the plane does not matter.
  y[i] = x[i / (W * FX) / FY * W + i % (W * FX) / FX];
}

// y [planes, H, W] = sums of the blocks of x [planes, H FY, W FX].
@compute @workgroup_size(WG)
fn block_sums(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
              @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  var sum = 0.0;
  for (var k = 0u; k < FY * FX; k++) { sum += x[(i / W * FY + k / FX) * W * FX + i % W * FX + k % FX]; }
  y[i] = sum;
}
//#else
override O: u32; override C: u32; override KH: u32; override KW: u32; override FY: u32; override FX: u32;

// y [C, O, KH + FY - 1, KW + FX - 1] from x [O, C, KH, KW]: y[c, o, m] = sum of x[o, c, k], KH - 1 - m <= k < KH - 1 -
// m + FY.
@compute @workgroup_size(WG)
fn widen(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let vh = KH + FY - 1u;
  let vw = KW + FX - 1u;
  let plane = i / (vh * vw);
  let at = (plane % O * C + plane / O) * KH * KW;
  let my = i / vw % vh;
  let mx = i % vw;
  var sum = 0.0;
  for (var f = 0u; f < FY * FX; f++) {
    let ky = KH - 1u - my + f / FX;
    let kx = KW - 1u - mx + f % FX;
    if ((ky < KH) & (kx < KW)) { sum += x[at + ky * KW + kx]; }
  }
  y[i] = sum;
}

// y [O, C, KH, KW] from x [C, O, KH + FY - 1, KW + FX - 1], the transpose of the above.
@compute @workgroup_size(WG)
fn narrow(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let vh = KH + FY - 1u;
  let vw = KW + FX - 1u;
  let plane = i / (KH * KW);
  let at = (plane % C * O + plane / C) * vh * vw;
  let my = KH - 1u - i / KW % KH;
  let mx = KW - 1u - i % KW;
  var sum = 0.0;
  for (var f = 0u; f < FY * FX; f++) { sum += x[at + (my + f / FX) * vw + mx + f % FX]; }
  y[i] = sum;
}
//#endif
