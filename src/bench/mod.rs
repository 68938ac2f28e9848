//! Throughput of named workloads: `langevin bench`.
//!
//! A workload is warmed up, then timed in chunks of about a second; the median is reported, together with the minimum
//! cost of a step according to the plan, and its share of the device's own peak rates of memory and arithmetic.

mod first_step;
mod latency;
mod measure;
mod peak;
mod profile;
mod report;
mod small_unet;
mod workloads;

pub use first_step::{FirstStep, first_step};
pub use measure::Ceilings;
pub use profile::{Profile, Timed};
pub use report::{Baseline, Figures, Outcome, ReportRow, table};

use crate::device::Device;
use crate::error::{Error, Result};
use measure::{Effort, rate};
use workloads::{ALL, CompiledWorkload, Workload, WorkloadKind};

/// The names of the workloads.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|w| w.name).collect()
}

/// Measures workloads on one device.
#[derive(Debug)]
pub struct Bench {
    device: Device,
    effort: Effort,
    first_step: Option<FirstStep>,
    /// Measured on first use.
    ceilings: Option<Ceilings>,
    commit: Option<String>,
}

impl Bench {
    /// Creates a benchmark on `device`. `quick` measures for a fraction of a second, enough for a smoke test;
    /// `first_step` is the command that starts this program in a new process.
    pub fn new(device: Device, quick: bool, first_step: Option<FirstStep>) -> Self {
        let effort = if quick { Effort::QUICK } else { Effort::FULL };
        Self { device, effort, first_step, ceilings: None, commit: report::commit() }
    }

    /// Measures one workload. A failure is also returned as a row.
    ///
    /// # Errors
    /// When there is no workload of this name; the message lists the available ones. [`Error::DeviceLost`].
    pub fn row(&mut self, name: &str) -> Result<Vec<ReportRow>> {
        let workload = find(name)?;
        let rows = match workload.kind {
            WorkloadKind::FirstStep => self.start_ups(),
            kind => {
                let outcome = match self.measure(kind) {
                    Ok(outcome) => outcome,
                    // No other workload can be measured either.
                    Err(e @ Error::DeviceLost(_)) => return Err(e),
                    Err(e) => Outcome::Failed(e.to_string()),
                };
                vec![(kind.metric().0, outcome)]
            }
        };
        Ok(rows.into_iter().map(|(metric, outcome)| self.row_of(workload, metric, outcome)).collect())
    }

    fn row_of(&self, workload: Workload, metric: &'static str, outcome: Outcome) -> ReportRow {
        ReportRow {
            workload: workload.name,
            device: self.device.name(),
            driver: self.device.driver(),
            backend: self.device.backend(),
            precision: self.device.precision(),
            storage: self.device.storage(),
            batch: workload.kind.batch(),
            metric,
            unit: workload.kind.metric().1,
            commit: self.commit.clone(),
            outcome,
        }
    }

    fn measure(&mut self, kind: WorkloadKind) -> Result<Outcome> {
        let ceilings = self.ceilings()?;
        let mut job = self.job(kind)?;
        let loss_first = first_loss(&mut job)?;
        let rate = rate(&mut job, self.effort)?;
        let loss_last = last_loss(&mut job)?;
        if let (Some(first), Some(last)) = (loss_first, loss_last) {
            let falls = last < first; // false for NaN
            if !falls {
                return Ok(Outcome::Failed(format!("the loss does not decrease: from {first:.4} to {last:.4}")));
            }
        }
        let step = 1.0 / (rate.median() * job.steps as f64);
        let cost = job.run.cost();
        Ok(Outcome::Measured(Figures {
            value: rate.median() * job.amount,
            chunks: rate.chunks.iter().map(|r| r * job.amount).collect(),
            loss_first,
            loss_last,
            memory_bytes: Some(job.run.bytes()),
            dispatches: Some(job.run.dispatches()),
            cost: Some(cost),
            gflops: Some(cost.flops as f64 / step / 1e9),
            gbytes: Some(cost.bytes as f64 / step / 1e9),
            share: Some(ceilings.share(&job, step)),
            dispatch_latency_us: if self.device.backend() == "cpu" {
                latency::dispatch_latency().map(|t| t.as_secs_f64() * 1e6)
            } else {
                None
            },
        }))
    }

    fn job(&self, kind: WorkloadKind) -> Result<CompiledWorkload> {
        CompiledWorkload::new(&self.device, kind)?.ok_or_else(|| {
            Error::setting("the first step has no profile, because it is a new process; choose another workload")
        })
    }

    /// The peak rates of the device, measured at the first call.
    ///
    /// # Errors
    /// The errors of compiling and running.
    pub fn ceilings(&mut self) -> Result<Ceilings> {
        let ceilings = match self.ceilings {
            Some(ceilings) => ceilings,
            None => Ceilings::measure(&self.device, self.effort)?,
        };
        self.ceilings = Some(ceilings);
        Ok(ceilings)
    }

    /// The peak rates of the device, if they were measured.
    pub fn measured_ceilings(&self) -> Option<Ceilings> {
        self.ceilings
    }

    fn start_ups(&self) -> Vec<(&'static str, Outcome)> {
        let Some(start) = &self.first_step else {
            let why = "it is measured in a new process: use `langevin bench`";
            return vec![("first_step", Outcome::Unsupported(why.into()))];
        };
        match start.measure() {
            Ok((cold, warm)) => {
                let row = |metric, times| (metric, Outcome::Measured(Figures::of_times(times)));
                vec![row("first_step_cold", cold), row("first_step_warm", warm)]
            }
            Err(e) => vec![("first_step", Outcome::Failed(e.to_string()))],
        }
    }

    /// Time of each dispatch of a workload's step, averaged over about a second of steps.
    ///
    /// # Errors
    /// When the workload is not a single program, or the adapter has no timestamp queries.
    pub fn profile(&self, name: &str) -> Result<Profile> {
        let mut job = self.job(find(name)?.kind)?;
        let steps = job.steps;
        let rate = rate(&mut job, Effort::QUICK)?.median() * steps as f64;
        // A sampling loop is profiled at its current step: all steps have the same dispatches.
        job.run.set_step(0);
        Ok(Profile(job.run.profile((rate.ceil() as u32).clamp(3, 1000))?))
    }
}

fn find(name: &str) -> Result<Workload> {
    let found = ALL.iter().find(|w| w.name == name).copied();
    found.ok_or_else(|| Error::unknown("workload", name, &names()))
}

/// The loss of the first step, which is not timed because drivers compile lazily.
fn first_loss(job: &mut CompiledWorkload) -> Result<Option<f64>> {
    let Some(loss) = job.loss else { return Ok(None) };
    job.advance(1)?;
    Ok(Some(job.run.scalar(loss)?))
}

/// The mean loss of the last steps: at most a hundred, at most a quarter of all. A slow device runs some more steps
/// first, because over a handful of steps the noise of the loss exceeds its decrease.
fn last_loss(job: &mut CompiledWorkload) -> Result<Option<f64>> {
    const ENOUGH: u32 = 20;
    let Some(loss) = job.loss else { return Ok(None) };
    job.advance(ENOUGH.saturating_sub(job.run.step()))?;
    let n = (job.run.step() as usize / 4).clamp(1, 100);
    Ok(Some(job.run.history(loss, n)?.iter().sum::<f64>() / n as f64))
}
