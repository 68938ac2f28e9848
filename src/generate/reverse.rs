//! The reverse process: a network and a table of coefficients as one program.

use crate::device::Run;
use crate::diffusion::SamplerTable;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Denoiser, Inputs};
use crate::numeric::random::{Clock, fill_normals};
use crate::ops::{FillRow, SamplerStep};

/// The stream of the starting noise.
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

/// Each chunk has random numbers of its own.
pub(crate) fn chunk_seed(seed: u64, chunk: usize) -> u64 {
    seed ^ ((chunk as u64) << 40)
}

/// One chunk: starting noise up, the whole process, the samples down.
pub(crate) fn draw(run: &mut Run, x: Var, len: usize, steps: usize, seed: u64) -> Result<Vec<f32>> {
    let clock = Clock { seed, step: 0 };
    let mut start = vec![0f32; len];
    fill_normals(clock, START, 0, &mut start);
    run.seed(seed);
    run.set_step(0);
    run.write("x", &start)?;
    run.steps(steps as u32)?;
    run.read(x)
}
