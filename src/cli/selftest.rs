//! `langevin selftest`

use std::process::ExitCode;

use crate::Target;
use crate::ops::case::Case;
use crate::ops::catalog;
use crate::verify::{Comparison, check, own_targets};
use crate::{Error, Precision};
use serde_json::{Value, json};

use super::Common;

/// The properties of an adapter that the kernels of a row are chosen for.
fn described(target: &Target) -> Value {
    json!({"subgroup": target.subgroup, "software": target.software, "f16": target.half, "half_storage": target.half_storage,
           "products": target.gemm.map(|variant| format!("{variant:?}").to_lowercase())})
}

pub fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let device = common.open()?;
    let mut failed = 0;
    let mut targets = if device.is_gpu() { own_targets(&device) } else { vec![Default::default()] };
    // The kernels that can store activations in f16.
    if device.clone().with_storage(Precision::F16).is_ok() {
        targets.push(Target { half_storage: true, ..targets[0] });
    }
    for target in targets {
        let device = device.clone().with_target(target);
        for (name, mut cases) in catalog() {
            if target.half_storage {
                cases = cases.iter().filter_map(Case::in_half).collect();
            }
            let concerns = |case: &Case| case.concerns(&target).unwrap_or(true);
            cases.retain(concerns);
            if cases.is_empty() {
                continue;
            }
            let mut report = Comparison::default();
            let mut failures = Vec::new();
            for case in &cases {
                match check(case, &device) {
                    Ok(passed) => report = report.and(passed),
                    // The results of a lost device are not wrong; there are none.
                    Err(e @ Error::DeviceLost(_)) => return Err(e.into()),
                    Err(e) => failures.push(e.to_string()),
                }
            }
            failed += failures.len();
            let (worst, error) = (report.worst, report.error);
            if common.json {
                say!(
                    "{}",
                    json!({"op": name, "target": described(&target), "cases": cases.len(), "failures": failures,
                           "worst": worst, "error": error})
                );
            } else {
                let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
                let n = cases.len();
                let variant = target.gemm.map(|variant| format!(" {variant:?}")).unwrap_or_default();
                let name = format!("{name}{variant}{}", if target.half_storage { " in f16" } else { "" });
                // The tolerance depends on the size of the values, so the error alone would mislead.
                say!("{name:<28} {n:>3} cases  largest error {:>3.0}% of the tolerance  {verdict}", 100.0 * worst);
                failures.iter().for_each(|f| say!("  {f}"));
            }
        }
    }
    if !common.json {
        say!(
            "{}",
            if failed == 0 { "all kernels agree with the reference" } else { "this device computes wrong results" }
        );
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
