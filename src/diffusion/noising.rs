//! Noisy batches in a graph: the training inputs and targets of an objective.

use super::Objective;
use crate::error::Result;
use crate::graph::{Data, Graph, Var};
use crate::ops::{Affine, Combine, Gather, Noise, NoisyBatch};

/// Outputs of the noise addition layer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Noised {
    /// The noisy data.
    pub x_t: Var,
    /// The training target.
    pub target: Var,
    /// The time of each row.
    pub t: Var,
}

impl Graph {
    /// Draws a time and noise for each row of x0 [B, ...].
    ///
    /// # Errors
    /// When x0 is not a float tensor of this graph.
    pub fn noise(&mut self, x0: Var, objective: &Objective) -> Result<Noised> {
        let (op, table) = noise(self, objective)?;
        let out = self.apply(op, &[x0, table])?;
        Ok(Noised { x_t: out[0], target: out[1], t: out[2] })
    }

    /// [`Graph::noise`] with given eps [B, ...], and given draws of the times \[B\]: the steps of a schedule, u in (0, 1) for
    /// uniform times, and z for normal ones.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn noise_given(&mut self, x0: Var, eps: Var, draws: Var, objective: &Objective) -> Result<Noised> {
        let (op, table) = noise(self, objective)?;
        let out = self.apply(Noise { given: true, ..op }, &[x0, table, eps, draws])?;
        Ok(Noised { x_t: out[0], target: out[1], t: out[2] })
    }

    /// c x_t + k m, with the coefficients (c, k) at the time of each row from a table for [`Objective::levels`]; for example
    /// the estimate of x0, with [`Objective::x0_table`].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn combined_at(
        &mut self,
        objective: &Objective,
        table: &[[f64; 2]],
        [x_t, m]: [Var; 2],
        t: Var,
    ) -> Result<Var> {
        let rows = self.rows_at(objective, t)?;
        let [combined] = self.combined_rows(table, x_t, [m], rows)?;
        Ok(combined)
    }

    /// [`Graph::combined_at`] of several m, with the times in rows of the table.
    pub(crate) fn combined_rows<const N: usize>(
        &mut self,
        table: &[[f64; 2]],
        x_t: Var,
        mut ms: [Var; N],
        rows: Var,
    ) -> Result<[Var; N]> {
        let table = self.constant([table.len(), 2], table.iter().flatten().map(|&v| v as f32).collect())?;
        for m in &mut ms {
            *m = self.apply1(Combine, &[x_t, *m, rows, table])?;
        }
        Ok(ms)
    }

    /// The times t \[B\] in rows of the tables of an objective.
    pub(crate) fn rows_at(&mut self, objective: &Objective, t: Var) -> Result<Var> {
        let per_step = objective.rows_per_step();
        if per_step == 1.0 {
            return Ok(t);
        }
        let b = self.spec(t).len();
        let scale = self.constant([2, 1], vec![per_step as f32, 0.0])?;
        let t = self.reshape(t, [b, 1])?;
        let rows = self.apply1(Affine, &[t, scale])?;
        self.reshape(rows, [b])
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
    let table = g.constant([rows.len() / Noise::ROW, Noise::ROW], rows)?;
    let stream = g.stream();
    // The draw of t has its own stream.
    g.stream();
    let (path, given) = (objective.path(), false);
    Ok((Noise { stream, times: objective.times().draw(path), last: path.last(), given }, table))
}
