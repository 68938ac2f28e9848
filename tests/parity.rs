//! Every case of the catalog on a GPU adapter and on the CPU executor, against the f64 reference.

mod devices;

use langevin::ops::case::Case;
use langevin::ops::{Family, catalog};
use langevin::verify::{Report, check, forced, targets};
use langevin::{Device, Precision, Target};

use devices::gpu;

fn check_all(device: &Device, label: &str, wanted: impl Fn(&Case) -> bool) {
    let (mut failures, mut count) = (Vec::new(), 0);
    for (name, cases) in catalog() {
        assert!(!cases.is_empty(), "{name} has no cases");
        let mut worst = Report::default();
        for case in cases.iter().filter(|case| wanted(case)) {
            count += 1;
            match check(case, device) {
                Ok(report) => worst = worst.and(report),
                Err(e) => failures.push(e.to_string()),
            }
        }
        if worst.elements > 0 {
            println!("{label} {name}: worst {:.2} of the tolerance, error {:.1e}", worst.worst, worst.error);
        }
    }
    println!("parity cases on {label}: {count}");
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
}

fn is_product(case: &Case) -> bool {
    case.family(&Target::default()).expect("a case has a kernel").is_some()
}

#[test]
fn gpu_kernels_match_the_reference() {
    let Some(device) = gpu() else { return };
    let all = targets(&device);
    for target in &all {
        // What another target would get is tried where it is another kernel, and not a product: those follow below.
        let wanted = |case: &Case| *target == all[0] || !is_product(case) && case.differs(&all[0], target).unwrap();
        check_all(&device.clone().with_target(*target), &format!("{} {target:?}", device.name()), wanted);
    }
}

#[test]
fn every_family_of_products_matches_the_reference() {
    let Some(device) = gpu() else { return };
    for target in forced(&device) {
        check_all(&device.clone().with_target(target), &format!("{:?}", target.family), is_product);
    }
}

/// On adapters with cooperative matrices; `LANGEVIN_COOPERATIVE=require` makes their absence a failure.
#[test]
fn products_in_f16_match_the_reference() {
    let Some(device) = gpu() else { return };
    let device = match device.with_precision(Precision::F16) {
        Ok(device) => device,
        Err(e) if std::env::var("LANGEVIN_COOPERATIVE").as_deref() == Ok("require") => panic!("{e}"),
        Err(e) => return eprintln!("ignored: {e}"),
    };
    let cooperative = |target: &Target| target.family == Some(Family::Cooperative);
    let target = forced(&device).into_iter().find(cooperative).expect("it was asked for");
    check_all(&device.clone().with_target(target), "f16", is_product);
}

/// An element is a sum over k in ascending order by `fma` in each of them.
#[test]
fn families_of_products_agree_to_the_bit() {
    let Some(device) = gpu() else { return };
    let (_, cases) = catalog().into_iter().find(|(name, _)| *name == "dense").expect("the dense layer has cases");
    for case in cases.iter().filter(|case| is_product(case)) {
        let want = case.run(&device).unwrap();
        for target in forced(&device) {
            let got = case.run(&device.clone().with_target(target)).unwrap();
            assert_eq!(got, want, "{:?} in {}", target.family, case.name());
        }
    }
}

#[test]
fn cpu_twins_match_the_reference() {
    check_all(&Device::cpu(), "CPU executor", |_| true);
}
