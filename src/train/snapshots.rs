//! Snapshots of power-function averages of the weights, and the average of any length from them.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint::prefix_of;
use super::{Checkpoint, Config, RunFolder, TensorData};
use crate::error::{Error, Result};
use crate::graph::Slab;
use crate::ops::{PowerProfile, power_gamma};

/// The relative lengths of the tracked averages (Karras et al. 2024, section 3.2), and their slabs.
pub(crate) const LENGTHS: [(Slab, f64); 2] = [(Slab::ShortAverage, 0.05), (Slab::LongAverage, 0.1)];

/// The folder of the snapshots in that of a run.
const FOLDER: &str = "snapshots";

/// An average that was computed from snapshots.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Averaged {
    /// The checkpoint, with this average in place of the one for inference.
    pub checkpoint: Checkpoint,
    /// The number of snapshots, each of two averages.
    pub snapshots: usize,
    /// The distance of the fitted profile from the wanted one, relative to the length of the latter.
    pub misfit: f64,
}

impl Config {
    /// Whether a snapshot of the averages is due after a number of steps.
    pub(crate) fn has_snapshot(&self, step: u32) -> bool {
        self.ema_snapshot_every > 0 && step > 0 && step.is_multiple_of(self.ema_snapshot_every)
    }
}

impl RunFolder {
    /// The snapshots, each with its step, in the order of their steps.
    pub(super) fn snapshots(&self) -> Vec<(u32, PathBuf)> {
        self.of_steps(FOLDER, ".safetensors")
    }

    /// The size of all snapshots, in bytes.
    pub(super) fn snapshot_bytes(&self) -> u64 {
        self.snapshots().iter().map(|(_, path)| fs::metadata(path).map_or(0, |file| file.len())).sum()
    }

    /// Writes a snapshot.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub(super) fn write_snapshot(&self, snapshot: &Checkpoint) -> Result<()> {
        let folder = self.file(FOLDER);
        fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
        snapshot.save(&folder.join(format!("{:09}.safetensors", snapshot.step)))
    }

    /// The last checkpoint, with the power-function average of the relative length `length` as its average for inference. It
    /// is the sum of the snapshots whose profile fits best, with weights that are divided by their sum.
    ///
    /// *Source*: Karras et al. 2024, section 3.2 and algorithm 3.
    ///
    /// # Errors
    /// When the run has no snapshots, one is damaged or of another run, or the length is out of range.
    pub fn averaged(&self, length: f64) -> Result<Averaged> {
        let gamma = power_gamma(length)?;
        let checkpoint = self.checkpoint()?;
        if checkpoint.config.ema_snapshot_every == 0 {
            return Err(Error::setting(format!(
                "{} has no snapshots of averages; train with --ema-snapshots to choose the length of the average afterwards",
                self.path.display()
            )));
        }
        let gammas = LENGTHS.iter().map(|(_, length)| power_gamma(*length)).collect::<Result<Vec<_>>>()?;
        let mut states: Vec<(u32, Option<PathBuf>)> =
            self.snapshots().into_iter().map(|(step, path)| (step, Some(path))).collect();
        states.retain(|(step, _)| *step < checkpoint.step);
        // The checkpoint has the averages of its own step.
        states.push((checkpoint.step, None));
        let profile = |step: u32, gamma: f64| PowerProfile { steps: f64::from(step), gamma };
        let profiles: Vec<PowerProfile> =
            states.iter().flat_map(|(step, _)| gammas.iter().map(|gamma| profile(*step, *gamma))).collect();
        let wanted = profile(checkpoint.step, gamma);
        let weights = wanted.fit(&profiles)?;
        let misfit = wanted.misfit(&profiles, &weights);
        let total: f64 = weights.iter().sum();
        let prefixes = LENGTHS.map(|(slab, _)| prefix_of(slab));
        let sum_of = |t: &TensorData| {
            Some((t.name.strip_prefix(prefixes[0])?.to_string(), t.shape.clone(), vec![0.0; t.values.len()]))
        };
        let mut sums: Vec<(String, Vec<usize>, Vec<f64>)> = checkpoint.tensors.iter().filter_map(sum_of).collect();
        // One snapshot at a time, so that many of them do not need much memory.
        for ((step, path), weights) in states.iter().zip(weights.chunks(gammas.len())) {
            let snapshot = path.as_ref().map(|path| snapshot_of(&checkpoint, *step, path)).transpose()?;
            let state = snapshot.as_ref().unwrap_or(&checkpoint);
            for (prefix, weight) in prefixes.iter().zip(weights) {
                for (name, shape, sum) in &mut sums {
                    let part = state.tensor(&format!("{prefix}{name}"), shape)?;
                    sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += weight / total * f64::from(*value));
                }
            }
        }
        let mut averaged = checkpoint;
        averaged.tensors.retain(|t| !t.name.starts_with("ema."));
        averaged.tensors.extend(sums.into_iter().map(|(name, shape, sum)| TensorData {
            name: format!("ema.{name}"),
            shape,
            values: sum.into_iter().map(|v| v as f32).collect(),
        }));
        Ok(Averaged { checkpoint: averaged, snapshots: states.len(), misfit })
    }
}

/// Reads the snapshot of a step of the run that `checkpoint` is a state of.
fn snapshot_of(checkpoint: &Checkpoint, step: u32, path: &Path) -> Result<Checkpoint> {
    let snapshot = Checkpoint::load(path)?;
    if snapshot.step == step && same_run(&snapshot, checkpoint) {
        return Ok(snapshot);
    }
    Err(Error::input(format!("{}: this snapshot is of another run or step than its name; delete it", path.display())))
}

/// Whether both are states of one run, which may have been continued.
fn same_run(snapshot: &Checkpoint, checkpoint: &Checkpoint) -> bool {
    let stated = snapshot.config.with_changes_of(&checkpoint.config);
    let Config { micro_batch, recompute, keep_best, .. } = checkpoint.config;
    let stated = Config { micro_batch, recompute, keep_best, ..stated };
    stated == checkpoint.config && snapshot.facts.agree_with(&checkpoint.facts)
}
