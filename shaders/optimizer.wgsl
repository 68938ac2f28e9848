// One step of SGD or Adam over the slab of all parameters, with clipping and the moving average. One invocation per
// parameter. The learning rate and the bias corrections are computed from the step.
//#use items
//#use clock
//#use math
override N: u32; override LR: f32; override BETA1: f32;
@group(0) @binding(0) var<storage, read> grads: array<f32>;
//#if CLIP
@group(0) @binding(1) var<storage, read> factor: array<f32>;
//#endif
@group(0) @binding(2) var<storage, read_write> params: array<f32>;
//#if MOMENTUM
@group(0) @binding(3) var<storage, read_write> first: array<f32>;
//#endif
//#if ADAM
@group(0) @binding(3) var<storage, read_write> first: array<f32>;
@group(0) @binding(4) var<storage, read_write> second: array<f32>;
override TAKE1: f32; override LOG_BETA1: f32; override BETA2: f32; override TAKE2: f32; override LOG_BETA2: f32;
override EPSILON: f32; override WEIGHT_DECAY: f32;
//#endif
//#if EMA
@group(0) @binding(5) var<storage, read_write> ema: array<f32>;
override EMA_TAKE: f32;
//#endif

//#if COSINE
override WARMUP: u32; override TOTAL: u32;
fn learning_rate() -> f32 {
  if (clock.step < WARMUP) { return LR * f32(clock.step) / f32(WARMUP); }
  let span = max(TOTAL - min(WARMUP, TOTAL), 1u);
  let progress = f32(min(clock.step - WARMUP, span)) / f32(span);
  return LR * 0.5 * (1.0 + sin_cos_turns(u32(progress * 2147483648.0)).y);
}
//#else
//#if INVERSE_SQRT
override HOLD: u32;
fn learning_rate() -> f32 { return LR * sqrt(f32(HOLD) / f32(max(clock.step, HOLD))); }
//#else
fn learning_rate() -> f32 { return LR; }
//#endif
//#endif

@compute @workgroup_size(WG)
fn update(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i >= N) { return; }
  let lr = learning_rate();
  var g = grads[i];
//#if CLIP
  g *= factor[0];
//#endif
  var p = params[i];
//#if ADAM
  let t = f32(clock.step + 1u);
  let correct1 = -expm1(max(t * LOG_BETA1, -80.0));
  let correct2 = sqrt(-expm1(max(t * LOG_BETA2, -80.0)));
  let m = BETA1 * first[i] + TAKE1 * g;
  let v = BETA2 * second[i] + TAKE2 * (g * g);
  first[i] = m;
  second[i] = v;
//#if KERAS
  let step = m / ((sqrt(v) + EPSILON) / correct2);
//#else
  let step = m / (sqrt(v) / correct2 + EPSILON);
//#endif
  p = (1.0 - lr * WEIGHT_DECAY) * p - lr / correct1 * step;
//#else
//#if MOMENTUM
  let b = BETA1 * first[i] + g;
  first[i] = b;
//#if NESTEROV
  p -= lr * (g + BETA1 * b);
//#else
  p -= lr * b;
//#endif
//#else
  p -= lr * g;
//#endif
//#endif
  params[i] = p;
//#if EMA
//#if EMA_WARMUP
  let take = max(EMA_TAKE, 9.0 / (10.0 + f32(clock.step)));
//#else
  let take = EMA_TAKE;
//#endif
  ema[i] += take * (p - ema[i]);
//#endif
}
