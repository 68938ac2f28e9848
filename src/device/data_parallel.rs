//! Steps whose micro-batches are shared by several processes.

use super::Run;
use crate::error::{Error, Result};
use crate::graph::plan::{Pass, Place, Plan};
use crate::graph::{Form, HISTORY, Slab};
use crate::ranks::{OrderedSum, Ranks};

/// A pass, with the scalars that it adds to: the losses of its micro-batch.
#[derive(Clone, Debug)]
pub(super) struct SharedPass {
    pass: Pass,
    scalars: Vec<Place>,
}

impl SharedPass {
    pub fn all(plan: &Plan) -> Vec<Self> {
        let of = |pass: &Pass| {
            let calls = plan.calls[pass.calls.clone()].iter();
            let outputs = calls.flat_map(|call| call.specs.outputs.iter().zip(&call.outputs));
            let scalars = outputs.filter(|(spec, _)| spec.form == Form::History).filter_map(|(_, place)| *place);
            Self { pass: pass.clone(), scalars: scalars.collect() }
        };
        plan.passes.iter().map(of).collect()
    }
}

impl Run {
    /// Runs `n` steps with other processes, which run the same program and call this at the same time.
    ///
    /// Micro-batch i of a step is processed by rank i modulo the number of ranks. The gradients and the losses of the
    /// micro-batches are added in their order, and every rank then updates the weights. On equal devices, the state of each
    /// rank after a step is that of [`Run::steps`], bit by bit.
    ///
    /// # Errors
    /// [`Error::Setting`] if the program has no micro-batches, [`Error::DeviceLost`], and those of the communication.
    pub(crate) fn steps_on_ranks(&mut self, n: u32, ranks: &dyn Ranks, sum: &mut OrderedSum) -> Result<()> {
        for _ in 0..n {
            self.step_on_ranks(ranks, sum)?;
            self.clock.step += 1;
        }
        Ok(())
    }

    fn step_on_ranks(&mut self, ranks: &dyn Ranks, sum: &mut OrderedSum) -> Result<()> {
        let passes = std::mem::take(&mut self.shared);
        let mut done = Ok(());
        for group in passes.chunk_by(|a, b| a.pass.of_part == b.pass.of_part) {
            done = done.and_then(|()| match group[0].pass.of_part {
                true => self.share(group, ranks, sum),
                false => group.iter().try_for_each(|own| self.program.pass(self.clock, self.first_row, &own.pass)),
            });
        }
        self.shared = passes;
        done
    }

    /// Runs the passes of all micro-batches of a step, some of them on each rank.
    fn share(&mut self, parts: &[SharedPass], ranks: &dyn Ranks, sum: &mut OrderedSum) -> Result<()> {
        let total = self.place(self.slab_var(Slab::Sum)?)?;
        let mut scalars: Vec<f32> = Vec::new();
        sum.start(ranks, total.len);
        for round in parts.chunks(ranks.count()) {
            let terms = round.len();
            let Some(own) = round.get(ranks.rank()) else {
                sum.add(ranks, None, terms)?;
                continue;
            };
            // The first nodes start a new sum in the first micro-batch; those of a smaller last one add to it.
            if own.pass.calls != parts[0].pass.calls {
                self.program.write(total, &vec![0.0; total.len])?;
            }
            self.program.pass(self.clock, self.first_row, &Pass { part: 0, ..own.pass.clone() })?;
            self.program.look(total, |gradient| sum.add(ranks, Some(gradient), terms))?;
            for &place in &own.scalars {
                let value = self.at_this_step(place);
                scalars.push(self.program.look(value, |value| Ok(value[0]))?);
            }
        }
        self.program.overwrite(total, |all| sum.finish(ranks, all))?;
        let of_ranks = ranks.gather(bytemuck::cast_slice(&scalars))?;
        let of_ranks: Vec<Vec<f32>> = of_ranks.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect();
        self.add_scalars(parts, &of_ranks)
    }

    /// Writes the scalars of a step: sums over the micro-batches, in their order.
    fn add_scalars(&mut self, parts: &[SharedPass], of_ranks: &[Vec<f32>]) -> Result<()> {
        let mut rest: Vec<_> = of_ranks.iter().map(|values| values.iter()).collect();
        let mut sums: Vec<(Place, f32)> = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            for &place in &part.scalars {
                let missing = || Error::setting("the ranks run different programs");
                let value = *rest[i % of_ranks.len()].next().ok_or_else(missing)?;
                match sums.iter_mut().find(|(known, _)| *known == place) {
                    Some((_, sum)) => *sum += value,
                    None => sums.push((place, value)),
                }
            }
        }
        sums.into_iter().try_for_each(|(place, sum)| self.program.write(self.at_this_step(place), &[sum]))
    }

    /// The value of this step in a history.
    fn at_this_step(&self, history: Place) -> Place {
        Place { offset: history.offset + self.clock.step as usize % HISTORY, len: 1, ..history }
    }
}
