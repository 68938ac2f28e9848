//! Networks whose activations are stored in f16.

use langevin::{Device, Slab};

use crate::common::{On, Test, named, on};
use crate::training::{compare_gradients, small, trainer};

pub fn tests() -> Vec<Test> {
    on(
        &[On::Stored],
        named![gradients_are_those_of_the_reference_up_to_rounded_activations, losses_are_near_those_in_f32],
    )
}

/// How far a gradient may be off, as a part of the tensor's largest: n ops in a row, each of which rounds its result to f16, by up
/// to a unit in the last place, and reads such results: sqrt(n) 2 eps. Rounded terms of a sum do not make it worse.
fn gradients_are_those_of_the_reference_up_to_rounded_activations(on: On) {
    let device = on.open();
    for (model, ops) in [("mlp", 24.0f64), ("autoencoder", 14.0), ("unet", 64.0)] {
        let stepped = |device| {
            let mut t = trainer(device, &small(model));
            t.advance(1).unwrap();
            t
        };
        let (got, want) = (stepped(&device), stepped(&Device::reference()));
        let tolerance = ops.sqrt() * 2.0 * 2f64.powi(-10);
        compare_gradients((got.run(), Slab::Grads), (want.run(), Slab::Grads), tolerance)
            .unwrap_or_else(|e| panic!("{model}: {e}"));
    }
}

/// The curves of two trainings, averaged over ten steps: they use the same samples, steps and noise.
fn losses_are_near_those_in_f32(on: On) {
    let curve = |device: &Device| {
        let losses = trainer(device, &small("unet")).advance(120).unwrap();
        losses.chunks(10).map(|losses| losses.iter().sum::<f64>() / 10.0).collect::<Vec<_>>()
    };
    let (stored, plain) = (curve(&on.open()), curve(&On::Gpu.open()));
    assert!(plain.last() < plain.first().map(|first| 0.9 * first).as_ref(), "it learns: {plain:?}");
    assert!(stored.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 0.02 * b), "{stored:?}\n{plain:?}");
    assert_ne!(stored, plain);
}
