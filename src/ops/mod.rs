//! The ops: one file each here, and one shader each in `shaders/`.
//!
//! An op defines the shapes of its outputs, its kernel, its CPU implementation (the same computation on slices, generic
//! over the scalar), and its gradient. In the same file, `cases` lists its test cases, and `timed` its benchmark cases.
//! To add one: `shaders/NAME.wgsl`, `src/ops/NAME.rs`, and NAME in the two lists below. Parity tests, gradient tests,
//! shader checks and benchmarks are derived from the catalog.
//!
//! # Example
//!
//! An operation is a method of [`Graph`](crate::Graph), which checks its shapes, and the compiled program runs it:
//!
//! ```
//! use langevin::ops::Activation;
//! use langevin::{Device, Graph};
//!
//! let mut g = Graph::new();
//! let (x, goal) = (g.state("x", [2, 3])?, g.state("goal", [2, 3])?);
//! let y = g.activate(x, Activation::Relu)?;
//! let loss = g.mse(y, goal)?;
//! let dx = g.backward(&[loss], &[x])?.of(x).unwrap(); // adds the operations of the gradient
//! g.keep(y);
//! g.keep(dx);
//! let mut run = Device::cpu().compile(&g)?;
//! run.write("x", &[1.0, 2.0, 3.0, -1.0, -2.0, -3.0])?;
//! run.write("goal", &[0.0; 6])?;
//! run.steps(1)?;
//! assert_eq!(run.read(y)?, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0]);
//! assert_eq!(run.read(dx)?[3..], [0.0; 3]); // 2 y / 6 where x is above 0
//! # Ok::<(), langevin::Error>(())
//! ```
//!
//! `examples/custom_op.rs` defines an operation outside of the crate.

mod accumulate;
mod activation;
mod add;
mod add_noise;
mod affine;
mod attention;
mod augment;
mod chain;
mod channels;
mod combine;
mod concat;
mod conv;
mod cross_entropy;
mod dense;
mod dense_group;
mod dropout;
mod embedding;
mod encode;
mod fill;
mod gather;
mod guide;
mod jpeg;
mod jpeg_colour;
mod known;
mod mask;
mod noise;
mod noisy_batch;
mod norm;
mod optimizer;
mod part_sum;
mod philox;
mod point_loss;
mod pool;
mod power_ema;
mod reduce;
mod row_dropout;
mod sampler_step;
mod softmax;
mod ssim;
mod step_input;
mod upsample;

pub mod case;
mod epilogue;
mod fusion;
mod gemm;
mod grouping;
#[cfg(test)]
mod size;

/// Exports the public items of the ops, and defines their catalog. The modules are declared above rather than here,
/// because rustfmt does not see declarations in a macro.
macro_rules! catalog {
    ($($op:ident),* $(,)?) => {
        $(
            #[allow(unused_imports)] // Some ops are only used by the crate.
            pub use $op::*;
        )*

        /// The test cases of every op, by the name of its file.
        pub fn catalog() -> Vec<(&'static str, Vec<case::Case>)> {
            vec![$((stringify!($op), $op::cases())),*]
        }

        /// The benchmark cases of every op, by the name of its file: sizes that are common in training, with about a
        /// million elements, or some hundred million FLOPs.
        pub fn timed_cases() -> Vec<(&'static str, Vec<case::Case>)> {
            vec![$((stringify!($op), $op::timed())),*]
        }
    };
}

catalog![
    accumulate,
    activation,
    add,
    add_noise,
    affine,
    attention,
    augment,
    chain,
    channels,
    combine,
    concat,
    conv,
    cross_entropy,
    dense,
    dense_group,
    dropout,
    embedding,
    encode,
    fill,
    gather,
    guide,
    jpeg,
    jpeg_colour,
    known,
    mask,
    noise,
    noisy_batch,
    norm,
    optimizer,
    part_sum,
    philox,
    point_loss,
    pool,
    power_ema,
    reduce,
    row_dropout,
    sampler_step,
    softmax,
    ssim,
    step_input,
    upsample,
];

pub use crate::graph::{Io, Op, Specs};
pub(crate) use crate::graph::{expect_count, expect_shape};
pub use crate::kernel::GemmVariant;
pub use crate::numeric::activation::Activation;

#[cfg(test)]
mod tests {
    use super::{GemmVariant, catalog, timed_cases};
    use crate::Device;
    use crate::graph::DType;
    use crate::kernel::Target;

    #[test]
    fn every_op_is_trusted_and_one_with_another_constant_is_not() {
        for case in catalog().into_iter().flat_map(|(_, cases)| cases) {
            let (mut g, inputs, outputs) = case.graph().unwrap();
            if case.has_gradient() {
                let d = g.constant(g.shape(outputs[0]).to_vec(), vec![0.5; g.spec(outputs[0]).len()]).unwrap();
                g.backward_from(&[(outputs[0], d)], &inputs[..case.gradient.min(inputs.len())]).unwrap();
            }
            for node in &g.nodes {
                assert!(node.trusted, "{} in the graph of {}", node.op.name(), case.name());
            }
            assert!(!case.with_constant("WG", 1.0).graph().unwrap().0.nodes[0].trusted);
        }
    }

    #[test]
    fn a_tensor_of_another_element_type_is_a_shape_error_in_every_op() {
        for case in catalog().into_iter().flat_map(|(_, cases)| cases) {
            let (g, inputs, _) = case.graph().unwrap();
            let updates = g.nodes[0].updates.clone();
            for i in 0..inputs.len() + updates.len() {
                let mut g = g.clone();
                let [mut inputs, mut updates] = [inputs.clone(), updates.clone()];
                let old = if i < inputs.len() { &mut inputs[i] } else { &mut updates[i - inputs.len()] };
                let (shape, float) = (g.shape(*old).to_vec(), g.spec(*old).dtype == DType::F32);
                let other = if float { g.state_u32("other", shape) } else { g.state("other", shape) };
                *old = other.unwrap();
                let result = g.apply_any(g.nodes[0].op.clone(), &inputs, &updates);
                let either = g.nodes[0].op.dtypes(i, inputs.len() + updates.len()).len() == 2;
                assert!(if either { result.is_ok() } else { matches!(result, Err(crate::Error::Shape { .. })) });
            }
        }
    }

    #[test]
    fn every_kernel_states_the_flags_of_its_shader() {
        let software = Target { software: true, ..Target::default() };
        let lanes = Target { subgroup: Some(8), ..software };
        let forced = GemmVariant::ALL.map(|variant| Target { gemm: Some(variant), half: Some(16), ..lanes });
        for case in catalog().into_iter().flat_map(|(_, cases)| cases) {
            for target in [Target::default(), software, lanes].iter().chain(&forced) {
                case.kernel(target).unwrap().source().unwrap_or_else(|e| panic!("{}: {e}", case.name()));
            }
        }
    }

    #[test]
    fn every_op_has_test_and_benchmark_cases_that_run() {
        for (name, cases) in timed_cases() {
            assert!(!cases.is_empty(), "{name} has no benchmark cases");
            for case in cases {
                let mut run = case.compile(&Device::cpu()).unwrap_or_else(|e| panic!("{name}: {e}"));
                run.steps(1).unwrap();
            }
        }
        catalog().iter().for_each(|(name, cases)| assert!(!cases.is_empty(), "{name} has no test cases"));
    }
}
