//! The reverse process: a network and a sampler in one graph.

use crate::diffusion::SamplerTable;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Denoiser, Inputs};
use crate::numeric::random::{Clock, fill_normals_from};
use crate::ops::{FillRow, SamplerStep};

/// The random stream of the initial noise.
const START: u32 = u32::MAX;

/// The history of a sampler, a state of the reverse process.
pub(crate) const HISTORY: &str = "history";

/// The reverse process over a network: state `x` [B, D], one step of the sampler per step of the run.
///
/// A sampler that carries state between its rows also has the state `history` [H B, D] with H =
/// [`SamplerTable::histories`], initially zero. To generate more samples with the same run, set it to zero, write `x`, and set the step to 0.
///
/// # Errors
/// When the network refuses the shape.
pub fn reverse_process(g: &mut Graph, network: &dyn Denoiser, table: &SamplerTable, shape: [usize; 2]) -> Result<Var> {
    reverse_process_within(g, network, table, shape, None)
}

/// [`reverse_process`] with estimates of the clean data that are also clipped to `limits`: the smallest value of each
/// element of a row, then the largest ones.
///
/// # Errors
/// When the network refuses the shape, or there are not two limits for each element.
pub fn reverse_process_within(
    g: &mut Graph,
    network: &dyn Denoiser,
    table: &SamplerTable,
    shape: [usize; 2],
    limits: Option<&[f32]>,
) -> Result<Var> {
    reverse_with_output(g, network, table, shape, limits).map(|[x, _]| x)
}

/// [`reverse_process_within`], with the network's output besides the state.
pub(crate) fn reverse_with_output(
    g: &mut Graph,
    network: &dyn Denoiser,
    table: &SamplerTable,
    shape: [usize; 2],
    limits: Option<&[f32]>,
) -> Result<[Var; 2]> {
    let x = g.state("x", shape)?;
    let rows: Vec<f32> = table.rows_f32().into_iter().flatten().collect();
    let rows = g.constant([table.rows.len(), SamplerStep::ROW], rows)?;
    let t = g.apply1(FillRow { batch: shape[0] }, &[rows])?;
    let m = network.forward(g, Inputs::new(x, t))?;
    let stream = g.stream();
    let histories = table.histories();
    let mut states = vec![x];
    if histories > 0 {
        states.push(g.state(HISTORY, [histories * shape[0], shape[1]])?);
    }
    let mut inputs = vec![m, rows];
    if let Some(limits) = limits {
        inputs.push(g.constant([2, shape[1]], limits.to_vec())?);
    }
    let limited = limits.is_some();
    g.apply_to(SamplerStep { stream, given: false, histories, limited }, &inputs, &states)?;
    Ok([x, m])
}

/// x = standard normal noise, the initial state of a reverse process. `first` is the index of the first value in the
/// set of samples, so that the noise does not depend on the batch size.
pub fn starting_noise(seed: u64, first: usize, x: &mut [f32]) {
    fill_normals_from(Clock { seed, step: 0 }, START, first, x);
}
