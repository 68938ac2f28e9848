//! The cost of each dispatch of a compiled step, and its time.

use std::time::Duration;

use crate::graph::{AnyOp, Cost, Spec, Specs};

/// The cost of one dispatch of a compiled step. A dispatch that is repeated for each micro-batch has one entry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpCost {
    /// The op's name.
    pub op: &'static str,
    /// The shapes of the inputs, and of the updated tensors and outputs.
    pub shapes: String,
    /// The number of dispatches per step.
    pub times: u64,
    /// The arithmetic and the minimum memory traffic of all these dispatches.
    pub cost: Cost,
}

impl OpCost {
    pub(crate) fn new(op: &dyn AnyOp, specs: &Specs, times: u64) -> Self {
        let list = |specs: &[Spec]| {
            let shapes = specs.iter().filter(|s| s.stored() > 0).map(|s| {
                let dims: Vec<String> = s.shape.iter().map(usize::to_string).collect();
                if dims.is_empty() { "1".into() } else { dims.join("x") }
            });
            shapes.collect::<Vec<_>>().join(" ")
        };
        let written = [list(&specs.updates), list(&specs.outputs)].join(" ");
        let shapes = format!("{} -> {}", list(&specs.inputs), written.trim());
        let Cost { flops, bytes } = op.cost(specs);
        Self { op: op.name(), shapes, times, cost: Cost { flops: times * flops, bytes: times * bytes } }
    }
}

/// The measured time of a dispatch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpTime {
    /// The dispatch.
    pub of: OpCost,
    /// Its time per step, averaged over the profiled steps.
    pub time: Duration,
    /// The longest time of a dispatch in the last step: a GPU divides long dispatches into several.
    pub longest: Duration,
}

/// The times of [`OpTime`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    pub time: Duration,
    pub longest: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::nn::{Chapter, ChapterOptions, Denoiser, Inputs};
    use crate::ops::{Activation, Dense, FillRow, Optimizer};
    use crate::{Device, Run};

    fn compiled(g: &Graph) -> Run {
        Device::cpu().compile(g).unwrap()
    }

    fn cost_of(run: &Run, op: &str) -> Cost {
        run.costs().iter().find(|c| c.op == op).unwrap().cost
    }

    #[test]
    fn a_dense_layer_is_two_operations_a_weight_and_its_epilogue() {
        let mut g = Graph::new();
        let (x, w, b) = (g.state("x", [5, 3]).unwrap(), g.state("w", [7, 3]).unwrap(), g.state("b", [7]).unwrap());
        let y = g.apply1(Dense { activation: Activation::Relu }, &[x, w, b]).unwrap();
        g.keep(y);
        let cost = cost_of(&compiled(&g), "dense");
        assert_eq!(cost, Cost { flops: 5 * 7 * (2 * 3 + 2), bytes: 4 * (15 + 21 + 7 + 35) });
    }

    #[test]
    fn only_the_rows_that_are_read_count() {
        let mut g = Graph::new();
        let rows = g.dataset("data", [1000, 8]).unwrap().batch(&mut g, 10).unwrap();
        g.keep(rows);
        let table = g.state("table", [50, 8]).unwrap();
        let t = g.apply1(FillRow { batch: 4 }, &[table]).unwrap();
        g.keep(t);
        let run = compiled(&g);
        assert_eq!(cost_of(&run, "gather"), Cost { flops: 0, bytes: 4 * 2 * 80 });
        assert_eq!(cost_of(&run, "fill").bytes, 4 * (1 + 4));
    }

    #[test]
    fn a_step_costs_the_sum_of_its_dispatches() {
        let mut g = Graph::new();
        let (x, t, goal) =
            (g.state("x", [16, 100]).unwrap(), g.state("t", [16]).unwrap(), g.state("goal", [16, 100]).unwrap());
        let y =
            Chapter::new(&mut g, 100, &ChapterOptions::default()).unwrap().forward(&mut g, Inputs::new(x, t)).unwrap();
        let loss = g.mse(y, goal).unwrap();
        g.minimize(loss, Optimizer::adam(1e-3)).unwrap();
        let run = compiled(&g);
        assert_eq!(run.costs().len(), run.dispatches());
        // Three products a layer, but the first layer's input needs no gradient.
        let products = 2 * 16 * (2 * 228 * 128 + 3 * 128 * 100) as u64;
        let flops = run.cost().flops;
        assert!(flops > products && flops < products + products / 5, "{flops} against {products}");
        // Adam reads the gradients, and reads and writes weights and moments.
        let slab = g.spec(g.slab_if_used(crate::Slab::Params).unwrap()).len() as u64;
        assert_eq!(cost_of(&run, "optimizer").bytes, 4 * 7 * slab);
    }
}
