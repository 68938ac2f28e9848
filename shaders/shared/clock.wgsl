// Where the run is: set by the host at the start of each step, nothing is uploaded.
struct Clock { step: u32, seed_lo: u32, seed_hi: u32, reserved: u32 }
var<immediate> clock: Clock;
// A scalar per step is kept in a ring.
const HISTORY: u32 = 1024u;
