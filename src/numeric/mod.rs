//! Numbers: the scalar trait of generic computations, activations, and counter-based random numbers.

pub mod activation;
pub mod random;
pub mod scalar;
