//! Steps whose micro-batches are shared by several processes.

use super::Run;
use crate::error::{Error, Result};
use crate::graph::plan::{Pass, Place, Plan};
use crate::graph::share::{Division, Gathered, Share};
use crate::graph::{Form, Graph, HISTORY, Slab};
use crate::ranks::{Exchange, Ranks};

/// The passes of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedStep {
    passes: Vec<SharedPass>,
    /// How the slabs are divided for the update of the weights.
    division: Division,
}

/// A pass of a step.
#[derive(Clone, Debug)]
struct SharedPass {
    pass: Pass,
    /// The scalars that it adds to: the losses of its micro-batch.
    scalars: Vec<Place>,
    /// The factor of the gradient of its micro-batch.
    factor: f32,
    /// What is gathered after it.
    gathered: Vec<Gathered>,
}

impl SharedStep {
    /// Leaves one of several processes its share of a plan.
    pub fn of(plan: &mut Plan, graph: &Graph, share: Share) -> Self {
        let shared = plan.shared(graph, share);
        let of = |((pass, gathered), factor): ((&Pass, Vec<Gathered>), f32)| {
            let calls = plan.calls[pass.calls.clone()].iter();
            let outputs = calls.flat_map(|call| call.specs.outputs.iter().zip(&call.outputs));
            let scalars = outputs.filter(|(spec, _)| spec.form == Form::History).filter_map(|(_, place)| *place);
            SharedPass { pass: pass.clone(), scalars: scalars.collect(), factor, gathered }
        };
        let passes = plan.passes.iter().zip(shared.gathered).zip(shared.factors).map(of).collect();
        Self { passes, division: shared.division }
    }
}

impl Run {
    /// Runs `n` steps with other processes, which run the same program and call this at the same time. The program was compiled
    /// for this rank's share.
    ///
    /// Micro-batch i of a step is processed by rank i modulo the number of ranks. The gradients and the losses of the
    /// micro-batches are added in their order. Each rank then updates its slice of the weights, and all get the weights of the
    /// others. The state of each rank after a step and [`Run::gather_slabs`] is that of [`Run::steps`] on an equal device, bit by
    /// bit.
    ///
    /// # Errors
    /// [`Error::Setting`] if the program has no micro-batches, [`Error::DeviceLost`], and those of the communication.
    pub(crate) fn steps_on_ranks(&mut self, n: u32, ranks: &dyn Ranks, exchange: &mut Exchange) -> Result<()> {
        for _ in 0..n {
            self.step_on_ranks(ranks, exchange)?;
            self.clock.step += 1;
        }
        Ok(())
    }

    fn step_on_ranks(&mut self, ranks: &dyn Ranks, exchange: &mut Exchange) -> Result<()> {
        let passes = std::mem::take(&mut self.shared.passes);
        let mut done = Ok(());
        for group in passes.chunk_by(|a, b| a.pass.of_part == b.pass.of_part) {
            done = done.and_then(|()| match group[0].pass.of_part {
                true => self.share(group, ranks, exchange),
                false => group.iter().try_for_each(|own| self.update(own, ranks, exchange)),
            });
        }
        self.shared.passes = passes;
        done.and_then(|()| self.gather_slab(Slab::Params, ranks, exchange))
    }

    /// Runs the passes of all micro-batches of a step, some of them on each rank, and adds up this rank's slice of the gradient.
    fn share(&mut self, parts: &[SharedPass], ranks: &dyn Ranks, exchange: &mut Exchange) -> Result<()> {
        let [gradient, total] = [self.slab_var(Slab::Grads)?, self.slab_var(Slab::Sum)?];
        let [gradient, total] = [self.place(gradient)?, self.place(total)?];
        let mut scalars: Vec<f32> = Vec::new();
        exchange.start(self.shared.division.slices(), ranks.rank());
        for round in parts.chunks(ranks.count()) {
            let factors: Vec<f32> = round.iter().map(|part| part.factor).collect();
            let Some(own) = round.get(ranks.rank()) else {
                exchange.add(ranks, None, &factors)?;
                continue;
            };
            // Its losses start a new sum.
            self.program.pass(self.clock, self.first_row, &Pass { part: 0, ..own.pass.clone() })?;
            self.program.look(gradient, |gradient| exchange.add(ranks, Some(gradient), &factors))?;
            for &place in &own.scalars {
                let value = self.at_this_step(place);
                scalars.push(self.program.look(value, |value| Ok(value[0]))?);
            }
        }
        let own = self.shared.division.part(total);
        self.program.overwrite(own, |slice| {
            slice.copy_from_slice(exchange.sum());
            Ok(())
        })?;
        let of_ranks = ranks.gather(bytemuck::cast_slice(&scalars))?;
        let of_ranks: Vec<Vec<f32>> = of_ranks.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect();
        self.add_scalars(parts, &of_ranks)
    }

    /// Runs a pass of the update of the weights.
    fn update(&mut self, own: &SharedPass, ranks: &dyn Ranks, exchange: &mut Exchange) -> Result<()> {
        self.program.pass(self.clock, self.first_row, &own.pass)?;
        own.gathered.iter().try_for_each(|gathered| self.gather(gathered, ranks, exchange))
    }

    /// Completes a tensor of which each rank has computed a part.
    fn gather(&mut self, of: &Gathered, ranks: &dyn Ranks, exchange: &mut Exchange) -> Result<()> {
        let start = of.parts[ranks.rank()].start;
        self.program.complete(of.whole, of.own, start, |whole| exchange.gather(ranks, whole, &of.parts))
    }

    fn gather_slab(&mut self, slab: Slab, ranks: &dyn Ranks, exchange: &mut Exchange) -> Result<()> {
        let whole = self.place(self.slab_var(slab)?)?;
        let division = &self.shared.division;
        let gathered = Gathered { own: division.part(whole), whole, parts: division.slices().to_vec() };
        self.gather(&gathered, ranks, exchange)
    }

    /// Completes the slabs that only the update of the weights uses, and of which each rank has only updated its slice: the moments of
    /// the optimizer and the averages of the weights.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], and those of the communication.
    pub(crate) fn gather_slabs(&mut self, ranks: &dyn Ranks, exchange: &mut Exchange) -> Result<()> {
        let divided = |slab: &Slab| !matches!(slab, Slab::Params | Slab::Grads | Slab::Sum);
        let has = |slab: &Slab| self.graph().slab_if_used(*slab).is_some();
        let slabs: Vec<Slab> = Slab::ALL.into_iter().filter(divided).filter(has).collect();
        slabs.into_iter().try_for_each(|slab| self.gather_slab(slab, ranks, exchange))
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
