//! Every reference value of the manifest on a GPU adapter, on the CPU executor and in the f64 reference; tables that
//! are made on the host are checked there, once.
//!
//! The folder is `tests/golden`, or the one named by `LANGEVIN_GOLDEN`. Everything follows from its manifest. A case
//! passes when all of its outputs were computed and agree; whatever is not known here is unsupported.

mod cases;
pub mod manifest;
pub mod tally;
mod trajectories;

use crate::common::{On, Test, always, named, on};
use cases::{Outcome, Outputs, Trouble, compute, compute_on_host, is_of_the_host};
use manifest::{Case, Golden};
use tally::Tally;

pub fn tests() -> Vec<Test> {
    let mut tests = on(&[On::Gpu, On::Cpu, On::Reference], named![devices_give_the_golden_values]);
    tests.extend(always(named![host_tables_give_the_golden_values]));
    tests.extend(manifest::checks_itself::tests());
    tests.extend(trajectories::tests());
    tests
}

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
        // All of the project's own folder, so that support is not lost by mistake.
        let lost = tally.unsupported_tensors();
        assert!(lost.is_empty(), "not computed: {lost:?}");
    }
}

fn devices_give_the_golden_values(on: On) {
    let (device, golden) = (&on.open(), Golden::open());
    let label = if on == On::Gpu { format!("gpu: {}", device.name()) } else { on.to_string() };
    let mut tally = Tally::titled(&label);
    for file in golden.files() {
        for case in golden.cases(&file).iter().filter(|case| !is_of_the_host(case) && !case.outputs().is_empty()) {
            count(&mut tally, case, |got| compute(&golden, case, device, got));
        }
    }
    finish(&tally);
}

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
