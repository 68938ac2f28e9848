// The position of the run, set by the host at the start of each step without an upload. Row 0 is row first_row of the
// batch.
struct Clock { step: u32, seed_lo: u32, seed_hi: u32, first_row: u32 }
var<immediate> clock: Clock;
// Scalars per step are kept in a ring buffer.
const HISTORY: u32 = 1024u;
