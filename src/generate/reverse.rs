//! The reverse process: a network and a sampler in one graph.

use crate::diffusion::SamplerTable;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Denoiser, Inputs};
use crate::numeric::random::{Clock, fill_normals_from};
use crate::ops::{FillRow, SamplerStep};

/// The random stream of the initial noise.
const START: u32 = u32::MAX;

/// The reverse process over a network: state `x` [B, D], one step of the sampler per step of the run.
///
/// # Errors
/// When the network refuses the shape.
pub fn reverse_process(g: &mut Graph, network: &dyn Denoiser, table: &SamplerTable, shape: [usize; 2]) -> Result<Var> {
    let x = g.state("x", shape)?;
    let rows: Vec<f32> = table.rows_f32().into_iter().flatten().collect();
    let rows = g.constant([table.rows.len(), SamplerStep::ROW], rows)?;
    let t = g.apply1(FillRow { batch: shape[0] }, &[rows])?;
    let m = network.forward(g, Inputs::new(x, t))?;
    let stream = g.stream();
    let history = table.has_history();
    let mut states = vec![x];
    if history {
        states.push(g.state("history", shape)?);
    }
    g.apply_to(SamplerStep { stream, given: false, history }, &[m, rows], &states)?;
    Ok(x)
}

/// x = standard normal noise, the initial state of a reverse process. `first` is the index of the first value in the
/// set of samples, so that the noise does not depend on the batch size.
pub fn starting_noise(seed: u64, first: usize, x: &mut [f32]) {
    fill_normals_from(Clock { seed, step: 0 }, START, first, x);
}
