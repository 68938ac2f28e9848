//! The checker is itself checked: it must refuse what is wrong, and constants must mean what they say.

use std::collections::BTreeMap;

use langevin::ops::case::{Case, Tolerance};
use langevin::ops::{Add, Io, Op, Specs, catalog};
use langevin::verify::{check, compare};
use langevin::{ConstantKind, Error, Graph, Kernel, Result, Scalar, Slab, Spec, Target};

use crate::common::{Named, On, Test, always, named, on};

pub fn tests() -> Vec<Test> {
    let mut tests = always(named![nan_is_refused_on_either_side, one_wrong_element_in_a_million_is_refused]);
    let on_gpu: &[Named<fn(On)>] = named![
        unwritten_outputs_and_swapped_dims_are_refused,
        constants_mean_what_they_say,
        an_op_from_outside_has_bounded_indices_and_zeroed_workgroup_memory,
        an_op_from_outside_changes_no_neighbour,
    ];
    tests.extend(on(&[On::Gpu], on_gpu));
    tests
}

fn nan_is_refused_on_either_side() {
    assert!(compare(&[f64::NAN], &[0.0], |_| 1.0).is_err());
    assert!(compare(&[0.0], &[f64::NAN], |_| 1.0).is_err());
    assert!(compare(&[f64::INFINITY], &[f64::INFINITY], |_| 1.0).is_err());
}

fn one_wrong_element_in_a_million_is_refused() {
    let want = vec![1.0; 1_000_000];
    let mut got = want.clone();
    got[765_432] = 1.001;
    assert!(compare(&got, &want, |_| 1e-6).unwrap_err().contains("765432"));
    assert!(compare(&want[1..], &want, |_| 1e-6).is_err());
}

/// y = x^T through a kernel with a fault of choice.
#[derive(Debug)]
struct Transpose(Fault);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    LastIsNotWritten,
    SwappedDims,
}

const TRANSPOSE: &str = "
//#use items
override B: u32; override D: u32; override N: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn transpose(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N) { y[(i % D) * B + i / D] = x[i]; }
}";

impl Op for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (b, d) = inputs[0].rows();
        Ok(vec![Spec::f32([d, b])])
    }
    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (b, d) = specs.inputs[0].rows();
        let (rows, cols) = if self.0 == Fault::SwappedDims { (d, b) } else { (b, d) };
        let n = b * d - (self.0 == Fault::LastIsNotWritten) as usize;
        Kernel::new("transpose", TRANSPOSE, "transpose").dim("B", rows).dim("D", cols).dim("N", n).over(b * d)
    }
    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (b, d) = io.specs.inputs[0].rows();
        let (x, y) = (io.input(0), io.output(0));
        for i in 0..b * d {
            y[(i % d) * b + i / d] = x[i];
        }
    }
}

fn unwritten_outputs_and_swapped_dims_are_refused(on: On) {
    let device = on.open();
    let case = |fault| Case::new(Transpose(fault)).input([7, 5]).tolerance(Tolerance::exact());
    check(&case(Fault::None), &device).unwrap();
    assert!(check(&case(Fault::LastIsNotWritten), &device).unwrap_err().to_string().contains("NaN"));
    assert!(check(&case(Fault::SwappedDims), &device).is_err());
}

/// Tampering with a size or a number of a formula must be noticed in at least one case of the op; tampering with a tile
/// or workgroup size must not change any result.
fn constants_mean_what_they_say(on: On) {
    let device = on.open();
    let mut noticed: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for case in catalog().into_iter().flat_map(|(_, cases)| cases) {
        for constant in case.constants(&Target::default()).unwrap() {
            let name = constant.name;
            let value = match constant.kind {
                // One less stays within all buffers.
                ConstantKind::Dim if constant.value < 2.0 => continue,
                ConstantKind::Dim => constant.value - 1.0,
                ConstantKind::Hyper if constant.value.fract() == 0.0 => constant.value + 1.0,
                // By a factor, so that a small constant stays small.
                ConstantKind::Hyper => constant.value * 1.5,
                // More lanes than the grid was made for are idle; fewer per row take more items each.
                ConstantKind::Tune if name == "WG" => 2.0 * constant.value,
                ConstantKind::Tune if constant.value >= 2.0 => constant.value / 2.0,
                ConstantKind::Tune => continue,
            };
            let seen = noticed.entry((case.op(), name)).or_default();
            if *seen && constant.kind != ConstantKind::Tune {
                continue;
            }
            let outcome = check(&case.with_constant(name, value), &device.clone().with_target(Target::default()));
            match constant.kind {
                ConstantKind::Tune => {
                    outcome.unwrap_or_else(|e| panic!("{name} changed the result of {}: {e}", case.name()));
                    *seen = true;
                }
                _ => match outcome {
                    Ok(_) => {}
                    // By its values alone: a kernel that does not compile with the constant tells nothing.
                    Err(Error::Shader(text)) => *seen |= text.contains("off by"),
                    Err(e) => panic!("{name} = {value} in {}: {e}", case.name()),
                },
            }
        }
    }
    let unnoticed: Vec<_> = noticed.iter().filter(|(_, seen)| !**seen).map(|(key, _)| key).collect();
    assert!(unnoticed.is_empty(), "changing these constants changed no result: {unnoticed:?}");
}

/// y = x\[3\] everywhere, if shaders are checked: it reads beyond an array, and workgroup memory that it did not write.
#[derive(Debug)]
struct Careless;

const CARELESS: &str = "
//#use items
override N: u32;
var<workgroup> left: array<u32, 64>;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn careless(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  let found = left[lane];
  workgroupBarrier();
  left[lane] = i + 1u; // for the next workgroup to find
  workgroupBarrier();
  let next = left[(lane + 1u) % 64u];
  var four = array<f32, 4>(x[0], x[1], x[2], x[3]);
  if (i < N) { y[i] = select(-1.0, four[4u + i % 3u] + f32(found), next > 0u); }
}";

impl Op for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0].clone()])
    }
    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Kernel::new("careless", CARELESS, "careless").dim("N", n).over(n)
    }
    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        io.output(0).fill(io.input(0)[3]);
    }
}

fn an_op_from_outside_has_bounded_indices_and_zeroed_workgroup_memory(on: On) {
    let device = on.open().with_shader_checks(false);
    let case = Case::new(Careless).input([4096]).tolerance(Tolerance::exact());
    check(&case, &device).expect("indices are bounded and workgroup memory starts at zero");
}

/// y = x; what lies N elements behind y becomes 9, if shaders are not checked.
#[derive(Debug)]
struct Beyond;

const BEYOND: &str = "
//#use items
override N: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn beyond(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N) { y[i] = x[i]; y[i + N] = 9.0; }
}";

impl Op for Beyond {
    fn name(&self) -> &'static str {
        "beyond"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0].clone()])
    }
    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Kernel::new("beyond", BEYOND, "beyond").dim("N", n).over(n)
    }
    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        io.output(0).copy_from_slice(io.input(0));
    }
}

#[allow(unsafe_code)]
fn an_op_from_outside_changes_no_neighbour(on: On) {
    let device = on.open().with_shader_checks(false);
    let gradients = |trusted: bool| {
        let mut g = Graph::new();
        let [a, b] = ["a", "b"].map(|name| g.parameter(name, [64], vec![1.0; 64]).unwrap());
        // The gradients of the two parameters lie side by side in one slab; that of b is computed first.
        let d_b = g.apply(Add, &[b, b]).unwrap()[0];
        let d_a = match trusted {
            false => g.apply(Beyond, &[a]).unwrap()[0],
            // SAFETY: there is none. The kernel writes 64 elements behind its output, which in this graph belong to
            // the same buffer.
            true => unsafe { g.apply_unchecked(Beyond, &[a], &[]) }.unwrap()[0],
        };
        g.backward_from(&[(a, d_a), (b, d_b)], &[]).unwrap();
        let mut run = device.compile(&g).unwrap();
        run.steps(1).unwrap();
        run.read_slab(Slab::Grads).unwrap()
    };
    assert_eq!(gradients(false), [[1.0; 64], [2.0; 64]].concat());
    // A driver may bound accesses of a binding itself; then the above holds without checks too.
    let reached = gradients(true)[64..] == [9.0; 64];
    println!(
        "{}: without checks, a kernel {} behind its binding",
        device.name(),
        if reached { "writes" } else { "does not write" }
    );
}
