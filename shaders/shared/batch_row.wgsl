// The row of the data for row `of_batch` of a batch of BATCH rows: the data, COUNT rows, are permuted in each epoch, unless they
// are batches in order.
//#use random
override BATCH: u32; override COUNT: u32; override ORDER: u32;
fn batch_row(of_batch: u32) -> u32 {
  // Clamped to the epoch: beyond it the loop of `permuted` may not terminate.
  let position = (clock.step % (COUNT / BATCH)) * BATCH + min(of_batch, BATCH - 1u);
  //#if ORDERED
  return position;
  //#else
  return permuted(position, COUNT, clock.step / (COUNT / BATCH), ORDER);
  //#endif
}
