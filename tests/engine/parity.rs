//! Every case of the catalog on a GPU adapter and on the CPU executor, against the f64 reference.

use langevin::ops::case::Case;
use langevin::ops::{Family, catalog};
use langevin::verify::{Report, check, forced, targets};
use langevin::{Device, Target};

use crate::common::{On, Test, named, on};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu],
        named![
            gpu_kernels_match_the_reference,
            every_family_of_products_matches_the_reference,
            families_of_products_agree_to_the_bit,
        ],
    );
    tests.extend(on(&[On::F16], named![products_match_the_reference]));
    tests.extend(on(&[On::Cpu], named![twins_match_the_reference]));
    tests
}

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

fn gpu_kernels_match_the_reference(on: On) {
    let device = on.open();
    let all = targets(&device);
    for target in &all {
        // What another target would get is tried where it is another kernel, and not a product: those follow below.
        let wanted = |case: &Case| *target == all[0] || !is_product(case) && case.differs(&all[0], target).unwrap();
        check_all(&device.clone().with_target(*target), &format!("{} {target:?}", device.name()), wanted);
    }
}

fn every_family_of_products_matches_the_reference(on: On) {
    let device = on.open();
    for target in forced(&device) {
        check_all(&device.clone().with_target(target), &format!("{:?}", target.family), is_product);
    }
}

fn products_match_the_reference(on: On) {
    let device = on.open();
    let cooperative = |target: &Target| target.family == Some(Family::Cooperative);
    let target = forced(&device).into_iter().find(cooperative).expect("it was asked for");
    check_all(&device.clone().with_target(target), "f16", is_product);
}

/// An element is a sum over k in ascending order by `fma` in each of them.
fn families_of_products_agree_to_the_bit(on: On) {
    let device = on.open();
    let (_, cases) = catalog().into_iter().find(|(name, _)| *name == "dense").expect("the dense layer has cases");
    for case in cases.iter().filter(|case| is_product(case)) {
        let want = case.run(&device).unwrap();
        for target in forced(&device) {
            let got = case.run(&device.clone().with_target(target)).unwrap();
            assert_eq!(got, want, "{:?} in {}", target.family, case.name());
        }
    }
}

fn twins_match_the_reference(on: On) {
    check_all(&on.open(), "CPU executor", |_| true);
}
