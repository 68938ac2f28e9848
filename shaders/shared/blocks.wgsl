// The elements of a batch, W to a row, share a block of random words by four. The first block of a part of the batch is
// that in which the rows before it end, and its first element has word `first_word` of it.
//#use random
override W: u32;
fn first_block() -> u32 { return clock.first_row / 4u * W + clock.first_row % 4u * W / 4u; }
fn first_word() -> u32 { return clock.first_row % 4u * W % 4u; }
