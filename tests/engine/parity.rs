//! Every case of the catalog on a GPU adapter and on the CPU executor, against the f64 reference.

use std::collections::{BTreeMap, BTreeSet};

use langevin::ops::case::{Case, Tolerance};
use langevin::ops::{Activate, Activation, Conv, ConvTranspose, Dense, GemmVariant, Io, Op, Specs, catalog};
use langevin::verify::{Comparison, check, forced, targets};
use langevin::{Device, Kernel, Result, Scalar, Spec, Target, adapters};

use crate::common::{On, Test, named, on, unless};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu],
        named![
            gpu_kernels_match_the_reference,
            with_or_without_shader_checks_kernels_match_the_reference,
            every_variant_of_products_matches_the_reference_and_the_others_to_the_bit,
            the_column_of_ones_of_a_convolution_reads_nothing,
            products_with_more_tiles_than_a_dimension_allows_match_the_reference,
            without_immediates_the_values_are_the_same,
            divided_dispatches_compute_the_same_values,
        ],
    );
    tests.extend(on(&[On::F16], named![products_match_the_reference, products_stay_nan_or_infinite]));
    tests.extend(on(&[On::Stored], named![kernels_that_store_in_f16_match_the_reference]));
    tests.extend(unless(no_f16(), named![f16_saturates_finite_values_and_keeps_the_others]));
    tests.extend(on(&[On::Cpu], named![cpu_matches_the_reference]));
    tests.extend(on(&[On::Gpu, On::Cpu], named![activations_propagate_nan, nan_propagates_as_in_the_reference]));
    tests
}

fn check_all(device: &Device, label: &str, wanted: impl Fn(&Case) -> bool) {
    check_each(device, label, |case| wanted(&case).then_some(case));
}

/// Checks what `choose` makes of each case of the catalog.
fn check_each(device: &Device, label: &str, choose: impl Fn(Case) -> Option<Case>) {
    let (mut failures, mut count) = (Vec::new(), 0);
    for (name, cases) in catalog() {
        assert!(!cases.is_empty(), "{name} has no cases");
        let mut worst = Comparison::default();
        for case in cases.into_iter().filter_map(&choose) {
            count += 1;
            match check(&case, device) {
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
    let reads = |case: &Case| case.kernel(&Target::default()).unwrap().source().unwrap().contains("clock.");
    let cases: Vec<Case> = catalog().into_iter().flat_map(|(_, cases)| cases).filter(reads).collect();
    for op in ["accumulate", "add_noise", "step_input", "noise", "optimizer", "sampler_step"] {
        assert!(cases.iter().any(|case| case.op() == op), "{op}");
    }
    for case in cases {
        assert!(bits(&case, &device) == bits(&case, &other), "{}", case.name());
    }
}

fn bits(case: &Case, device: &Device) -> Vec<Vec<u64>> {
    let outputs = case.run(device).unwrap();
    outputs.iter().map(|output| output.iter().map(|v| v.to_bits()).collect()).collect()
}

/// Kernels with several workgroups, each of them in a dispatch of its own, or in one of three.
fn divided_dispatches_compute_the_same_values(on: On) {
    let device = on.open();
    let groups = |case: &Case| case.kernel(&targets(&device)[0]).unwrap().groups;
    // The largest of each op: what differs is the number of a workgroup.
    let mut largest: BTreeMap<&str, (usize, Case)> = BTreeMap::new();
    for case in catalog().into_iter().flat_map(|(_, cases)| cases) {
        let n = groups(&case);
        if n > largest.get(case.op()).map_or(1, |(most, _)| *most) {
            largest.insert(case.op(), (n, case));
        }
    }
    for op in
        ["attention", "attention_input", "chain_weight", "conv", "conv_weight", "dense", "group_norm", "norm_input"]
    {
        assert!(largest.contains_key(op), "{op}");
    }
    let same = |case: &Case, device: &Device, parts: &[usize]| {
        let whole = bits(case, device);
        for &parts in parts {
            let divided = device.clone().with_divided_dispatches(parts);
            assert!(bits(case, &divided) == whole, "{parts} parts of {}", case.name());
        }
    };
    for (_, case) in largest.values() {
        same(case, &device, &[3, 64]);
        if is_product(case) {
            forced(&device).into_iter().for_each(|target| same(case, &device.clone().with_target(target), &[3]));
        }
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

/// Each kernel that can store activations in f16. Of the variants of products, those that load four elements at a time and
/// one at a time, and cooperative matrices.
fn kernels_that_store_in_f16_match_the_reference(on: On) {
    let device = on.open();
    let loads = |target: &Target| matches!(target.gemm, Some(GemmVariant::Blocked32 | GemmVariant::Cooperative));
    let all = targets(&device).into_iter().chain(forced(&device).into_iter().filter(loads));
    let all: Vec<Target> = all.collect();
    for target in &all {
        let wanted = |case: &Case| match target.gemm {
            Some(_) => is_product(case),
            None => *target == all[0] || !is_product(case) && case.differs(&all[0], target).unwrap(),
        };
        let label = format!("{} in f16 {target:?}", device.name());
        check_each(&device.clone().with_target(*target), &label, |case| case.in_half().filter(wanted));
    }
}

/// Debug builds check the shaders of the crate and release builds do not; here it is the other way round.
fn with_or_without_shader_checks_kernels_match_the_reference(on: On) {
    let checked = !cfg!(debug_assertions);
    let label = if checked { "with checks" } else { "without checks" };
    check_all(&on.open().with_shader_checks(checked), label, |_| true);
}

/// An element is a sum over k in ascending order by `fma` in each of them.
fn every_variant_of_products_matches_the_reference_and_the_others_to_the_bit(on: On) {
    let device = on.open();
    let cases: Vec<Case> = catalog().into_iter().flat_map(|(_, cases)| cases).filter(is_product).collect();
    assert!(cases.iter().any(|case| case.op() == "dense") && cases.iter().any(|case| case.op() == "conv"));
    let mut want: Option<Vec<Vec<Vec<f64>>>> = None;
    for target in forced(&device) {
        let device = device.clone().with_target(target);
        check_all(&device, &format!("{:?}", target.gemm), is_product);
        let got: Vec<_> = cases.iter().map(|case| case.run(&device).unwrap()).collect();
        let want = want.get_or_insert_with(|| got.clone());
        for ((got, want), case) in got.iter().zip(want).zip(&cases) {
            assert_eq!(got, want, "{:?} in {}", target.gemm, case.name());
        }
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

/// Wherever the reference computes NaN from a NaN, for all cases that are not large. Data, which JPEG compresses, are
/// finite; the reference of the weight of a convolution multiplies NaN by the zeros around an image.
fn nan_propagates_as_in_the_reference(on: On) {
    let (device, reference) = (on.open(), Device::reference());
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut lost = Vec::new();
    for case in catalog().into_iter().flat_map(|(_, cases)| cases).filter_map(|case| case.with_nan()) {
        if ["conv_weight", "jpeg"].contains(&case.op()) {
            continue;
        }
        let want = case.run(&reference).unwrap();
        if want.iter().map(Vec::len).sum::<usize>() > 5_000 || !want.iter().flatten().any(|v| v.is_nan()) {
            continue;
        }
        reached.insert(case.op());
        let got = case.run(&device).unwrap();
        let pairs = || got.iter().flatten().zip(want.iter().flatten());
        let count = pairs().filter(|(got, want)| want.is_nan() && !got.is_nan()).count();
        if count > 0 {
            lost.push(format!("{count} of {}", case.name()));
        }
    }
    let ops =
        ["activate", "attention", "conv", "cross_entropy", "dense", "group_norm", "huber", "l1", "pool", "reduce"];
    for op in ops.into_iter().chain(["sampler_step", "softmax", "ssim_map"]) {
        assert!(reached.contains(op), "{op} of {reached:?}");
    }
    assert!(lost.is_empty(), "{} lost a NaN:\n{}", lost.len(), lost.join("\n"));
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

/// The product of a convolution for its weight, which gives 1e30 where an invocation reads beyond the image.
#[derive(Debug)]
struct Watched(Case);

impl Op for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }
    fn infer(&self, _: &[Spec]) -> Result<Vec<Spec>> {
        let kernel = self.0.kernel(&Target::default())?;
        let size = |name| kernel.constants.iter().find(|c| c.name == name).expect("a product has sizes").value as usize;
        // A part of the samples has one tile.
        Ok(vec![Spec::f32([kernel.groups, size("M") * size("N")])])
    }
    fn kernel(&self, _: &Specs, target: &Target) -> Kernel {
        let kernel = self.0.kernel(target).unwrap();
        let mut source = kernel.source().unwrap();
        let (element, store) = ("fn element(at: vec3<u32>) -> f32 {", "fn store(row: u32, col: u32, sum: f32) {");
        let watch = "beyond = beyond | ((at.y < H) & (at.z < W) & (at.x >= arrayLength(&x)));";
        for (at, with) in [
            (element, format!("var<private> beyond: bool;\n{element}\n  {watch}")),
            (store, format!("{}\n  let sum = select(got, 1e30, beyond);", store.replace("sum", "got"))),
        ] {
            assert_eq!(source.matches(at).count(), 1, "{source}");
            source = source.replace(at, &with);
        }
        let mut watched = Kernel::new("watched.wgsl", source, kernel.entry);
        (watched.constants, watched.groups) = (kernel.constants, kernel.groups);
        watched
    }
    fn cpu<S: Scalar>(&self, _: &mut Io<S>) {}
}

/// The bias of a convolution is a column of the product for its weight. The value that is loaded there is dropped, so
/// that only the address tells whether it was within the image.
fn the_column_of_ones_of_a_convolution_reads_nothing(on: On) {
    let device = on.open();
    let name = "ConvWeight { stride: 1, padding: 1, kernel: [1, 1], bias: true } [2, 1, 5, 4] [2, 3, 7, 6]";
    let case = catalog().into_iter().flat_map(|(_, cases)| cases).find(|case| case.name() == name);
    let case = Case::new(Watched(case.expect("the case exists"))).input([2, 1, 5, 4]).input([2, 3, 7, 6]);
    for target in forced(&device) {
        let sums = case.run(&device.clone().with_target(target)).unwrap();
        assert!(sums[0].iter().all(|v| v.abs() < 1e3), "{:?}: {:?}", target.gemm, sums[0]);
    }
}

/// More than 65535 tiles of 32 columns, in one slice and in four.
fn products_with_more_tiles_than_a_dimension_allows_match_the_reference(on: On) {
    let device = on.open();
    let activation = Activation::None;
    let conv = Conv { stride: 1, padding: 0, activation };
    let transpose = ConvTranspose { stride: 2, padding: 0, output_padding: 0, activation };
    let cases = [
        Case::new(conv).input([1, 1, 1500, 1500]).input([1, 1, 1, 1]).input([1]),
        Case::new(transpose).input([1, 1, 1500, 1500]).input([1, 1, 2, 2]).input([1]),
    ];
    for case in cases {
        let groups = case.kernel(&Target { gemm: Some(GemmVariant::Registers), ..Target::default() }).unwrap().groups;
        assert!(groups > 65_535, "{groups}");
        check(&case.tolerance(Tolerance::terms(3.0, 1)), &device).unwrap();
    }
}

fn cpu_matches_the_reference(on: On) {
    check_all(&on.open(), "CPU executor", |_| true);
}
