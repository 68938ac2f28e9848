//! Ranks that are threads of one process, for tests.

use std::sync::{Arc, Barrier, Mutex};

use super::Ranks;
use crate::error::Result;

/// A rank of a group of threads.
#[derive(Clone, Debug)]
pub struct ThreadRank {
    rank: usize,
    barrier: Arc<Barrier>,
    /// What each rank has for the others.
    boxes: Arc<Vec<Mutex<Vec<u8>>>>,
}

/// Calls `f` on each of `count` ranks, and returns their results.
pub fn on_ranks<T: Send>(count: usize, f: impl Fn(ThreadRank) -> T + Sync) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(count));
    let boxes = Arc::new((0..count).map(|_| Mutex::default()).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        let spawn = |rank| {
            let (rank, f) = (ThreadRank { rank, barrier: barrier.clone(), boxes: boxes.clone() }, &f);
            scope.spawn(move || f(rank))
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

impl ThreadRank {
    /// Shows `own` to the others, and calls `read` with what each rank shows.
    fn meet<T>(&self, own: &[u8], read: impl Fn(usize, &[u8]) -> T) -> Vec<T> {
        *self.boxes[self.rank].lock().unwrap() = own.to_vec();
        self.barrier.wait();
        let read = (0..self.count()).map(|rank| read(rank, &self.boxes[rank].lock().unwrap())).collect();
        self.barrier.wait();
        read
    }
}

impl Ranks for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.boxes.len()
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.gather(&bytes)?.swap_remove(0))
    }

    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(self.meet(bytes, |_, bytes| bytes.to_vec()))
    }

    fn exchange(&self, sent: &[&[f32]], received: &mut [&mut [f32]]) -> Result<()> {
        // The parts are found by their ends, which each rank puts first.
        let ends = sent.iter().scan(0, |end, part| {
            *end += part.len();
            Some(*end as f32)
        });
        let own: Vec<f32> = ends.chain(sent.iter().flat_map(|part| part.iter().copied())).collect();
        let (mine, count) = (self.rank, self.count());
        let parts = self.meet(bytemuck::cast_slice(&own), |_, bytes| {
            let all: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
            let end = |i: usize| all[i] as usize;
            let start = if mine == 0 { 0 } else { end(mine - 1) };
            all[count + start..count + end(mine)].to_vec()
        });
        received.iter_mut().zip(&parts).for_each(|(place, part)| place.copy_from_slice(part));
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        panic!("rank {} ended with code {code}", self.rank)
    }
}
