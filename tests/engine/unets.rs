//! U-Nets: their levels, and the dispatches and fusions of a training step.

use langevin::data::sine_waves;
use langevin::nn::{Denoiser, Inputs, Model, UNet, UNetLevels, UNetOptions};
use langevin::ops::Optimizer;
use langevin::{Graph, Slab};

use crate::common::{On, Test, always, named, on};
use crate::training::small;

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu],
        named![fusions_change_no_bit_on_the_cpu_and_little_elsewhere, a_step_of_the_default_unet_is_short_and_small,],
    );
    tests.extend(on(&[On::Stored], named![a_step_of_the_default_unet_is_short_and_small]));
    tests.extend(always(named![
        impossible_unets_are_refused_with_numbers,
        a_unet_has_levels_for_the_size_of_its_samples,
    ]));
    tests
}

fn impossible_unets_are_refused_with_numbers() {
    let Model::UNet(small) = small("unet").model else { panic!("another model") };
    let refuse = |sample: &[usize], change: fn(&mut UNetLevels)| {
        let mut options = small.clone();
        change(&mut options.levels);
        Model::from(options).build(&mut Graph::new(), sample).err().expect("refused").to_string()
    };
    type Change = fn(&mut UNetLevels);
    for (sample, change, parts) in [
        (&[17][..], (|_| {}) as Change, ["[17] at level 0", "multipliers = [1]"]),
        (&[1, 6, 10], |o| o.multipliers = Some(vec![1, 2, 2]), ["[3, 5] at level 1", "multiples of 4"]),
        (&[16], |o| o.groups = 3, ["groups is 3", "8 channels of level 0"]),
        (&[16], |o| o.heads = 5, ["heads is 5", "16 channels of level 1"]),
        (&[16], |o| o.attention = Some(vec![2]), ["level 2", "the coarsest being 1"]),
        (&[2], |_| {}, ["points in the plane", "the model mlp"]),
        (&[16], |o| o.time = 1_000_000_000_000, ["time.0.weight", "1e9 parameters"]),
        (&[16], |o| o.multipliers = Some(vec![]), ["multipliers is []", "1 to 16"]),
    ] {
        let message = refuse(sample, change);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

fn a_unet_has_levels_for_the_size_of_its_samples() {
    for (sample, multipliers) in
        [(&[8, 8][..], &[1, 2][..]), (&[28, 28], &[1, 2, 4]), (&[100], &[1, 2, 4]), (&[3, 64, 128], &[1, 2, 4, 4])]
    {
        let unet = UNetLevels::default().for_sample(sample);
        assert_eq!(unet.multipliers.as_deref(), Some(multipliers), "{sample:?}");
        assert_eq!(unet.attention, Some(vec![multipliers.len() - 1]));
        assert_eq!(unet.clone().for_sample(&[16]), unet, "what is chosen stays");
    }
}

/// A training step of a U-Net of the sample shape.
fn unet_step(shape: &[usize], options: &UNetOptions, batch: usize) -> Graph {
    let mut g = Graph::seeded(1);
    let width = shape.iter().product::<usize>();
    let x = g.constant([batch, width], sine_waves(batch, width, 1)).unwrap();
    let t = g.constant([batch], (0..batch).map(|i| (37 * i) as f32).collect()).unwrap();
    let network = UNet::new(&mut g, shape, options).unwrap();
    let y = network.forward(&mut g, Inputs::new(x, t)).unwrap();
    let loss = g.mse(y, x).unwrap();
    g.minimize(loss, Optimizer::adam(1e-3)).unwrap();
    g
}

/// With three tensors per kernel hardly anything is fused, with eight as in a browser a part of it.
fn fusions_change_no_bit_on_the_cpu_and_little_elsewhere(on: On) {
    let device = on.open();
    let g = unet_step(&[2, 8, 8], &UNetOptions::default().width(8).depth(2), 5);
    let gradients = |bindings: usize| {
        let mut run = device.compile_for(&g, bindings).unwrap();
        run.steps(1).unwrap();
        (run.dispatches(), run.read_slab(Slab::Grads).unwrap())
    };
    let (most, plain) = gradients(3);
    let scale = plain.iter().fold(0.0f32, |scale, d| scale.max(d.abs()));
    for bindings in [8, 16, 32] {
        let (dispatches, fused) = gradients(bindings);
        assert!(dispatches < most, "{dispatches} {most}");
        for (i, (a, b)) in fused.iter().zip(&plain).enumerate() {
            let same = if device.is_gpu() { (a - b).abs() <= 1e-5 * scale } else { a.to_bits() == b.to_bits() };
            assert!(same, "{bindings} tensors per kernel, element {i}: {a} {b}");
        }
    }
}

/// The CPU adds up the parts of each gradient by itself.
fn a_step_of_the_default_unet_is_short_and_small(on: On) {
    let g = unet_step(&[1, 28, 28], &UNetOptions::default(), 64);
    let run = on.open().compile(&g).unwrap();
    let (dispatches, megabytes) = match on {
        On::Gpu => (109, 125),
        On::Stored => (109, 80),
        _ => (137, 125),
    };
    assert!(run.dispatches() <= dispatches, "{}", run.dispatches());
    assert!(run.bytes() <= megabytes << 20, "{}", run.bytes());
}
