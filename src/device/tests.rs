//! Tests of devices and of the programs on them.

use super::*;
use crate::graph::{Io, Op, Slab, Spec, Specs};
use crate::kernel::Kernel;
use crate::numeric::scalar::Scalar;
use crate::ops::{Activation, Add, Dense};

/// A GPU, where there is one; `LANGEVIN_GPU=require` makes its absence a failure.
pub(super) fn gpu() -> Option<Device> {
    match Device::gpu() {
        Ok(device) => Some(device),
        Err(e) if std::env::var("LANGEVIN_GPU").as_deref() == Ok("require") => panic!("a GPU is required: {e}"),
        Err(e) => {
            eprintln!("ignored, no adapter: {e}");
            None
        }
    }
}

/// An op from outside, [N] to [N], whose kernel is one entry named `run`; it computes nothing on the CPU.
#[derive(Debug)]
struct Outside(&'static str);

impl Op for Outside {
    fn name(&self) -> &'static str {
        "outside"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0].clone()])
    }
    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Kernel::new("outside", self.0, "run").dim("N", n).over(n)
    }
    fn twin<S: Scalar>(&self, _: &mut Io<S>) {}
}

/// The value of the op on x = 1, 2, .. n with the shader checks of a release build.
fn released(device: &Device, text: &'static str, n: usize) -> Vec<f32> {
    let mut g = Graph::new();
    let x = g.constant([n], (1..=n).map(|i| i as f32).collect()).unwrap();
    let y = g.apply(Outside(text), &[x]).unwrap()[0];
    g.keep(y);
    let mut run = device.clone().with_shader_checks(false).compile(&g).unwrap();
    run.steps(1).unwrap();
    run.read(y).unwrap()
}

#[test]
fn a_limit_says_whether_a_smaller_batch_helps() {
    let mut g = Graph::new();
    let inputs = [("x", vec![1000, 8]), ("b", vec![8])];
    let [x, b] = inputs.map(|(name, shape)| g.state(name, shape).unwrap());
    let w = g.parameter("w", [8, 8], vec![0.5; 64]).unwrap();
    let y = g.apply(Dense { activation: Activation::None }, &[x, w, b]).unwrap()[0];
    g.keep(y);
    let helps = |bytes| match Device::cpu().with_memory(bytes).compile(&g) {
        Err(Error::Limit { smaller_batch_helps, .. }) => Some(smaller_batch_helps),
        Err(e) => panic!("{e}"),
        Ok(_) => None,
    };
    // The weights alone take 256 bytes, the batch and its result 64,000.
    assert_eq!([200, 256, 60_000, 65_000].map(helps), [Some(false), Some(true), Some(true), None]);
}

#[test]
fn products_are_timed_once_where_the_rule_is_unsure() {
    let Some(Device { engine: Engine::Gpu(gpu), .. }) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut gpu = gpu.with_target(Target::default());
    gpu.cache = gpu::cache::Cache::new(Some(folder.path().into()), "an adapter");
    gpu.autotune = std::time::Duration::from_secs(60);
    let cache = gpu.cache.clone();
    let device = Device { engine: Engine::Gpu(Arc::new(gpu)), why: String::new(), memory: None };
    let mut g = Graph::new();
    let inputs = [("x", vec![512, 16]), ("w", vec![512, 16]), ("b", vec![512])];
    let inputs = inputs.map(|(name, shape)| g.state(name, shape).unwrap());
    let y = g.apply(Dense { activation: Activation::None }, &inputs).unwrap()[0];
    g.keep(y);
    device.compile(&g).unwrap();
    let answers = String::from_utf8(cache.load("products").unwrap()).unwrap();
    assert!(answers.contains("M=512 N=512 K=16 x1 = Blocked") && answers.lines().count() == 1, "{answers}");
    // What was answered is taken, whether or not it was the fastest.
    cache.save("products", answers.replace("= Blocked32", "= Blocked64").as_bytes());
    let before = cache.load("products");
    device.compile(&g).unwrap();
    assert_eq!(cache.load("products"), before);
}

/// y = x, and what lies N elements behind y becomes 9.
const BEYOND: &str = "
//#use items
override N: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn run(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
       @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N) { y[i] = x[i]; y[i + N] = 9.0; }
}";

#[test]
fn an_op_from_outside_changes_no_neighbour_in_a_release_build() {
    let Some(device) = gpu() else { return };
    let mut g = Graph::new();
    let [a, b] = ["a", "b"].map(|name| g.parameter(name, [64], vec![1.0; 64]).unwrap());
    // The gradients of the two parameters lie side by side in one slab; that of b is computed first.
    let d_b = g.apply(Add, &[b, b]).unwrap()[0];
    let d_a = g.apply(Outside(BEYOND), &[a]).unwrap()[0];
    g.backward_from(&[(a, d_a), (b, d_b)], &[]).unwrap();
    let mut run = device.with_shader_checks(false).compile(&g).unwrap();
    run.steps(1).unwrap();
    let gradients = run.read_slab(Slab::Grads).unwrap();
    assert_eq!(gradients, [[1.0; 64], [2.0; 64]].concat());
}

/// Reads beyond an array in registers, and workgroup memory that it did not write: 4 where both are checked.
const CARELESS: &str = "
//#use items
override N: u32;
var<workgroup> left: array<u32, 64>;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn run(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
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

#[test]
fn an_op_from_outside_has_bounded_indices_and_zeroed_workgroup_memory_in_a_release_build() {
    let Some(device) = gpu() else { return };
    assert_eq!(released(&device, CARELESS, 4096), vec![4.0; 4096]);
}

/// The crate's own op as its kernel and its word, with twice the size.
#[derive(Debug)]
struct Forged;

impl Op for Forged {
    fn name(&self) -> &'static str {
        "forged"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Add.infer(inputs)
    }
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let mut kernel = Add.kernel(specs, target);
        kernel.constants[0].value *= 2.0;
        kernel
    }
    fn twin<S: Scalar>(&self, io: &mut Io<S>) {
        Add.twin(io);
    }
    fn trust(&self) -> Option<crate::graph::Trust> {
        Add.trust()
    }
}

#[test]
fn only_the_crates_own_ops_run_unchecked() {
    let mut g = Graph::new();
    let inputs = ["a", "b"].map(|name| g.state(name, [5]).unwrap());
    g.apply(Add, &inputs).unwrap();
    g.apply(Outside(BEYOND), &inputs[..1]).unwrap();
    g.apply(Forged, &inputs).unwrap();
    // SAFETY: nothing is compiled.
    #[allow(unsafe_code)]
    unsafe { g.apply_unchecked(Outside(BEYOND), &inputs[..1], &[]) }.unwrap();
    let trusted: Vec<bool> = g.nodes.iter().map(|node| node.trusted).collect();
    assert_eq!(trusted, [true, false, false, true]);
}

#[test]
fn histories_begin_where_the_program_was_set_to() {
    let mut g = Graph::new();
    let [x, goal] = ["x", "goal"].map(|name| g.state(name, [4]).unwrap());
    let loss = g.mse(x, goal).unwrap();
    let mut run = Device::cpu().compile(&g).unwrap();
    run.write("x", &[1.0; 4]).unwrap();
    assert!(run.scalar(loss).is_err());
    run.set_step(500);
    let e = run.scalar(loss).unwrap_err().to_string();
    assert!(e.contains("ran 0 steps since it was compiled or set to step 500"), "{e}");
    run.steps(2).unwrap();
    assert_eq!(run.history(loss, 2).unwrap(), [1.0; 2]);
    assert!(run.history(loss, 3).is_err());
    run.set_step(0);
    assert!(run.scalar(loss).is_err());
}

#[test]
fn what_is_written_beside_a_tensor_is_found() {
    let mut g = Graph::new();
    let x = g.state("x", [5]).unwrap();
    let y = g.apply(Add, &[x, x]).unwrap()[0];
    g.keep(y);
    for device in [Device::reference(), Device::cpu()].into_iter().chain(gpu()) {
        let guards = device.compile_guarded(&g).unwrap().guards().to_vec();
        assert_eq!(guards.len(), 4);
        for (mut place, _) in guards {
            let mut run = device.compile_guarded(&g).unwrap();
            run.write("x", &[1.5; 5]).unwrap();
            run.steps(1).unwrap();
            run.check_guards().unwrap();
            assert_eq!(run.read(y).unwrap(), [3.0; 5]);
            // The last element before the content, and the first behind it.
            (place.offset, place.len) = (if place.offset == 0 { place.len - 1 } else { place.offset }, 1);
            run.program_mut().write(place, &[7.0]).unwrap();
            assert!(run.check_guards().unwrap_err().to_string().contains("beside a tensor"));
        }
    }
}
