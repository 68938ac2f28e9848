//! Snapshots of power-function averages of the weights, and the average of any length from them.

use std::fs;
use std::path::PathBuf;

use super::checkpoint::power_prefixes;
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
    /// The files of the snapshots, in the order of their steps.
    fn snapshot_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.file(FOLDER)).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
        files.sort();
        files
    }

    /// Writes the averages of a checkpoint as a snapshot.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub(super) fn write_snapshot(&self, checkpoint: Checkpoint) -> Result<()> {
        let folder = self.file(FOLDER);
        fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
        let path = folder.join(format!("{:09}.safetensors", checkpoint.step));
        let is_average = |t: &TensorData| power_prefixes().any(|prefix| t.name.starts_with(&prefix));
        let tensors = checkpoint.tensors.into_iter().filter(is_average).collect();
        // The losses are those of the checkpoint; a snapshot has only the averages.
        Checkpoint { tensors, pending: vec![], ..checkpoint }.save(&path)
    }

    /// Removes the snapshots of a run that is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be removed.
    pub(super) fn remove_snapshots(&self) -> Result<()> {
        for path in self.snapshot_files() {
            fs::remove_file(&path).map_err(|e| Error::io("cannot remove", &path, e))?;
        }
        Ok(())
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
        let mut snapshots = Vec::new();
        for path in self.snapshot_files() {
            let snapshot = Checkpoint::load(&path)?;
            if !same_run(&snapshot, &checkpoint) {
                return Err(Error::input(format!(
                    "{}: this snapshot is of another run than the checkpoint; delete it",
                    path.display()
                )));
            }
            if snapshot.step < checkpoint.step {
                snapshots.push(snapshot);
            }
        }
        // The checkpoint has the averages of its own step.
        snapshots.push(checkpoint.clone());
        let wanted = PowerProfile { steps: f64::from(checkpoint.step), gamma };
        let mut kept = Vec::new();
        for (prefix, length) in power_prefixes().zip(LENGTHS.map(|(_, length)| length)) {
            let gamma = power_gamma(length)?;
            let of = |s: &Checkpoint| PowerProfile { steps: f64::from(s.step), gamma };
            kept.extend(snapshots.iter().map(|s| (s, prefix.clone(), of(s))));
        }
        let profiles: Vec<PowerProfile> = kept.iter().map(|(.., profile)| *profile).collect();
        let weights = wanted.fit(&profiles)?;
        let misfit = wanted.misfit(&profiles, &weights);
        let total: f64 = weights.iter().sum();
        let mut averaged = checkpoint.clone();
        averaged.tensors.retain(|t| !t.name.starts_with("ema."));
        let plain = |t: &&TensorData| t.name.starts_with(&kept[0].1);
        for tensor in checkpoint.tensors.iter().filter(plain) {
            let name = &tensor.name[kept[0].1.len()..];
            let mut sum = vec![0.0f64; tensor.values.len()];
            for ((snapshot, prefix, _), weight) in kept.iter().zip(&weights) {
                let part = snapshot.tensor(&format!("{prefix}{name}"), &tensor.shape)?;
                sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += weight / total * f64::from(*value));
            }
            let values = sum.into_iter().map(|v| v as f32).collect();
            averaged.tensors.push(TensorData { name: format!("ema.{name}"), shape: tensor.shape.clone(), values });
        }
        Ok(Averaged { checkpoint: averaged, snapshots: snapshots.len(), misfit })
    }
}

/// Whether both are states of one run, which may have been continued.
fn same_run(snapshot: &Checkpoint, checkpoint: &Checkpoint) -> bool {
    let stated = snapshot.config.with_changes_of(&checkpoint.config);
    let stated = Config { micro_batch: checkpoint.config.micro_batch, ..stated };
    stated == checkpoint.config && snapshot.facts.agree_with(&checkpoint.facts)
}
