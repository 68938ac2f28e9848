//! A custom op: shapes, kernel, CPU implementation and gradient in one place, trained through and checked like the
//! others.
//!
//! `cargo run --release --example custom_op`

use langevin::ops::case::{Case, Tolerance};
use langevin::ops::{Io, Op, Optimizer, Specs};
use langevin::verify::{check, check_gradient};
use langevin::{Device, Error, Graph, Kernel, Result, Reverse, Scalar, Spec, Target};

/// y = x^2 elementwise. *Gradient*: dx = 2 x dy.
#[derive(Debug)]
struct Square;

const SQUARE: &str = "
//#use items
override N: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn square(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N) { y[i] = x[i] * x[i]; }
}";

impl Op for Square {
    fn name(&self) -> &'static str {
        "square"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0].clone()])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Kernel::new("square", SQUARE, "square").dim("N", n).over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (x, y) = (io.input(0), io.output(0));
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x * *x);
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        let Some(dy) = r.d(0) else { return Ok(()) };
        let dx = r.graph.apply1(SquareReverse, &[dy, r.input(0)])?;
        r.add_gradient(0, dx);
        Ok(())
    }
}

/// dx = 2 x dy.
#[derive(Debug)]
struct SquareReverse;

const SQUARE_REVERSE: &str = "
//#use items
override N: u32;
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@compute @workgroup_size(WG)
fn reverse(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let i = item(wid, nwg, lane);
  if (i < N) { dx[i] = 2.0 * x[i] * dy[i]; }
}";

impl Op for SquareReverse {
    fn name(&self) -> &'static str {
        "square_reverse"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        match inputs {
            [dy, x] if dy.shape == x.shape => Ok(vec![x.clone()]),
            _ => Err(Error::Shape { op: "square_reverse".into(), message: "dy and x have the same shape".into() }),
        }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.inputs[0].len();
        Kernel::new("square", SQUARE_REVERSE, "reverse").dim("N", n).over(n)
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (dy, x, dx) = (io.input(0), io.input(1), io.output(0));
        for i in 0..dx.len() {
            dx[i] = S::of(2.0) * x[i] * dy[i];
        }
    }
}

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let case = Case::new(Square).input([13, 5]).tolerance(Tolerance::value(2.0)).gradient();
    println!("kernel and CPU implementation: worst error {:.1e}", check(&case, &device)?.error);
    println!("reverse rule and central differences: worst error {:.1e}", check_gradient(&case)?.error);

    // Gradient descent through the op finds the numbers with these squares.
    let mut g = Graph::new();
    let x = g.parameter("x", [3], vec![1.0; 3])?;
    let y = g.apply1(Square, &[x])?;
    let goal = g.constant([3], vec![4.0, 9.0, 2.0])?;
    let loss = g.mse(y, goal)?;
    g.minimize(loss, Optimizer::adam(0.1))?;
    let mut run = device.compile(&g)?;
    run.steps(300)?;
    println!(
        "roots of 4, 9 and 2: {:.4?}, loss {:.1e}",
        run.read_parameter(langevin::Slab::Params, "x")?,
        run.scalar(loss)?
    );
    Ok(())
}
