// Where the run is: set by the host for each dispatch, nothing is uploaded. Row 0 is row first_row of the batch, the first of
// part `part` of those that the dispatch repeats for. The dispatch begins with workgroup first_group of the kernel's.
struct Clock { step: u32, seed_lo: u32, seed_hi: u32, first_row: u32, part: u32, first_group: u32 }
//#use clock_binding
// Scalars per step are kept in a ring buffer.
const HISTORY: u32 = 1024u;
