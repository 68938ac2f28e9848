//! Data-parallel training: rank 0 leads, and the other ranks follow its commands.
//!
//! Rank 0 alone reads and writes the run folder, decides how many steps follow, validates and stops. Therefore no decision can
//! differ between ranks, and a rank needs nothing but the data and what rank 0 sends.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::feed::Feed;
use super::{Checkpoint, Trainer};
use crate::data::{Dataset, Place};
use crate::device::{Device, Run};
use crate::error::{Error, Result};
use crate::graph::share::Share;
use crate::ranks::{Exchange, Ranks, first_fault};

/// What rank 0 tells the others to do.
#[derive(Debug, Deserialize, Serialize)]
enum Command {
    /// Build the program of the run in the checkpoint that follows, with the data in this place, and say whether it can start.
    Start(Option<Place>),
    /// Run this number of steps.
    Steps(u32),
    /// Exchange the parts of the state that each rank has updated.
    Gather,
    /// The run is over: free the device.
    End,
    /// There is no other run.
    Leave,
}

impl Command {
    fn send(&self, ranks: &dyn Ranks) -> Result<()> {
        ranks.broadcast(serde_json::to_vec(self).expect("a command is JSON")).map(drop)
    }

    fn receive(ranks: &dyn Ranks) -> Result<Self> {
        serde_json::from_slice(&ranks.broadcast(Vec::new())?).map_err(|e| Error::input(format!("rank 0: {e}")))
    }
}

/// The processes that train a model with this one.
#[derive(Debug)]
pub(super) struct Team {
    ranks: Arc<dyn Ranks>,
    exchange: Exchange,
    /// Whether this rank has the whole state, and not only its slice of the optimizer's moments and of the averages.
    is_whole: bool,
}

impl Team {
    fn new(ranks: Arc<dyn Ranks>) -> Self {
        Self { ranks, exchange: Exchange::default(), is_whole: true }
    }

    fn leads(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// Runs `n` steps on all ranks.
    pub fn steps(&mut self, run: &mut Run, n: u32) -> Result<()> {
        if self.leads() {
            Command::Steps(n).send(&*self.ranks)?;
        }
        self.is_whole = false;
        let done = run.steps_on_ranks(n, &*self.ranks, &mut self.exchange);
        self.or_end(done)
    }

    /// Ends all processes after an error of this one, for which the others would wait.
    fn or_end(&self, done: Result<()>) -> Result<()> {
        done.inspect_err(|e| {
            log::error!("rank {}: {e}; all processes end", self.ranks.rank());
            self.ranks.abort(1);
        })
    }

    /// The time that this process spent in exchanges.
    pub fn waited(&self) -> Duration {
        self.exchange.waited()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if self.leads() && !std::thread::panicking() {
            // The other ranks have ended if they cannot be reached.
            let _ = Command::End.send(&*self.ranks);
        }
    }
}

/// Tells the other ranks that no other run follows.
///
/// # Errors
/// When the processes cannot communicate.
pub fn dismiss(ranks: &dyn Ranks) -> Result<()> {
    Command::Leave.send(ranks)
}

/// Follows rank 0 until it calls [`dismiss`]: trains the runs that it starts, with an equal share of each batch.
///
/// # Errors
/// As [`Trainer::advance`]; when the processes cannot communicate.
pub fn follow(device: &Device, ranks: &Arc<dyn Ranks>) -> Result<()> {
    let mut trainer: Option<Trainer> = None;
    loop {
        match (Command::receive(&**ranks)?, &mut trainer) {
            (Command::Start(place), trainer) => {
                // The memory of an earlier run is freed first.
                *trainer = None;
                let state = ranks.broadcast(Vec::new())?;
                let made = Trainer::following(device, &state, place, ranks);
                first_fault(&**ranks, made.as_ref().err().map(Error::to_string))?;
                *trainer = made.ok();
            }
            (Command::Steps(n), Some(trainer)) => trainer.steps(n)?,
            (Command::Gather, Some(trainer)) => trainer.gather()?,
            (Command::End, trainer) => *trainer = None,
            (Command::Leave, _) => return Ok(()),
            (command, None) => return Err(Error::input(format!("rank 0: {command:?} before a run was started"))),
        }
    }
}

impl Trainer {
    /// Shares each batch with the other ranks, which call [`follow`], from now on. Each of them builds the same program and takes
    /// over the state of this one.
    ///
    /// # Errors
    /// When the trainer was not made for these ranks. When a rank cannot start, with its reason: it reads other data, or its device has not enough memory.
    pub fn lead(&mut self, ranks: Arc<dyn Ranks>) -> Result<()> {
        if self.share != Share::of(&*ranks) {
            return Err(Error::setting("the trainer was not made for these ranks; use `Trainer::for_ranks`"));
        }
        // Nothing that can fail may come between the command and what the others expect to follow it.
        let state = self.checkpoint()?.to_bytes();
        Command::Start(self.config().read.place).send(&*ranks)?;
        ranks.broadcast(state)?;
        if let Some(fault) = first_fault(&*ranks, None)? {
            return Err(Error::setting(fault));
        }
        self.warn_of_idle_ranks(ranks.count());
        self.team = Some(Team::new(ranks));
        Ok(())
    }

    /// Warns if ranks wait for others, because the micro-batches of a step cannot be shared evenly.
    fn warn_of_idle_ranks(&self, ranks: usize) {
        let micro = self.config().micro_batch_of(self.batch());
        let rounds = self.batch().div_ceil(micro).div_ceil(ranks);
        let used = self.batch() as f64 / (rounds * ranks * micro) as f64;
        if used < 0.9 {
            log::warn!(
                "a batch of {} in micro-batches of {micro} cannot be shared evenly by {ranks} ranks, which have work for {:.0}% of \
                 the time; use a --batch that is a multiple of {ranks}, and omit --micro-batch",
                self.batch(),
                100.0 * used
            );
        }
    }

    /// The trainer of a rank that follows, in the state of a checkpoint.
    fn following(device: &Device, state: &[u8], place: Option<Place>, ranks: &Arc<dyn Ranks>) -> Result<Self> {
        let mut checkpoint = Checkpoint::of_bytes(state)?;
        checkpoint.config.read.place = place;
        let config = &checkpoint.config;
        let data = Dataset::load_for(
            &config.data,
            config.seed,
            &config.reading_for_training(),
            checkpoint.facts.data_layout(),
            false,
        )?;
        let mut trainer = Self::for_ranks(device, config, &config.with_conditions(data)?, &**ranks)?;
        if let Some(micro) = trainer.split() {
            return Err(Error::setting(format!(
                "{device} has memory for {micro} samples at a time, and rank 0 for {}; use --micro-batch {micro}",
                config.micro_batch
            )));
        }
        trainer.restore(&checkpoint)?;
        trainer.team = Some(Team::new(ranks.clone()));
        Ok(trainer)
    }

    /// Completes the state of all ranks: each of them has updated a slice of the optimizer's moments and of the averages.
    ///
    /// # Errors
    /// When the processes cannot communicate, or the device is lost.
    pub(super) fn gather(&mut self) -> Result<()> {
        let Some(team) = self.team.as_mut().filter(|team| !team.is_whole) else { return Ok(()) };
        if team.leads() {
            Command::Gather.send(&*team.ranks)?;
        }
        team.is_whole = true;
        let done = self.run.gather_slabs(&*team.ranks, &mut team.exchange);
        team.or_end(done)
    }

    /// Runs `n` steps on all ranks that train this model.
    pub(super) fn steps(&mut self, n: u32) -> Result<()> {
        let (team, shared) = (&mut self.team, self.share != Share::WHOLE);
        Feed::steps(&mut self.feed, &mut self.run, n, |run, n| match team {
            Some(team) if shared => team.steps(run, n),
            None if shared => Err(Error::setting("several ranks share the steps of this trainer; call `lead` before")),
            _ => run.steps(n),
        })
    }

    /// The number of ranks that share a batch.
    pub fn ranks(&self) -> usize {
        self.team.as_ref().map_or(1, |team| team.ranks.count())
    }

    /// The time that this process spent in exchanges with other ranks, most of it waiting for them.
    pub fn waited(&self) -> Duration {
        self.team.as_ref().map_or(Duration::ZERO, Team::waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::threads::on_ranks;
    use crate::train::Config;

    fn config(batch: usize, micro_batch: usize) -> Config {
        let model = Config::for_model("simple").unwrap();
        Config { data: "moons".into(), batch, micro_batch, steps: 100, clip_norm: 1.0, ema: 0.9, ..model }
    }

    /// What some steps result in, with an evaluation in between.
    #[derive(Debug, PartialEq)]
    struct Results {
        losses: Vec<f64>,
        validation: Option<f64>,
        checkpoint: Vec<u8>,
    }

    fn results(trainer: &mut Trainer, steps: u32) -> Results {
        let mut losses = trainer.advance(steps / 2).unwrap();
        let validation = trainer.validate().unwrap();
        losses.extend(trainer.advance(steps - steps / 2).unwrap());
        Results { losses, validation, checkpoint: trainer.checkpoint().unwrap().to_bytes() }
    }

    fn alone(config: &Config, steps: u32) -> Results {
        results(&mut Trainer::new(&Device::cpu(), config, &config.load().unwrap()).unwrap(), steps)
    }

    fn on(count: usize, config: &Config, steps: u32) -> Results {
        let of_ranks = on_ranks(count, |rank| {
            let ranks: Arc<dyn Ranks> = Arc::new(rank);
            if ranks.rank() > 0 {
                follow(&Device::cpu(), &ranks).unwrap();
                return None;
            }
            let mut trainer = Trainer::for_ranks(&Device::cpu(), config, &config.load().unwrap(), &*ranks).unwrap();
            let early = trainer.advance(1).unwrap_err().to_string();
            assert!(early.contains("call `lead` before"), "{early}");
            trainer.lead(ranks.clone()).unwrap();
            let results = results(&mut trainer, steps);
            drop(trainer);
            dismiss(&*ranks).unwrap();
            Some(results)
        });
        of_ranks.into_iter().flatten().next().unwrap()
    }

    #[test]
    fn several_ranks_compute_what_one_computes_with_micro_batches() {
        for (ranks, batch, micro) in [(2, 16, 8), (3, 16, 6), (4, 16, 4), (2, 16, 4), (3, 16, 5), (2, 15, 2), (4, 9, 3)]
        {
            let config = config(batch, micro);
            assert!(on(ranks, &config, 7) == alone(&config, 7), "{ranks} ranks, batch {batch}, micro-batch {micro}");
        }
        // Without a micro-batch in the settings, a batch is divided evenly.
        assert!(on(3, &config(16, 0), 7) == alone(&config(16, 6), 7));
    }

    #[test]
    fn averages_are_gathered_and_small_networks_leave_ranks_without_weights() {
        let averaged = Config { validation: 0.1, ema_snapshot_every: 3, ..config(16, 8) };
        assert!(on(2, &averaged, 7) == alone(&averaged, 7));
        let text = "[model]\nname = \"mlp\"\nwidth = 8\ndepth = 1\nencoding = 8\n";
        let model = Config::parse_run(text).unwrap().0.model;
        for clip_norm in [0.0, 1.0] {
            let small = Config { model: model.clone(), clip_norm, ..config(16, 4) };
            assert!(on(4, &small, 7) == alone(&small, 7), "clip norm {clip_norm}");
        }
    }
}
