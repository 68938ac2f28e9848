//! A denoising network: the model `simple` (Flatten, Dense 128 ReLU, Dense) learns clean from noisy sine
//! waves, with new noise in every step, and is evaluated on unseen waves and noise.
//!
//! `cargo run --release --example denoising_network`

use std::path::Path;

use langevin::data::corrupt::{Extent, NoiseKind, add_noise};
use langevin::data::{Dataset, Kind, sine_waves};
use langevin::evaluate::compare_denoised;
use langevin::nn::{Simple, SimpleOptions, layers};
use langevin::ops::{Decay, Optimizer};
use langevin::{Device, Graph, Result, Slab, plot};

/// Values per wave.
const LENGTH: usize = 100;

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let out = Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");
    let steps = if std::env::var_os("LANGEVIN_SHORT").is_some() { 100 } else { 6_000 };
    let waves = Dataset::new("waves", [LENGTH], sine_waves(8_192, LENGTH, 1))?;
    let unseen = Dataset::new("unseen waves", [LENGTH], sine_waves(512, LENGTH, 2))?;

    println!("{}", layers(&SimpleOptions::default().into(), &[LENGTH])?);

    // The chapter's Gaussian noise, then two other kinds.
    for kind in ["gaussian:0.2", "salt_pepper:0.1", "poisson:20"] {
        let noise: NoiseKind = kind.parse()?;
        let weights = train(&device, &waves, noise, steps)?;
        let noisy = add_noise(&device, &unseen, noise, 3)?;
        let denoised = Dataset::new("denoised", [LENGTH], apply(&device, &weights, &noisy)?)?;
        println!("{kind}: {}", compare_denoised(&noisy, &denoised, &unseen)?);
        let picture = out.join(format!("denoising_{}.svg", kind.split(':').next().unwrap_or(kind)));
        let columns = [("clean", &unseen), ("noisy", &noisy), ("denoised", &denoised)];
        let columns = columns.map(|(title, set)| (title.to_string(), &set.values[..5 * LENGTH]));
        plot::film_strip(&picture, Kind::Signals, &[LENGTH], &columns)?;
        println!("picture: {}", picture.display());
    }
    Ok(())
}

/// Trains the network to predict clean from noisy waves.
fn train(device: &Device, waves: &Dataset, noise: NoiseKind, steps: u32) -> Result<Vec<f32>> {
    let mut g = Graph::new();
    let clean = g.dataset("waves", [waves.len(), LENGTH])?.batch(&mut g, 128)?;
    let noisy = noise.add_to(&mut g, clean, &[LENGTH], Extent::of(&waves.values))?;
    let net = Simple::new(&mut g, LENGTH, &SimpleOptions::default())?;
    let denoised = net.denoise(&mut g, noisy)?;
    let loss = g.mse(denoised, clean)?;
    let decay = Decay::Cosine { warmup: 0, total: steps };
    g.minimize(loss, Optimizer::adam_keras(2e-3).decay(decay))?;
    let mut run = device.compile(&g)?;
    run.write("waves", &waves.values)?;
    run.steps(1)?;
    let before = run.scalar(loss)?;
    run.steps(steps - 1)?;
    println!("{noise}: loss {before:.4} before, {:.4} after {steps} steps", run.scalar(loss)?);
    run.read_slab(Slab::Params)
}

/// The network applied to other waves.
fn apply(device: &Device, weights: &[f32], noisy: &Dataset) -> Result<Vec<f32>> {
    let mut g = Graph::new();
    let x = g.state("noisy", [noisy.len(), LENGTH])?;
    let net = Simple::new(&mut g, LENGTH, &SimpleOptions::default())?;
    let y = net.denoise(&mut g, x)?;
    g.keep(y);
    let mut run = device.compile(&g)?;
    run.write_slab(Slab::Params, weights)?;
    run.write("noisy", &noisy.values)?;
    run.steps(1)?;
    run.read(y)
}
