// Shared by noise and noisy_batch: B rows of D numbers, and a table of T rows (a, s, p, q) at equidistant times from 0 to LAST.
// A row has one time: one of the rows of the table, or with CONTINUOUS a share of LAST between two of them.
//#use place
override B: u32; override D: u32; override T: u32;
struct Time { row: Place, t: f32 }

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
  return Time(place(u * f32(T - 1u), T), u * LAST);
}
fn time_from(w: vec4<u32>) -> Time { return time_of(draw_of(w)); }
//#else
fn time_at(row: u32) -> Time { return Time(Place(row, row, 0.0), f32(row)); }
fn time_of(draw: f32) -> Time { return time_at(min(u32(draw), T - 1u)); }
fn time_from(w: vec4<u32>) -> Time { return time_at(below(w.x, T)); }
//#endif

fn level_of(time: Time) -> vec4<f32> {
  let low = table_row(time.row.at);
  return low + time.row.part * (table_row(time.row.next) - low);
}
