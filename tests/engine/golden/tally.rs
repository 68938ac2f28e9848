//! Counts the cases that pass, fail or cannot be tried.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use super::manifest::Case;

/// Counts cases per file. A case passes when all its outputs were computed and agree; it fails when one disagrees; it
/// is unsupported when one was not computed. Cases without outputs (shared inputs) are not counted.
#[derive(Default)]
pub struct Tally {
    /// Where the values came from; it ends each line of the summary.
    title: String,
    files: BTreeMap<String, Counts>,
    /// Per file, the largest error as a part of its tolerance, and its tensor.
    worst: BTreeMap<String, (f64, String)>,
    pub tensors: Counts,
    failures: Vec<String>,
    unsupported: Vec<String>,
}

/// How many passed, failed, and could not be tried.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Computed and equal.
    pub passed: usize,
    /// Computed and different.
    pub failed: usize,
    /// Not computed.
    pub unsupported: usize,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.unsupported += other.unsupported;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} unsupported", self.passed, self.failed, self.unsupported)
    }
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing counted yet, with the name of the device in each line of the summary.
    pub fn titled(title: &str) -> Self {
        Self { title: format!(" [{title}]"), ..Self::default() }
    }

    /// Asks `compute` for each output of the case and checks what it returns; `None` means that this is not supported.
    pub fn case(&mut self, case: &Case, mut compute: impl FnMut(&str) -> Option<Vec<f64>>) {
        let mut tensors = Counts::default();
        for name in case.outputs() {
            match compute(name).map(|got| case.measure(name, &got)) {
                Some(Ok(part)) => {
                    tensors.passed += 1;
                    let worst = self.worst.entry(case.file.clone()).or_default();
                    if part >= worst.0 {
                        *worst = (part, format!("{case}/{name}"));
                    }
                }
                Some(Err(what)) => {
                    tensors.failed += 1;
                    self.failures.push(what);
                }
                None => {
                    tensors.unsupported += 1;
                    self.unsupported.push(format!("{case}/{name}"));
                }
            }
        }
        let file = self.files.entry(case.file.clone()).or_default();
        match tensors {
            Counts { passed: 0, failed: 0, unsupported: 0 } => {}
            Counts { failed: 1.., .. } => file.failed += 1,
            Counts { unsupported: 1.., .. } => file.unsupported += 1,
            _ => file.passed += 1,
        }
        self.tensors.add(tensors);
    }

    /// Counts a case that nobody knows how to compute.
    pub fn unsupported(&mut self, case: &Case) {
        self.case(case, |_| None);
    }

    /// Counts a case whose computation itself went wrong.
    pub fn failed(&mut self, case: &Case, what: &str) {
        self.failures.push(format!("{case}: {what}"));
        self.files.entry(case.file.clone()).or_default().failed += 1;
        self.tensors.failed += case.outputs().len();
    }

    /// The counts of all files together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.files.values().for_each(|file| total.add(*file));
        total
    }

    /// The number of cases that passed.
    pub fn passed(&self) -> usize {
        self.total().passed
    }

    /// One message per tensor that disagreed.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The tensors that were not computed, as file/case/tensor.
    pub fn unsupported_tensors(&self) -> &[String] {
        &self.unsupported
    }

    /// Prints the counts per file and in total, and panics with the messages if anything failed.
    pub fn finish(&self) {
        // Not print!, which the test harness swallows when a test passes.
        std::io::stdout().lock().write_all(self.to_string().as_bytes()).expect("stdout is closed");
        assert!(self.failures.is_empty(), "golden values differ:\n  {}", self.failures.join("\n  "));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (file, counts) in &self.files {
            writeln!(f, "golden: {file}: {counts}{}", self.title)?;
        }
        writeln!(f, "golden: {}{}", self.total(), self.title)?;
        writeln!(f, "golden tensors: {}{}", self.tensors, self.title)?;
        for (file, (part, tensor)) in &self.worst {
            writeln!(f, "golden worst: {file}: {part:.3} of the tolerance at {tensor}{}", self.title)?;
        }
        Ok(())
    }
}
