//! The ops: one file each here, beside one shader each in `shaders/`.
//!
//! An op defines the shapes of its outputs, its kernel, its CPU implementation (the same computation on slices, generic
//! over the scalar), and its gradient. Its test cases follow it in the file. To add one: `shaders/x.wgsl`,
//! `src/ops/x.rs`, and one word in [`catalog`], from which parity tests, gradient tests, shader checks and benchmark
//! rows are derived.

mod accumulate;
mod activation;
mod add;
mod add_noise;
mod affine;
mod attention;
pub mod case;
mod channels;
mod combine;
mod concat;
mod conv;
mod cross_entropy;
mod dense;
mod dropout;
mod embedding;
mod encode;
mod fill;
mod fusion;
mod gather;
mod gemm;
mod jpeg;
mod noise;
mod noisy_batch;
mod norm;
mod optimizer;
mod philox;
mod point_loss;
mod pool;
mod reduce;
mod sampler_step;
#[cfg(test)]
mod size;
mod softmax;
mod ssim;
mod step_input;
mod timed;
mod upsample;

pub(crate) use accumulate::Accumulate;
pub use activation::Activate;
#[cfg(feature = "files")]
pub(crate) use add_noise::MAX_RATE;
pub use add_noise::{AddNoise, Disturbance};
pub use affine::Affine;
pub use attention::{Attention, Channels};
pub use channels::ChannelBias;
pub use combine::Combine;
pub use concat::Concat;
pub use conv::{Conv, ConvTranspose};
pub use dense::Dense;
pub(crate) use dense::DenseInput;
pub use embedding::Embedding;
pub use encode::{Encode, Layout};
pub(crate) use fill::FillRow;
pub(crate) use gather::Gather;
pub use jpeg::{Jpeg, quantisation};
pub use noise::Noise;
pub(crate) use noisy_batch::NoisyBatch;
pub use norm::{GroupNorm, LayerNorm};
pub use optimizer::{Decay, Optimizer, OptimizerKind, Rule};
pub use philox::Philox;
pub use point_loss::{Average, Factors, Measure, PointLoss};
pub use pool::{Pool, Pooling};
pub use reduce::{Reduce, Reduction, SquaredNorm};
pub use sampler_step::SamplerStep;
pub use softmax::Softmax;
pub use ssim::Ssim;
pub(crate) use step_input::StepInput;
#[doc(hidden)]
pub use timed::timed_cases;
pub use upsample::Upsample;
pub(crate) use upsample::Widen;

pub use crate::graph::Add;
pub use crate::graph::{Io, Op, Specs};
pub(crate) use crate::graph::{expect_count, expect_shape};
pub use crate::kernel::GemmVariant;
pub use crate::numeric::activation::Activation;

/// Every op's cases, by the op's file.
pub fn catalog() -> Vec<(&'static str, Vec<case::Case>)> {
    macro_rules! list {
        ($($op:ident),*; $($folder:ident::$file:ident as $name:literal),*) => {
            vec![$((stringify!($op), $op::cases()),)* $(($name, $folder::$file::cases()),)*]
        };
    }
    list![
        accumulate, activation, add, attention, add_noise, affine, channels, combine, concat, cross_entropy, dense,
        dropout, embedding, encode, fill, gather, jpeg, noise, noisy_batch, norm, optimizer, philox, point_loss, pool,
        reduce, sampler_step, softmax, ssim, step_input, upsample;
        conv::forward as "conv", conv::gradient as "conv_gradient", conv::transpose as "conv_transpose"
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
