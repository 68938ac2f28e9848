//! Every reference value of the manifest on a GPU adapter, on the CPU executor and in the f64 reference; tables that
//! are made on the host are checked there, once.
//!
//! The folder is `tests/golden`, or the one named by `LANGEVIN_GOLDEN`. Everything follows from its manifest. A case
//! passes when all of its outputs were computed and agree; whatever is not known here is unsupported. Without an
//! adapter the GPU test says so and is not run; `LANGEVIN_GPU=require` makes that a failure.

mod devices;
mod golden_cases;
mod golden_support;

use devices::gpu;
use golden_cases::{Outcome, Outputs, Trouble, compute, compute_on_host, is_of_the_host};
use golden_support::{Case, Golden, Tally};
use langevin::Device;

/// What must be computable of the project's own folder, so that support is not lost by mistake.
const SUPPORTED: &[&str] = &[
    "random/",
    "step_encoding/",
    "schedules/",
    "forward/",
    "losses/",
    "model_",
    "networks/",
    "noise/",
    "ops/",
    "optimizers/",
    "samplers/ddpm_",
    "samplers/ddim_",
];

/// Computes what it can of a case and counts it.
fn count(tally: &mut Tally, case: &Case, compute: impl FnOnce(&mut Outputs) -> Outcome) {
    let mut got = Outputs::new();
    let complete = |got: &Outputs| case.outputs().iter().all(|name| got.contains_key(*name));
    match compute(&mut got) {
        Err(Trouble::Failed(what)) => tally.failed(case, &what),
        Err(Trouble::Unsupported(_)) if complete(&got) => tally.unsupported(case),
        _ => tally.case(case, |name| got.remove(name)),
    }
}

fn finish(tally: &Tally) {
    tally.finish();
    assert!(tally.passed() > 0, "nothing was checked");
    if std::env::var_os("LANGEVIN_GOLDEN").is_none() {
        let lost = |tensor: &&String| SUPPORTED.iter().any(|prefix| tensor.starts_with(prefix));
        let lost: Vec<_> = tally.unsupported_tensors().iter().filter(lost).collect();
        assert!(lost.is_empty(), "not computed any more: {lost:?}");
    }
}

fn check_on(device: &Device, label: &str) {
    let golden = Golden::open();
    let mut tally = Tally::titled(label);
    for file in golden.files() {
        for case in golden.cases(&file).iter().filter(|case| !is_of_the_host(case) && !case.outputs().is_empty()) {
            count(&mut tally, case, |got| compute(&golden, case, device, got));
        }
    }
    finish(&tally);
}

#[test]
fn gpu_gives_the_golden_values() {
    if let Some(device) = gpu() {
        check_on(&device, &format!("gpu: {}", device.name()));
    }
}

#[test]
fn cpu_executor_gives_the_golden_values() {
    check_on(&Device::cpu(), "cpu");
}

#[test]
fn reference_gives_the_golden_values() {
    check_on(&Device::reference(), "reference");
}

#[test]
fn host_tables_give_the_golden_values() {
    let golden = Golden::open();
    let mut tally = Tally::titled("host");
    for file in golden.files() {
        for case in golden.cases(&file).iter().filter(|case| is_of_the_host(case)) {
            count(&mut tally, case, |got| compute_on_host(case, got));
        }
    }
    finish(&tally);
}
