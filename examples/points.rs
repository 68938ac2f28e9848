//! Trains a small network on two moons with the library, generates new points, and plots both.
//!
//! `cargo run --release --example points`

use langevin::data::{Kind, two_moons};
use langevin::diffusion::{Ddim, Objective, Prediction, SamplerOptions, SamplerTable, Schedule};
use langevin::generate::{reverse_process, starting_noise};
use langevin::nn::{Denoiser, Inputs, Mlp, MlpOptions};
use langevin::ops::{Decay, Optimizer};
use langevin::{Device, Graph, Result, Slab, plot};

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let objective = Objective::new(Schedule::linear(1_000, 1e-4, 0.02)?, Prediction::V);
    let points = two_moons(8_192, 7);
    let steps = if std::env::var_os("LANGEVIN_SHORT").is_some() { 50 } else { 2_000 };

    // The training step: batch, noise, network, loss, backward pass and optimizer in one program.
    let mut g = Graph::new();
    let x0 = g.dataset("points", [8_192, 2])?.batch(&mut g, 256)?;
    let q = g.noise(x0, &objective)?;
    let size = MlpOptions::default().width(128).depth(3);
    let net = Mlp::new(&mut g, 2, &size)?;
    let v = net.forward(&mut g, Inputs::new(q.x_t, q.t))?;
    let loss = g.mse(v, q.target)?;
    let decay = Decay::Cosine { warmup: 0, total: steps };
    g.minimize(loss, Optimizer::adam(3e-3).decay(decay).ema(Some(0.99)))?;
    let mut run = device.compile(&g)?;
    run.write("points", &points)?;
    for _ in 0..5 {
        run.steps(steps / 5)?;
        let losses = run.history(loss, steps as usize / 10)?;
        println!("step {:>5}  loss {:.4}", run.step(), losses.iter().sum::<f64>() / losses.len() as f64);
    }

    // The reverse process: the same network, one step of the sampler per step of the run.
    let table = SamplerTable::new(&objective, &SamplerOptions::new(Ddim { eta: 0.0 }, 100))?;
    let mut g = Graph::new();
    let net = Mlp::new(&mut g, 2, &size)?;
    let x = reverse_process(&mut g, &net, &table, [2_000, 2])?;
    let mut reverse = device.compile(&g)?;
    reverse.write_slab(Slab::Params, &run.read_slab(Slab::Ema)?)?;
    let mut noise = vec![0.0; 4_000];
    starting_noise(1, 0, &mut noise);
    reverse.write("x", &noise)?;
    reverse.steps(100)?;

    let out = std::path::Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");
    plot::compare(&out.join("points.svg"), Kind::Points, &[2], &points[..4_000], &reverse.read(x)?)?;
    println!("picture: {}", out.join("points.svg").display());
    Ok(())
}
