//! The ops: one file each here, beside one shader each in `shaders/`.
//!
//! An op answers: the shapes of its outputs, its kernel, its twin (the same computation on slices, generic over the
//! scalar), and its reverse rule. Its test cases stand below it. To add one: `shaders/x.wgsl`, `src/ops/x.rs`, and one
//! word in [`catalog`]; parity, gradient, shader checks and benchmark rows come from there.

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

pub use accumulate::Accumulate;
pub use activation::Activate;
pub use add_noise::{AddNoise, Disturbance, LARGEST_RATE, poisson_table};
pub use affine::Affine;
pub use attention::{Attention, Channels};
pub use channels::ChannelBias;
pub use combine::Combine;
pub use concat::Concat;
pub use conv::{Conv, ConvTranspose};
pub use cross_entropy::CrossEntropy;
pub use dense::Dense;
pub(crate) use dense::DenseInput;
pub use dropout::{ActivationNoise, Dropout};
pub use embedding::Embedding;
pub use encode::{Encode, Layout};
pub use fill::FillRow;
pub use gather::Gather;
pub use jpeg::{Jpeg, quantisation};
pub use noise::Noise;
pub use noisy_batch::NoisyBatch;
pub use norm::{GroupNorm, LayerNorm};
pub use optimizer::{Decay, OPTIMIZERS, Optimizer, Rule};
pub use philox::Philox;
pub use point_loss::{Average, Factors, Measure, PointLoss};
pub use pool::{Pool, Pooling};
pub use reduce::{Reduce, Reduction, SquaredNorm};
pub use sampler_step::SamplerStep;
pub use softmax::Softmax;
pub use ssim::Ssim;
pub use step_input::StepInput;
#[doc(hidden)]
pub use timed::timed_cases;
pub use upsample::{Upsample, Widen};

pub use crate::graph::Add;
pub use crate::graph::{Io, Op, Specs, View, ViewMut};
pub(crate) use crate::graph::{expect_count, expect_shape};
pub use crate::kernel::Family;
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
