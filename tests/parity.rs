//! Every case of the catalog on a GPU adapter and on the CPU executor, against the f64 reference.
//!
//! Without an adapter the GPU tests say so and are not run; `LANGEVIN_GPU=require` makes that a failure.

use langevin::Device;
use langevin::ops::case::{Report, check, targets};
use langevin::ops::catalog;

fn gpu() -> Option<Device> {
    match Device::gpu() {
        Ok(device) => Some(device),
        Err(e) if std::env::var("LANGEVIN_GPU").as_deref() == Ok("require") => panic!("a GPU is required: {e}"),
        Err(e) => {
            eprintln!("ignored, no adapter: {e}");
            None
        }
    }
}

fn check_all(device: &Device, label: &str) {
    let (mut failures, mut count) = (Vec::new(), 0);
    for (name, cases) in catalog() {
        assert!(!cases.is_empty(), "{name} has no cases");
        let mut worst = Report::default();
        for case in cases {
            count += 1;
            match check(&case, device) {
                Ok(report) => worst = worst.and(report),
                Err(e) => failures.push(e.to_string()),
            }
        }
        println!("{label} {name}: worst {:.2} of the tolerance, error {:.1e}", worst.worst, worst.error);
    }
    println!("parity cases on {label}: {count}");
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn gpu_kernels_match_the_reference() {
    let Some(device) = gpu() else { return };
    for target in targets(&device) {
        check_all(&device.clone().with_target(target), &format!("{} {target:?}", device.name()));
    }
}

#[test]
fn cpu_twins_match_the_reference() {
    check_all(&Device::cpu(), "CPU executor");
}
