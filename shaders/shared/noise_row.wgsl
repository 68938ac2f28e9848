// Shared by noise and noisy_batch: B rows of D numbers, and a table of T rows (a, s, p, q) at equidistant times from 0 to LAST.
// A row has one time: one of the rows of the table, or with CONTINUOUS a share of LAST between two of them.
override B: u32; override D: u32; override T: u32;
override LANES: u32;
struct Time { at: u32, part: f32, t: f32 }

fn table_row(at: u32) -> vec4<f32> {
  return vec4(table[4u * at], table[4u * at + 1u], table[4u * at + 2u], table[4u * at + 3u]);
}

//#if CONTINUOUS
override LAST: f32;
//#if NORMAL
override MEAN: f32; override DEVIATION: f32;
fn share_of(draw: f32) -> f32 {
//#if LOGISTIC
  return 1.0 / (1.0 + exp(-MEAN - DEVIATION * draw));
//#else
  return clamp(MEAN + DEVIATION * draw, 0.0, 1.0);
//#endif
}
fn draw_of(w: vec4<u32>) -> f32 { return normals(w).x; }
//#else
fn share_of(draw: f32) -> f32 { return draw; }
fn draw_of(w: vec4<u32>) -> f32 { return f32(2u * (w.x >> 9u) + 1u) / 16777216.0; }
//#endif

fn time_of(draw: f32) -> Time {
  let u = share_of(draw);
  let place = u * f32(T - 1u);
  let at = min(u32(place), T - min(T, 2u));
  return Time(at, place - f32(at), u * LAST);
}
fn time_from(w: vec4<u32>) -> Time { return time_of(draw_of(w)); }

fn level_of(time: Time) -> vec4<f32> {
  let low = table_row(time.at);
  return low + time.part * (table_row(min(time.at + 1u, T - 1u)) - low);
}
//#else
fn time_of(draw: f32) -> Time {
  let at = min(u32(draw), T - 1u);
  return Time(at, 0.0, f32(at));
}
fn time_from(w: vec4<u32>) -> Time {
  let at = below(w.x, T);
  return Time(at, 0.0, f32(at));
}
fn level_of(time: Time) -> vec4<f32> { return table_row(time.at); }
//#endif
