//! The share of one of several processes in the update of the weights: each of them updates a slice of the slabs.

use std::ops::Range;

use super::plan::{Call, Pass, Place, Plan};
use super::{Graph, Slab, Spec};
use crate::ranks::Ranks;

/// One of several processes that train one model together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Its number, from 0.
    pub rank: usize,
    /// The number of processes.
    pub count: usize,
}

impl Share {
    /// The only process.
    pub const WHOLE: Self = Self { rank: 0, count: 1 };

    pub fn of(ranks: &dyn Ranks) -> Self {
        Self { rank: ranks.rank(), count: ranks.count() }
    }
}

/// The slices of a slab, one for each process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Division {
    slices: Vec<Range<usize>>,
    rank: usize,
}

impl Division {
    /// Slices of a slab of `len` elements that start at multiples of `unit`.
    fn new(len: usize, unit: usize, share: Share) -> Self {
        let units = len.div_ceil(unit);
        let start = |rank: usize| (units * rank / share.count * unit).min(len);
        Self { slices: (0..share.count).map(|rank| start(rank)..start(rank + 1)).collect(), rank: share.rank }
    }

    /// The slice of this process.
    pub fn own(&self) -> Range<usize> {
        self.slices[self.rank].clone()
    }

    /// The slices of all processes.
    pub fn slices(&self) -> &[Range<usize>] {
        &self.slices
    }

    /// The slice of this process in a slab.
    pub fn part(&self, slab: Place) -> Place {
        let own = self.own();
        Place { offset: slab.offset + own.start, len: own.len(), ..slab }
    }
}

/// A tensor of which each process computes a part, while all of them need the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// Where this process writes its part.
    pub own: Place,
    pub whole: Place,
    /// The parts of all processes.
    pub parts: Vec<Range<usize>>,
}

/// What several processes do besides the calls of a plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedPlan {
    /// How the slabs are divided.
    pub division: Division,
    /// For each pass, the factor of the gradient of its micro-batch in the sum.
    pub factors: Vec<f32>,
    /// What is gathered after each pass.
    pub gathered: Vec<Vec<Gathered>>,
}

/// What becomes of a call.
enum Fate {
    /// It is kept, and these tensors are gathered after it.
    Kept(Vec<Gathered>),
    /// It adds gradients of micro-batches with this factor, which is part of their exchange.
    Exchanged(f64),
}

/// The elements of a slab that are processed together by an op that follows the sum of the gradients and can run on a
/// part of the slab.
fn piece(call: &Call, slab: usize) -> Option<usize> {
    call.node.op.piece().filter(|_| call.node.parts.is_none() && call.inputs[0].len == slab)
}

impl Plan {
    /// Leaves this process its slice of the update of the weights. Nothing changes for a single process.
    pub fn shared(&mut self, graph: &Graph, share: Share) -> SharedPlan {
        if share == Share::WHOLE {
            return SharedPlan::default();
        }
        let len = graph.slab_if_used(Slab::Params).map_or(0, |slab| graph.spec(slab).len());
        // Larger pieces are multiples of smaller ones.
        let unit = self.calls.iter().filter_map(|call| piece(call, len)).fold(super::parameters::ALIGN, usize::max);
        let division = Division::new(len, unit, share);
        let (calls, passes) = (std::mem::take(&mut self.calls), std::mem::take(&mut self.passes));
        // For each call, the number of those before it that are kept.
        let (mut starts, mut fates) = (vec![0], Vec::new());
        for mut call in calls {
            let accumulates = call.node.op.accumulates().filter(|_| call.node.parts.is_some());
            fates.push(match (accumulates, piece(&call, len)) {
                (Some(factor), _) => Fate::Exchanged(factor),
                (None, Some(piece)) => Fate::Kept(narrow(&mut call, len, piece, &division)),
                (None, None) => Fate::Kept(Vec::new()),
            });
            let is_empty = call.inputs.first().is_some_and(|input| input.len == 0);
            if !is_empty && matches!(fates.last(), Some(Fate::Kept(_))) {
                self.calls.push(call);
            }
            starts.push(self.calls.len());
        }
        let mut shared = SharedPlan { division, ..SharedPlan::default() };
        for pass in passes {
            let (mut start, mut factor) = (pass.calls.start, 0.0);
            for i in pass.calls.clone() {
                let gathered = match &fates[i] {
                    Fate::Kept(gathered) => gathered.clone(),
                    Fate::Exchanged(of) => {
                        factor = *of as f32;
                        Vec::new()
                    }
                };
                if i + 1 == pass.calls.end || !gathered.is_empty() {
                    self.passes.push(Pass { calls: starts[start]..starts[i + 1], ..pass.clone() });
                    shared.gathered.push(gathered);
                    shared.factors.push(factor);
                    start = i + 1;
                }
            }
        }
        shared
    }
}

/// Narrows a call to a slice of the slabs. Its outputs, with one element for each piece of a slab, have to be gathered.
fn narrow(call: &mut Call, slab: usize, piece: usize, division: &Division) -> Vec<Gathered> {
    let specs = call.specs.inputs.iter_mut().chain(&mut call.specs.updates);
    for (place, spec) in call.inputs.iter_mut().chain(&mut call.updates).zip(specs) {
        if place.len == slab {
            *place = division.part(*place);
            *spec = Spec::f32([place.len]);
        }
    }
    let pieces = |slice: &Range<usize>| slice.start.div_ceil(piece)..slice.end.div_ceil(piece);
    let parts: Vec<Range<usize>> = division.slices.iter().map(pieces).collect();
    let gather = |(place, spec): (&mut Option<Place>, &mut Spec)| {
        let whole = (*place)?;
        // At the start, because a kernel can write from some positions on only.
        let own = Place { len: parts[division.rank].len(), ..whole };
        (*place, *spec) = (Some(own), Spec::f32([own.len]));
        Some(Gathered { own, whole, parts: parts.clone() })
    };
    call.outputs.iter_mut().zip(&mut call.specs.outputs).filter_map(gather).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_start_at_units_and_cover_a_slab() {
        for (len, unit, count) in [(640, 64, 3), (64, 64, 4), (1_000_000, 3_968, 7), (0, 64, 2)] {
            let of = |rank| Division::new(len, unit, Share { rank, count }).own();
            let slices: Vec<_> = (0..count).map(of).collect();
            assert_eq!((slices[0].start, slices[count - 1].end), (0, len));
            assert!(
                slices
                    .windows(2)
                    .all(|pair| pair[0].end == pair[1].start && pair[1].start % unit == 0 || pair[1].is_empty())
            );
            let [least, most] = [slices.iter().map(Range::len).min(), slices.iter().map(Range::len).max()];
            assert!(most.unwrap() - least.unwrap() <= 2 * unit, "{slices:?}");
        }
    }
}
