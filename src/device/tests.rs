//! Tests of devices and of the programs on them.

use super::*;
use crate::graph::{Io, Op, Spec, Specs};
use crate::kernel::Kernel;
use crate::numeric::scalar::Scalar;
use crate::ops::{Activation, Add, Dense};

/// An op from outside the crate, [N] to [N], that is never run.
#[derive(Debug)]
struct Outside;

impl Op for Outside {
    fn name(&self) -> &'static str {
        "outside"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0].clone()])
    }
    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Kernel::new("outside", "", "run").dim("N", n).over(n)
    }
    fn cpu<S: Scalar>(&self, _: &mut Io<S>) {}
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

/// Wraps an op of the crate, with its trust, but with twice the size.
#[derive(Debug)]
struct Tampered;

impl Op for Tampered {
    fn name(&self) -> &'static str {
        "tampered"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Add.infer(inputs)
    }
    fn kernel(&self, specs: &Specs, target: &Target) -> Kernel {
        let mut kernel = Add.kernel(specs, target);
        kernel.constants[0].value *= 2.0;
        kernel
    }
    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        Add.cpu(io);
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
    g.apply(Outside, &inputs[..1]).unwrap();
    g.apply(Tampered, &inputs).unwrap();
    // SAFETY: nothing is compiled.
    #[allow(unsafe_code)]
    unsafe { g.apply_unchecked(Outside, &inputs[..1], &[]) }.unwrap();
    let trusted: Vec<bool> = g.nodes.iter().map(|node| node.trusted).collect();
    assert_eq!(trusted, [true, false, false, true]);
}

#[test]
fn set_step_resets_histories() {
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
fn a_profile_runs_the_steps_on_the_same_rows() {
    let mut g = Graph::new();
    g.train();
    let x = g.constant([8, 5], vec![1.0; 40]).unwrap();
    let y = g.dropout(x, 0.5).unwrap();
    g.keep(y);
    let mut run = Device::cpu().compile(&g).unwrap();
    let mut after = |row: usize, profile: bool| {
        run.set_first_row(row);
        run.set_step(0);
        if profile {
            drop(run.profile(1).unwrap())
        } else {
            run.steps(1).unwrap()
        }
        run.read(y).unwrap()
    };
    assert_eq!(after(16, true), after(16, false));
    assert!(after(16, true) != after(0, true));
}
