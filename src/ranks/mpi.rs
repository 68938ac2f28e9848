//! Ranks that are processes of an MPI job, started by `mpirun` or a job scheduler.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::request;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};

use super::Ranks;
use crate::error::{Error, Result};

/// The processes of the job. MPI ends when it is dropped.
pub struct Job {
    _universe: Universe,
}

/// This process among those of the job. A failed transfer ends all of them: this is MPI's default.
#[derive(Debug)]
pub struct MpiRanks {
    rank: usize,
    count: usize,
    /// Calls of MPI from several threads take turns.
    turn: Mutex<()>,
}

/// The longest message: MPI counts its elements as `i32`.
const LONGEST: usize = 1 << 30;
/// How long a process spins for a message before it sleeps between two looks.
const AWAKE: Duration = Duration::from_millis(2);
const NAP: Duration = Duration::from_micros(500);

impl Job {
    /// Joins the other processes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when MPI is not available to several threads of a process.
    pub fn join() -> Result<(Self, MpiRanks)> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| Error::setting("MPI was already initialised in this process"))?;
        if threading < Threading::Serialized {
            return Err(Error::Unsupported("this MPI library cannot be used by processes with threads".into()));
        }
        let world = universe.world();
        let ranks = MpiRanks { rank: world.rank() as usize, count: world.size() as usize, turn: Mutex::default() };
        Ok((Self { _universe: universe }, ranks))
    }
}

impl MpiRanks {
    /// The number of processes of the job on this machine, and the number of this one among them.
    pub fn on_this_machine(&self) -> (usize, usize) {
        let _turn = self.turn();
        let here = SimpleCommunicator::world().split_shared(self.rank as i32);
        (here.rank() as usize, here.size() as usize)
    }

    fn turn(&self) -> impl Drop + '_ {
        self.turn.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The lengths of parts and their starts, as MPI counts them.
fn partition(lengths: &[usize]) -> (Vec<i32>, Vec<i32>) {
    let starts = lengths.iter().scan(0, |end, len| {
        let start = *end;
        *end += len;
        Some(start as i32)
    });
    (lengths.iter().map(|len| *len as i32).collect(), starts.collect())
}

/// Waits for the length of the next message of rank 0. A rank that waits long leaves its core to others: rank 0 may draw samples
/// or write files for minutes.
fn announced(world: &SimpleCommunicator, length: u64) -> u64 {
    let (mut length, began) = (length, Instant::now());
    request::scope(|scope| {
        let mut request = world.process_at_rank(0).immediate_broadcast_into(scope, &mut length);
        while let Err(pending) = request.test() {
            request = pending;
            if began.elapsed() > AWAKE {
                thread::sleep(NAP);
            }
        }
    });
    length
}

impl Ranks for MpiRanks {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn broadcast(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        let _turn = self.turn();
        let world = SimpleCommunicator::world();
        bytes.resize(announced(&world, bytes.len() as u64) as usize, 0);
        bytes.chunks_mut(LONGEST).for_each(|part| world.process_at_rank(0).broadcast_into(part));
        Ok(bytes)
    }

    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let _turn = self.turn();
        let world = SimpleCommunicator::world();
        // The address of an empty slice of bytes is 1, which is MPI_IN_PLACE in Open MPI; so each message ends with a zero.
        let bytes = [bytes, &[0]].concat();
        let mut lengths = vec![0_u64; self.count];
        world.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        let lengths: Vec<usize> = lengths.into_iter().map(|len| len as usize).collect();
        let mut all = vec![0_u8; lengths.iter().sum()];
        let (counts, starts) = partition(&lengths);
        world.all_gather_varcount_into(&bytes[..], &mut PartitionMut::new(&mut all[..], counts, starts));
        let mut rest = &all[..];
        let parts = lengths.into_iter().map(|len| {
            let (part, after) = rest.split_at(len);
            rest = after;
            part[..len - 1].to_vec()
        });
        Ok(parts.collect())
    }

    fn exchange(&self, sent: &[&[f32]], received: &mut [&mut [f32]]) -> Result<()> {
        let _turn = self.turn();
        let world = SimpleCommunicator::world();
        let peer = |rank: usize| world.process_at_rank(rank as i32);
        request::scope(|scope| {
            let receives = received.iter_mut().enumerate().filter(|(_, part)| !part.is_empty());
            let receives = receives.map(|(from, part)| peer(from).immediate_receive_into(scope, &mut **part));
            let sends = sent.iter().enumerate().filter(|(_, part)| !part.is_empty());
            let sends = sends.map(|(to, part)| peer(to).immediate_send(scope, *part));
            let pending: Vec<_> = receives.chain(sends).collect();
            pending.into_iter().for_each(|message| _ = message.wait());
        });
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        SimpleCommunicator::world().abort(code.into())
    }
}
