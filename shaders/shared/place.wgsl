// Where a time t, in rows, is in a table of rows: after the row `at`, by a part of the distance to the next.
struct Place { at: u32, next: u32, part: f32 }
fn place(t: f32, rows: u32) -> Place {
  let within = clamp(t, 0.0, f32(rows - 1u));
  let at = u32(within);
  return Place(at, min(at + 1u, rows - 1u), within - f32(at));
}
