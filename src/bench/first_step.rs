//! Time from process start to the end of the first training step, with cold and with warm caches.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::measure::sorted;
use super::workloads::{CompiledWorkload, Net, WorkloadKind};
use crate::device::Device;
use crate::error::{Error, Result};

/// Process starts measured for each kind.
const TIMES: usize = 3;

/// The command of a program that calls [`first_step`] and exits.
#[derive(Clone, Debug)]
pub struct FirstStep {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Runs the first training step of `seed-256` and returns its loss.
///
/// # Errors
/// The errors of compiling and running.
pub fn first_step(device: &Device) -> Result<f64> {
    let job = CompiledWorkload::new(device, WorkloadKind::Train { net: Net::Seed, batch: 256 })?;
    let mut job = job.expect("training is one program");
    job.advance(1)?;
    job.run.scalar(job.loss.expect("training has a loss"))
}

impl FirstStep {
    /// Seconds until the program's first line, with cold and with warm caches, each sorted.
    pub(super) fn measure(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let mut cold = Vec::new();
        let mut warm = Vec::new();
        for _ in 0..TIMES {
            let folder =
                tempfile::tempdir().map_err(|e| Error::input(format!("cannot create a temporary folder: {e}")))?;
            cold.push(self.start(&folder)?);
            warm.push(self.start(&folder)?);
        }
        Ok((sorted(cold), sorted(warm)))
    }

    /// Starts the program with its caches in `folder`.
    fn start(&self, folder: &tempfile::TempDir) -> Result<f64> {
        let failed = |what: String| Error::input(format!("{} for the first step: {what}", self.program.display()));
        let started = Instant::now();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdout(Stdio::piped());
        // Cache locations of this program, Mesa, NVIDIA and programs that follow the XDG rules.
        for name in ["LANGEVIN_CACHE", "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH", "XDG_CACHE_HOME"] {
            command.env(name, folder.path());
        }
        let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(|e| failed(e.to_string()))?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let status = child.wait().map_err(|e| failed(e.to_string()))?;
        if !status.success() || !line.contains("loss") {
            return Err(failed(format!("it exited with {status} and printed {:?}", line.trim())));
        }
        Ok(seconds)
    }
}
