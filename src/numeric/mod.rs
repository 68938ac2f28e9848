//! Numbers: the scalar that computations are generic over, activations, and counter-based random numbers.

pub mod activation;
pub mod random;
pub mod scalar;
