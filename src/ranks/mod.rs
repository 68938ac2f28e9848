//! Processes that train one model together ("ranks", as in MPI), and the sum of their gradients in a fixed order.

#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(test)]
pub mod threads;

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::error::Result;

/// A group of processes. All of them call the same methods in the same order; each call waits for the others.
pub trait Ranks: fmt::Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn count(&self) -> usize;

    /// The bytes of rank 0, on all ranks. Those of the others are ignored.
    ///
    /// # Errors
    /// When the processes cannot communicate.
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// The bytes of each rank, on all ranks.
    ///
    /// # Errors
    /// As [`Ranks::broadcast`].
    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Sends consecutive parts of `sent`, of the lengths `to`, to ranks 0, 1, ..., and fills `received` with what they
    /// send to this one, of the lengths `from`.
    ///
    /// # Errors
    /// As [`Ranks::broadcast`].
    fn exchange(&self, sent: &[f32], to: &[usize], received: &mut [f32], from: &[usize]) -> Result<()>;

    /// Fills `all` with the values of ranks 0, 1, ..., of the lengths `from`.
    ///
    /// # Errors
    /// As [`Ranks::broadcast`].
    fn gather_values(&self, own: &[f32], all: &mut [f32], from: &[usize]) -> Result<()>;

    /// Ends all processes, when one of them cannot go on while the others wait for it.
    fn abort(&self, code: u8) -> !;
}

/// What the first process that cannot go on says, with its number; `fault` is what this one says. All processes learn it.
///
/// # Errors
/// Those of [`Ranks::gather`].
pub fn first_fault(ranks: &dyn Ranks, fault: Option<String>) -> Result<Option<String>> {
    let faults = ranks.gather(fault.unwrap_or_default().as_bytes())?;
    let first = faults.iter().enumerate().find(|(_, fault)| !fault.is_empty());
    Ok(first.map(|(rank, fault)| format!("rank {rank}: {}", String::from_utf8_lossy(fault))))
}

/// The elements of a vector of `len` that a rank adds up.
fn slice_of(len: usize, rank: usize, count: usize) -> Range<usize> {
    len * rank / count..len * (rank + 1) / count
}

/// Sums of vectors that lie on different ranks: ((v0 + v1) + v2) + ..., as one process computes it. The order of a sum of
/// floating-point numbers changes its last bits, and MPI's own reduction chooses the order by the number of ranks, the size of
/// the message and the network.
///
/// Each rank adds up one slice of the vector for all ranks (reduce-scatter), and the slices are gathered at the end. The traffic
/// is that of a ring: each rank sends and receives (n - 1) / n of the vector twice.
#[derive(Debug, Default)]
pub struct OrderedSum {
    /// The sum of this rank's slice.
    slice: Vec<f32>,
    received: Vec<f32>,
    empty: bool,
    /// The time spent in the exchange, most of it waiting for other ranks.
    waited: Duration,
}

impl OrderedSum {
    /// Starts a sum of vectors of `len` elements.
    pub fn start(&mut self, ranks: &dyn Ranks, len: usize) {
        self.slice.resize(slice_of(len, ranks.rank(), ranks.count()).len(), 0.0);
        self.empty = true;
    }

    /// Adds the vectors of the first `terms` ranks, in the order of the ranks. The other ranks pass none.
    ///
    /// # Errors
    /// Those of [`Ranks::exchange`].
    pub fn add(&mut self, ranks: &dyn Ranks, own: Option<&[f32]>, terms: usize) -> Result<()> {
        let (count, width, began) = (ranks.count(), self.slice.len(), Instant::now());
        let sent = own.unwrap_or_default();
        let to: Vec<usize> = (0..count).map(|rank| slice_of(sent.len(), rank, count).len()).collect();
        let from: Vec<usize> = (0..count).map(|rank| if rank < terms { width } else { 0 }).collect();
        self.received.resize(terms * width, 0.0);
        ranks.exchange(sent, &to, &mut self.received, &from)?;
        self.waited += began.elapsed();
        for term in 0..terms {
            let term = &self.received[term * width..][..width];
            match std::mem::take(&mut self.empty) {
                true => self.slice.copy_from_slice(term),
                false => self.slice.iter_mut().zip(term).for_each(|(sum, v)| *sum += v),
            }
        }
        Ok(())
    }

    /// Writes the whole sum to `sum` on all ranks.
    ///
    /// # Errors
    /// Those of [`Ranks::gather_values`].
    pub fn finish(&mut self, ranks: &dyn Ranks, sum: &mut [f32]) -> Result<()> {
        let (count, began) = (ranks.count(), Instant::now());
        let from: Vec<usize> = (0..count).map(|rank| slice_of(sum.len(), rank, count).len()).collect();
        ranks.gather_values(&self.slice, sum, &from)?;
        self.waited += began.elapsed();
        Ok(())
    }

    /// The time spent in exchanges.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_one_process_in_order() {
        let value = |rank: usize, i: usize| ((rank * 31 + i * 7) as f32 * 0.37).sin() * 10f32.powi(rank as i32 * 3);
        for (count, terms, len) in [(1, 1, 5), (2, 2, 7), (3, 2, 10), (4, 4, 3), (3, 1, 8)] {
            let sums = threads::on_ranks(count, |ranks| {
                let own: Vec<f32> = (0..len).map(|i| value(ranks.rank(), i)).collect();
                let (mut sum, mut out) = (OrderedSum::default(), vec![f32::NAN; len]);
                for _ in 0..2 {
                    sum.start(&ranks, len);
                    for _ in 0..2 {
                        sum.add(&ranks, (ranks.rank() < terms).then_some(&own[..]), terms).unwrap();
                    }
                    sum.finish(&ranks, &mut out).unwrap();
                }
                out
            });
            let expected: Vec<f32> = (0..len)
                .map(|i| (0..2).flat_map(|_| 0..terms).map(|rank| value(rank, i)).reduce(|a, b| a + b).unwrap())
                .collect();
            assert!(sums.iter().all(|sum| *sum == expected), "{count} ranks, {terms} terms: {sums:?} {expected:?}");
        }
    }
}
