//! Noisy batches in a graph: the training inputs and targets of an objective.

use super::Objective;
use crate::error::Result;
use crate::graph::{Data, Graph, Var};
use crate::ops::{Gather, Noise, NoisyBatch};

/// Outputs of the noise addition layer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Noised {
    /// The noisy data.
    pub x_t: Var,
    /// The training target.
    pub target: Var,
    /// The time step of each row.
    pub t: Var,
}

impl Graph {
    /// Draws a time step and noise for each row of x0 [B, ...].
    ///
    /// # Errors
    /// When x0 is not a float tensor of this graph.
    pub fn noise(&mut self, x0: Var, objective: &Objective) -> Result<Noised> {
        let (op, table) = noise(self, objective)?;
        let out = self.apply(op, &[x0, table])?;
        Ok(Noised { x_t: out[0], target: out[1], t: out[2] })
    }

    /// A batch of `data` with noise added.
    ///
    /// # Errors
    /// When the batch is empty or larger than the data.
    pub fn noisy_batch(&mut self, data: &Data, batch: usize, objective: &Objective) -> Result<Noised> {
        let gather = Gather::new(self, data, batch)?;
        self.noisy_rows(data, gather, objective)
    }

    /// [`Graph::noisy_batch`] of the samples `gather`.
    ///
    /// # Errors
    /// When there are fewer samples than the batch has rows.
    pub(crate) fn noisy_rows(&mut self, data: &Data, gather: Gather, objective: &Objective) -> Result<Noised> {
        let (noise, table) = noise(self, objective)?;
        let mut inputs = data.chunks.clone();
        inputs.push(table);
        let out = self.apply(NoisyBatch { gather, noise, encode: None }, &inputs)?;
        Ok(Noised { x_t: out[0], target: out[1], t: out[2] })
    }
}

/// The op and its table, with its own random streams.
fn noise(g: &mut Graph, objective: &Objective) -> Result<(Noise, Var)> {
    let rows: Vec<f32> = objective.table().into_iter().flatten().map(|v| v as f32).collect();
    let table = g.constant([objective.steps(), Noise::ROW], rows)?;
    let stream = g.stream();
    // The draw of t has its own stream.
    g.stream();
    Ok((Noise { stream }, table))
}
