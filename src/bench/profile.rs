//! The times of a step by dispatch and by op, beside the peak rates of the device.

use std::time::Duration;

use super::measure::Ceilings;
use crate::device::OpTime;
use crate::graph::Cost;

/// The times of the dispatches of a step.
#[derive(Clone, Debug)]
pub struct Profile(pub Vec<OpTime>);

/// Timed work: a dispatch, or all dispatches of an op.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// The op's name.
    pub op: &'static str,
    /// The number of dispatches.
    pub count: usize,
    /// Their time in a step.
    pub seconds: f64,
    /// Their arithmetic and minimum memory traffic.
    pub cost: Cost,
    /// Their time at the peak rates of the device.
    pub best: f64,
}

impl Profile {
    /// The time of the step in seconds.
    pub fn seconds(&self) -> f64 {
        self.0.iter().map(|t| t.time.as_secs_f64()).sum()
    }

    /// The longest time of a dispatch.
    pub fn longest(&self) -> Duration {
        self.0.iter().map(|t| t.longest).max().unwrap_or_default()
    }

    /// The dispatches in their order.
    pub fn dispatches(&self, ceilings: Ceilings) -> Vec<Timed> {
        let timed = |t: &OpTime| {
            let best = ceilings.seconds(t.of.cost);
            Timed { op: t.of.op, count: 1, seconds: t.time.as_secs_f64(), cost: t.of.cost, best }
        };
        self.0.iter().map(timed).collect()
    }

    /// The sums over the dispatches of each op, the longest first.
    pub fn ops(&self, ceilings: Ceilings) -> Vec<Timed> {
        let mut sums: Vec<Timed> = vec![];
        for timed in self.dispatches(ceilings) {
            match sums.iter_mut().find(|sum| sum.op == timed.op) {
                Some(sum) => sum.add(timed),
                None => sums.push(timed),
            }
        }
        sums.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        sums
    }
}

impl Timed {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.seconds += other.seconds;
        self.cost = self.cost + other.cost;
        self.best += other.best;
    }

    /// Time at the peak rates divided by the measured time. It exceeds 1 if the data are in a cache.
    pub fn share_of_ceiling(&self) -> f64 {
        self.best / self.seconds
    }

    /// FLOP per byte.
    pub fn intensity(&self) -> f64 {
        self.cost.flops as f64 / self.cost.bytes as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::graph::Graph;
    use crate::ops::Add;

    #[test]
    fn the_dispatches_of_an_op_are_summed() {
        let mut g = Graph::new();
        let (a, b) = (g.state("a", [100]).unwrap(), g.state("b", [100]).unwrap());
        let once = g.apply1(Add, &[a, b]).unwrap();
        let twice = g.apply1(Add, &[once, b]).unwrap();
        g.keep(once);
        g.keep(twice);
        let profile = Profile(Device::cpu().compile(&g).unwrap().profile(1).unwrap());
        let ceilings = Ceilings { memory: 1e9, arithmetic: 1e9 };
        let (each, sums) = (profile.dispatches(ceilings), profile.ops(ceilings));
        assert_eq!((each.len(), sums.len(), sums[0].count), (2, 1, 2));
        assert_eq!(sums[0].cost, each[0].cost + each[1].cost);
        assert!((sums[0].best - 2.0 * 1200.0 / 1e9).abs() < 1e-12, "{:?}", sums[0]);
    }
}
