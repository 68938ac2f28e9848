//! RePaint: completes samples with a model that was trained without gaps (Lugmayr et al. 2022).

use super::objective::{Level, Objective};
use super::sampler::Row;
use super::table::{SamplerOptions, SamplerTable};
use crate::error::{Error, Result};

/// How the reverse process goes back and forth, so that generated values become consistent with the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resampling {
    /// The number of steps that are taken back at a time.
    pub jump: usize,
    /// How often each of these parts of the process is run.
    pub times: usize,
}

setters!(Resampling { jump: usize, times: usize });

impl Default for Resampling {
    fn default() -> Self {
        Self { jump: 10, times: 5 }
    }
}

/// The rows of a reverse process that returns to the start of each part of `jump` steps `times` - 1 times, and the weights
/// (a, s) of data and noise at the level after each row, with which known values are replaced.
///
/// A row that ends a part is followed by the forward process to the start of the part: with the ratio r = a_start / a_to
/// of the weights of the data, x is multiplied by r, and noise of variance s_start^2 - r^2 s_to^2 is added.
///
/// *Source*: Lugmayr et al. 2022, algorithm 1 and section 4.2.
///
/// # Errors
/// As [`SamplerTable::new`]; [`Error::Setting`] when a number of `resampling` is 0, or the sampler carries state between its
/// steps.
pub fn repaint(
    objective: &Objective,
    options: &SamplerOptions,
    resampling: Resampling,
) -> Result<(SamplerTable, Vec<[f64; 2]>)> {
    let Resampling { jump, times } = resampling;
    if jump == 0 || times == 0 {
        return Err(Error::setting(format!("resampling {times} times by {jump} steps; use 1 or more of both")));
    }
    let table = SamplerTable::new(objective, options)?;
    if table.histories() > 0 || table.rows.len() != table.levels.len() {
        return Err(Error::setting(format!(
            "the sampler {} carries state between its steps, so it cannot go back; use ddpm or ddim",
            options.sampler
        )));
    }
    let after = |k: usize| table.levels.get(k + 1).copied().unwrap_or(Level::CLEAN);
    let (mut rows, mut weights) = (Vec::new(), Vec::new());
    for start in (0..table.rows.len()).step_by(jump) {
        let end = (start + jump).min(table.rows.len());
        for turn in 1..=times {
            for k in start..end {
                let (row, to) = match k + 1 == end && turn < times {
                    true => (back(&table.rows[k], &after(k), &table.levels[start]), table.levels[start]),
                    false => (table.rows[k], after(k)),
                };
                rows.push(row);
                weights.push([to.a, to.s]);
            }
        }
    }
    Ok((SamplerTable { rows, ..table }, weights))
}

/// The row followed by the forward process from the level `to` to `start`.
fn back(row: &Row, to: &Level, start: &Level) -> Row {
    let ratio = start.a / to.a;
    let added = start.s.powi(2) - (ratio * to.s).powi(2);
    Row { next: ratio * row.next, k_z: ((ratio * row.k_z).powi(2) + added).sqrt(), ..*row }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Ddpm, Heun, Prediction, Schedule};

    fn objective() -> Objective {
        Objective::new(Schedule::linear(1_000, 1e-4, 0.02).unwrap(), Prediction::Epsilon)
    }

    /// With a perfect network for a single x0 = 1, the state keeps the weight a and the deviation s of its level.
    #[test]
    fn going_back_keeps_the_marginals() {
        let options = SamplerOptions::new(Ddpm::default(), 20);
        let (table, weights) = repaint(&objective(), &options, Resampling { jump: 6, times: 3 }).unwrap();
        assert_eq!((table.rows.len(), weights.len()), (60, 60));
        assert_eq!(weights[59], [1.0, 0.0]);
        for (k, row) in table.rows.iter().enumerate() {
            let Level { a, s, .. } = row.level;
            // x0 = 1 is exact, x = a + s e.
            let (signal, noise) = (row.next.x0 + row.next.x * a, row.next.x * s);
            let deviation = (noise * noise + row.k_z * row.k_z).sqrt();
            assert!((signal - weights[k][0]).abs() < 1e-9 && (deviation - weights[k][1]).abs() < 1e-9, "row {k}");
            if let Some(next) = table.rows.get(k + 1) {
                assert_eq!([next.level.a, next.level.s], weights[k]);
            }
        }
    }

    #[test]
    fn samplers_with_state_are_refused() {
        let cause = |options: &SamplerOptions, how| repaint(&objective(), options, how).unwrap_err().to_string();
        assert!(cause(&SamplerOptions::new(Heun::default(), 20), Resampling::default()).contains("cannot go back"));
        let none = Resampling { jump: 0, times: 1 };
        assert!(cause(&SamplerOptions::new(Ddpm::default(), 20), none).contains("use 1 or more"));
    }
}
