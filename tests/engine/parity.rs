//! Every case of the catalog on a GPU adapter and on the CPU executor, against the f64 reference.

use langevin::ops::case::Case;
use langevin::ops::{Activate, Activation, Dense, GemmVariant, Io, Op, Specs, catalog};
use langevin::verify::{Comparison, check, forced, targets};
use langevin::{Device, Kernel, Result, Scalar, Spec, Target, adapters};

use crate::common::{On, Test, named, on, unless};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu],
        named![
            gpu_kernels_match_the_reference,
            every_variant_of_products_matches_the_reference,
            variants_of_products_agree_to_the_bit,
            without_immediates_the_values_are_the_same,
        ],
    );
    tests.extend(on(&[On::F16], named![products_match_the_reference, products_stay_nan_or_infinite]));
    tests.extend(unless(no_f16(), named![f16_saturates_finite_values_and_keeps_the_others]));
    tests.extend(on(&[On::Cpu], named![cpu_matches_the_reference]));
    tests.extend(on(&[On::Gpu, On::Cpu], named![activations_propagate_nan]));
    tests
}

fn check_all(device: &Device, label: &str, wanted: impl Fn(&Case) -> bool) {
    let (mut failures, mut count) = (Vec::new(), 0);
    for (name, cases) in catalog() {
        assert!(!cases.is_empty(), "{name} has no cases");
        let mut worst = Comparison::default();
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

/// Kernels that read the position of the run, from a uniform buffer instead of immediates.
fn without_immediates_the_values_are_the_same(on: On) {
    let device = on.open();
    let other = device.clone().without_immediates();
    let names = ["dropout", "noise", "noisy_batch", "optimizer", "reduce", "sampler_step", "gather", "fill"];
    let catalog = catalog().into_iter().filter(|(name, _)| names.contains(name));
    let cases: Vec<Case> = catalog.flat_map(|(_, cases)| cases).collect();
    assert!(cases.len() > 40, "{}", cases.len());
    for case in cases {
        let bits = |device: &Device| -> Vec<Vec<u64>> {
            let outputs = case.run(device).unwrap();
            outputs.iter().map(|output| output.iter().map(|v| v.to_bits()).collect()).collect()
        };
        assert!(bits(&device) == bits(&other), "{}", case.name());
    }
}

fn is_product(case: &Case) -> bool {
    case.gemm_variant(&Target::default()).expect("a case has a kernel").is_some()
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

fn every_variant_of_products_matches_the_reference(on: On) {
    let device = on.open();
    for target in forced(&device) {
        check_all(&device.clone().with_target(target), &format!("{:?}", target.gemm), is_product);
    }
}

/// The device of the tests in f16, with every product by cooperative matrices.
fn cooperative(on: On) -> Device {
    let device = on.open();
    let target = forced(&device).into_iter().find(|target| target.gemm == Some(GemmVariant::Cooperative));
    device.with_target(target.expect("products in f16 are cooperative"))
}

fn products_match_the_reference(on: On) {
    check_all(&cooperative(on), "f16", is_product);
}

fn activations_propagate_nan(on: On) {
    let device = on.open();
    for (name, activation) in Activation::ALL {
        let case = Case::new(Activate(activation)).values([2], vec![f32::NAN, 1.0]);
        let y = &case.run(&device).unwrap()[0];
        assert!(y[0].is_nan() && y[1].is_finite(), "{name} of NaN and 1 is {y:?}");
    }
}

/// A value that is not finite reaches the rows that depend on it, and no other.
fn products_stay_nan_or_infinite(on: On) {
    let device = cooperative(on);
    let (b, i, o) = (40, 24, 33);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![0.5; b * i];
        x[3 * i + 7] = bad;
        let dense = Dense { activation: Activation::None };
        let case = Case::new(dense).values([b, i], x).input([o, i]).input([o]);
        let y = &case.run(&device).unwrap()[0];
        for (n, y) in y.iter().enumerate() {
            assert_eq!(y.is_finite(), n / o != 3, "{bad} in row 3 gives {y} in row {}", n / o);
        }
    }
}

/// y = x, rounded to f16 on the way by the shared part `half`.
#[derive(Debug)]
struct ThroughHalf;

const THROUGH_HALF: &str = "
//#use items
//#use half
override N: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn through_half(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N) { y[i] = f32(to_half(x[i])); }
}";

impl Op for ThroughHalf {
    fn name(&self) -> &'static str {
        "through_half"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0].clone()])
    }
    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Kernel::new("through_half", THROUGH_HALF, "through_half").enable("f16").dim("N", n).over(n)
    }
    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        io.output(0).copy_from_slice(io.input(0));
    }
}

/// Why the conversion to f16 cannot be tried here: it needs f16 in shaders, but no cooperative matrices.
fn no_f16() -> Option<String> {
    let Ok(device) = Device::gpu() else { return On::Gpu.missing() };
    let found = adapters().iter().any(|a| a.f16 && a.name == device.name());
    (!found).then(|| format!("{} has no f16 in shaders", device.name()))
}

fn f16_saturates_finite_values_and_keeps_the_others() {
    let device = On::Gpu.open();
    let x = [0.5, -2.0, 65504.0, 1e6, -1e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
    let case = Case::new(ThroughHalf).values([x.len()], x.to_vec());
    let y = &case.run(&device).unwrap()[0];
    assert_eq!(y[..7], [0.5, -2.0, 65504.0, 65504.0, -65504.0, f64::INFINITY, f64::NEG_INFINITY]);
    assert!(y[7].is_nan() && y[8].is_nan(), "{y:?}");
}

/// An element is a sum over k in ascending order by `fma` in each of them.
fn variants_of_products_agree_to_the_bit(on: On) {
    let device = on.open();
    let (_, cases) = catalog().into_iter().find(|(name, _)| *name == "dense").expect("the dense layer has cases");
    for case in cases.iter().filter(|case| is_product(case)) {
        let want = case.run(&device).unwrap();
        for target in forced(&device) {
            let got = case.run(&device.clone().with_target(target)).unwrap();
            assert_eq!(got, want, "{:?} in {}", target.gemm, case.name());
        }
    }
}

fn cpu_matches_the_reference(on: On) {
    check_all(&on.open(), "CPU executor", |_| true);
}
