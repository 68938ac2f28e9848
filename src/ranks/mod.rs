//! Processes that train one model together ("ranks", as in MPI), and what they exchange.

#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(test)]
pub mod threads;

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::parallel;

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

    /// Sends a part to each rank, and fills a part with what each rank sends to this one. Nothing is sent where both are empty.
    ///
    /// # Errors
    /// As [`Ranks::broadcast`].
    fn exchange(&self, sent: &[&[f32]], received: &mut [&mut [f32]]) -> Result<()>;

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

/// What ranks exchange in a step: sums of vectors that lie on different ranks, and slices of vectors that all of them need.
///
/// A sum is ((0 + f0 v0) + f1 v1) + f2 v2 + ..., as one process computes it. The order of a sum of floating-point numbers changes its last
/// bits, and MPI's own reduction chooses the order by the number of ranks, the size of the message and the network. Each rank
/// adds up one slice of the vector for all ranks (reduce-scatter).
#[derive(Debug, Default)]
pub struct Exchange {
    /// The slices of all ranks.
    slices: Vec<Range<usize>>,
    /// The sum of this rank's slice.
    sum: Vec<f32>,
    received: Vec<f32>,
    empty: bool,
    /// The time spent in the exchange, most of it waiting for other ranks.
    waited: Duration,
}

impl Exchange {
    /// Starts a sum of vectors with these slices, of which `rank` adds up its own.
    pub fn start(&mut self, slices: &[Range<usize>], rank: usize) {
        self.sum.resize(slices[rank].len(), 0.0);
        (self.slices, self.empty) = (slices.to_vec(), true);
    }

    /// Adds the vectors of the first ranks, in their order, each multiplied by its factor. The other ranks pass none.
    ///
    /// # Errors
    /// Those of [`Ranks::exchange`].
    pub fn add(&mut self, ranks: &dyn Ranks, own: Option<&[f32]>, factors: &[f32]) -> Result<()> {
        let (count, rank, width, terms) = (ranks.count(), ranks.rank(), self.sum.len(), factors.len());
        let part = |of: usize| own.map_or(&[][..], |own| &own[self.slices[of].clone()]);
        let sent: Vec<&[f32]> = (0..count).map(|to| if to == rank { &[][..] } else { part(to) }).collect();
        self.received.resize(width * terms, 0.0);
        let mut places: Vec<&mut [f32]> = parts_of(&mut self.received, (0..terms).map(|_| width)).collect();
        places.resize_with(count, Default::default);
        let unused = std::mem::take(&mut places[rank]);
        let began = Instant::now();
        ranks.exchange(&sent, &mut places)?;
        self.waited += began.elapsed();
        places[rank] = unused;
        let terms = (0..terms).map(|of| if of == rank { part(of) } else { &*places[of] });
        let (terms, empty): (Vec<&[f32]>, _) = (terms.collect(), std::mem::take(&mut self.empty));
        parallel::chunks(
            &mut self.sum,
            #[inline(always)]
            |start, sum| {
                if empty {
                    sum.fill(0.0);
                }
                for (term, factor) in terms.iter().zip(factors) {
                    sum.iter_mut().zip(&term[start..]).for_each(|(sum, v)| *sum += factor * v);
                }
            },
        );
        Ok(())
    }

    /// This rank's slice of the sum.
    pub fn sum(&self) -> &[f32] {
        &self.sum
    }

    /// Completes a vector that has this rank's part, with consecutive parts of all ranks.
    ///
    /// # Errors
    /// Those of [`Ranks::exchange`].
    pub fn gather(&mut self, ranks: &dyn Ranks, all: &mut [f32], parts: &[Range<usize>]) -> Result<()> {
        let mut places: Vec<&mut [f32]> = parts_of(all, parts.iter().map(Range::len)).collect();
        let own = std::mem::take(&mut places[ranks.rank()]);
        let mut sent = vec![&*own; ranks.count()];
        sent[ranks.rank()] = &[];
        let began = Instant::now();
        ranks.exchange(&sent, &mut places)?;
        self.waited += began.elapsed();
        Ok(())
    }

    /// The time spent in exchanges.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

/// Consecutive parts of a vector.
fn parts_of(mut rest: &mut [f32], lens: impl Iterator<Item = usize>) -> impl Iterator<Item = &mut [f32]> {
    lens.map(move |len| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
        rest = after;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTORS: [f32; 4] = [0.3, 0.3, 0.3, 0.1];

    #[test]
    fn sums_are_those_of_one_process_in_order() {
        let value = |rank: usize, i: usize| ((rank * 31 + i * 7) as f32 * 0.37).sin() * 10f32.powi(rank as i32 * 3);
        for (count, terms, len) in [(1, 1, 5), (2, 2, 7), (3, 2, 10), (4, 4, 3), (3, 1, 8)] {
            let sums = threads::on_ranks(count, |ranks| {
                let own: Vec<f32> = (0..len).map(|i| value(ranks.rank(), i)).collect();
                let (mut exchange, mut out) = (Exchange::default(), vec![f32::NAN; len]);
                let slice = |rank: usize| len * rank / count..len * (rank + 1) / count;
                let slices: Vec<_> = (0..count).map(slice).collect();
                for _ in 0..2 {
                    exchange.start(&slices, ranks.rank());
                    for _ in 0..2 {
                        exchange.add(&ranks, (ranks.rank() < terms).then_some(&own[..]), &FACTORS[..terms]).unwrap();
                    }
                    out[slice(ranks.rank())].copy_from_slice(exchange.sum());
                    exchange.gather(&ranks, &mut out, &slices).unwrap();
                }
                out
            });
            let expected: Vec<f32> = (0..len)
                .map(|i| (0..2).flat_map(|_| 0..terms).fold(0.0, |sum, rank| sum + FACTORS[rank] * value(rank, i)))
                .collect();
            assert!(sums.iter().all(|sum| *sum == expected), "{count} ranks, {terms} terms: {sums:?} {expected:?}");
        }
    }
}
